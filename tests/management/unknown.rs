//! Paths and methods that are not there.

use crate::support::World;

#[tokio::test]
async fn unknown_path_is_not_found() {
    let world = World::new().await;
    for path in ["/nothing", "/keys/a/nothing", "/keys/a/modules"] {
        let answer = world.administer("GET", path, None).await;
        answer.refused(404, "not_found");
    }
    // Who may not manage learns nothing of what is there.
    let answer = world.call("GET", "/nothing", &world.outsider, None).await;
    answer.refused(403, "module_access_missing");
}

#[tokio::test]
async fn unknown_method_is_answered_with_those_that_are_known() {
    let world = World::new().await;
    let before = world.everything().await;
    for (method, path, allow) in [
        ("PUT", "/keys", "GET,HEAD,POST"),
        ("OPTIONS", "/keys", "GET,HEAD,POST"),
        ("POST", "/keys/outsider", "GET,HEAD,DELETE,PATCH"),
        ("GET", "/keys/outsider/revoke", "POST"),
    ] {
        let answer = world.administer(method, path, None).await;
        answer.refused(405, "method_not_allowed");
        let mut methods: Vec<_> = answer.header("allow").split(',').collect();
        let mut allow: Vec<_> = allow.split(',').collect();
        methods.sort_unstable();
        allow.sort_unstable();
        assert_eq!(methods, allow, "{method} {path}");
    }
    assert_eq!(world.everything().await, before);
}
