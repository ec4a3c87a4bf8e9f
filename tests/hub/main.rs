//! The example service `hub`, started by the newcomer's own command and called over TCP.
#![cfg(unix)]

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::json;

#[cfg(feature = "sqlite")]
mod durable;
#[path = "../support/hub.rs"]
mod hub;
mod rates;
#[cfg(all(feature = "jwt", feature = "manage"))]
mod sessions;
#[cfg(feature = "postgres")]
mod shared;

use hub::*;

const INVALID: &str = "API Key is missing or invalid.";
const NO_MODULE: &str = "API Key does not have access to required module resource";

#[test]
fn the_seeds_curl_lines_get_the_seeds_answers() {
    let hub = Hub::start();
    let json = "Content-Type: application/json";
    let key = hub.key("Launcher");
    let engines = hub.get(ENGINES, &[&x_api_key(key), json]).granted();
    assert_eq!(engines[0]["id"], "engine-1");
    let queried = hub.get(&format!("{ENGINES}?api_key={key}"), &[json]);
    assert_eq!(queried.granted(), engines);
    let realms = hub.get("/v1/realms", &[&bearer(hub.key("Realms")), json]);
    assert_eq!(realms.granted()[0]["id"], "realm-1");

    let placeholder = hub.get(ENGINES, &["X-API-Key: your-api-key-here", json]);
    placeholder.refused(401, "invalid_key", INVALID);
    hub.get(ENGINES, &[json])
        .refused(401, "missing_credential", INVALID);
    let queried = hub.get(&format!("{ENGINES}?api_key=your-api-key-here"), &[json]);
    queried.refused(401, "invalid_key", INVALID);
    hub.get("/v1/realms", &["Authorization: Bearer your-api-key-here"])
        .refused(401, "invalid_key", INVALID);
}

#[test]
fn each_module_opens_its_own_routes_and_no_others() {
    let hub = Hub::start();
    let routes = [
        (ENGINES, "Launcher"),
        ("/api/rest/v1/engines/engine-1", "Launcher"),
        ("/api/rest/v1/engines/engine-1/nodes", "Nodegraph Editor"),
        (
            "/api/rest/v1/engines/engine-1/nodes/mixer-1",
            "Nodegraph Editor",
        ),
        ("/api/rest/v1/launcher/items", "Launcher"),
        ("/api/rest/v1/lino/shows/show-2", "Lino"),
        ("/api/rest/v1/playout/channels", "Playout"),
    ];
    for (route, owner) in routes {
        for name in ["Launcher", "Nodegraph Editor", "Lino", "Playout", "Realms"] {
            let answer = hub.get(route, &[&x_api_key(hub.key(name))]);
            if name == owner {
                answer.granted();
            } else {
                answer.refused(403, "module_access_missing", NO_MODULE);
            }
        }
    }
    assert_eq!(hub.get("/health", &[]).granted(), json!({"status": "ok"}));
}

#[test]
fn a_covered_path_without_a_route_gets_the_apps_own_answer() {
    let hub = Hub::start();
    let key = x_api_key(hub.key("Lino"));
    let answer = hub.get("/api/rest/v1/lino/nothing/here", &[&key]);
    assert_eq!((answer.status, answer.body["code"].as_str()), (404, None));
    assert_eq!(answer.body["detail"], "There is no such route.");
    let answer = hub.send("DELETE /api/rest/v1/lino/shows", &[&key], None);
    assert_eq!(answer.status, 405);
    hub.get("/api/rest/v1/lino/nothing/here", &[])
        .refused(401, "missing_credential", INVALID);
    let uncovered = "No access rule covers this route.";
    hub.send(&format!("POST {ENGINES}"), &[&key], None)
        .refused(403, "route_not_mapped", uncovered);
    // Who is nobody is not told which routes there are.
    hub.get("/nothing", &[])
        .refused(401, "missing_credential", INVALID);
}

#[test]
fn realms_are_read_by_anyone_and_changed_by_those_with_the_scopes() {
    let hub = Hub::start();
    let (key, other) = (bearer(hub.key("Realms")), bearer(hub.key("Playout")));
    assert_eq!(hub.get("/v1/realms", &[]).granted()[1]["id"], "realm-2");

    let realm = json!({"name": "Marsh", "description": "wet"});
    let nobody = hub.send("POST /v1/realms", &[], Some(&realm));
    nobody.refused(401, "missing_credential", INVALID);
    let unscoped = hub.send("POST /v1/realms", &[&other], Some(&realm));
    assert_eq!(
        (unscoped.status, &unscoped.body["code"]),
        (403, &json!("insufficient_scope"))
    );
    assert_eq!(unscoped.body["missing_scopes"], json!(["write:realms"]));
    let challenges = unscoped.header("www-authenticate");
    assert!(
        challenges[0].contains("error=\"insufficient_scope\""),
        "{challenges:?}"
    );

    let created = hub.send("POST /v1/realms", &[&key], Some(&realm));
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("location"), ["/v1/realms/realm-3"]);
    let downloaded = hub.get("/v1/realms/realm-3/download", &[&key]).granted();
    assert_eq!(
        downloaded,
        json!({"id": "realm-3", "name": "Marsh", "description": "wet"})
    );
    let foreign = hub.send("DELETE /v1/realms/realm-1", &[&key], None);
    assert_eq!(
        (foreign.status, &foreign.body["detail"]),
        (403, &json!("The realm is not yours."))
    );
    assert_eq!(
        hub.send("DELETE /v1/realms/realm-3", &[&key], None).status,
        204
    );
    assert_eq!(hub.get("/v1/realms/realm-3/download", &[&key]).status, 404);

    for bad in [
        json!({"name": " "}),
        json!({"name": "x", "owner": "me"}),
        json!([]),
    ] {
        let answer = hub.send("POST /v1/realms", &[&key], Some(&bad));
        assert_eq!(
            (answer.status, &answer.body["title"]),
            (422, &json!("Unprocessable Entity"))
        );
    }
    assert_eq!(
        hub.get("/v1/realms", &[&key])
            .granted()
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[test]
fn profile_is_the_keys_own_and_statistics_count_what_was_answered() {
    let hub = Hub::start();
    let key = bearer(hub.key("Realms"));
    let profile = hub.get("/v1/profile", &[&key]).granted();
    assert_eq!(profile["display_name"], "API Key-Realms");
    let renamed = json!({"display_name": "Marie"});
    let answer = hub.send("PUT /v1/profile", &[&key], Some(&renamed));
    assert_eq!(answer.granted()["display_name"], "Marie");
    assert_eq!(
        hub.get("/v1/profile", &[&key]).granted()["display_name"],
        "Marie"
    );

    hub.get("/v1/profile", &[])
        .refused(401, "missing_credential", INVALID);
    let stats = hub.get("/v1/stats", &[&key]).granted();
    assert_eq!(
        stats["requests"],
        json!({"served": 3, "refused": {"missing_credential": 1}})
    );
}

#[test]
fn half_a_request_is_closed_within_ten_seconds() {
    let hub = Hub::start();
    let key = bearer(hub.key("Realms"));
    let started = Instant::now();
    let mut half_a_head = hub.connect();
    half_a_head
        .write_all(b"GET /health HTTP/1.1\r\nho")
        .expect("sent");
    let mut half_a_body = hub.connect();
    let head = format!("POST /v1/realms HTTP/1.1\r\nhost: hub\r\n{key}\r\ncontent-length: 100\r\n");
    let text = format!("{head}content-type: application/json\r\n\r\n{{\"name\"");
    half_a_body.write_all(text.as_bytes()).expect("sent");

    let mut rest = Vec::new();
    half_a_head.read_to_end(&mut rest).expect("it is closed");
    assert_eq!(rest, b"");
    assert_eq!(Answer::read(&mut half_a_body).status, 408);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn sigterm_lets_a_running_request_end() {
    let mut hub = Hub::start();
    let key = bearer(hub.key("Realms"));
    let mut running = hub.connect();
    let head = format!("POST /v1/realms HTTP/1.1\r\nhost: hub\r\n{key}\r\ncontent-length: 14\r\n");
    let text = format!("{head}content-type: application/json\r\nexpect: 100-continue\r\n\r\n");
    running.write_all(text.as_bytes()).expect("sent");
    // The handler waits for the body: the request has been granted.
    let mut go_on = [0; 25];
    running.read_exact(&mut go_on).expect("an interim answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    hub.terminate();
    let refused = || match TcpStream::connect(&hub.address) {
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    };
    let started = Instant::now();
    while !refused() {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "it still listens"
        );
        std::thread::yield_now();
    }
    running.write_all(b"{\"name\":\"Fen\"}").expect("sent");
    assert_eq!(Answer::read(&mut running).status, 201);

    let (status, output) = hub.end();
    assert!(status.success(), "{status}");
    assert_eq!(output, "hub: stopped\n");
}

#[test]
fn administrators_key_is_taken_from_the_environment_and_not_repeated() {
    let text = "rk_live_1234567890abcdef1234567890abcdef";
    let arguments = ["--listen=127.0.0.1:0", "--database", &fresh()];
    let hub = Hub::run(command(&arguments).env("HUB_ADMIN_KEY", text));
    assert_eq!(hub.key("Administrator"), "(as given)");
    hub.get("/v1/stats", &[&x_api_key(text)]).granted();
}

#[test]
fn refusals_are_logged_without_the_key() {
    let mut hub = Hub::start();
    let key = hub.key("Lino");
    for refused in [
        hub.get(ENGINES, &[&x_api_key(key)]),
        hub.get(ENGINES, &[&bearer(key)]),
        hub.get(&format!("{ENGINES}?api_key={key}"), &[]),
    ] {
        refused.refused(403, "module_access_missing", NO_MODULE);
    }
    hub.terminate();
    hub.end();
    let log = fs::read_to_string(&hub.log).expect("a log");
    assert_eq!(log.matches("request refused").count(), 3, "{log}");
    let body = hub.key("Lino").rsplit_once('_').expect("a body").1;
    assert!(!log.contains(body), "{log}");
}

#[test]
fn what_it_cannot_do_it_says_and_does_not_start() {
    for (arguments, code, said) in [
        (
            &["--database", "mysql://me:secret@db/keys"][..],
            2,
            "--database is given what is no place for keys",
        ),
        (&["--database="], 2, "no place for keys"),
        (&["--listen"], 2, "--listen needs a value"),
        (
            &["--listen=nowhere", "--database=memory:"],
            1,
            "cannot listen on nowhere",
        ),
        (
            &[
                "--listen=127.0.0.1:0",
                "--database=memory:",
                "--admin-key=secret",
            ],
            1,
            "none of the accepted formats",
        ),
        (&["--colour"], 2, "--colour is no option"),
        (&["secret"], 2, "no option"),
    ] {
        let output = command(arguments).stderr(Stdio::piped()).output();
        let output = output.expect("cargo");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[cfg(not(feature = "sqlite"))]
#[test]
fn feature_that_is_missing_is_named() {
    for database in ["sqlite:hub.db", "postgres://me:secret@db/keys"] {
        if cfg!(feature = "postgres") && database.starts_with("postgres") {
            continue;
        }
        let mut command = command(&["--database", database]);
        let output = command.stderr(Stdio::piped()).output().expect("cargo");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("needs the feature `"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
