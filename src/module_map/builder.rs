//! Declaring a map of routes, entry by entry.

use http::Method;

use crate::module_map::{
    Requirement,
    entry::RouteEntry,
    methods::Methods,
    pattern::{Covered, Pattern},
    problem::{RouteError, RouteFlaw, RouteProblem},
    routes::RouteModules,
    rule::Rule,
};

/// Declares the entries of a [`RouteModules`]; their order does not matter.
///
/// Nothing is checked before [`build`](Self::build), which tells all problems at once.
///
/// ```
/// use http::Method;
/// use tower_api_key::{RouteModules, Rule};
///
/// let map = RouteModules::builder()
///     .get("/api/rest/v1/engines", "launcher")
///     .get("/api/rest/v1/engines/{id}", "launcher")
///     .prefix("/api/rest/v1/engines/{id}/nodes", "nodegraph_editor")
///     .prefix_on([Method::GET], "/api/rest/v1/lino", "lino")
///     .route([Method::POST, Method::PUT], "/v1/realms", Rule::authenticated())
///     .grpc_service("helloworld.Greeter", "greeter")
///     .get("/health", Rule::public())
///     .build()?;
/// assert_eq!(map.entries().len(), 7);
/// # Ok::<(), tower_api_key::RouteError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RouteModulesBuilder {
    declared: Vec<Declared>,
}

/// An entry before it is checked.
#[derive(Debug, Clone)]
struct Declared {
    methods: Methods,
    path: String,
    below: bool,
    rule: Rule,
    /// What the path could not be made of.
    flaw: Option<RouteFlaw>,
}

impl RouteModulesBuilder {
    /// `GET` and `HEAD` of these paths.
    pub fn get(self, path: impl Into<String>, rule: impl Into<Rule>) -> Self {
        self.route([Method::GET], path, rule)
    }

    /// `POST` to these paths.
    pub fn post(self, path: impl Into<String>, rule: impl Into<Rule>) -> Self {
        self.route([Method::POST], path, rule)
    }

    /// `PUT` to these paths.
    pub fn put(self, path: impl Into<String>, rule: impl Into<Rule>) -> Self {
        self.route([Method::PUT], path, rule)
    }

    /// `PATCH` of these paths.
    pub fn patch(self, path: impl Into<String>, rule: impl Into<Rule>) -> Self {
        self.route([Method::PATCH], path, rule)
    }

    /// `DELETE` of these paths.
    pub fn delete(self, path: impl Into<String>, rule: impl Into<Rule>) -> Self {
        self.route([Method::DELETE], path, rule)
    }

    /// Every method on these paths; another entry for the same paths that names the method decides
    /// before this one.
    ///
    /// ```
    /// # use tower_api_key::{RouteModules, Rule};
    /// let map = RouteModules::builder()
    ///     .any("/v1/realms", "realms")
    ///     .get("/v1/realms", Rule::anonymous())
    ///     .build()?;
    /// # Ok::<(), tower_api_key::RouteError>(())
    /// ```
    pub fn any(self, path: impl Into<String>, rule: impl Into<Rule>) -> Self {
        self.declare(Methods::Any, path.into(), false, rule.into(), None)
    }

    /// These methods on these paths: literal text, `{name}` for one segment or the rest of one, and
    /// at the end `{*name}` for everything that follows.
    ///
    /// ```
    /// # use http::Method;
    /// # use tower_api_key::RouteModules;
    /// let map = RouteModules::builder()
    ///     .route([Method::GET, Method::DELETE], "/v1/realms/{id}", "realms")
    ///     .get("/v1/files/{*path}", "files")
    ///     .build()?;
    /// # Ok::<(), tower_api_key::RouteError>(())
    /// ```
    pub fn route(
        self,
        methods: impl IntoIterator<Item = Method>,
        path: impl Into<String>,
        rule: impl Into<Rule>,
    ) -> Self {
        let methods = Methods::only(methods);
        self.declare(methods, path.into(), false, rule.into(), None)
    }

    /// Every method on this path and everything below it: `/lino` covers `/lino`, `/lino/` and
    /// `/lino/shows/7`, never `/linotype`. Segments may be parameters.
    ///
    /// ```
    /// # use tower_api_key::RouteModules;
    /// let map = RouteModules::builder()
    ///     .prefix("/engines", "launcher")
    ///     .prefix("/engines/{id}/nodes", "nodegraph_editor")
    ///     .build()?;
    /// # Ok::<(), tower_api_key::RouteError>(())
    /// ```
    pub fn prefix(self, path: impl Into<String>, rule: impl Into<Rule>) -> Self {
        self.declare(Methods::Any, path.into(), true, rule.into(), None)
    }

    /// These methods on this path and everything below it.
    ///
    /// ```
    /// # use http::Method;
    /// # use tower_api_key::{RouteModules, Rule};
    /// let map = RouteModules::builder()
    ///     .prefix_on([Method::GET], "/v1", Rule::authenticated().with_scope("read"))
    ///     .prefix("/v1", Rule::authenticated().with_scope("write"))
    ///     .build()?;
    /// # Ok::<(), tower_api_key::RouteError>(())
    /// ```
    pub fn prefix_on(
        self,
        methods: impl IntoIterator<Item = Method>,
        path: impl Into<String>,
        rule: impl Into<Rule>,
    ) -> Self {
        let methods = Methods::only(methods);
        self.declare(methods, path.into(), true, rule.into(), None)
    }

    /// Every method of a gRPC service, given by its full name: `POST /package.Service/{method}`.
    ///
    /// ```
    /// # use tower_api_key::{RouteModules, Rule};
    /// let map = RouteModules::builder()
    ///     .grpc_service("helloworld.Greeter", "greeter")
    ///     .grpc_method("helloworld.Greeter", "Ping", Rule::public())
    ///     .build()?;
    /// # Ok::<(), tower_api_key::RouteError>(())
    /// ```
    pub fn grpc_service(self, service: impl AsRef<str>, rule: impl Into<Rule>) -> Self {
        self.grpc(service.as_ref(), None, rule.into())
    }

    /// One method of a gRPC service: `POST /package.Service/Method`. It decides before an entry for
    /// the whole service.
    pub fn grpc_method(
        self,
        service: impl AsRef<str>,
        method: impl AsRef<str>,
        rule: impl Into<Rule>,
    ) -> Self {
        self.grpc(service.as_ref(), Some(method.as_ref()), rule.into())
    }

    /// Checks everything and builds the map.
    ///
    /// # Errors
    ///
    /// [`RouteError`] with all that is wrong: entries that make no sense, and pairs of entries that
    /// cover the same requests or that no router holds both.
    pub fn build(self) -> Result<RouteModules, RouteError> {
        let mut problems = Vec::new();
        let mut entries = Vec::new();
        for declared in self.declared {
            let name = declared.to_string();
            match declared.check() {
                Ok((methods, pattern, requirement)) => {
                    entries.push(RouteEntry::new(methods, pattern, requirement));
                }
                Err(flaws) => problems.extend(flaws.into_iter().map(|flaw| {
                    let entry = name.clone();
                    RouteProblem::Entry { entry, flaw }
                })),
            }
        }
        RouteModules::assemble(entries, problems)
    }

    fn declare(
        mut self,
        methods: Methods,
        path: String,
        below: bool,
        rule: Rule,
        flaw: Option<RouteFlaw>,
    ) -> Self {
        self.declared.push(Declared {
            methods,
            path,
            below,
            rule,
            flaw,
        });
        self
    }

    fn grpc(self, service: &str, method: Option<&str>, rule: Rule) -> Self {
        // A service is one segment and has one level of methods, so a parameter says it all. tonic's
        // own pattern is a catch-all, whose text would decide over an entry for a single method.
        let path = format!("/{service}/{}", method.unwrap_or("{method}"));
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let valid = service.split('.').all(word) && method.is_none_or(word);
        let flaw = (!valid).then_some(RouteFlaw::Grpc);
        self.declare(Methods::only([Method::POST]), path, false, rule, flaw)
    }
}

impl Declared {
    fn check(self) -> Result<(Methods, Pattern, Requirement), Vec<RouteFlaw>> {
        let mut flaws = Vec::new();
        if let Methods::Only(methods) = &self.methods {
            if methods.is_empty() {
                flaws.push(RouteFlaw::NoMethods);
            }
            if methods.contains(&Method::HEAD) {
                flaws.push(RouteFlaw::Head);
            }
        }
        let pattern = match self.flaw {
            Some(flaw) => Err(flaw),
            None => Pattern::parse(&self.path, self.below).map_err(RouteFlaw::Pattern),
        };
        match (pattern, self.rule.check()) {
            (Ok(pattern), Ok(requirement)) if flaws.is_empty() => {
                return Ok((self.methods, pattern, requirement));
            }
            (pattern, rule) => {
                flaws.extend(pattern.err());
                flaws.extend(rule.err().into_iter().flatten());
            }
        }
        Err(flaws)
    }
}

impl std::fmt::Display for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let covered = Covered(&self.path, self.below);
        match &self.methods {
            Methods::Only(methods) if methods.is_empty() => write!(f, "{covered}"),
            methods => write!(f, "{methods} {covered}"),
        }
    }
}
