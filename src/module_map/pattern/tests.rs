//! What a pattern is, and how two of them relate.

use super::*;

fn route(text: &str) -> Pattern {
    Pattern::parse(text, false).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn prefix(text: &str) -> Pattern {
    Pattern::parse(text, true).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn segments_are_read_as_matchit_reads_them() {
    let literal = |text: &str| Segment::Literal(text.into());
    let pattern = route("/a/v{x}/{{b}}/{*rest}");
    assert_eq!(
        pattern.segments(),
        [
            literal("a"),
            Segment::Param("v".into()),
            literal("{b}"),
            Segment::CatchAll("".into())
        ]
    );
    assert_eq!(route("/").segments(), [literal("")]);
    assert_eq!(prefix("/").segments(), []);
    assert_eq!(route("/{{{x}").segments(), [Segment::Param("{".into())]);
    assert!(route("/a/b").is_literal());
    assert!(!route("/a/{{b}}").is_literal(), "its text is not its path");
    assert!(!prefix("/a").is_literal());
}

#[test]
fn malformed_patterns_are_refused() {
    for text in [
        "", "a", "*", "/{", "/}", "/{}", "/{*}", "/{x", "/{x}y", "/{x}{y}", "/{*x}/y", "/{x*}",
        "/{x/y}", "/:x", "/*x", "/{x}}",
    ] {
        assert!(Pattern::parse(text, false).is_err(), "{text}");
        assert!(Pattern::parse(text, true).is_err(), "{text} and below");
    }
    for text in ["/a/", "/a/{*rest}", "/{*rest}"] {
        assert!(Pattern::parse(text, false).is_ok(), "{text}");
        assert!(Pattern::parse(text, true).is_err(), "{text} and below");
    }
}

#[test]
fn patterns_that_nothing_arrives_at_are_refused() {
    for text in [
        "//", "/a//b", "/a//", "/.", "/a/..", "/a/../b", "/%2e", "/.%2E/x", "/%2e%2e", "/a%2fb",
        "/a%2Fb", "/a%5cb", "/a\\b", "/a%00", "/a?b", "/a#b", "/a b", "/a\tb", "/a\0", "/é",
        "/a\u{7f}", "/<", "/>", "/`",
    ] {
        assert!(Pattern::parse(text, false).is_err(), "{text:?}");
        assert!(Pattern::parse(text, true).is_err(), "{text:?} and below");
    }
    for text in [
        "/a.b",
        "/...",
        "/.well-known/x",
        "/%C3%A9",
        "/a;b=c",
        "/a:b",
        "/%2",
        "/\"",
    ] {
        assert!(Pattern::parse(text, false).is_ok(), "{text:?}");
    }
}

#[test]
fn too_many_parameters_are_refused_where_matchit_would_panic() {
    let pattern = |count| "/{x}".repeat(count);
    assert!(Pattern::parse(&pattern(25), false).is_ok());
    assert!(Pattern::parse(&pattern(26), false).is_err());
}

#[test]
fn the_more_specific_pattern_comes_first() {
    // Each covers what the next one covers, or crosses it.
    let patterns = [
        route("/a/b/c"),
        prefix("/a/b/c"),
        route("/a/b/cd{x}"),
        route("/a/b/c{x}"),
        route("/a/b/{x}"),
        route("/a/b/{*x}"),
        prefix("/a/b"),
        route("/a/{x}/c"),
        prefix("/a/{x}/c"),
        route("/a/{x}/{y}"),
        prefix("/a/{x}"),
        route("/a/{*x}"),
        prefix("/a"),
        route("/{*x}"),
        prefix("/"),
    ];
    for (place, first) in patterns.iter().enumerate() {
        for second in &patterns[place + 1..] {
            assert_eq!(
                first.by_specificity(second),
                Ordering::Less,
                "{first}, {second}"
            );
        }
    }
}

#[test]
fn a_pattern_lies_inside_another_or_crosses_it() {
    let inside = [
        (route("/a"), prefix("/a")),
        (route("/a/"), prefix("/a")),
        (route("/a/b"), route("/a/{x}")),
        (route("/a/b/c"), route("/a/{*x}")),
        (route("/a/{x}"), route("/a/{*y}")),
        (route("/av{x}"), route("/a{x}")),
        (route("/a/{*x}"), prefix("/a")),
        (prefix("/a/b"), prefix("/a/{x}")),
        (prefix("/a/b"), route("/a/{*x}")),
        (prefix("/a"), prefix("/")),
        (prefix("/a/{x}/b"), prefix("/a/{x}")),
        (route("/a/{*x}"), prefix("/{x}")),
    ];
    for (narrow, wide) in inside {
        assert!(wide.contains(&narrow), "{narrow} in {wide}");
        assert!(!narrow.contains(&wide), "{wide} in {narrow}");
        assert!(wide.overlaps(&narrow) && narrow.overlaps(&wide));
    }
    let crossing = [
        (prefix("/a/b"), route("/a/{x}/c")),
        (prefix("/a/b"), prefix("/a/{x}/c")),
        (prefix("/a"), route("/{x}")),
        (route("/{x}/b"), route("/a/{y}")),
        (prefix("/a"), route("/a{*x}")),
        (prefix("/a"), route("/a{x}/b")),
    ];
    for (a, b) in crossing {
        assert!(a.overlaps(&b) && b.overlaps(&a), "{a}, {b}");
        assert!(!a.contains(&b) && !b.contains(&a), "{a}, {b}");
    }
    let (all, each) = (route("/a/{*x}"), prefix("/a/{x}"));
    assert!(all.contains(&each) && each.contains(&all), "the same paths");
    let apart = [
        (route("/a"), route("/b")),
        (route("/a"), route("/a/")),
        (route("/a/"), route("/a/{x}")),
        (route("/a/"), route("/a/{*x}")),
        (route("/a"), prefix("/a/b")),
        (route("/ab"), prefix("/a")),
        (route("/v"), route("/v{x}")),
        (route("/v{x}"), route("/w{x}")),
        (route("/a"), route("/a/{*x}")),
    ];
    for (a, b) in apart {
        assert!(!a.overlaps(&b) && !b.overlaps(&a), "{a}, {b}");
        assert!(!a.contains(&b) && !b.contains(&a), "{a}, {b}");
    }
}
