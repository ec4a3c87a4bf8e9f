//! What is legal in a map and yet worth a look.

use std::fmt;

use crate::module_map::{Requirement, entry::RouteEntry, methods::Methods};

/// A remark about an entry of a [`RouteModules`](crate::RouteModules), made by
/// [`lint`](crate::RouteModules::lint).
#[derive(Debug, Clone)]
pub struct Lint<'a> {
    kind: LintKind,
    entry: &'a RouteEntry,
    other: Option<&'a RouteEntry>,
    /// Of a route that does not cover every method, those it covers.
    methods: Methods,
}

/// What a [`Lint`] remarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LintKind {
    /// An entry that asks for no credential takes requests from a wider one that asks for one.
    OpenInsideGuarded,
    /// An entry that asks for a credential takes requests from a wider one that asks for none.
    GuardedInsideOpen,
    /// An entry takes requests from a wider one with another requirement.
    Shadows,
    /// Two entries with different requirements cover some of the same requests, and each covers
    /// some that the other does not; the more specific one decides where both could.
    Crosses,
    /// The methods that a route does not cover are decided by a prefix around it, with another
    /// requirement.
    MethodsFallThrough,
    /// The methods that a route does not cover are covered by no entry: they are denied.
    MethodsUnmapped,
}

impl<'a> Lint<'a> {
    /// What is remarked.
    pub fn kind(&self) -> LintKind {
        self.kind
    }

    /// The entry that decides; of a route with several entries the first.
    pub fn entry(&self) -> &'a RouteEntry {
        self.entry
    }

    /// The entry that would decide without it, or that decides for the other methods.
    pub fn other(&self) -> Option<&'a RouteEntry> {
        self.other
    }
}

impl fmt::Display for Lint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entry, asks) = (self.entry, self.entry.requirement());
        let other = |f: &mut fmt::Formatter<'_>| match self.other {
            Some(other) => write!(f, "`{other}` ({})", other.requirement()),
            None => Ok(()),
        };
        match self.kind {
            LintKind::OpenInsideGuarded => {
                write!(f, "`{entry}` ({asks}) takes requests from ")?;
                other(f)?;
                write!(f, ": no credential is needed for them")
            }
            LintKind::GuardedInsideOpen => {
                write!(f, "`{entry}` ({asks}) takes requests from ")?;
                other(f)?;
                write!(f, ": nothing else guards them")
            }
            LintKind::Shadows => {
                write!(f, "`{entry}` ({asks}) takes requests from ")?;
                other(f)
            }
            LintKind::Crosses => {
                write!(f, "`{entry}` ({asks}) decides before ")?;
                other(f)?;
                write!(
                    f,
                    " where both cover a request, and neither lies inside the other"
                )
            }
            LintKind::MethodsFallThrough => {
                let (path, methods) = (entry.path(), &self.methods);
                write!(f, "`{path}` maps {methods}; other methods fall to ")?;
                other(f)
            }
            LintKind::MethodsUnmapped => {
                let (path, methods) = (entry.path(), &self.methods);
                write!(f, "`{path}` maps {methods}; other methods are denied")
            }
        }
    }
}

/// All remarks, those about the most specific entries first.
pub(super) fn lint(entries: &[RouteEntry]) -> Vec<Lint<'_>> {
    let mut order: Vec<_> = entries.iter().collect();
    // Where the paths are the same, an entry that names its methods decides before one for any.
    order.sort_by_key(|entry| (entry.rank(), *entry.method_set() == Methods::Any));
    let mut lints = Vec::new();
    for (place, entry) in order.iter().enumerate() {
        let wider = &order[place + 1..];
        shadowed(entry, wider, &mut lints);
        let said = order[..place]
            .iter()
            .any(|other| other.pattern() == entry.pattern());
        if !entry.is_prefix() && !said {
            other_methods(entry, wider, &mut lints);
        }
    }
    lints
}

/// Tells from whom `entry` takes requests: for each method, the next wider entry, and all that
/// cross it.
fn shadowed<'a>(entry: &'a RouteEntry, wider: &[&'a RouteEntry], lints: &mut Vec<Lint<'a>>) {
    let mut methods = entry.method_set().clone();
    for &other in wider {
        let inside = other.pattern().contains(entry.pattern());
        let crosses = !inside && other.pattern().overlaps(entry.pattern());
        if !(inside && methods.overlap(other.method_set())
            || crosses && entry.method_set().overlap(other.method_set()))
        {
            continue;
        }
        if inside {
            methods = methods.without(other.method_set());
        }
        if entry.requirement() == other.requirement() {
            continue;
        }
        let kind = match (is_open(entry.requirement()), is_open(other.requirement())) {
            _ if crosses => LintKind::Crosses,
            (true, false) => LintKind::OpenInsideGuarded,
            (false, true) => LintKind::GuardedInsideOpen,
            _ => LintKind::Shadows,
        };
        lints.push(Lint {
            kind,
            entry,
            other: Some(other),
            methods: entry.method_set().clone(),
        });
    }
}

/// Tells who decides for the methods that no entry of this route's path covers.
fn other_methods<'a>(entry: &'a RouteEntry, wider: &[&'a RouteEntry], lints: &mut Vec<Lint<'a>>) {
    let same_path = wider
        .iter()
        .filter(|other| other.pattern() == entry.pattern());
    let own: Vec<_> = [entry].into_iter().chain(same_path.copied()).collect();
    let Some(named) = own
        .iter()
        .map(|own| own.methods())
        .collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let methods = Methods::only(named.concat());
    let uncovered = |other: &RouteEntry| other.method_set().without(&methods) != Methods::only([]);
    let other = wider.iter().copied().find(|other| {
        other.is_prefix() && other.pattern().contains(entry.pattern()) && uncovered(other)
    });
    let kind = match other {
        None => LintKind::MethodsUnmapped,
        Some(other)
            if own
                .iter()
                .any(|own| own.requirement() != other.requirement()) =>
        {
            LintKind::MethodsFallThrough
        }
        Some(_) => return,
    };
    lints.push(Lint {
        kind,
        entry,
        other,
        methods,
    });
}

/// Whether a request without a credential is let through.
fn is_open(requirement: &Requirement) -> bool {
    matches!(
        requirement,
        Requirement::Public | Requirement::Anonymous { .. }
    )
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::module_map::{RouteModules, RouteModulesBuilder, Rule};

    fn lints(builder: RouteModulesBuilder) -> Vec<(LintKind, String)> {
        let map = builder.build().unwrap();
        let lints = map.lint();
        lints
            .iter()
            .map(|lint| (lint.kind(), lint.to_string()))
            .collect()
    }

    fn one(builder: RouteModulesBuilder) -> (LintKind, String) {
        let mut lints = lints(builder);
        assert_eq!(lints.len(), 1, "{lints:?}");
        lints.remove(0)
    }

    #[test]
    fn an_open_entry_inside_a_guarded_one_is_told() {
        for open in [Rule::public(), Rule::anonymous()] {
            let map = RouteModules::builder().prefix("/a", "a").any("/a/b", open);
            let (kind, text) = one(map);
            assert_eq!(kind, LintKind::OpenInsideGuarded);
            assert!(text.contains("`ANY /a/b`") && text.contains("`ANY /a and below` (module a)"));
        }
    }

    #[test]
    fn a_guarded_entry_inside_an_open_one_is_told() {
        let map = RouteModules::builder()
            .any("/{x}", Rule::public())
            .any("/a", "a");
        assert_eq!(
            one(map),
            (
                LintKind::GuardedInsideOpen,
                "`ANY /a` (module a) takes requests from `ANY /{x}` (public): \
                 nothing else guards them"
                    .to_owned()
            )
        );
    }

    #[test]
    fn an_entry_with_another_requirement_is_told_and_one_with_the_same_is_not() {
        let map = || RouteModules::builder().prefix("/a", "a");
        let (kind, text) = one(map().prefix("/a/b", "b"));
        assert_eq!(kind, LintKind::Shadows);
        assert_eq!(
            text,
            "`ANY /a/b and below` (module b) takes requests from `ANY /a and below` (module a)"
        );
        assert_eq!(lints(map().prefix("/a/b", "a")), []);
        let (kind, text) = one(map().prefix_on([Method::GET], "/a", "b"));
        assert_eq!(kind, LintKind::Shadows, "the same path, by method");
        assert!(
            text.starts_with("`GET /a and below`"),
            "the one that names the method decides: {text}"
        );
    }

    #[test]
    fn only_the_next_wider_entry_is_told_for_each_method() {
        let map = RouteModules::builder()
            .prefix("/", "root")
            .prefix_on([Method::GET], "/a", "a")
            .any("/a/b", "b");
        let texts: Vec<_> = lints(map).into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            texts,
            [
                "`ANY /a/b` (module b) takes requests from `GET /a and below` (module a)",
                "`ANY /a/b` (module b) takes requests from `ANY / and below` (module root)",
                "`GET /a and below` (module a) takes requests from `ANY / and below` (module root)",
            ]
        );
        let map = RouteModules::builder()
            .prefix("/", "root")
            .prefix("/a", "a")
            .any("/a/b", "a");
        let (_, text) = one(map);
        assert!(
            text.starts_with("`ANY /a and below`"),
            "`/a/b` takes from `/a` alone: {text}"
        );
    }

    #[test]
    fn entries_that_cross_are_told() {
        let map = RouteModules::builder()
            .any("/engines/{id}/logs", "launcher")
            .prefix("/engines/admin", "admin");
        assert_eq!(
            one(map),
            (
                LintKind::Crosses,
                "`ANY /engines/admin and below` (module admin) decides before \
                 `ANY /engines/{id}/logs` (module launcher) where both cover a request, \
                 and neither lies inside the other"
                    .to_owned()
            )
        );
        let map = RouteModules::builder()
            .route([Method::GET], "/engines/{id}/logs", "launcher")
            .prefix_on([Method::POST], "/engines/admin", "admin");
        let kinds: Vec<_> = lints(map).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [LintKind::MethodsUnmapped], "no method in common");
    }

    #[test]
    fn methods_that_fall_to_a_prefix_or_to_nobody_are_told_once_a_path() {
        let map = RouteModules::builder()
            .get("/a/b", "a")
            .post("/a/b", "b")
            .get("/c", Rule::public())
            .prefix_on([Method::GET, Method::POST], "/", "both_named")
            .prefix("/a", "a");
        let map = map.build().unwrap();
        let lints = map.lint();
        let texts: Vec<_> = lints
            .iter()
            .filter(|lint| lint.kind() == LintKind::MethodsFallThrough)
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            texts,
            [
                "`/c` maps GET; other methods fall to `GET, POST / and below` \
                 (module both_named)",
                "`/a/b` maps GET, POST; other methods fall to `ANY /a and below` (module a)",
            ]
        );
    }

    #[test]
    fn methods_that_nobody_covers_are_told() {
        let map = RouteModules::builder()
            .get("/c", "c")
            .prefix_on([Method::GET], "/", "c")
            .any("/d", "d");
        let lints = lints(map);
        assert!(lints.contains(&(
            LintKind::MethodsUnmapped,
            "`/c` maps GET; other methods are denied".to_owned()
        )));
        assert!(!lints.iter().any(|(_, text)| text.starts_with("`/d` maps")));
    }

    #[test]
    fn methods_that_fall_to_the_same_requirement_are_not_told() {
        let map = RouteModules::builder().get("/a/b", "a").prefix("/a", "a");
        assert_eq!(lints(map), []);
    }
}
