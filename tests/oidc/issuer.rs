//! Issuers of the authorization server beside this test run.

use std::env;

use http::StatusCode;
use serde_json::{Value, json};

use crate::http::{get, post};

/// The API whose access tokens are JWTs.
pub(crate) const SIGNED_API: &str = "https://api.example/signed";
/// The API whose access tokens say nothing to anyone but the issuer.
pub(crate) const OPAQUE_API: &str = "https://api.example/opaque";

/// Somebody else's APIs, of the same two kinds.
pub(crate) const OTHER_SIGNED_API: &str = "https://other.example/signed";
pub(crate) const OTHER_OPAQUE_API: &str = "https://other.example/opaque";

/// An issuer of a test's own.
pub(crate) struct Issuer {
    pub(crate) url: String,
}

/// What an issuer knows a client by.
pub(crate) struct Registration {
    pub(crate) client_id: String,
    /// None: a public client.
    pub(crate) client_secret: Option<String>,
}

impl Issuer {
    /// Starts one that signs by this algorithm.
    pub(crate) async fn start(algorithm: &str) -> Self {
        let answer = tell("/issuers", &json!({ "algorithm": algorithm })).await;
        Self {
            url: text(&answer, "issuer"),
        }
    }

    /// From now on a new key signs; the ones before it are still published.
    pub(crate) async fn rotate(&self) {
        self.tell("/rotate").await;
    }

    /// Only the key that signs is published any more.
    pub(crate) async fn withdraw(&self) {
        self.tell("/withdraw").await;
    }

    /// Nobody answers there any more.
    pub(crate) async fn stop(&self) {
        self.tell("/stop").await;
    }

    /// Goes on where it was stopped.
    pub(crate) async fn go_on(&self) {
        self.tell("/start").await;
    }

    /// How often it was asked for a path.
    pub(crate) async fn requests(&self, path: &str) -> u64 {
        let command = json!({ "issuer": self.url, "path": path });
        let answer = tell("/requests", &command).await;
        answer["requests"].as_u64().expect("a number")
    }

    /// The name that Ada's tokens give her.
    pub(crate) fn ada(&self) -> String {
        format!("{}|ada", self.url)
    }

    async fn tell(&self, verb: &str) {
        tell(verb, &json!({ "issuer": self.url })).await;
    }

    /// An endpoint of its metadata (RFC 8414 §2).
    pub(crate) async fn endpoint(&self, name: &str) -> String {
        let (status, metadata) = get(&format!(
            "{}/.well-known/oauth-authorization-server",
            self.url
        ))
        .await;
        assert_eq!(status, StatusCode::OK);
        text(&metadata, name)
    }

    /// Registers a client (RFC 7591) whose user comes back to `callback`.
    pub(crate) async fn register(&self, authentication: &str, callback: &str) -> Registration {
        self.register_as(&json!({
            "client_name": "Realm browser",
            "redirect_uris": [callback],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": authentication,
        }))
        .await
    }

    /// Registers an API that asks for the meaning of tokens, and gets none itself.
    pub(crate) async fn register_api(&self, authentication: &str) -> Registration {
        self.register_as(&json!({
            "client_name": "Realms",
            "redirect_uris": [],
            "grant_types": [],
            "response_types": [],
            "token_endpoint_auth_method": authentication,
        }))
        .await
    }

    async fn register_as(&self, client: &Value) -> Registration {
        let endpoint = self.endpoint("registration_endpoint").await;
        let (status, answer) = post(&endpoint, client).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        Registration {
            client_id: text(&answer, "client_id"),
            client_secret: answer["client_secret"].as_str().map(str::to_owned),
        }
    }
}

async fn tell(verb: &str, command: &Value) -> Value {
    let server = env::var("TEST_OIDC").unwrap_or_else(|_| {
        panic!(
            "this test needs an authorization server, and TEST_OIDC is not set: \
             run it with `scripts/with-oidc cargo test …`"
        )
    });
    let (status, answer) = post(&format!("{server}{verb}"), command).await;
    assert_eq!(status, StatusCode::OK, "{verb}: {answer}");
    answer
}

fn text(value: &Value, name: &str) -> String {
    let found = value[name].as_str();
    found
        .unwrap_or_else(|| panic!("no {name} in {value}"))
        .to_owned()
}
