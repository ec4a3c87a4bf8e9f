//! How a host's OpenAPI document says by which ways a layer takes credentials.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{credential::Carriers, layer::ApiKeyLayer};

/// The ways in which a layer takes credentials, as OpenAPI 3.1 names them.
///
/// Its serde form is what stands under `components.securitySchemes` ([§4.8.27][scheme]):
///
/// | name | where |
/// |---|---|
/// | `apiKeyHeader` | the layer's header, `X-API-Key` by default |
/// | `bearerToken` | `Authorization: Bearer`, with a key or a token |
/// | `dpopToken` | `Authorization: DPoP`, where the layer takes proofs |
/// | `apiKeyQuery` | the query parameter, where one is set |
///
/// ```
/// use serde_json::json;
/// use tower_api_key::{ApiKeyLayer, MemoryKeyStore, MemoryLedger, RouteModules};
///
/// let map = RouteModules::builder().build()?;
/// let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new()).build()?;
/// // Yours, such as serde_json::to_value(&utoipa_document)?
/// let mut document = json!({"openapi": "3.1.0", "info": {"title": "engines", "version": "1"}});
/// layer.security_schemes().add_to(&mut document);
/// assert_eq!(document["components"]["securitySchemes"]["apiKeyHeader"]["name"], "x-api-key");
/// assert_eq!(document["security"], json!([{"apiKeyHeader": []}, {"bearerToken": []}]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [scheme]: https://spec.openapis.org/oas/v3.1.1.html#security-scheme-object
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SecuritySchemes(BTreeMap<String, Value>);

impl SecuritySchemes {
    pub(crate) fn of(carriers: &Carriers) -> Self {
        let mut schemes = BTreeMap::new();
        let mut add = |name: &str, scheme| drop(schemes.insert(name.into(), scheme));
        if let Some(header) = &carriers.header {
            let name = header.as_str();
            add(
                "apiKeyHeader",
                json!({"type": "apiKey", "in": "header", "name": name}),
            );
        }
        if carriers.bearer {
            add("bearerToken", json!({"type": "http", "scheme": "bearer"}));
        }
        if carriers.dpop {
            add("dpopToken", json!({"type": "http", "scheme": "dpop"}));
        }
        if let Some(name) = &carriers.query {
            add(
                "apiKeyQuery",
                json!({"type": "apiKey", "in": "query", "name": name}),
            );
        }
        Self(schemes)
    }

    /// The same with another scheme.
    #[cfg(feature = "manage")]
    pub(crate) fn with(mut self, name: &str, scheme: Value) -> Self {
        self.0.insert(name.into(), scheme);
        self
    }

    /// What stands under `security` where any one of them is enough
    /// ([§4.8.30](https://spec.openapis.org/oas/v3.1.1.html#security-requirement-object)).
    pub fn requirements(&self) -> Value {
        self.0.keys().map(|name| json!({name: []})).collect()
    }

    /// Adds them to a document: to `components.securitySchemes`, beside those that are there, and as
    /// its `security`, where it has none yet. What is no JSON object stays as it is.
    pub fn add_to(&self, document: &mut Value) {
        let Some(document) = document.as_object_mut() else {
            return;
        };
        document
            .entry("security")
            .or_insert_with(|| self.requirements());
        let mut at = document;
        for name in ["components", "securitySchemes"] {
            let entry = at.entry(name).or_insert_with(|| json!({}));
            let Some(next) = entry.as_object_mut() else {
                return;
            };
            at = next;
        }
        at.extend(self.0.clone());
    }
}

impl ApiKeyLayer {
    /// By which ways this layer takes credentials, for the host's own OpenAPI document.
    pub fn security_schemes(&self) -> SecuritySchemes {
        SecuritySchemes::of(&self.shared().gate.carriers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_in_has_its_scheme() {
        let carriers = Carriers {
            dpop: true,
            query: Some("api_key".into()),
            ..Carriers::default()
        };
        let schemes = SecuritySchemes::of(&carriers);
        let names: Vec<_> = schemes.0.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["apiKeyHeader", "apiKeyQuery", "bearerToken", "dpopToken"]
        );
        let none = Carriers {
            header: None,
            bearer: false,
            ..Carriers::default()
        };
        assert_eq!(SecuritySchemes::of(&none).requirements(), json!([]));
    }

    #[test]
    fn what_a_document_says_already_stays() {
        let schemes = SecuritySchemes::of(&Carriers::default());
        let mut document = json!({
            "security": [],
            "components": {"schemas": {"A": {}}, "securitySchemes": {"own": {}}},
        });
        schemes.add_to(&mut document);
        assert_eq!(document["security"], json!([]));
        assert_eq!(document["components"]["schemas"], json!({"A": {}}));
        let names = document["components"]["securitySchemes"].as_object();
        let mut names: Vec<_> = names.unwrap().keys().cloned().collect();
        names.sort();
        assert_eq!(names, ["apiKeyHeader", "bearerToken", "own"]);
        for mut other in [json!(7), json!({"components": 7})] {
            schemes.add_to(&mut other);
        }
    }
}
