//! The built-in module map: routes, prefixes and gRPC methods.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    fmt,
};

use http::Method;

use crate::{
    license_ledger::Module,
    module_map::{
        ModuleMap, Requirement,
        builder::RouteModulesBuilder,
        entry::{self, RouteEntry},
        lint::{self, Lint},
        methods::MethodTable,
        pattern::Segment,
        prefix::PrefixTree,
        problem::{RouteError, RouteFlaw, RouteProblem},
        text_hash::TextHash,
    },
};

/// The built-in [`ModuleMap`]: which routes ask for which modules, written as a table of routes.
///
/// ```
/// use http::Method;
/// use tower_api_key::{ModuleMap, RouteModules, Rule};
///
/// let map = RouteModules::builder()
///     .prefix_on([Method::GET], "/api/rest/v1/engines", "launcher")
///     .prefix("/api/rest/v1/engines/{id}/nodes", "nodegraph_editor")
///     .get("/v1/realms", Rule::anonymous().with_scope("read:realms"))
///     .post("/v1/realms", Rule::authenticated().with_scope("write:realms"))
///     .get("/health", Rule::public())
///     .build()?;
///
/// let module = |method, path| {
///     let requirement = map.requirement(&method, path, None)?;
///     requirement.modules().first().map(ToString::to_string)
/// };
/// assert_eq!(module(Method::GET, "/api/rest/v1/engines/7").as_deref(), Some("launcher"));
/// assert_eq!(
///     module(Method::POST, "/api/rest/v1/engines/7/nodes").as_deref(),
///     Some("nodegraph_editor"),
/// );
/// assert!(map.requirement(&Method::DELETE, "/v1/realms", None).is_none(), "unmapped: denied");
/// # Ok::<(), tower_api_key::RouteError>(())
/// ```
///
/// # Rules
///
/// 1. **Routes match as in axum 0.8**: [`matchit`] at the version that axum uses matches the raw
///    bytes of the path. `{name}` is one segment or the rest of one, `{*name}` the rest of the path.
///    Nothing is decoded, case matters, and so does a slash at the end.
/// 2. **A prefix** covers its own path, that path with a slash, and everything below; `/lino` never
///    covers `/linotype`. Its segments may be parameters.
/// 3. **The most specific entry decides.** As in axum, whatever the order of declaration: at the
///    first place where two entries that cover a path differ, literal text goes before a parameter,
///    a parameter before a catch-all, and a route before the prefix that ends there. So a literal
///    route goes before everything, and of two prefixes of which one lies below the other the
///    longer decides.
/// 4. **A route that has the path but not the method** bars other routes, for the router would
///    answer 405; a prefix may still decide. Among prefixes, one without the method leaves it to the
///    next. Of entries with the same path, one that names the method goes before one for any.
/// 5. **`HEAD` counts as `GET`**; an entry cannot name it.
/// 6. **The router's own pattern decides where it is known** and an entry has exactly this text:
///    that entry, or where it has not the method, the most specific prefix that covers the whole
///    pattern. Otherwise the raw path decides. An entry that is finer than the router's routes
///    therefore counts only where the raw path decides: a catch-all route with such entries below
///    it is better declared as a prefix under another text, or guarded around the whole router.
/// 7. **Nothing else is mapped**: the answer is `None`, also for `*` (`OPTIONS *`) and for the
///    empty path (`CONNECT`), which no entry covers.
/// 8. **Conflicts fail in [`build`](RouteModulesBuilder::build)**, which names both entries: those
///    that cover the same requests, and those that no axum router holds side by side. What is legal
///    and yet worth a look, [`lint`](Self::lint) tells.
///
/// A look-up allocates nothing, but for one case that lies in matchit: where a pattern with
/// parameters has literal text in the place of another's parameter (`/a/b/{x}` beside `/a/{x}`), or
/// where one has more than three parameters, it keeps a short list.
#[derive(Clone)]
pub struct RouteModules {
    /// As declared.
    entries: Box<[RouteEntry]>,
    /// By the text of each pattern.
    known: HashMap<Box<str>, Known, TextHash>,
    /// The routes that are more than literal text; the values are places in `routes`.
    matcher: matchit::Router<usize>,
    routes: Vec<Route>,
    prefixes: PrefixTree,
}

/// What decides where a pattern is known by its text.
#[derive(Debug, Clone)]
struct Known {
    /// The entries of the pattern, then those of the prefixes that cover all of it.
    methods: MethodTable,
    /// Whether this is a route that covers its own text and nothing else.
    literal: bool,
}

/// A route that is more than literal text.
#[derive(Debug, Clone)]
struct Route {
    methods: MethodTable,
    /// Whether a prefix that is more specific covers some of the same paths.
    contested: bool,
}

impl RouteModules {
    /// An empty map to declare entries in.
    pub fn builder() -> RouteModulesBuilder {
        RouteModulesBuilder::default()
    }

    /// The entries in the order of their declaration.
    pub fn entries(&self) -> &[RouteEntry] {
        &self.entries
    }

    /// All modules that some entry asks for.
    pub fn modules(&self) -> BTreeSet<&Module> {
        let requirements = self.entries.iter().map(RouteEntry::requirement);
        requirements.flat_map(Requirement::modules).collect()
    }

    /// What is legal and yet worth a look: entries that take requests from wider ones with another
    /// requirement, and routes without an entry for some methods.
    ///
    /// ```
    /// # use tower_api_key::{LintKind, RouteModules, Rule};
    /// let map = RouteModules::builder()
    ///     .prefix("/lino", "lino")
    ///     .any("/lino/status", Rule::public())
    ///     .build()?;
    /// let lints = map.lint();
    /// assert_eq!(lints[0].kind(), LintKind::OpenInsideGuarded);
    /// assert_eq!(
    ///     lints[0].to_string(),
    ///     "`ANY /lino/status` (public) takes requests from `ANY /lino and below` (module lino): \
    ///      no credential is needed for them",
    /// );
    /// # Ok::<(), tower_api_key::RouteError>(())
    /// ```
    pub fn lint(&self) -> Vec<Lint<'_>> {
        lint::lint(&self.entries)
    }

    /// Puts checked entries together, or tells what is wrong with pairs of them beside the
    /// `problems` found before.
    pub(super) fn assemble(
        mut entries: Vec<RouteEntry>,
        mut problems: Vec<RouteProblem>,
    ) -> Result<Self, RouteError> {
        entry::rank(&mut entries);
        let tables = Tables::collect(&entries, &mut problems);
        check_wildcards(&entries, &mut problems);
        if !problems.is_empty() {
            return Err(RouteError::new(problems));
        }

        let mut map = Self {
            known: HashMap::default(),
            matcher: matchit::Router::new(),
            routes: Vec::new(),
            prefixes: PrefixTree::default(),
            entries: Box::default(),
        };
        for (segments, methods) in &tables.prefixes {
            *map.prefixes.methods_mut(segments) = methods.clone();
        }
        let (mut prefixes, routes): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| entry.is_prefix());
        // From the most specific to the widest: the order in which they decide.
        prefixes.sort_by_key(|entry| entry.rank());
        // Routes first: a text that is a route and a prefix is known as the route.
        for entry in routes.iter().chain(&prefixes) {
            let pattern = entry.pattern();
            if map.known.contains_key(pattern.text()) {
                continue;
            }
            let mut methods = MethodTable::default();
            let literal = pattern.is_literal();
            if !pattern.is_prefix() {
                methods = tables.routes[pattern.segments()].clone();
                // A literal route needs no matcher: its text is its path.
                if !literal {
                    map.insert_route(entry, methods.clone(), &prefixes)?;
                }
            }
            for prefix in &prefixes {
                if prefix.pattern().contains(pattern) {
                    methods.fall_through_to(&tables.prefixes[prefix.pattern().segments()]);
                }
            }
            let known = Known { methods, literal };
            map.known.insert(pattern.text().into(), known);
        }
        map.entries = entries.into();
        Ok(map)
    }

    fn insert_route(
        &mut self,
        entry: &RouteEntry,
        methods: MethodTable,
        prefixes: &[&RouteEntry],
    ) -> Result<(), RouteError> {
        let pattern = entry.pattern();
        self.matcher
            .insert(pattern.text(), self.routes.len())
            .map_err(|_| {
                let entry = entry.to_string();
                let flaw = RouteFlaw::Pattern("the router refuses it");
                RouteError::new(vec![RouteProblem::Entry { entry, flaw }])
            })?;
        let contested = prefixes
            .iter()
            .any(|prefix| prefix.rank() < entry.rank() && prefix.pattern().overlaps(pattern));
        self.routes.push(Route { methods, contested });
        Ok(())
    }

    /// The entry that decides by the raw path.
    fn by_path(&self, method: &Method, path: &str) -> Option<u32> {
        if let Some(Known {
            methods,
            literal: true,
        }) = self.known.get(path)
        {
            return methods.find(method);
        }
        let route = self.matcher.at(path).ok();
        let route = route.map(|matched| &self.routes[*matched.value]);
        let by_route = route.and_then(|route| route.methods.find(method));
        if by_route.is_some() && route.is_some_and(|route| !route.contested) {
            return by_route;
        }
        let by_prefix = self.prefixes.find(method, path);
        let found = [by_route, by_prefix].into_iter().flatten();
        found.min_by_key(|entry| self.entries[*entry as usize].rank())
    }
}

impl ModuleMap for RouteModules {
    fn requirement(
        &self,
        method: &Method,
        path: &str,
        matched_path: Option<&str>,
    ) -> Option<Cow<'_, Requirement>> {
        let entry = match matched_path.and_then(|pattern| self.known.get(pattern)) {
            Some(known) => known.methods.find(method),
            None => self.by_path(method, path),
        }?;
        Some(Cow::Borrowed(self.entries[entry as usize].requirement()))
    }
}

/// A table of the entries as declared: methods, pattern, requirement.
impl fmt::Display for RouteModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self
            .entries
            .iter()
            .map(|entry| (entry.method_set().to_string(), entry.pattern().to_string()))
            .collect();
        let methods = rows
            .iter()
            .map(|(methods, _)| methods.len())
            .max()
            .unwrap_or(0);
        let patterns = rows
            .iter()
            .map(|(_, pattern)| pattern.len())
            .max()
            .unwrap_or(0);
        for ((method, pattern), entry) in rows.iter().zip(&self.entries) {
            let requirement = entry.requirement();
            writeln!(f, "{method:methods$}  {pattern:patterns$}  {requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RouteModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RouteModules ")?;
        f.debug_list().entries(&self.entries).finish()
    }
}

/// The methods of each pattern, by its segments.
#[derive(Default)]
struct Tables<'a> {
    routes: HashMap<&'a [Segment], MethodTable>,
    prefixes: HashMap<&'a [Segment], MethodTable>,
}

impl<'a> Tables<'a> {
    /// Collects the entries of each pattern, and tells which of them cover the same requests.
    fn collect(entries: &'a [RouteEntry], problems: &mut Vec<RouteProblem>) -> Self {
        let mut tables = Self::default();
        let mut first_with = HashMap::new();
        for (entry, number) in entries.iter().zip(0..) {
            let segments = entry.pattern().segments();
            let kind = match entry.is_prefix() {
                true => &mut tables.prefixes,
                false => &mut tables.routes,
            };
            let namesake: &mut &RouteEntry = first_with.entry(segments).or_insert(entry);
            if let Err(existing) = kind
                .entry(segments)
                .or_default()
                .add(entry.method_set(), number)
            {
                problems.push(RouteProblem::SameRequests {
                    first: entries[existing as usize].to_string(),
                    second: entry.to_string(),
                });
            } else if namesake.path() != entry.path() {
                problems.push(RouteProblem::ParameterNames {
                    first: namesake.to_string(),
                    second: entry.to_string(),
                });
            }
        }
        tables
    }
}

/// Tells which routes have a parameter where another has a catch-all: matchit holds one kind only.
fn check_wildcards(entries: &[RouteEntry], problems: &mut Vec<RouteProblem>) {
    let mut first_at = HashMap::new();
    for entry in entries.iter().filter(|entry| !entry.is_prefix()) {
        let segments = entry.pattern().segments();
        for (place, segment) in segments.iter().enumerate() {
            let (text, catch_all) = match segment {
                Segment::Literal(_) => continue,
                Segment::Param(text) => (text, false),
                Segment::CatchAll(text) => (text, true),
            };
            let (first, kind): &mut (&RouteEntry, bool) = first_at
                .entry((&segments[..place], text))
                .or_insert((entry, catch_all));
            if *kind != catch_all {
                problems.push(RouteProblem::Conflict {
                    first: first.to_string(),
                    second: entry.to_string(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
