//! Every page and dialog, narrow and wide, light and dark: readable, named and in order.
//!
//! Each is left as a picture in `target/console-screenshots`. Where `CONSOLE_PICTURE` is set, the
//! README's picture, `docs/console.png`, is made anew.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    browser::{Window, named},
    console, hub,
    hub::{ENGINES, Hub, x_api_key},
    id_of, make_key, manage, set_license, sign_in,
};

const WIDTHS: [(u32, u32); 3] = [(360, 740), (768, 1024), (1440, 900)];
/// In seconds.
const DAY: i64 = 86_400;

/// What a page looks like once it is there, the way to it, and what opens the dialog on it.
struct Sight {
    name: &'static str,
    address: String,
    ready: &'static str,
    /// A selector to click.
    opens: Option<&'static str>,
}

/// A hub in which something has happened.
fn lived_in() -> Hub {
    let hub = hub();
    set_license(&hub, "launcher", 3, None);
    let day = |days: i64| {
        let today = Timestamp::now().as_second() / DAY;
        let midnight = Timestamp::from_second((today + days) * DAY);
        midnight.expect("a time").to_string()
    };
    set_license(&hub, "lino", 2, Some(&day(13)));
    set_license(&hub, "nodegraph_editor", 1, Some(&day(-21)));
    set_license(&hub, "playout", 5, Some(&day(200)));
    let (_, all) = make_key(
        &hub,
        json!({
            "name": "API Key-All Access", "modules": ["launcher", "nodegraph_editor", "lino", "playout"],
            "scopes": ["read:realms", "write:realms"], "tier": "premium", "owner": "Studio A",
            "expires_at": day(90), "allowed_addresses": ["127.0.0.0/8", "2001:db8::/32"],
        }),
    );
    for (name, modules) in [
        ("API Key-Gallery Wall", &["launcher"][..]),
        ("API Key-Night Shift", &["launcher", "lino"]),
        ("API Key-Reception", &["rest_api_management"]),
        (
            "API Key-Weekend Automation of the Outside Broadcast Van",
            &["launcher", "playout"],
        ),
    ] {
        make_key(&hub, json!({"name": name, "modules": modules}));
    }
    let (paused, _) = make_key(
        &hub,
        json!({"name": "API Key-Rehearsal", "modules": ["playout"]}),
    );
    manage(
        &hub,
        &format!("PATCH /keys/{paused}"),
        Some(&json!({"enabled": false})),
    );
    let (over, _) = make_key(&hub, json!({"name": "API Key-Last Season"}));
    manage(&hub, &format!("POST /keys/{over}/revoke"), None);
    for (count, route) in [
        (23, ENGINES),
        (4, "/api/rest/v1/engines/engine-1/nodes"),
        (2, "/v1/stats"),
    ] {
        for _ in 0..count {
            hub.get(route, &[&x_api_key(&all)]);
        }
    }
    hub
}

fn sights(hub: &Hub) -> Vec<Sight> {
    let all = id_of(hub, "API Key-All Access");
    let at = |page: &str| format!("{}#/{page}", console(hub));
    let sight = |name, address, ready, opens| Sight {
        name,
        address,
        ready,
        opens,
    };
    let key = || at(&format!("keys/{all}"));
    let on_key = "$('[data-test=usage-chart]')";
    let (on_keys, on_licenses) = ("$('#keys-table')", "$('#licenses table')");
    let on_license = "$('[data-test=waiting-row]')";
    vec![
        sight("keys", at("keys"), on_keys, None),
        sight("keys-add", at("keys"), on_keys, Some("#add-key")),
        sight("key", key(), on_key, None),
        sight("key-edit", key(), on_key, Some("#edit")),
        sight("key-regenerate", key(), on_key, Some("#regenerate")),
        sight("key-delete", key(), on_key, Some("#delete")),
        sight("licenses", at("licenses"), on_licenses, None),
        sight(
            "licenses-add",
            at("licenses"),
            on_licenses,
            Some("#add-license"),
        ),
        sight(
            "licenses-limited",
            at("licenses"),
            on_licenses,
            Some("#limited-edition"),
        ),
        sight("license", at("licenses/launcher"), on_license, None),
        sight(
            "license-change",
            at("licenses/launcher"),
            on_license,
            Some("#change"),
        ),
        sight(
            "activity",
            at("activity"),
            "$$('[data-test=entry]').length > 9",
            None,
        ),
        sight(
            "nothing",
            at("keys/no-such-key"),
            "$('[data-test=problem]')",
            None,
        ),
    ]
}

/// What a script can tell of how readable a page is; each line is a fault.
const FAULTS: &str = include_str!("faults.js");

/// What the browser tells those who cannot see the page; each line is a fault.
async fn unnamed(window: &Window) -> Vec<String> {
    let tree = window.cdp("Accessibility.getFullAXTree", json!({})).await;
    let nodes = tree["nodes"].as_array().expect("a list");
    let nodes = nodes.iter().filter(|node| node["ignored"] != true);
    let nodes: Vec<(&str, &str, &Value)> = nodes
        .map(|node| {
            let text = |of: &'static str| node[of]["value"].as_str().unwrap_or_default();
            (text("role"), text("name"), node)
        })
        .collect();
    let mut faults = Vec::new();
    for (role, name, node) in &nodes {
        let needs_a_name = matches!(
            *role,
            "button"
                | "link"
                | "textbox"
                | "searchbox"
                | "checkbox"
                | "radio"
                | "combobox"
                | "spinbutton"
                | "switch"
                | "table"
                | "dialog"
                | "navigation"
                | "Date"
                | "DateTime"
                | "columnheader"
                | "rowheader"
                | "image"
                | "img"
                | "DisclosureTriangle"
        );
        if needs_a_name && name.trim().is_empty() {
            faults.push(format!("a {role} without a name: {node}"));
        }
    }
    let count = |wanted: &str| nodes.iter().filter(|(role, ..)| *role == wanted).count();
    let headings = nodes.iter().filter(|(role, ..)| *role == "heading");
    let levels: Vec<u64> = headings
        .filter_map(|(.., node)| {
            let properties = node["properties"].as_array()?;
            let level = properties
                .iter()
                .find(|property| property["name"] == "level")?;
            level["value"]["value"].as_u64()
        })
        .collect();
    // A modal dialog hides what is behind it.
    if count("dialog") == 0 {
        if levels.iter().filter(|level| **level == 1).count() != 1 || levels.first() != Some(&1) {
            faults.push(format!("headings of the levels {levels:?}"));
        }
        if levels.windows(2).any(|pair| pair[1] > pair[0] + 1) {
            faults.push(format!("a level of headings is left out: {levels:?}"));
        }
        if count("main") != 1 {
            faults.push(format!("{} main parts", count("main")));
        }
    }
    faults
}

fn pictures() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let folder = target.expect("it is below").join("console-screenshots");
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

async fn picture(window: &Window, is_draft: bool) -> Vec<u8> {
    let picture = window
        .cdp(
            "Page.captureScreenshot",
            json!({"format": "png", "optimizeForSpeed": is_draft}),
        )
        .await;
    let picture = BASE64_STANDARD.decode(picture["data"].as_str().expect("a text"));
    picture.expect("base64")
}

/// Looks at what is open in every width and look: takes pictures, and tells of faults. A dialog is the
/// same in the middle as on a wide page.
async fn look(window: &Window, name: &str, faults: &mut Vec<String>) {
    let is_dialog = window.js("Boolean($('dialog'))").await == true;
    for colours in ["light", "dark"] {
        for (width, height) in WIDTHS {
            if is_dialog && width == 768 {
                continue;
            }
            window.show(width, height, colours).await;
            let place = format!("{name}-{width}-{colours}");
            let found = window.js(FAULTS).await;
            let found = found.as_array().expect("a list").iter();
            faults.extend(found.map(|fault| format!("{place}: {}", fault.as_str().unwrap_or("?"))));
            if colours == "light" {
                let found = unnamed(window).await.into_iter();
                faults.extend(found.map(|fault| format!("{place}: {fault}")));
            }
            if !is_dialog {
                let whole = window.js("document.documentElement.scrollHeight").await;
                let whole = whole.as_u64().and_then(|whole| u32::try_from(whole).ok());
                let whole = height.max(whole.expect("a height"));
                window.show(width, whole, colours).await;
            }
            let file = pictures().join(format!("{place}.png"));
            fs::write(file, picture(window, true).await).expect("a file");
        }
    }
    window.show(1280, 800, "light").await;
}

#[tokio::test]
async fn every_page_is_readable_at_every_width_in_light_and_dark() {
    let hub = lived_in();
    let window = Window::open().await;
    let mut faults = Vec::new();
    window.goto(&console(&hub)).await;
    window.click("#sign-in").await;
    window.says("Enter an API key.").await;
    look(&window, "sign-in", &mut faults).await;
    sign_in(&window, hub.key("Administrator")).await;
    for sight in sights(&hub) {
        window.goto(&sight.address).await;
        window.until(sight.ready).await;
        window
            .until("document.documentElement.dataset.connection === 'up'")
            .await;
        if let Some(opener) = sight.opens {
            window.click(opener).await;
            window.until("$('dialog') && !$('dialog .bone')").await;
        }
        look(&window, sight.name, &mut faults).await;
        if sight.opens.is_some() {
            window.press(thirtyfour::Key::Escape).await;
            window.until("!$('dialog')").await;
        }
    }
    window.goto(&format!("{}#/keys", console(&hub))).await;
    window.click("#add-key").await;
    window.fill("[name=name]", "API Key-Picture").await;
    window.click(named("Generate API Key")).await;
    window.until("$('#new-key')").await;
    look(&window, "keys-secret", &mut faults).await;
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[tokio::test]
async fn picture_of_the_readme_is_made_where_it_is_asked_for() {
    if std::env::var_os("CONSOLE_PICTURE").is_none() {
        return;
    }
    let hub = lived_in();
    let window = Window::open().await;
    window.show(1280, 800, "light").await;
    window.goto(&format!("{}#/licenses", console(&hub))).await;
    sign_in(&window, hub.key("Administrator")).await;
    window
        .until("$('#licenses table') && document.documentElement.dataset.connection === 'up'")
        .await;
    // No scroll bar, and nothing under the pointer.
    window
        .js("document.documentElement.style.scrollbarWidth = 'none'")
        .await;
    let away = json!({"type": "mouseMoved", "x": 0, "y": 0});
    window.cdp("Input.dispatchMouseEvent", away).await;
    let picture = picture(&window, false).await;
    assert!(picture.len() < 200_000, "{} bytes", picture.len());
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    fs::create_dir_all(&docs).expect("a folder");
    fs::write(docs.join("console.png"), picture).expect("a file");
}
