//! What clients send about keys.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, Type},
    },
};

use crate::{
    key_store::{AddressRange, Environment, KeyId, KeyQuery, Scope, Tier},
    keys::{KeyPatch, NewKey},
    license_ledger::Module,
    manage::{
        input::{Limit, check_bounds, if_given},
        problem::Problem,
        whole::Whole,
    },
};

/// A key to be made.
// Written again, it tells whether two requests ask for the same.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub(in crate::manage) struct NewKeyBody {
    /// A name for people.
    name: Text,
    /// By default `live`.
    #[serde(default = "Environment::live")]
    environment: Environment,
    /// The modules it is assigned, in this order.
    #[serde(default)]
    #[schema(max_items = 1000)]
    modules: Vec<Module>,
    #[serde(default)]
    #[schema(max_items = 200)]
    scopes: Vec<Scope>,
    /// Its rate tier; null: the default one.
    #[serde(default)]
    tier: Option<Tier>,
    /// Whose it is, in the host's own terms.
    #[serde(default)]
    owner: Option<Text>,
    /// The first instant at which it no longer works, in the future (422); null: it never expires.
    #[serde(default)]
    expires_at: Option<Limit>,
    /// Where it may be used from; empty: from anywhere.
    #[serde(default)]
    #[schema(max_items = 100)]
    allowed_addresses: Vec<AddressRange>,
    /// Whether it is an administrator's, as administrators only may say.
    #[serde(default)]
    administrator: bool,
}

impl NewKeyBody {
    pub(super) fn into_new_key(self) -> Result<NewKey, Problem> {
        check_scopes(&self.scopes)?;
        let mut new = NewKey::named(self.name.0)
            .with_environment(self.environment)
            .with_modules(self.modules)
            .with_scopes(self.scopes)
            .with_allowed_addresses(self.allowed_addresses)
            .with_administrator(self.administrator);
        new.tier = self.tier;
        new.owner = self.owner.map(|Text(owner)| owner);
        new.expires_at = self.expires_at.map(|Limit(instant)| instant);
        Ok(new)
    }
}

/// What is to change about a key; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyPatch)]
pub(in crate::manage) struct KeyPatchBody {
    /// A name for people.
    #[serde(default, deserialize_with = "if_given")]
    #[schema(value_type = Text)]
    name: Option<Text>,
    #[serde(default, deserialize_with = "if_given")]
    #[schema(value_type = bool)]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "if_given")]
    #[schema(value_type = Vec<Scope>, max_items = 200)]
    scopes: Option<Vec<Scope>>,
    /// Its rate tier; null: the default one.
    #[serde(default, deserialize_with = "if_given")]
    #[schema(value_type = Option<Tier>)]
    tier: Option<Option<Tier>>,
    /// Whose it is, in the host's own terms; null: nobody's.
    #[serde(default, deserialize_with = "if_given")]
    #[schema(value_type = Option<Text>)]
    owner: Option<Option<Text>>,
    /// The first instant at which it no longer works; null: it never expires. A past one ends the
    /// key at once.
    #[serde(default, deserialize_with = "if_given")]
    #[schema(value_type = Option<Limit>)]
    expires_at: Option<Option<Limit>>,
    /// Where it may be used from; empty: from anywhere.
    #[serde(default, deserialize_with = "if_given")]
    #[schema(value_type = Vec<AddressRange>, max_items = 100)]
    allowed_addresses: Option<Vec<AddressRange>>,
    /// Whether it is an administrator's, as administrators only may say.
    #[serde(default, deserialize_with = "if_given")]
    #[schema(value_type = bool)]
    administrator: Option<bool>,
}

impl KeyPatchBody {
    pub(super) fn into_patch(self) -> Result<KeyPatch, Problem> {
        check_scopes(self.scopes.as_deref().unwrap_or_default())?;
        let mut patch = KeyPatch::new();
        patch.name = self.name.map(|Text(name)| name);
        patch.enabled = self.enabled;
        patch.scopes = self.scopes.map(|scopes| scopes.into_iter().collect());
        patch.tier = self.tier;
        patch.owner = self.owner.map(|owner| owner.map(|Text(owner)| owner));
        let instant = |limit: Option<Limit>| limit.map(|Limit(instant)| instant);
        patch.expires_at = self.expires_at.map(instant);
        patch.allowed_addresses = self.allowed_addresses;
        patch.administrator = self.administrator;
        Ok(patch)
    }
}

/// A text for people; what breaks its rules is refused as a value (422).
#[derive(Deserialize, Serialize)]
struct Text(String);

impl PartialSchema for Text {
    fn schema() -> RefOr<Schema> {
        let control = r"\u0000-\u001f\u007f-\u009f";
        let space = r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(200))
            .pattern(Some(format!(
                "^[^{control}]*[^{control}{space}][^{control}]*$"
            )))
            .description(Some(
                "A text for people: no control characters, and not all of it white space.",
            ))
            .into()
    }
}

impl ToSchema for Text {}

/// How a key gets its new text.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Regeneration)]
pub(in crate::manage) struct RegenerationBody {
    /// How long the old text works beside the new one, at most 30 days and never past the key's
    /// expiry; by default not at all.
    #[serde(default)]
    #[schema(value_type = Option<u64>, maximum = 2_592_000)]
    grace_seconds: Option<Whole>,
}

impl RegenerationBody {
    pub(super) fn grace(&self) -> Result<Duration, Problem> {
        let seconds = self.grace_seconds.map_or(0, |Whole(seconds)| seconds);
        check_bounds("grace_seconds", seconds, 0..=LONGEST_GRACE)?;
        Ok(Duration::from_secs(seconds))
    }
}

/// Which keys to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::manage) struct Listing {
    /// At most this many.
    #[serde(default = "page")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: usize,
    /// The `next_cursor` of the page before.
    cursor: Option<KeyId>,
    /// Only those whose name or hint contains this text, ASCII letters in either case.
    #[param(max_length = 200)]
    q: Option<String>,
}

impl Listing {
    /// At most how many are to be answered, and what to ask for: one more, which tells whether there
    /// is another page.
    pub(super) fn into_query(self) -> Result<(usize, KeyQuery), Problem> {
        check_bounds("limit", self.limit as u64, 1..=500)?;
        if self
            .q
            .as_ref()
            .is_some_and(|text| text.chars().nth(200).is_some())
        {
            return Err(Problem::unprocessable("q", "has more than 200 characters"));
        }
        let query = KeyQuery::first(self.limit + 1)
            .with_descending(true)
            .with_after(self.cursor)
            .with_contains(self.q);
        Ok((self.limit, query))
    }
}

fn page() -> usize {
    100
}

/// As they were sent: one that is there twice counts twice.
fn check_scopes(scopes: &[Scope]) -> Result<(), Problem> {
    match scopes.len() > 200 {
        true => Err(Problem::unprocessable(
            "scopes",
            "has more than 200 entries",
        )),
        false => Ok(()),
    }
}

/// Seconds.
const LONGEST_GRACE: u64 = 30 * 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    fn complaint<T: DeserializeOwned>() -> String {
        let error = serde_json::from_str::<T>(r#"{"?": 1}"#).err();
        error.expect("nothing is called ?").to_string()
    }

    #[test]
    fn new_key_is_read_as_the_library_reads_it() {
        // It names all fields.
        assert_eq!(complaint::<NewKeyBody>(), complaint::<NewKey>());
        let every_field = r#"{"name": "a", "environment": "test", "modules": ["m", "l"],
            "scopes": ["s", "r"], "tier": "premium", "owner": "o", "expires_at": "2027-01-01T00:00:00Z",
            "allowed_addresses": ["10.0.0.0/8"], "administrator": true}"#;
        for text in [every_field, r#"{"name": "a"}"#] {
            let body: NewKeyBody = serde_json::from_str(text).unwrap();
            let new: NewKey = serde_json::from_str(text).unwrap();
            assert_eq!(body.into_new_key().unwrap(), new);
        }
    }

    #[test]
    fn patch_is_read_as_the_library_reads_it() {
        assert_eq!(complaint::<KeyPatchBody>(), complaint::<KeyPatch>());
        let every_field = r#"{"name": "b", "enabled": false, "scopes": ["s"], "tier": "premium",
            "owner": "o", "expires_at": "2027-01-01T00:00:00Z",
            "allowed_addresses": ["10.0.0.0/8"], "administrator": true}"#;
        let nulls = r#"{"tier": null, "owner": null, "expires_at": null}"#;
        for text in [every_field, nulls, "{}"] {
            let body: KeyPatchBody = serde_json::from_str(text).unwrap();
            let patch: KeyPatch = serde_json::from_str(text).unwrap();
            assert_eq!(body.into_patch().unwrap(), patch);
        }
    }

    #[test]
    fn same_request_written_again_is_the_same_text() {
        let written = |text: &str| {
            let body: NewKeyBody = serde_json::from_str(text).unwrap();
            serde_json::to_string(&body).unwrap()
        };
        let short = written(r#"{"name": "a", "expires_at": "2026-12-31"}"#);
        let long = r#"{"expires_at": "2027-01-01T01:00:00+01:00", "tier": null, "modules": [],
            "environment": "live", "name": "a"}"#;
        assert_eq!(short, written(long));
        assert_ne!(short, written(r#"{"name": "a"}"#));
    }
}
