//! The example service `oauth`, with this issuer for any.

use tokio::net::TcpListener;

use crate::{
    api::Api,
    app::App,
    http::get,
    issuer::{Issuer, OPAQUE_API, SIGNED_API},
};

#[path = "../../examples/oauth.rs"]
#[allow(dead_code, reason = "its own main is not run here")]
mod oauth;

use oauth::{Options, service};

fn options(arguments: &[&str]) -> Result<Options, String> {
    Options::parse(arguments.iter().map(|argument| (*argument).to_owned()))
}

async fn start(options: &Options) -> Api {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (service, key) = service(options, address).await.expect("a service");
    Api::of(listener, service, key)
}

#[tokio::test]
async fn one_route_takes_keys_and_tokens_of_both_kinds() {
    let issuer = Issuer::start("ES256").await;
    let client = issuer.register_api("client_secret_basic").await;
    let client = [client.client_id, client.client_secret.expect("a secret")].join(":");
    for audience in [SIGNED_API, OPAQUE_API] {
        let options = options(&[
            "--issuer",
            &issuer.url,
            "--audience",
            audience,
            "--introspection-client",
            &client,
        ]);
        let api = start(&options.expect("options")).await;
        let app = App::register(&issuer, "none", audience).await;
        let tokens = app.reader().await;

        let read = api.read(&tokens.access).await;
        assert_eq!(read.status, 200);
        assert_eq!(read.body, format!("realms for {}\n", issuer.ada()));
        api.write(&tokens.access)
            .await
            .refused(403, "insufficient_scope");
        assert_eq!(api.write(&api.key).await.status, 200);
        let refused = api.read("made-up").await;
        refused.refused(401, "invalid_key");

        // Whoever has no token is told where there are some (RFC 9728 §5.1).
        let challenge = refused.challenge.expect("a challenge");
        let metadata = challenge
            .split_once("resource_metadata=\"")
            .expect("a URL")
            .1;
        let (status, metadata) = get(metadata.split('"').next().expect("a URL")).await;
        assert_eq!(status, 200);
        assert_eq!(metadata["authorization_servers"][0], issuer.url);
    }
}

#[tokio::test]
async fn what_cannot_work_is_said_at_the_start() {
    for (arguments, problem) in [
        (vec!["--audience", "api"], "--issuer is needed"),
        (
            vec!["--issuer", "https://issuer.example"],
            "--audience is needed",
        ),
        (vec!["--issuer"], "--issuer needs a value"),
        (
            vec!["--introspection-client", "secret"],
            "--introspection-client needs ID:SECRET",
        ),
        (vec!["secret"], "what stands alone is no option"),
        (vec!["--isuer", "x"], "--isuer is no option"),
    ] {
        assert_eq!(options(&arguments).err().as_deref(), Some(problem));
    }
    // Nobody has this issuer's name there.
    let issuer = Issuer::start("ES256").await;
    let name = format!("{}/", issuer.url);
    let options = options(&["--issuer", &name, "--audience", "api"]).expect("options");
    let address = "127.0.0.1:3000".parse().expect("an address");
    assert!(service(&options, address).await.is_err());
}
