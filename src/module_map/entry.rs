//! An entry of a map of routes.

use std::fmt;

use http::Method;

use crate::module_map::{Requirement, methods::Methods, pattern::Pattern};

/// An entry of a [`RouteModules`](crate::RouteModules).
///
/// Its text form is that of messages: ``GET, POST /v1/realms``, ``ANY /lino and below``.
#[derive(Clone)]
pub struct RouteEntry {
    methods: Methods,
    pattern: Pattern,
    requirement: Requirement,
    /// The place in the order of specificity; entries of equally specific patterns share one.
    rank: usize,
}

impl RouteEntry {
    pub(super) fn new(methods: Methods, pattern: Pattern, requirement: Requirement) -> Self {
        Self {
            methods,
            pattern,
            requirement,
            rank: 0,
        }
    }

    /// The methods it names; nothing where it covers every method.
    pub fn methods(&self) -> Option<&[Method]> {
        match &self.methods {
            Methods::Any => None,
            Methods::Only(methods) => Some(methods),
        }
    }

    /// The text of its pattern, as declared.
    pub fn path(&self) -> &str {
        self.pattern.text()
    }

    /// Whether it covers everything below its path too.
    pub fn is_prefix(&self) -> bool {
        self.pattern.is_prefix()
    }

    /// What it asks for.
    pub fn requirement(&self) -> &Requirement {
        &self.requirement
    }

    pub(super) fn method_set(&self) -> &Methods {
        &self.methods
    }

    pub(super) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    pub(super) fn rank(&self) -> usize {
        self.rank
    }
}

impl fmt::Display for RouteEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.methods, self.pattern)
    }
}

impl fmt::Debug for RouteEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}: {}", self.requirement)
    }
}

/// Gives each entry its place in the order of specificity.
pub(super) fn rank(entries: &mut [RouteEntry]) {
    let mut order: Vec<_> = (0..entries.len()).collect();
    order.sort_by(|a, b| entries[*a].pattern.by_specificity(&entries[*b].pattern));
    let mut rank = 0;
    for (place, &at) in order.iter().enumerate() {
        let before = place
            .checked_sub(1)
            .map(|before| &entries[order[before]].pattern);
        if before.is_some_and(|before| before.by_specificity(&entries[at].pattern).is_ne()) {
            rank += 1;
        }
        entries[at].rank = rank;
    }
}
