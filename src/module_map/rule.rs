//! What a route asks for, as it is written down: text that is checked when the map is built.

use std::str::FromStr;

use crate::{
    key_store::Scope,
    license_ledger::Module,
    module_map::{Modules, Requirement, problem::RouteFlaw},
    name::InvalidName,
};

/// What an entry of a [`RouteModules`](crate::RouteModules) asks of its callers, as unchecked text.
///
/// Where a rule is expected, a `&str` is the module of that name.
/// [`build`](crate::RouteModulesBuilder::build) checks the names.
///
/// ```
/// use tower_api_key::{RouteModules, Rule};
/// let map = RouteModules::builder()
///     .get("/engines", "launcher")
///     .any("/shows", Rule::module("playout").and_module("lino").with_scope("read:shows"))
///     .get("/previews", Rule::any_module(["playout", "lino"]))
///     .post("/realms", Rule::authenticated().with_scope("write:realms"))
///     .get("/realms", Rule::anonymous().with_scope("read:realms"))
///     .get("/health", Rule::public())
///     .build()?;
/// # Ok::<(), tower_api_key::RouteError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Rule {
    caller: Caller,
    scopes: Vec<String>,
    /// Nothing: 1.
    cost: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Caller {
    Public,
    Anonymous,
    Authenticated,
    All(Vec<String>),
    Any(Vec<String>),
    /// A module was added to a rule that asks for none, or for any of several.
    MisplacedModule(String),
}

impl Rule {
    /// A valid credential with this module.
    pub fn module(module: impl Into<String>) -> Self {
        Self::new(Caller::All(vec![module.into()]))
    }

    /// A valid credential with each of these modules, judged in this order.
    pub fn all_modules(modules: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(Caller::All(texts(modules)))
    }

    /// A valid credential with any one of these modules; the first that is granted counts.
    pub fn any_module(modules: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(Caller::Any(texts(modules)))
    }

    /// A valid credential, whatever its modules.
    pub fn authenticated() -> Self {
        Self::new(Caller::Authenticated)
    }

    /// No credential, or a valid one: an invalid one is refused. Scopes are asked only of who sends
    /// one.
    pub fn anonymous() -> Self {
        Self::new(Caller::Anonymous)
    }

    /// Nothing: no credential is read. A path that two parsers could read in two ways is refused
    /// here too. Takes no scopes.
    pub fn public() -> Self {
        Self::new(Caller::Public)
    }

    /// This module too. Only after [`module`](Self::module) and [`all_modules`](Self::all_modules);
    /// anywhere else `build` refuses the entry.
    pub fn and_module(mut self, module: impl Into<String>) -> Self {
        match &mut self.caller {
            Caller::All(modules) => modules.push(module.into()),
            Caller::MisplacedModule(_) => {}
            other => *other = Caller::MisplacedModule(module.into()),
        }
        self
    }

    /// This scope too.
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// These scopes too: all of them are asked for.
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.scopes.extend(texts(scopes));
        self
    }

    /// How many requests one of these counts for, against the caller's quotas. By default 1; 0 is
    /// admitted uncounted. What costs more than a whole quota takes the whole of it. Not on public
    /// routes, which are never counted.
    ///
    /// ```
    /// # use tower_api_key::Rule;
    /// Rule::module("playout").with_cost(10);
    /// ```
    pub fn with_cost(mut self, cost: u32) -> Self {
        self.cost = Some(cost);
        self
    }

    fn new(caller: Caller) -> Self {
        Self {
            caller,
            scopes: Vec::new(),
            cost: None,
        }
    }

    /// Checks the text and makes it a requirement, or says all that is wrong with it.
    pub(super) fn check(self) -> Result<Requirement, Vec<RouteFlaw>> {
        let mut flaws = Vec::new();
        let cost = self.cost.unwrap_or(1);
        let scopes: Box<[Scope]> = checked("scope", &self.scopes, &mut flaws);
        let mut modules = |texts: &[String]| {
            if texts.is_empty() {
                flaws.push(RouteFlaw::NoModules);
            }
            checked("module", texts, &mut flaws)
        };
        let requirement = match &self.caller {
            Caller::Public => {
                if !self.scopes.is_empty() {
                    flaws.push(RouteFlaw::ScopesOnPublic);
                }
                if self.cost.is_some() {
                    flaws.push(RouteFlaw::CostOnPublic);
                }
                Requirement::Public
            }
            Caller::Anonymous => Requirement::Anonymous { scopes, cost },
            Caller::Authenticated => Requirement::Authenticated { scopes, cost },
            Caller::All(texts) => Requirement::Modules {
                modules: one_or(modules(texts), Modules::All),
                scopes,
                cost,
            },
            Caller::Any(texts) => Requirement::Modules {
                modules: one_or(modules(texts), Modules::Any),
                scopes,
                cost,
            },
            Caller::MisplacedModule(module) => {
                flaws.push(RouteFlaw::MisplacedModule(module.clone()));
                Requirement::Authenticated { scopes, cost }
            }
        };
        if flaws.is_empty() {
            Ok(requirement)
        } else {
            Err(flaws)
        }
    }
}

impl From<&str> for Rule {
    fn from(module: &str) -> Self {
        Self::module(module)
    }
}

impl From<String> for Rule {
    fn from(module: String) -> Self {
        Self::module(module)
    }
}

impl From<&Module> for Rule {
    fn from(module: &Module) -> Self {
        Self::module(module.as_str())
    }
}

fn texts(items: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    items.into_iter().map(Into::into).collect()
}

fn one_or(modules: Box<[Module]>, several: fn(Box<[Module]>) -> Modules) -> Modules {
    match &*modules {
        [only] => Modules::One(only.clone()),
        _ => several(modules),
    }
}

fn checked<T: FromStr<Err = InvalidName> + PartialEq>(
    kind: &'static str,
    texts: &[String],
    flaws: &mut Vec<RouteFlaw>,
) -> Box<[T]> {
    let mut names = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse() {
            Ok(name) if names.contains(&name) => flaws.push(RouteFlaw::Repeated {
                kind,
                name: text.clone(),
            }),
            Ok(name) => names.push(name),
            Err(invalid) => flaws.push(RouteFlaw::Name(invalid)),
        }
    }
    names.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaws(rule: Rule) -> Vec<String> {
        let flaws = rule.check().expect_err("the rule has flaws");
        flaws.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_text_is_the_module_of_that_name() {
        let module = Module::new("lino").unwrap();
        let requirement = Requirement::Modules {
            modules: Modules::One(module.clone()),
            scopes: [].into(),
            cost: 1,
        };
        assert_eq!(Rule::from("lino").check(), Ok(requirement.clone()));
        assert_eq!(
            Rule::from("lino".to_owned()).check(),
            Ok(requirement.clone())
        );
        assert_eq!(Rule::from(&module).check(), Ok(requirement));
    }

    #[test]
    fn several_modules_keep_their_order() {
        let [a, b] = ["a", "b"].map(|name| Module::new(name).unwrap());
        let all = Rule::module("b").and_module("a").check().unwrap();
        assert_eq!(all.modules(), [b.clone(), a.clone()]);
        assert!(matches!(
            all,
            Requirement::Modules {
                modules: Modules::All(_),
                ..
            }
        ));
        assert_eq!(all, Rule::all_modules(["b", "a"]).check().unwrap());
        let any = Rule::any_module(["a", "b"]).check().unwrap();
        assert_eq!(any.modules(), [a, b]);
        assert!(matches!(
            any,
            Requirement::Modules {
                modules: Modules::Any(_),
                ..
            }
        ));
    }

    #[test]
    fn any_of_one_module_is_that_module() {
        assert_eq!(
            Rule::any_module(["a"]).check(),
            Rule::module("a").check(),
            "one module is one module, however it was written"
        );
    }

    #[test]
    fn scopes_go_with_every_rule_but_public() {
        let scopes = ["read:x", "write:x"].map(|scope| Scope::new(scope).unwrap());
        for rule in [Rule::anonymous(), Rule::authenticated(), Rule::module("a")] {
            let rule = rule.with_scope("read:x").with_scopes(["write:x"]);
            assert_eq!(rule.check().unwrap().scopes(), scopes);
        }
        assert_eq!(
            flaws(Rule::public().with_scope("read:x")),
            ["a public route asks for no scopes"]
        );
        assert_eq!(Rule::public().check(), Ok(Requirement::Public));
    }

    #[test]
    fn a_cost_goes_with_every_rule_but_public() {
        for rule in [
            Rule::anonymous(),
            Rule::authenticated(),
            Rule::any_module(["a", "b"]),
        ] {
            assert_eq!(rule.clone().check().unwrap().cost(), 1);
            let requirement = rule.with_cost(7).check().unwrap();
            assert_eq!(requirement.cost(), 7);
            assert!(requirement.to_string().ends_with(", cost 7"));
        }
        assert_eq!(
            flaws(Rule::public().with_cost(1)),
            ["a public route is never counted"]
        );
    }

    #[test]
    fn an_empty_list_of_modules_is_refused() {
        let none: [&str; 0] = [];
        assert_eq!(
            flaws(Rule::all_modules(none)),
            ["the list of modules is empty"]
        );
        assert_eq!(
            flaws(Rule::any_module(none)),
            ["the list of modules is empty"]
        );
    }

    #[test]
    fn a_repeated_name_is_refused() {
        assert_eq!(
            flaws(Rule::module("a").and_module("b").and_module("a")),
            ["module \"a\" is named twice"]
        );
        assert_eq!(
            flaws(Rule::module("a").with_scopes(["r", "r"])),
            ["scope \"r\" is named twice"]
        );
    }

    #[test]
    fn all_invalid_names_are_told_at_once() {
        let flaws = flaws(Rule::all_modules(["", "ok", "two words"]).with_scope("a\"b"));
        assert_eq!(flaws.len(), 3, "{flaws:?}");
        assert!(
            flaws[0].starts_with("scope \"a\\\"b\" is invalid"),
            "{flaws:?}"
        );
        assert!(flaws[1].starts_with("module \"\" is invalid"), "{flaws:?}");
        assert!(
            flaws[2].starts_with("module \"two words\" is invalid"),
            "{flaws:?}"
        );
    }

    #[test]
    fn a_module_is_added_only_to_a_rule_that_asks_for_all_of_its_modules() {
        for rule in [
            Rule::public(),
            Rule::anonymous(),
            Rule::authenticated(),
            Rule::any_module(["a", "b"]),
        ] {
            assert_eq!(
                flaws(rule.and_module("c").and_module("d")),
                ["module \"c\" is added to a rule that does not ask for all of its modules"]
            );
        }
    }
}
