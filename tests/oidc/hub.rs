//! The example service `hub`, which takes keys, sessions of its own and this issuer's tokens.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use http::{Request, StatusCode};
use serde_json::Value;

use crate::{
    app::App,
    http::{read_body, send},
    issuer::{Issuer, OPAQUE_API, SIGNED_API},
};

/// A running hub; it is ended when this is dropped.
struct Hub {
    process: Child,
    /// Held open: who writes to nobody ends.
    _output: BufReader<ChildStdout>,
    address: String,
    administrator: String,
}

impl Hub {
    /// `cargo run`, with the features that these tests are built with: as the hub's own tests do.
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO"));
        command.args([
            "run",
            "--quiet",
            "--example",
            "hub",
            "--features=console,oauth",
        ]);
        for (feature, is_on) in [
            ("sqlite", cfg!(feature = "sqlite")),
            ("postgres", cfg!(feature = "postgres")),
            ("redis", cfg!(feature = "redis")),
        ] {
            if is_on {
                command.args(["--features", feature]);
            }
        }
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        command.args(["--", "--listen=127.0.0.1:0", "--database=memory:"]);
        command.args(arguments).env_remove("HUB_ADMIN_KEY");
        let mut process = command.stdout(Stdio::piped()).spawn().expect("cargo");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
        let (mut address, mut administrator, mut line) = (None, None, String::new());
        while line != "Ctrl-C stops it.\n" {
            line.clear();
            assert_ne!(output.read_line(&mut line).expect("text"), 0, "it ended");
            if let Some((_, rest)) = line.split_once("serving http://") {
                address = rest.split_once(',').map(|(address, _)| address.to_owned());
            } else if line.starts_with("  API Key-Administrator") {
                administrator = line.split_whitespace().last().map(str::to_owned);
            }
        }
        Self {
            process,
            _output: output,
            address: address.expect("an address"),
            administrator: administrator.expect("a key"),
        }
    }

    async fn send(&self, method: &str, path: &str, bearer: &str) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {bearer}"))
            .body(Vec::new());
        let Ok(response) = send(request.expect("a request")).await;
        (response.status(), read_body(&response))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn keys_sessions_and_access_tokens_open_the_same_routes() {
    let issuer = Issuer::start("ES256").await;
    let client = issuer.register_api("client_secret_basic").await;
    let client = [client.client_id, client.client_secret.expect("a secret")].join(":");
    for audience in [SIGNED_API, OPAQUE_API] {
        let hub = Hub::start(&[
            "--issuer",
            &issuer.url,
            "--audience",
            audience,
            "--introspection-client",
            &client,
        ]);
        let app = App::register(&issuer, "none", audience).await;
        let access = app.reader().await.access;
        let (status, session) = hub
            .send("POST", "/manage/v1/sessions", &hub.administrator)
            .await;
        assert_eq!(status, 201, "{session}");
        let session = session["token"].as_str().expect("a token");

        for bearer in [&hub.administrator, session, &access] {
            let (status, realms) = hub.send("GET", "/v1/realms", bearer).await;
            assert_eq!(status, 200, "{realms}");
            assert_eq!(realms[0]["id"], "realm-1");
        }
        // The user let the app read, and nothing else.
        let (status, refusal) = hub.send("DELETE", "/v1/realms/realm-1", &access).await;
        assert_eq!(
            (status.as_u16(), &refusal["code"]),
            (403, &"insufficient_scope".into())
        );
        let (status, _) = hub.send("GET", "/v1/stats", session).await;
        assert_eq!(status, 200);
        let (status, _) = hub.send("POST", "/manage/v1/sessions", &access).await;
        assert_eq!(status, 403);
    }
}
