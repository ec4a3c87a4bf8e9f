//! What is to change about a key.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};

use crate::{
    clock::Timestamp,
    key_store::{AddressRange, KeyRecord, Scope, Tier},
    keys::{
        error::ManageError,
        new_key::{MOST_ADDRESSES, MOST_SCOPES, check_count, check_text},
    },
};

/// What is to change about a key; what is not mentioned stays.
///
/// Its serde form is the body of `PATCH /keys/{id}`, where `expires_at` may be a bare date too: an
/// absent field stays, and `null` takes a tier, an owner or an expiry away. A field that is not known
/// is an error, and so is `null` elsewhere.
///
/// ```
/// use tower_api_key::KeyPatch;
/// let patch = KeyPatch::new().with_name("stage right").with_owner(None);
/// let body = r#"{"name": "stage right", "owner": null}"#;
/// assert_eq!(serde_json::from_str::<KeyPatch>(body)?, patch);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyPatch {
    /// Only if the key's [`revision`](KeyRecord::revision) is still this one.
    #[serde(skip)]
    pub revision: Option<u64>,
    /// A name for people: 1 to 200 characters, none of them a control character.
    #[serde(deserialize_with = "given")]
    pub name: Option<String>,
    /// Whether it is enabled.
    #[serde(deserialize_with = "given")]
    pub enabled: Option<bool>,
    /// Its scopes, at most 200.
    #[serde(deserialize_with = "given")]
    pub scopes: Option<BTreeSet<Scope>>,
    /// Its rate tier, or none of its own.
    #[serde(deserialize_with = "given")]
    pub tier: Option<Option<Tier>>,
    /// Whose it is, or nobody's: 1 to 200 characters, none of them a control character.
    #[serde(deserialize_with = "given")]
    pub owner: Option<Option<String>>,
    /// The first instant at which it no longer works, or never. A past one ends the key at once.
    #[serde(deserialize_with = "given")]
    pub expires_at: Option<Option<Timestamp>>,
    /// Where it may be used from, at most 100 ranges; empty: from anywhere.
    #[serde(deserialize_with = "given")]
    pub allowed_addresses: Option<Vec<AddressRange>>,
    /// Whether it is an administrator's.
    #[serde(deserialize_with = "given")]
    pub administrator: Option<bool>,
}

/// A field that is there, `null` included: serde asks only for those that are.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl KeyPatch {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if the key's [`revision`](KeyRecord::revision) is still this one. By default the patch
    /// applies to whatever the key has become.
    ///
    /// ```
    /// # use tower_api_key::KeyPatch;
    /// KeyPatch::new().with_revision(7);
    /// ```
    #[must_use]
    pub fn with_revision(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Its name. By default it stays.
    ///
    /// ```
    /// # use tower_api_key::KeyPatch;
    /// KeyPatch::new().with_name("stage right");
    /// ```
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it is enabled. By default that stays.
    ///
    /// ```
    /// # use tower_api_key::KeyPatch;
    /// KeyPatch::new().with_enabled(false);
    /// ```
    #[must_use]
    pub fn with_enabled(mut self, enabled: bool) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// Its scopes. By default they stay.
    ///
    /// ```
    /// # use tower_api_key::{KeyPatch, Scope};
    /// KeyPatch::new().with_scopes([Scope::new("read:realms")?]);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.scopes = Some(scopes.into_iter().collect());
        self
    }

    /// Its rate tier, or none of its own. By default it stays.
    ///
    /// ```
    /// # use tower_api_key::{KeyPatch, Tier};
    /// KeyPatch::new().with_tier(Some(Tier::new("premium")?));
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_tier(mut self, tier: Option<Tier>) -> Self {
        self.tier = Some(tier);
        self
    }

    /// Whose it is, or nobody's. By default that stays.
    ///
    /// ```
    /// # use tower_api_key::KeyPatch;
    /// KeyPatch::new().with_owner(None);
    /// ```
    #[must_use]
    pub fn with_owner(mut self, owner: Option<String>) -> Self {
        self.owner = Some(owner);
        self
    }

    /// The first instant at which it no longer works, or never. By default that stays.
    ///
    /// ```
    /// # use tower_api_key::KeyPatch;
    /// KeyPatch::new().with_expires_at(Some("2027-01-01T00:00:00Z".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_expires_at(mut self, expires_at: Option<Timestamp>) -> Self {
        self.expires_at = Some(expires_at);
        self
    }

    /// Where it may be used from. By default that stays.
    ///
    /// ```
    /// # use tower_api_key::KeyPatch;
    /// KeyPatch::new().with_allowed_addresses(["10.0.0.0/8".parse()?]);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_allowed_addresses(
        mut self,
        ranges: impl IntoIterator<Item = AddressRange>,
    ) -> Self {
        self.allowed_addresses = Some(ranges.into_iter().collect());
        self
    }

    /// Whether it is an administrator's. By default that stays.
    ///
    /// ```
    /// # use tower_api_key::KeyPatch;
    /// KeyPatch::new().with_administrator(false);
    /// ```
    #[must_use]
    pub fn with_administrator(mut self, administrator: bool) -> Self {
        self.administrator = Some(administrator);
        self
    }

    pub(super) fn check(&self) -> Result<(), ManageError> {
        if let Some(name) = &self.name {
            check_text("name", name)?;
        }
        if let Some(Some(owner)) = &self.owner {
            check_text("owner", owner)?;
        }
        if let Some(scopes) = &self.scopes {
            check_count("scopes", scopes.len(), MOST_SCOPES)?;
        }
        if let Some(ranges) = &self.allowed_addresses {
            check_count("allowed_addresses", ranges.len(), MOST_ADDRESSES)?;
        }
        Ok(())
    }

    /// Changes a record, and answers which of the fields that the ledger does not know became
    /// other than they were.
    pub(super) fn apply(&self, record: &mut KeyRecord) -> Vec<String> {
        fn set<T: Clone + PartialEq>(field: &mut T, to: Option<&T>) -> bool {
            let changed = to.is_some_and(|to| to != field);
            if let Some(to) = to {
                field.clone_from(to);
            }
            changed
        }
        set(&mut record.enabled, self.enabled.as_ref());
        set(&mut record.expires_at, self.expires_at.as_ref());
        let changed = [
            ("name", set(&mut record.name, self.name.as_ref())),
            ("scopes", set(&mut record.scopes, self.scopes.as_ref())),
            ("tier", set(&mut record.tier, self.tier.as_ref())),
            ("owner", set(&mut record.owner, self.owner.as_ref())),
            (
                "allowed_addresses",
                set(
                    &mut record.allowed_addresses,
                    self.allowed_addresses.as_ref(),
                ),
            ),
            (
                "administrator",
                set(&mut record.administrator, self.administrator.as_ref()),
            ),
        ];
        let names = changed.into_iter().filter(|(_, changed)| *changed);
        names.map(|(name, _)| name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_store::{KeyDigest, KeyId};

    fn parse(body: &str) -> Result<KeyPatch, String> {
        serde_json::from_str(body).map_err(|error| error.to_string())
    }

    fn record() -> KeyRecord {
        let id = KeyId::new("k").unwrap();
        let digest = KeyDigest::from_bytes([0; 32]);
        KeyRecord::new(id, digest, "a", Timestamp::from_unix_seconds(0))
    }

    #[test]
    fn absent_field_stays_and_null_takes_away() {
        let mut record = record();
        record.tier = Some(Tier::new("premium").unwrap());
        record.owner = Some("o".into());
        record.expires_at = Some(Timestamp::from_unix_seconds(9));
        let before = record.clone();
        assert_eq!(parse("{}"), Ok(KeyPatch::new()));
        assert!(parse("{}").unwrap().apply(&mut record).is_empty());
        assert_eq!(record, before);
        let nulls = parse(r#"{"tier": null, "owner": null, "expires_at": null}"#).unwrap();
        assert_eq!(nulls.apply(&mut record), ["tier", "owner"]);
        assert_eq!(
            (record.tier, record.owner, record.expires_at),
            (None, None, None)
        );
    }

    #[test]
    fn null_elsewhere_and_unknown_fields_are_refused() {
        for field in [
            "name",
            "enabled",
            "scopes",
            "allowed_addresses",
            "administrator",
        ] {
            assert!(
                parse(&format!(r#"{{"{field}": null}}"#)).is_err(),
                "{field}"
            );
        }
        for field in ["id", "modules", "revision", "environment", "digest"] {
            let error = parse(&format!(r#"{{"{field}": 1}}"#)).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn every_field_of_the_body_is_applied_and_named() {
        let body = r#"{"name": "b", "enabled": false, "scopes": ["s"], "tier": "premium",
            "owner": "o", "expires_at": "2027-01-01T00:00:00Z",
            "allowed_addresses": ["10.0.0.0/8"], "administrator": true}"#;
        let patch = KeyPatch::new()
            .with_name("b")
            .with_enabled(false)
            .with_scopes([Scope::new("s").unwrap()])
            .with_tier(Some(Tier::new("premium").unwrap()))
            .with_owner(Some("o".into()))
            .with_expires_at(Some("2027-01-01T00:00:00Z".parse().unwrap()))
            .with_allowed_addresses(["10.0.0.0/8".parse().unwrap()])
            .with_administrator(true);
        assert_eq!(parse(body), Ok(patch.clone()));
        let (mut changed, untouched) = (record(), record());
        let named = patch.apply(&mut changed);
        let ledger_has_no_word_of = [
            "name",
            "scopes",
            "tier",
            "owner",
            "allowed_addresses",
            "administrator",
        ];
        assert_eq!(named, ledger_has_no_word_of);
        assert!(!changed.enabled && changed.expires_at.is_some() && changed.administrator);
        assert_eq!((changed.name.as_str(), changed.scopes.len()), ("b", 1));
        assert_eq!(changed.digest, untouched.digest);
        assert!(
            patch.apply(&mut changed).is_empty(),
            "again changes nothing"
        );
    }
}
