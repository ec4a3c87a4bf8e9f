//! One test a rule of `RouteModules`; that routes match as in axum is shown by
//! `tests/route_modules.rs`.

use super::*;
use crate::module_map::Rule;

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// The module asked for, where the raw path decides.
fn module(map: &RouteModules, method: Method, path: &str) -> Option<String> {
    named(map.requirement(&method, path, None))
}

/// The module asked for, where the router's pattern is known.
fn matched(map: &RouteModules, method: Method, path: &str, pattern: &str) -> Option<String> {
    named(map.requirement(&method, path, Some(pattern)))
}

fn named(requirement: Option<Cow<'_, Requirement>>) -> Option<String> {
    let requirement = requirement?;
    assert!(matches!(requirement, Cow::Borrowed(_)), "nothing is cloned");
    Some(requirement.modules().first()?.to_string())
}

macro_rules! assert_module {
    ($map:expr, $method:expr, $path:expr, $module:expr) => {
        let expected: Option<&str> = $module.into();
        let (method, path) = ($method, $path);
        assert_eq!(
            module(&$map, method.clone(), path).as_deref(),
            expected,
            "{method} {path}"
        );
    };
}

fn problems(builder: RouteModulesBuilder) -> Vec<String> {
    let error = builder.build().expect_err("the map has problems");
    error.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn paths_match_byte_for_byte() {
    let map = RouteModules::builder()
        .any("/engines", "plain")
        .any("/engines/{id}", "parameter")
        .any("/v{version}/x", "suffix")
        .any("/files/{*path}", "catch-all")
        .any("/caf%C3%A9", "encoded")
        .any("/slash/", "slash")
        .build()
        .unwrap();
    assert_module!(map, GET, "/engines", "plain");
    assert_module!(map, GET, "/engines/7", "parameter");
    assert_module!(map, GET, "/v12/x", "suffix");
    assert_module!(map, GET, "/files/a/b/", "catch-all");
    assert_module!(map, GET, "/caf%C3%A9", "encoded");
    assert_module!(map, GET, "/slash/", "slash");
    for path in [
        "/Engines",
        "/engines/",
        "/engines/7/",
        "/%65ngines",
        "/engines?x",
        "/v/x/y",
        "/v12/X",
        "/files",
        "/files/",
        "/caf%c3%a9",
        "/café",
        "/slash",
        "/engines%2F7",
    ] {
        assert_module!(map, GET, path, None);
    }
}

#[test]
fn a_prefix_decides_for_itself_and_everything_below() {
    let map = RouteModules::builder()
        .prefix("/lino", "lino")
        .build()
        .unwrap();
    for path in ["/lino", "/lino/", "/lino/x", "/lino/x/y"] {
        assert_module!(map, GET, path, "lino");
        assert_module!(map, Method::from_bytes(b"PURGE").unwrap(), path, "lino");
    }
    for path in ["/linoX", "/lin", "/"] {
        assert_module!(map, GET, path, None);
    }
}

#[test]
fn a_literal_route_goes_before_everything() {
    let map = RouteModules::builder()
        .prefix("/a", "prefix")
        .any("/a/{x}", "parameter")
        .any("/a/b", "literal")
        .any("/{y}/b", "crossing")
        .build()
        .unwrap();
    assert_module!(map, GET, "/a/b", "literal");
    assert_module!(map, GET, "/a/c", "parameter");
    assert_module!(map, GET, "/a/c/d", "prefix");
    assert_module!(map, GET, "/c/b", "crossing");
}

#[test]
fn the_longer_of_nested_prefixes_decides_which_matchit_would_refuse() {
    let mut router = matchit::Router::new();
    router.insert("/engines/{*rest}", ()).unwrap();
    assert!(router.insert("/engines/{id}/nodes/{*rest}", ()).is_err());

    let map = RouteModules::builder()
        .prefix("/engines", "launcher")
        .prefix("/engines/{id}/nodes", "nodegraph_editor")
        .build()
        .unwrap();
    assert_module!(map, GET, "/engines/7", "launcher");
    assert_module!(map, GET, "/engines/7/nodes", "nodegraph_editor");
    assert_module!(map, GET, "/engines/7/nodes/8", "nodegraph_editor");
    assert_module!(map, GET, "/engines/7/status", "launcher");
}

#[test]
fn a_prefix_with_literal_text_guards_what_a_parameter_would_match_too() {
    // A router with `/engines/{id}/logs` and a service nested at `/engines/admin` serves
    // `/engines/admin/logs` by the service: the key for engines must not open it.
    let map = RouteModules::builder()
        .get("/engines/{id}", "launcher")
        .get("/engines/{id}/logs", "launcher")
        .get("/engines/{id}/files/{*path}", "launcher")
        .prefix("/engines/admin", "admin")
        .build()
        .unwrap();
    assert_module!(map, GET, "/engines/7/logs", "launcher");
    assert_module!(map, GET, "/engines/admin", "admin");
    assert_module!(map, GET, "/engines/admin/logs", "admin");
    assert_module!(map, GET, "/engines/admin/files/a/b", "admin");
    assert_module!(map, GET, "/engines/admin-2/logs", "launcher");
}

#[test]
fn a_catch_all_goes_before_the_prefix_that_ends_there_and_after_a_longer_one() {
    let map = RouteModules::builder()
        .any("/a/{*rest}", "catch-all")
        .prefix("/a", "around")
        .prefix("/a/b", "inside")
        .build()
        .unwrap();
    assert_module!(map, GET, "/a", "around");
    assert_module!(map, GET, "/a/", "around");
    assert_module!(map, GET, "/a/c", "catch-all");
    assert_module!(map, GET, "/a/b/c", "inside");
}

#[test]
fn a_prefix_decides_below_itself_before_a_parameter_that_matches_empty_there() {
    // matchit lets a parameter be empty before a slash, and prefers the slash.
    let map = RouteModules::builder()
        .any("/a{x}/b", "parameter")
        .any("/c{*x}", "catch-all")
        .prefix("/a", "prefix-a")
        .prefix("/c", "prefix-c")
        .build()
        .unwrap();
    assert_module!(map, GET, "/a/b", "prefix-a");
    assert_module!(map, GET, "/a1/b", "parameter");
    assert_module!(map, GET, "/c/b", "prefix-c");
    assert_module!(map, GET, "/cc/b", "catch-all");
}

#[test]
fn the_order_of_declaration_decides_nothing() {
    let declare: [fn(RouteModulesBuilder) -> RouteModulesBuilder; 4] = [
        |map| map.prefix("/a", "prefix"),
        |map| map.get("/a/{x}", "parameter"),
        |map| map.any("/a/b", "any"),
        |map| map.post("/a/b", "post"),
    ];
    for first in 0..4 {
        for second in (0..4).filter(|second| *second != first) {
            let mut order = vec![first, second];
            order.extend((0..4).filter(|other| ![first, second].contains(other)));
            let builder = order
                .iter()
                .fold(RouteModules::builder(), |map, at| declare[*at](map));
            let map = builder.build().unwrap();
            assert_module!(map, GET, "/a/b", "any");
            assert_module!(map, POST, "/a/b", "post");
            assert_module!(map, GET, "/a/c", "parameter");
            assert_module!(map, POST, "/a/c", "prefix");
        }
    }
}

#[test]
fn a_route_without_the_method_bars_other_routes_and_leaves_it_to_prefixes() {
    let routes = RouteModules::builder()
        .get("/a/b", "literal")
        .post("/a/{x}", "parameter")
        .delete("/{*rest}", "catch-all")
        .any("/b/{*rest}", "any");
    let map = routes.clone().build().unwrap();
    assert_module!(map, POST, "/a/b", None);
    assert_module!(map, DELETE, "/a/b", None);
    assert_module!(map, DELETE, "/a/c", None);
    assert_module!(map, DELETE, "/c", "catch-all");

    let map = routes
        .prefix("/", "root")
        .prefix_on([POST], "/a", "below-a")
        .build()
        .unwrap();
    assert_module!(map, GET, "/a/b", "literal");
    assert_module!(map, POST, "/a/b", "below-a");
    assert_module!(map, DELETE, "/a/b", "root");
    assert_module!(map, DELETE, "/a/c", "root");
    assert_module!(map, POST, "/a/c", "parameter");
}

#[test]
fn an_entry_that_names_the_method_goes_before_one_for_any() {
    let map = RouteModules::builder()
        .any("/a", "any")
        .get("/a", "get")
        .prefix("/b", "any-below")
        .prefix_on([POST, DELETE], "/b", "some-below")
        .build()
        .unwrap();
    assert_module!(map, GET, "/a", "get");
    assert_module!(map, POST, "/a", "any");
    assert_module!(map, Method::from_bytes(b"PURGE").unwrap(), "/a", "any");
    assert_module!(map, POST, "/b/c", "some-below");
    assert_module!(map, DELETE, "/b", "some-below");
    assert_module!(map, GET, "/b", "any-below");
}

#[test]
fn head_counts_as_get() {
    let map = RouteModules::builder()
        .get("/a", "a")
        .get("/a/{x}", "ax")
        .prefix_on([GET], "/b", "b")
        .build()
        .unwrap();
    assert_module!(map, Method::HEAD, "/a", "a");
    assert_module!(map, Method::HEAD, "/a/1", "ax");
    assert_module!(map, Method::HEAD, "/b/1", "b");
    assert_eq!(
        problems(RouteModules::builder().route([GET, Method::HEAD], "/a", "a")),
        ["`GET, HEAD /a`: HEAD counts as GET: map GET instead"]
    );
}

#[test]
fn the_routers_pattern_decides_where_the_map_has_its_text() {
    let map = RouteModules::builder()
        .get("/engines/{id}", "engine")
        .get("/engines/{id}/logs", "logs")
        .prefix("/engines", "engines")
        .prefix("/engines/{id}/nodes", "nodes")
        .prefix("/engines/main", "main")
        .build()
        .unwrap();
    let decided = |method, path, pattern| matched(&map, method, path, pattern);
    // The raw path is not looked at: a rewritten or nested one says nothing of the route served.
    assert_eq!(
        decided(GET, "/x/7", "/engines/{id}").as_deref(),
        Some("engine")
    );
    assert_eq!(
        decided(GET, "/engines/main", "/engines/{id}").as_deref(),
        Some("engine")
    );
    // Without the method, the prefixes that cover the whole pattern decide.
    assert_eq!(
        decided(POST, "/x/7", "/engines/{id}").as_deref(),
        Some("engines")
    );
    assert_eq!(
        decided(POST, "/engines/main", "/engines/{id}").as_deref(),
        Some("engines")
    );
    // The text of a prefix is known too.
    assert_eq!(
        decided(POST, "/x", "/engines/{id}/nodes").as_deref(),
        Some("nodes")
    );
    // A pattern with other text is not: the raw path decides.
    assert_eq!(
        decided(GET, "/engines/7", "/engines/{name}").as_deref(),
        Some("engine")
    );
    assert_eq!(
        decided(GET, "/engines/main/x", "/{*rest}").as_deref(),
        Some("main")
    );
    assert_eq!(decided(GET, "/x/7", "/{*rest}"), None);
}

#[test]
fn the_routers_pattern_falls_to_prefixes_in_their_order() {
    let map = RouteModules::builder()
        .get("/a/{x}", "route")
        .prefix_on([POST], "/a/{x}", "same")
        .prefix_on([POST, DELETE], "/a", "around")
        .prefix("/", "root")
        .get("/{{x}}", "braces")
        .prefix_on([POST], "/{{x}}", "below-braces")
        .build()
        .unwrap();
    for (method, decides) in [
        (GET, "route"),
        (POST, "same"),
        (DELETE, "around"),
        (Method::PUT, "root"),
    ] {
        let by_pattern = matched(&map, method.clone(), "/zzz", "/a/{x}");
        assert_eq!(by_pattern.as_deref(), Some(decides));
        assert_module!(map, method, "/a/7", decides);
    }
    assert_eq!(
        matched(&map, POST, "/{x}", "/{{x}}").as_deref(),
        Some("below-braces")
    );
    assert_module!(map, POST, "/{x}", "below-braces");
    assert_module!(map, GET, "/{x}", "braces");
    assert_module!(map, GET, "/{{x}}", "root");
}

#[test]
fn a_pattern_that_arrives_as_a_path_is_a_path() {
    let map = RouteModules::builder()
        .get("/a/{x}", "a")
        .prefix("/p/{x}", "p")
        .build()
        .unwrap();
    assert_module!(map, GET, "/a/{x}", "a");
    assert_module!(map, GET, "/p/{x}", "p");
    assert_module!(map, GET, "/p/{x}/y", "p");
}

#[test]
fn what_no_entry_covers_is_not_mapped() {
    let empty = RouteModules::builder().build().unwrap();
    assert_module!(empty, GET, "/", None);
    let map = RouteModules::builder()
        .prefix("/", "root")
        .any("/", "slash")
        .any("/{*rest}", "rest")
        .build()
        .unwrap();
    for path in ["*", "", "example.com:443", "a", "?", "\0", "é"] {
        assert_module!(map, Method::OPTIONS, path, None);
        assert_module!(map, Method::CONNECT, path, None);
        assert_eq!(matched(&map, GET, path, path), None);
    }
    assert_module!(map, GET, "/", "slash");
    assert_module!(map, GET, "//", "rest");
}

#[test]
fn every_kind_of_rule_reaches_its_requirement() {
    let map = RouteModules::builder()
        .get("/1", Rule::public())
        .post("/1", Rule::anonymous().with_scope("s"))
        .put("/1", Rule::authenticated())
        .patch("/1", Rule::all_modules(["a", "b"]))
        .delete("/1", Rule::any_module(["b", "a"]).with_scopes(["s", "t"]))
        .build()
        .unwrap();
    let asked = |method| map.requirement(&method, "/1", None).unwrap().to_string();
    assert_eq!(asked(GET), "public");
    assert_eq!(asked(POST), "anonymous, scope s");
    assert_eq!(asked(Method::PUT), "authenticated");
    assert_eq!(asked(Method::PATCH), "modules a and b");
    assert_eq!(asked(DELETE), "module b or a, scopes s t");
}

#[test]
fn grpc_names_become_paths() {
    let map = RouteModules::builder()
        .grpc_service("helloworld.Greeter", "greeter")
        .grpc_method("helloworld.Greeter", "SayHello", "hello")
        .build()
        .unwrap();
    assert_module!(map, POST, "/helloworld.Greeter/SayBye", "greeter");
    assert_module!(map, POST, "/helloworld.Greeter/SayHello", "hello");
    for (method, path) in [
        (GET, "/helloworld.Greeter/SayBye"),
        (POST, "/helloworld.Greeter/"),
        (POST, "/helloworld.Greeter"),
        (POST, "/helloworld.Greeter/a/b"),
        (POST, "/helloworld.greeter/SayHello"),
    ] {
        assert_module!(map, method, path, None);
    }
    // tonic's own pattern is not in the map, so that the single method counts.
    let by_pattern = matched(
        &map,
        POST,
        "/helloworld.Greeter/SayHello",
        "/helloworld.Greeter/{*rest}",
    );
    assert_eq!(by_pattern.as_deref(), Some("hello"));
}

#[test]
fn names_that_grpc_does_not_have_are_refused() {
    for (service, method) in [
        ("", "M"),
        ("a/b", "M"),
        ("a.", "M"),
        ("{a}", "M"),
        ("a b", "M"),
        ("a.B", ""),
        ("a.B", "M/N"),
        ("a.B", "{M}"),
        ("a.B", "M.N"),
    ] {
        let found = problems(RouteModules::builder().grpc_method(service, method, "m"));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("name of a gRPC service or method"),
            "{found:?}"
        );
    }
}

#[test]
fn entries_that_cover_the_same_requests_are_refused() {
    for (builder, told) in [
        (
            RouteModules::builder()
                .get("/a/{x}", "a")
                .get("/a/{y}", "b"),
            "`GET /a/{x}` and `GET /a/{y}` cover the same requests",
        ),
        (
            RouteModules::builder()
                .get("/a", "a")
                .route([POST, GET], "/a", "a"),
            "`GET /a` and `POST, GET /a` cover the same requests",
        ),
        (
            RouteModules::builder().any("/a", "a").any("/a", "a"),
            "`ANY /a` and `ANY /a` cover the same requests",
        ),
        (
            RouteModules::builder().prefix("/a", "a").prefix("/a", "b"),
            "`ANY /a and below` and `ANY /a and below` cover the same requests",
        ),
        (
            RouteModules::builder().any("/{*a}", "a").any("/{*b}", "b"),
            "`ANY /{*a}` and `ANY /{*b}` cover the same requests",
        ),
        (
            RouteModules::builder()
                .get("/a/{x}", "a")
                .post("/a/{y}", "b"),
            "`GET /a/{x}` and `POST /a/{y}` differ in the names of parameters only: \
             give them one name",
        ),
        (
            RouteModules::builder()
                .get("/a/{x}", "a")
                .prefix("/a/{y}", "b"),
            "`GET /a/{x}` and `ANY /a/{y} and below` differ in the names of parameters only: \
             give them one name",
        ),
    ] {
        assert_eq!(problems(builder), [told]);
    }
}

#[test]
fn routes_that_no_router_holds_both_are_refused() {
    for (first, second) in [
        ("/{x}", "/{*y}"),
        ("/a/{*y}", "/a/{x}"),
        ("/engines/{*rest}", "/engines/{id}/nodes/{*rest}"),
        ("/{x}/b{*y}", "/{z}/b{v}/c"),
    ] {
        let mut router = matchit::Router::new();
        router.insert(first, ()).unwrap();
        assert!(
            router.insert(second, ()).is_err(),
            "matchit takes {first} and {second}"
        );
        let builder = RouteModules::builder().get(first, "a").post(second, "b");
        let expected =
            format!("`GET {first}` and `POST {second}` have a parameter and a catch-all");
        let found = problems(builder);
        assert!(
            found.len() == 1 && found[0].starts_with(&expected),
            "{found:?}"
        );
    }
    RouteModules::builder()
        .get("/a{x}", "a")
        .get("/{*y}", "b")
        .get("/c/{x}", "c")
        .build()
        .expect("matchit holds these side by side");
}

#[test]
fn all_problems_are_told_at_once_with_their_entries() {
    let error = RouteModules::builder()
        .get("no-slash", "a")
        .route([], "/x", "a")
        .prefix("/p", "two words")
        .get("/ok", "ok")
        .get("/ok", "ok")
        .build()
        .expect_err("the map has problems");
    assert_eq!(
        error.to_string(),
        "the module map has 4 problems:\n  \
         `GET no-slash`: the pattern is invalid: it does not start with `/`\n  \
         `/x`: the list of methods is empty\n  \
         `ANY /p and below`: module \"two words\" is invalid: 1 to 200 visible ASCII characters, \
         neither `.` nor `..`\n  \
         `GET /ok` and `GET /ok` cover the same requests"
    );
    let error = RouteModules::builder()
        .get("/a b", "a")
        .build()
        .expect_err("one problem");
    assert!(
        error
            .to_string()
            .starts_with("the module map is invalid: `GET /a b`: ")
    );
}

#[test]
fn the_map_is_a_table_for_people() {
    let map = RouteModules::builder()
        .route([GET, POST], "/v1/realms", Rule::anonymous())
        .prefix("/lino", "lino")
        .build()
        .unwrap();
    assert_eq!(
        map.to_string(),
        "GET, POST  /v1/realms       anonymous\n\
         ANY        /lino and below  module lino\n"
    );
    assert_eq!(
        format!("{map:?}"),
        "RouteModules [GET, POST /v1/realms: anonymous, ANY /lino and below: module lino]"
    );
}

#[test]
fn entries_and_modules_can_be_listed() {
    let map = RouteModules::builder()
        .get("/b", Rule::any_module(["y", "x"]))
        .prefix("/a", "x")
        .get("/h", Rule::public())
        .build()
        .unwrap();
    let modules: Vec<_> = map.modules().into_iter().map(Module::as_str).collect();
    assert_eq!(modules, ["x", "y"]);
    let [first, second, _] = map.entries() else {
        panic!("three entries")
    };
    assert_eq!((first.methods(), first.path()), (Some(&[GET][..]), "/b"));
    assert_eq!((second.methods(), second.path()), (None, "/a"));
    assert!(second.is_prefix() && !first.is_prefix());
    assert_eq!(second.requirement().modules(), ["x".parse().unwrap()]);
}
