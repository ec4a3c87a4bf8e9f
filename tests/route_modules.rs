//! `RouteModules` against axum's own router, and against a naive reading of its rules.
//!
//! Both comparisons have a control: the same comparison with a deliberately wrong rule in the
//! place of the map must fail.

use std::{cmp::Reverse, collections::HashSet};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, Uri},
    routing::{self, MethodFilter},
};
use futures_util::FutureExt;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
    test_runner::{TestError, TestRunner},
};
use tower::ServiceExt;
use tower_api_key::{ModuleMap, RouteModules, RouteModulesBuilder, Rule};

/// An entry to declare: no methods are all of them.
#[derive(Debug, Clone)]
struct Declared {
    methods: Vec<Method>,
    path: String,
    prefix: bool,
}

impl Declared {
    /// Declares it with a module that tells its number.
    fn declare(&self, number: usize, map: RouteModulesBuilder) -> RouteModulesBuilder {
        let (path, methods) = (self.path.as_str(), self.methods.clone());
        let rule = Rule::module(number.to_string());
        match (self.prefix, methods.is_empty()) {
            (false, false) => map.route(methods, path, rule),
            (false, true) => map.any(path, rule),
            (true, false) => map.prefix_on(methods, path, rule),
            (true, true) => map.prefix(path, rule),
        }
    }

    /// By how much it covers the method: not at all, as any, by name.
    fn covers_method(&self, method: &Method) -> u8 {
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        match self.methods.contains(method) {
            true => 2,
            false => u8::from(self.methods.is_empty()),
        }
    }
}

/// The number of the entry by which the map decides.
fn decided(map: &RouteModules, method: &Method, path: &str) -> Option<usize> {
    let requirement = map.requirement(method, path, None)?;
    let module = requirement
        .modules()
        .first()
        .expect("every entry asks for a module");
    Some(number(module.as_str()))
}

fn number(text: &str) -> usize {
    text.parse().expect("entries are told by their numbers")
}

const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::DELETE];

fn declared(prefixes: bool) -> impl Strategy<Value = Declared> {
    let segment = select(vec![
        "a", "b", "ab", "{x}", "{y}", "a{x}", "v{x}", "{{x}}", "%61",
    ]);
    let last = select(vec!["{*x}", "{*y}", "a{*x}", ""]);
    let prefix = if prefixes {
        any::<bool>().boxed()
    } else {
        Just(false).boxed()
    };
    (
        vec(segment, 0..4),
        option::weighted(0.3, last),
        subsequence(METHODS.to_vec(), 0..=2),
        prefix,
    )
        .prop_map(|(segments, last, methods, prefix)| {
            let last = last.filter(|_| !prefix);
            let segments: Vec<_> = segments.into_iter().chain(last).collect();
            Declared {
                methods,
                path: format!("/{}", segments.join("/")),
                prefix,
            }
        })
}

fn asked() -> impl Strategy<Value = (Method, String)> {
    let segment = select(vec![
        "a", "b", "ab", "ac", "v", "v1", "A", "", "%61", "%2F", "%", "..", ";x", "{x}", "{{x}}",
        "{*x}", "é", "\"", "a=b&c",
    ]);
    let common = select(vec!["a", "b", "ab", "v1"]);
    let segment = prop_oneof![3 => common, 1 => segment];
    let method = select(vec![
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::DELETE,
        Method::OPTIONS,
        Method::from_bytes(b"PURGE").expect("a token"),
    ]);
    (method, vec(segment, 1..6)).prop_map(|(method, path)| (method, format!("/{}", path.join("/"))))
}

/// Entries and requests.
type Case = (Vec<Declared>, Vec<(Method, String)>);

fn case(prefixes: bool) -> impl Strategy<Value = Case> {
    (vec(declared(prefixes), 1..12), vec(asked(), 24))
}

/// At least 512 cases; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(512),
        failure_persistence: None,
        ..default
    }
}

/// Asserts that the comparison finds a fault in some case.
fn assert_finds_a_fault(prefixes: bool, compare: impl Fn(Case) -> Result<(), TestCaseError>) {
    let mut config = config();
    config.max_shrink_iters = 0;
    let outcome = TestRunner::new(config).run(&case(prefixes), compare);
    let found = matches!(outcome, Err(TestError::Fail(..)));
    assert!(found, "the fault was not found");
}

/// What axum answers: the entry whose handler ran, or the status of a refusal.
type Served = Result<usize, StatusCode>;

/// The entries that an axum router takes, and that router.
///
/// Where `strict`, `RouteModules` must refuse exactly the entries that axum refuses.
fn in_axum(entries: Vec<Declared>, strict: bool) -> (Vec<Declared>, Router) {
    // axum panics on a conflict; the matcher inside it says so beforehand.
    let mut matcher = matchit::Router::new();
    let mut texts = HashSet::new();
    let mut methods = HashSet::new();
    let mut taken: Vec<Declared> = Vec::new();
    let mut map = RouteModules::builder();
    let mut router = Router::new();
    for entry in entries {
        let (path, number) = (entry.path.as_str(), taken.len());
        let longer = entry.declare(number, map.clone());
        let mut names = entry.methods.iter().map(Some).collect::<Vec<_>>();
        if names.is_empty() {
            names.push(None);
        }
        // A prefix is a nested service, which axum serves under three patterns.
        let patterns = match entry.prefix {
            true => vec![
                path.to_owned(),
                format!("{path}/"),
                format!("{path}/{{*tail}}"),
            ],
            false => vec![path.to_owned()],
        };
        let mut attempt = matcher.clone();
        let known = !entry.prefix && texts.contains(path);
        let fits = (known || patterns.iter().all(|text| attempt.insert(text, ()).is_ok()))
            && !names.iter().any(|name| methods.contains(&(path.to_owned(), name.cloned())))
            // A service cannot be nested at the root, and it serves every method.
            && (!entry.prefix || path != "/" && entry.methods.is_empty());
        let built = longer.clone().build();
        if strict {
            assert_eq!(
                built.is_ok(),
                fits,
                "{entry:?} after {taken:?}: {:?}",
                built.err()
            );
        }
        if !fits || built.is_err() {
            continue;
        }
        let handler = move || async move { [("entry", number.to_string())] };
        router = match (entry.prefix, &entry.methods) {
            (true, _) => router.nest_service(path, routing::any(handler)),
            (false, names) if names.is_empty() => router.route(path, routing::any(handler)),
            (false, names) => {
                let filter = |name: &Method| {
                    MethodFilter::try_from(name.clone()).expect("a standard method")
                };
                let filter = names.iter().map(filter).reduce(MethodFilter::or);
                router.route(
                    path,
                    routing::on(filter.expect("there are methods"), handler),
                )
            }
        };
        methods.extend(names.iter().map(|name| (path.to_owned(), name.cloned())));
        if !known {
            matcher = attempt;
            texts.extend((!entry.prefix).then(|| path.to_owned()));
        }
        map = longer;
        taken.push(entry);
    }
    (taken, router)
}

fn served(router: &Router, method: &Method, uri: &Uri) -> Served {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .body(Body::empty())
        .expect("method and URI are valid");
    let response = router.clone().oneshot(request).now_or_never();
    let response = response
        .expect("no handler waits")
        .unwrap_or_else(|never| match never {});
    match response.headers().get("entry") {
        Some(entry) => Ok(number(entry.to_str().expect("digits"))),
        None => Err(response.status()),
    }
}

fn build(entries: &[Declared]) -> RouteModules {
    let entries = entries.iter().enumerate();
    let builder = RouteModules::builder();
    let builder = entries.fold(builder, |map, (number, entry)| entry.declare(number, map));
    builder.build().expect("conflicting entries were left out")
}

/// Compares a rule that decides by entries, method and path with what axum serves.
fn compare_with_axum<Decide: Fn(&Method, &str) -> Option<usize>>(
    (entries, requests): Case,
    strict: bool,
    rule: impl Fn(&[Declared]) -> Decide,
) -> Result<(), TestCaseError> {
    let (entries, router) = in_axum(entries, strict);
    let decide = rule(&entries);
    for (method, path) in requests {
        // What is no URI reaches neither.
        let Ok(uri) = path.parse::<Uri>() else {
            continue;
        };
        let decided = decide(&method, uri.path());
        let because = format!("{method} {path} in {entries:?}");
        match served(&router, &method, &uri) {
            Ok(entry) => prop_assert_eq!(decided, Some(entry), "{}", because),
            Err(StatusCode::METHOD_NOT_ALLOWED) => {
                // No handler runs. Where a prefix lies around the route, it may decide.
                let by_route = decided.filter(|entry| !entries[*entry].prefix);
                prop_assert_eq!(by_route, None, "{}", because);
            }
            Err(_) => prop_assert_eq!(decided, None, "{}", because),
        }
    }
    Ok(())
}

#[test]
fn the_entry_that_decides_is_the_route_that_axum_serves() {
    let rule = |entries: &[Declared]| {
        let map = build(entries);
        move |method: &Method, path: &str| decided(&map, method, path)
    };
    let compare = |case| compare_with_axum(case, true, rule);
    TestRunner::new(config())
        .run(&case(false), compare)
        .unwrap();
}

#[test]
fn a_prefix_decides_where_axum_serves_a_service_nested_there() {
    let rule = |entries: &[Declared]| {
        let map = build(entries);
        move |method: &Method, path: &str| decided(&map, method, path)
    };
    let compare = |case| compare_with_axum(case, false, rule);
    TestRunner::new(config()).run(&case(true), compare).unwrap();
}

#[test]
fn the_comparison_with_axum_finds_a_map_that_takes_the_first_declared() {
    let rule = |entries: &[Declared]| {
        let entries = entries.to_vec();
        move |method: &Method, path: &str| {
            let covers = |entry: &Declared| {
                entry.covers_method(method) > 0 && covers(&entry.path, entry.prefix, path)
            };
            entries.iter().position(covers)
        }
    };
    for prefixes in [false, true] {
        assert_finds_a_fault(prefixes, |case| compare_with_axum(case, !prefixes, rule));
    }
}

#[test]
fn the_comparison_with_axum_finds_a_map_that_decodes_the_path() {
    let rule = |entries: &[Declared]| {
        let map = build(entries);
        move |method: &Method, path: &str| decided(&map, method, &path.replace("%61", "a"))
    };
    assert_finds_a_fault(false, |case| compare_with_axum(case, true, rule));
}

/// Whether a pattern covers a path, by comparing the pieces between slashes.
fn covers(pattern: &str, prefix: bool, path: &str) -> bool {
    let mut path = path.split('/').skip(1).peekable();
    for segment in pattern
        .split('/')
        .skip(1)
        .filter(|segment| !prefix || !segment.is_empty())
    {
        let Some(piece) = path.next() else {
            return false;
        };
        let covered = match wildcard(segment) {
            None => literal(segment) == piece,
            Some((before, catch_all)) => {
                let more = path.peek().is_some();
                if piece.starts_with(before) && catch_all {
                    return piece.len() > before.len() || more;
                }
                piece.starts_with(before) && (piece.len() > before.len() || more)
            }
        };
        if !covered {
            return false;
        }
    }
    prefix || path.next().is_none()
}

/// The text before a segment's parameter, and whether that is a catch-all.
fn wildcard(segment: &str) -> Option<(&str, bool)> {
    let (before, name) = segment
        .split_once('{')
        .filter(|_| !segment.contains("{{"))?;
    Some((before, name.starts_with('*')))
}

fn literal(segment: &str) -> String {
    segment.replace("{{", "{").replace("}}", "}")
}

/// The third rule: compared piece by piece from the left, the smallest is the most specific.
fn specificity(entry: &Declared) -> Vec<(u8, Reverse<usize>)> {
    let segments = entry.path.split('/').skip(1);
    let pieces = segments.filter(|segment| !entry.prefix || !segment.is_empty());
    let pieces = pieces.map(|segment| match wildcard(segment) {
        None => (0, Reverse(0)),
        Some((before, catch_all)) => (1, Reverse(before.len() * 2 + usize::from(!catch_all))),
    });
    pieces
        .chain(entry.prefix.then_some((2, Reverse(0))))
        .collect()
}

/// The rules read naively: try all, let the route that the router takes bar the others.
fn naive(entries: &[Declared], method: &Method, path: &str) -> Option<usize> {
    let covering = || {
        let numbered = entries.iter().enumerate();
        numbered.filter(|(_, entry)| covers(&entry.path, entry.prefix, path))
    };
    let routes = covering().filter(|(_, entry)| !entry.prefix);
    let router_takes = routes.map(|(_, entry)| specificity(entry)).min();
    covering()
        .filter(|(_, entry)| entry.prefix || Some(specificity(entry)) == router_takes)
        .filter(|(_, entry)| entry.covers_method(method) > 0)
        .min_by_key(|(_, entry)| (specificity(entry), Reverse(entry.covers_method(method))))
        .map(|(number, _)| number)
}

/// Compares the map with a naive reading, for all sets of entries that the map takes.
fn compare_with_reading(
    (entries, requests): Case,
    reading: impl Fn(&[Declared], &Method, &str) -> Option<usize>,
) -> Result<(), TestCaseError> {
    let mut taken = Vec::new();
    let mut builder = RouteModules::builder();
    for entry in entries {
        let longer = entry.declare(taken.len(), builder.clone());
        if longer.clone().build().is_ok() {
            builder = longer;
            taken.push(entry);
        }
    }
    let map = builder.build().expect("every step was built");
    for (method, path) in requests {
        let expected = reading(&taken, &method, &path);
        let decided = decided(&map, &method, &path);
        prop_assert_eq!(decided, expected, "{} {} in {:?}", method, path, taken);
    }
    Ok(())
}

#[test]
fn routes_and_prefixes_decide_as_the_rules_read() {
    let compare = |case| compare_with_reading(case, naive);
    TestRunner::new(config()).run(&case(true), compare).unwrap();
}

#[test]
fn the_comparison_with_the_rules_finds_a_prefix_that_covers_longer_words() {
    let wrong = |entries: &[Declared], method: &Method, path: &str| {
        naive(entries, method, path).or_else(|| {
            let longer = |entry: &Declared| entry.prefix && path.starts_with(&entry.path);
            entries.iter().position(longer)
        })
    };
    assert_finds_a_fault(true, |case| compare_with_reading(case, wrong));
}

#[test]
fn the_comparison_with_the_rules_finds_a_route_that_bars_no_other() {
    let wrong = |entries: &[Declared], method: &Method, path: &str| {
        let numbered = entries.iter().enumerate();
        numbered
            .filter(|(_, entry)| covers(&entry.path, entry.prefix, path))
            .filter(|(_, entry)| entry.covers_method(method) > 0)
            .min_by_key(|(_, entry)| (specificity(entry), Reverse(entry.covers_method(method))))
            .map(|(number, _)| number)
    };
    assert_finds_a_fault(true, |case| compare_with_reading(case, wrong));
}

proptest! {
    #[test]
    fn no_text_makes_a_look_up_panic(
        entries in vec(declared(true), 1..12),
        path in any::<String>(),
        pattern in any::<Option<String>>(),
    ) {
        let mut map = RouteModules::builder();
        for (number, entry) in entries.iter().enumerate() {
            let longer = entry.declare(number, map.clone());
            map = if longer.clone().build().is_ok() { longer } else { map };
        }
        let map = map.build().expect("every step was built");
        for path in [path.clone(), format!("/{path}"), format!("/a/{path}"), format!("/a/v{path}/")] {
            map.requirement(&Method::GET, &path, pattern.as_deref());
        }
    }

    #[test]
    fn no_text_makes_a_declaration_panic(
        path in r"/?[a-z{}*/%.0-9]{0,12}|\PC{0,12}",
        other in r"/[a-b{}*/]{0,8}",
        module in ".{0,8}",
    ) {
        let built = RouteModules::builder()
            .get(path.as_str(), module.as_str())
            .get(other.as_str(), "b")
            .prefix(path.as_str(), Rule::public().and_module(module.as_str()))
            .prefix(other.as_str(), "b")
            .grpc_method(path.as_str(), other.as_str(), "c")
            .build();
        if let Err(error) = built {
            prop_assert!(!error.problems().is_empty());
        }
    }
}
