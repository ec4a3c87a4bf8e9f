//! The contract of the module map: which requests need what.

use std::{borrow::Cow, fmt, sync::Arc};

use http::Method;

use crate::{key_store::Scope, license_ledger::Module};

mod builder;
mod entry;
mod lint;
mod methods;
mod pattern;
mod prefix;
mod problem;
mod routes;
mod rule;
mod text_hash;

pub use builder::RouteModulesBuilder;
pub use entry::RouteEntry;
pub use lint::{Lint, LintKind};
pub use problem::{RouteError, RouteFlaw, RouteProblem};
pub use routes::RouteModules;
pub use rule::Rule;

/// What a route asks of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Requirement {
    /// Nothing: the credential, if any, is not read and stays in the request. A path that two
    /// parsers could read in two ways is refused here too.
    Public,
    /// No credential, or a valid one with these scopes. An invalid one is refused.
    Anonymous {
        /// All of these, of who sends a credential.
        scopes: Box<[Scope]>,
        /// How many requests it counts for, against the caller's quotas.
        cost: u32,
    },
    /// A valid credential with these scopes.
    Authenticated {
        /// All of these; none where empty.
        scopes: Box<[Scope]>,
        /// How many requests it counts for, against the caller's quotas.
        cost: u32,
    },
    /// A valid credential with these modules, each with its license, and scopes.
    Modules {
        /// At least one.
        modules: Modules,
        /// All of these; none where empty.
        scopes: Box<[Scope]>,
        /// How many requests it counts for, against the caller's quotas.
        cost: u32,
    },
}

/// The modules a route asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Modules {
    /// This one.
    One(Module),
    /// Each of these, judged in this order.
    All(Box<[Module]>),
    /// Any one of these, the first that is granted.
    Any(Box<[Module]>),
}

impl Modules {
    /// The modules in order.
    pub fn as_slice(&self) -> &[Module] {
        match self {
            Self::One(module) => std::slice::from_ref(module),
            Self::All(modules) | Self::Any(modules) => modules,
        }
    }
}

impl Requirement {
    /// The scopes asked of who sends a credential.
    pub fn scopes(&self) -> &[Scope] {
        match self {
            Self::Public => &[],
            Self::Anonymous { scopes, .. }
            | Self::Authenticated { scopes, .. }
            | Self::Modules { scopes, .. } => scopes,
        }
    }

    /// How many requests one counts for, against the caller's quotas: none on public routes.
    pub fn cost(&self) -> u32 {
        match self {
            Self::Public => 0,
            Self::Anonymous { cost, .. }
            | Self::Authenticated { cost, .. }
            | Self::Modules { cost, .. } => *cost,
        }
    }

    /// The modules asked for.
    pub fn modules(&self) -> &[Module] {
        match self {
            Self::Modules { modules, .. } => modules.as_slice(),
            _ => &[],
        }
    }
}

impl fmt::Display for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, between) = match self {
            Self::One(module) => return write!(f, "module {module}"),
            Self::All(_) => ("modules", " and "),
            Self::Any(_) => ("module", " or "),
        };
        let names: Vec<_> = self.as_slice().iter().map(Module::as_str).collect();
        write!(f, "{before} {}", names.join(between))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public")?,
            Self::Anonymous { .. } => f.write_str("anonymous")?,
            Self::Authenticated { .. } => f.write_str("authenticated")?,
            Self::Modules { modules, .. } => modules.fmt(f)?,
        }
        let scopes: Vec<_> = self.scopes().iter().map(Scope::as_str).collect();
        match scopes.as_slice() {
            [] => {}
            [scope] => write!(f, ", scope {scope}")?,
            scopes => write!(f, ", scopes {}", scopes.join(" "))?,
        }
        match self {
            Self::Public => Ok(()),
            _ if self.cost() == 1 => Ok(()),
            _ => write!(f, ", cost {}", self.cost()),
        }
    }
}

/// Says what a request needs.
///
/// # Contract
///
/// 1. The answer depends on the arguments only, until the map itself is changed.
/// 2. Nothing means that no entry covers the request: it is denied.
/// 3. `path` is the path as the client sent it, byte for byte and without the query; it is free of
///    the forms that two parsers could read in two ways, unless the service admits them.
/// 4. `HEAD` is asked as `GET`.
/// 5. `matched_path` is the pattern of the router that will serve the request, where it is known;
///    where the map knows that pattern, it decides.
/// 6. A call blocks on nothing and allocates nothing.
pub trait ModuleMap: Send + Sync + 'static {
    /// What a request needs, or nothing where no entry covers it.
    fn requirement(
        &self,
        method: &Method,
        path: &str,
        matched_path: Option<&str>,
    ) -> Option<Cow<'_, Requirement>>;
}

/// A shared map is a map, also behind `Arc<dyn ModuleMap>`.
impl<T: ModuleMap + ?Sized> ModuleMap for Arc<T> {
    fn requirement(
        &self,
        method: &Method,
        path: &str,
        matched_path: Option<&str>,
    ) -> Option<Cow<'_, Requirement>> {
        (**self).requirement(method, path, matched_path)
    }
}
