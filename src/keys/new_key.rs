//! What a new key is to be, and the limits that keys are held to.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{
    clock::Timestamp,
    key_store::{AddressRange, Environment, KeyDigest, KeyId, KeyRecord, Scope, Tier},
    keys::error::ManageError,
    license_ledger::Module,
};

/// What a new key is to be: a name, and whatever else it does not share with most keys.
///
/// Its serde form is the body of `POST /keys`, where `expires_at` may be a bare date too: one object
/// in which only `name` is needed. A field that is not known is an error.
///
/// ```
/// use tower_api_key::{Environment, Module, NewKey, Scope};
/// let new = NewKey::named("stage left")
///     .with_environment(Environment::test())
///     .with_modules([Module::new("launcher")?])
///     .with_scopes([Scope::new("read:realms")?]);
///
/// let body = r#"{"name": "stage left", "environment": "test",
///                "modules": ["launcher"], "scopes": ["read:realms"]}"#;
/// assert_eq!(serde_json::from_str::<NewKey>(body)?, new);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewKey {
    /// Its public id; nothing: a new one, which sorts by the time of creation.
    #[serde(skip)]
    pub id: Option<KeyId>,
    /// A name for people: 1 to 200 characters, none of them a control character.
    pub name: String,
    /// The environment.
    #[serde(default = "Environment::live")]
    pub environment: Environment,
    /// The modules it is assigned, in this order; at most 1,000.
    #[serde(default)]
    pub modules: Vec<Module>,
    /// Its scopes, at most 200.
    #[serde(default)]
    pub scopes: BTreeSet<Scope>,
    /// Its rate tier; nothing: the default tier.
    #[serde(default)]
    pub tier: Option<Tier>,
    /// Whose it is, in the host's own terms: 1 to 200 characters, none of them a control character.
    #[serde(default)]
    pub owner: Option<String>,
    /// The first instant at which it no longer works, in the future; nothing: it never expires.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Where it may be used from, at most 100 ranges; empty: from anywhere.
    #[serde(default)]
    pub allowed_addresses: Vec<AddressRange>,
    /// Whether it is an administrator's.
    #[serde(default)]
    pub administrator: bool,
}

impl NewKey {
    /// A live key without rights that never expires.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            id: None,
            name: name.into(),
            environment: Environment::live(),
            modules: Vec::new(),
            scopes: BTreeSet::new(),
            tier: None,
            owner: None,
            expires_at: None,
            allowed_addresses: Vec::new(),
            administrator: false,
        }
    }

    /// The public id. By default a new one is made up.
    ///
    /// ```
    /// # use tower_api_key::{KeyId, NewKey};
    /// NewKey::named("stage left").with_id(KeyId::new("stage-left")?);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_id(mut self, id: KeyId) -> Self {
        self.id = Some(id);
        self
    }

    /// The environment. By default `live`.
    ///
    /// ```
    /// # use tower_api_key::{Environment, NewKey};
    /// NewKey::named("stage left").with_environment(Environment::test());
    /// ```
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// The modules it is assigned, in this order. By default none.
    ///
    /// ```
    /// # use tower_api_key::{Module, NewKey};
    /// NewKey::named("stage left").with_modules([Module::new("launcher")?]);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_modules(mut self, modules: impl IntoIterator<Item = Module>) -> Self {
        self.modules = modules.into_iter().collect();
        self
    }

    /// Its scopes. By default none.
    ///
    /// ```
    /// # use tower_api_key::{NewKey, Scope};
    /// NewKey::named("stage left").with_scopes([Scope::new("read:realms")?]);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.scopes = scopes.into_iter().collect();
        self
    }

    /// Its rate tier. By default the service's default tier.
    ///
    /// ```
    /// # use tower_api_key::{NewKey, Tier};
    /// NewKey::named("stage left").with_tier(Tier::new("premium")?);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_tier(mut self, tier: Tier) -> Self {
        self.tier = Some(tier);
        self
    }

    /// Whose it is. By default nobody's.
    ///
    /// ```
    /// # use tower_api_key::NewKey;
    /// NewKey::named("stage left").with_owner("studio");
    /// ```
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The first instant at which it no longer works. By default it never expires.
    ///
    /// ```
    /// # use tower_api_key::NewKey;
    /// NewKey::named("stage left").with_expires_at("2027-01-01T00:00:00Z".parse()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_expires_at(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = Some(expires_at);
        self
    }

    /// Where it may be used from. By default from anywhere.
    ///
    /// ```
    /// # use tower_api_key::NewKey;
    /// NewKey::named("stage left").with_allowed_addresses(["10.0.0.0/8".parse()?]);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_allowed_addresses(
        mut self,
        ranges: impl IntoIterator<Item = AddressRange>,
    ) -> Self {
        self.allowed_addresses = ranges.into_iter().collect();
        self
    }

    /// Whether it is an administrator's. By default it is not.
    ///
    /// ```
    /// # use tower_api_key::NewKey;
    /// NewKey::named("stage left").with_administrator(true);
    /// ```
    #[must_use]
    pub fn with_administrator(mut self, administrator: bool) -> Self {
        self.administrator = administrator;
        self
    }

    pub(super) fn check(&self, now: Timestamp) -> Result<(), ManageError> {
        check_text("name", &self.name)?;
        if let Some(owner) = &self.owner {
            check_text("owner", owner)?;
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(ManageError::invalid("expires_at", "is in the past"));
        }
        check_count("modules", self.modules.len(), MOST_MODULES)?;
        check_count("scopes", self.scopes.len(), MOST_SCOPES)?;
        check_count(
            "allowed_addresses",
            self.allowed_addresses.len(),
            MOST_ADDRESSES,
        )
    }

    /// The record to store; the modules are the ledger's.
    pub(super) fn into_record(
        self,
        id: KeyId,
        digest: KeyDigest,
        hint: String,
        now: Timestamp,
    ) -> KeyRecord {
        KeyRecord {
            hint,
            environment: self.environment,
            scopes: self.scopes,
            tier: self.tier,
            owner: self.owner,
            expires_at: self.expires_at,
            allowed_addresses: self.allowed_addresses,
            administrator: self.administrator,
            ..KeyRecord::new(id, digest, self.name, now)
        }
    }
}

/// A text for people: 1 to 200 characters, none of them a control character, not all of them space.
pub(crate) fn check_text(field: &'static str, text: &str) -> Result<(), ManageError> {
    if text.trim().is_empty() {
        Err(ManageError::invalid(field, "is empty"))
    } else if text.chars().nth(MOST_CHARACTERS).is_some() {
        let problem = format!("has more than {MOST_CHARACTERS} characters");
        Err(ManageError::invalid(field, problem))
    } else if text.chars().any(char::is_control) {
        Err(ManageError::invalid(field, "has a control character"))
    } else {
        Ok(())
    }
}

/// What people see of a text: at most 64 characters, none of them a control character.
pub(crate) fn check_hint(hint: &str) -> Result<(), ManageError> {
    if hint.chars().nth(64).is_some() || hint.chars().any(char::is_control) {
        let problem = "has more than 64 characters or a control character";
        return Err(ManageError::invalid("hint", problem));
    }
    Ok(())
}

pub(super) fn check_count(
    field: &'static str,
    count: usize,
    most: usize,
) -> Result<(), ManageError> {
    if count > most {
        let problem = format!("has {count} entries, and {most} are the most");
        return Err(ManageError::invalid(field, problem));
    }
    Ok(())
}

const MOST_CHARACTERS: usize = 200;
pub(super) const MOST_MODULES: usize = 1_000;
pub(super) const MOST_SCOPES: usize = 200;
pub(super) const MOST_ADDRESSES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<NewKey, String> {
        serde_json::from_str(body).map_err(|error| error.to_string())
    }

    #[test]
    fn body_with_a_name_alone_is_a_live_key_without_rights() {
        assert_eq!(parse(r#"{"name": "a"}"#), Ok(NewKey::named("a")));
    }

    #[test]
    fn every_field_of_the_body_is_read() {
        let body = r#"{"name": "a", "environment": "test", "modules": ["m"], "scopes": ["s"],
            "tier": "premium", "owner": "o", "expires_at": "2027-01-01T00:00:00Z",
            "allowed_addresses": ["10.0.0.0/8"], "administrator": true}"#;
        let new = NewKey::named("a")
            .with_environment(Environment::test())
            .with_modules([Module::new("m").unwrap()])
            .with_scopes([Scope::new("s").unwrap()])
            .with_tier(Tier::new("premium").unwrap())
            .with_owner("o")
            .with_expires_at("2027-01-01T00:00:00Z".parse().unwrap())
            .with_allowed_addresses(["10.0.0.0/8".parse().unwrap()])
            .with_administrator(true);
        assert_eq!(parse(body), Ok(new));
    }

    #[test]
    fn nulls_stand_for_nothing_where_nothing_is_possible() {
        let body = r#"{"name": "a", "tier": null, "owner": null, "expires_at": null}"#;
        assert_eq!(parse(body), Ok(NewKey::named("a")));
        assert!(parse(r#"{"name": null}"#).is_err());
    }

    #[test]
    fn unknown_field_is_named() {
        for field in ["id", "enabled", "key"] {
            let error = parse(&format!(r#"{{"name": "a", "{field}": 1}}"#)).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
        assert!(parse("{}").unwrap_err().contains("name"));
    }

    fn problem(new: NewKey) -> String {
        new.check(Timestamp::from_unix_seconds(100))
            .expect_err("it is not acceptable")
            .to_string()
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_the_name_of_their_field() {
        let end = Timestamp::from_unix_seconds;
        assert_eq!(problem(NewKey::named("")), "name is empty");
        assert_eq!(problem(NewKey::named(" \u{a0}")), "name is empty");
        assert_eq!(
            problem(NewKey::named("é".repeat(201))),
            "name has more than 200 characters"
        );
        assert_eq!(
            problem(NewKey::named("a\u{7}")),
            "name has a control character"
        );
        assert_eq!(problem(NewKey::named("a").with_owner("")), "owner is empty");
        assert_eq!(
            problem(NewKey::named("a").with_expires_at(end(100))),
            "expires_at is in the past"
        );
        let module = |n| Module::new(format!("m{n}")).unwrap();
        assert_eq!(
            problem(NewKey::named("a").with_modules((0..=1_000).map(module))),
            "modules has 1001 entries, and 1000 are the most"
        );
        let scope = |n| Scope::new(format!("s{n}")).unwrap();
        assert!(
            problem(NewKey::named("a").with_scopes((0..=200).map(scope))).starts_with("scopes")
        );
        let range = |n| format!("10.0.0.{n}").parse().unwrap();
        assert!(
            problem(NewKey::named("a").with_allowed_addresses((0..=100).map(range)))
                .starts_with("allowed_addresses")
        );
    }

    #[test]
    fn values_at_their_bounds_are_taken() {
        let new = NewKey::named("é".repeat(200))
            .with_owner("o".repeat(200))
            .with_expires_at(Timestamp::from_unix_seconds(101))
            .with_modules((0..1_000).map(|n| Module::new(format!("m{n}")).unwrap()))
            .with_scopes((0..200).map(|n| Scope::new(format!("s{n}")).unwrap()))
            .with_allowed_addresses((0..100).map(|n| format!("10.0.0.{n}").parse().unwrap()));
        assert!(new.check(Timestamp::from_unix_seconds(100)).is_ok());
    }
}
