//! What the hub says when it starts: where it is, where its data are, and on the first start its keys,
//! this once, with curl lines to paste.

use std::net::SocketAddr;

use tower_api_key::KeyText;

use crate::{access::FirstKey, options::Options};

pub(crate) fn text(address: SocketAddr, options: &Options, keys: &[FirstKey]) -> String {
    let Options {
        database,
        rates,
        trusted,
        ..
    } = options;
    let mut lines = vec![
        format!("hub: serving http://{address}, data in {database}"),
        format!(
            "Requests an hour: 100 from an address without a key, 1,000 with a key, 5,000 with a\n\
             premium one; counted {rates}.{}",
            trusted.text() + &crate::manage::text(address)
        ),
        String::new(),
    ];
    lines.push(match keys {
        [] => "The keys are those of the first start, which showed their texts. Lost them? Start with an\n\
               administrator's key of yours in HUB_ADMIN_KEY, or anew with another --database."
            .into(),
        _ => "Keys; their texts are shown this once:".into(),
    });
    for FirstKey { key, text, .. } in keys {
        let text = text.as_ref().map_or("(as given)", KeyText::expose);
        lines.push(format!("  {:<26}{text}", key.record.name));
    }
    for first in keys {
        if let FirstKey {
            key,
            text: Some(text),
            route: Some(route),
        } = first
        {
            let (name, text, url) = (
                &key.record.name,
                text.expose(),
                format!("http://{address}{route}"),
            );
            lines.push(format!("\n# {name}"));
            // By module as Reality Hub's clients send it, by scope as RealmKit's do.
            if key.modules.is_empty() {
                lines.push(format!(
                    "curl \"{url}\" \\\n  -H \"Authorization: Bearer {text}\""
                ));
            } else {
                lines.push(format!(
                    "curl -X GET \"{url}\" \\\n  -H \"X-API-Key: {text}\" \\\n  {JSON}"
                ));
                lines.push(format!("curl -X GET \"{url}?api_key={text}\" \\\n  {JSON}"));
            }
        }
    }
    lines.push("\nCtrl-C stops it.\n".into());
    lines.join("\n")
}

const JSON: &str = "-H \"Content-Type: application/json\"";
