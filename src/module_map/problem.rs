//! What can be wrong with a map, each problem with the entry or the two entries it is about.

use std::fmt;

use thiserror::Error;

use crate::name::InvalidName;

/// All that is wrong with a map of routes: [`build`](crate::RouteModulesBuilder::build) makes none
/// of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteError {
    problems: Box<[RouteProblem]>,
}

/// One thing that is wrong with a map of routes.
///
/// Entries are named as they were declared: ``GET /a/{id}``, ``ANY /b and below``.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RouteProblem {
    /// An entry makes no sense by itself.
    #[error("`{entry}`: {flaw}")]
    Entry {
        /// The entry.
        entry: String,
        /// What is wrong with it.
        #[source]
        flaw: RouteFlaw,
    },
    /// Two entries have the same pattern, or one that differs in the names of parameters only, and
    /// share a method.
    #[error("`{first}` and `{second}` cover the same requests")]
    SameRequests {
        /// The entry that was declared first.
        first: String,
        /// The other one.
        second: String,
    },
    /// Two patterns differ in the names of their parameters only; no router holds both, and a
    /// router's matched path would name one of them.
    #[error("`{first}` and `{second}` differ in the names of parameters only: give them one name")]
    ParameterNames {
        /// The entry that was declared first.
        first: String,
        /// The other one.
        second: String,
    },
    /// Two routes that no router holds both: where one has a parameter the other has a catch-all.
    #[error(
        "`{first}` and `{second}` have a parameter and a catch-all in the same place: \
         a prefix can stand where the catch-all is"
    )]
    Conflict {
        /// The entry that was declared first.
        first: String,
        /// The other one.
        second: String,
    },
}

/// What is wrong with a single entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RouteFlaw {
    /// Its list of methods is empty.
    #[error("the list of methods is empty")]
    NoMethods,
    /// It names HEAD.
    #[error("HEAD counts as GET: map GET instead")]
    Head,
    /// Its pattern is not one, or covers nothing that could arrive.
    #[error("the pattern is invalid: {0}")]
    Pattern(&'static str),
    /// It is for a gRPC service or method whose name is not one.
    #[error(
        "the name of a gRPC service or method has letters, digits and `_`, \
         that of a service dots between them"
    )]
    Grpc,
    /// The name of a module or a scope is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A module or a scope is named twice.
    #[error("{kind} {name:?} is named twice")]
    Repeated {
        /// `"module"` or `"scope"`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Its list of modules is empty.
    #[error("the list of modules is empty")]
    NoModules,
    /// It is public and asks for scopes.
    #[error("a public route asks for no scopes")]
    ScopesOnPublic,
    /// It is public and has a cost.
    #[error("a public route is never counted")]
    CostOnPublic,
    /// `and_module` was called on a rule that asks for no module, or for any of several.
    #[error("module {0:?} is added to a rule that does not ask for all of its modules")]
    MisplacedModule(String),
}

impl RouteError {
    pub(super) fn new(problems: Vec<RouteProblem>) -> Self {
        let problems = problems.into();
        Self { problems }
    }

    /// The problems, at least one: first those of single entries, then those of pairs.
    pub fn problems(&self) -> &[RouteProblem] {
        &self.problems
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = &*self.problems {
            return write!(f, "the module map is invalid: {only}");
        }
        let count = self.problems.len();
        write!(f, "the module map has {count} problems:")?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for RouteError {}
