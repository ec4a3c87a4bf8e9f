//! What a refused client gets, as data.

use std::{fmt, time::Duration};

use http::{HeaderValue, StatusCode};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    clock::Timestamp,
    key_store::{Scope, Tier},
    license_ledger::{LicenseId, Module},
    rate_headers::RateFields,
};

mod code;

pub use code::DenialCode;

/// A refusal as data: what the client is told, and what the service may read from the response's
/// extensions.
///
/// It never holds a key nor any part of one. Its serde form is the problem document of RFC 9457
/// that clients get.
#[derive(Clone, PartialEq, Eq)]
pub struct Denial {
    code: DenialCode,
    /// What only some refusals say, out of the way of those that do not.
    more: Option<Box<More>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct More {
    detail: Option<String>,
    module: Option<Module>,
    license: Option<LicenseId>,
    valid_until: Option<Timestamp>,
    required_scopes: Vec<Scope>,
    missing_scopes: Vec<Scope>,
    tier: Option<Tier>,
    quota: Option<String>,
    retry_after: Option<Duration>,
    rate_fields: Option<RateFields>,
    remediation: Option<&'static str>,
    dpop_nonce: Option<HeaderValue>,
}

impl Denial {
    /// A refusal that says no more than its code.
    pub fn new(code: DenialCode) -> Self {
        Self { code, more: None }
    }

    fn more(mut self, change: impl FnOnce(&mut More)) -> Self {
        change(self.more.get_or_insert_default());
        self
    }

    /// Says what happened in words of its own. By default the sentence of the code.
    ///
    /// ```
    /// # use tower_api_key::{Denial, DenialCode};
    /// Denial::new(DenialCode::RateLimited).with_detail("Come back tomorrow.");
    /// ```
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        self.more(|more| more.detail = Some(detail.into()))
    }

    /// Names the module that was asked for.
    ///
    /// ```
    /// # use tower_api_key::{Denial, DenialCode, Module};
    /// Denial::new(DenialCode::ModuleAccessMissing).with_module(&Module::new("launcher")?);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_module(self, module: &Module) -> Self {
        self.more(|more| more.module = Some(module.clone()))
    }

    /// Names the license that the module needs, with its end.
    ///
    /// ```
    /// # use tower_api_key::{Denial, DenialCode, LicenseId};
    /// Denial::new(DenialCode::LicenseExpired).with_license(&LicenseId::new("launcher")?, None);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_license(self, license: &LicenseId, valid_until: Option<Timestamp>) -> Self {
        self.more(|more| {
            more.license = Some(license.clone());
            more.valid_until = valid_until;
        })
    }

    /// Names the scopes that the route asks for, and those that the caller lacks.
    ///
    /// ```
    /// # use tower_api_key::{Denial, DenialCode, Scope};
    /// Denial::new(DenialCode::InsufficientScope).with_scopes(&[Scope::new("read:a")?], Vec::new());
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_scopes(self, required: &[Scope], missing: Vec<Scope>) -> Self {
        self.more(|more| {
            more.required_scopes = required.to_vec();
            more.missing_scopes = missing;
        })
    }

    /// Names the tier and the quota that is used up, and when one more request is admitted.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_api_key::{Denial, DenialCode, Tier};
    /// Denial::new(DenialCode::RateLimited).with_quota(Tier::new("free")?, "hour", Duration::from_secs(60));
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_quota(self, tier: Tier, quota: impl Into<String>, retry_after: Duration) -> Self {
        let quota = quota.into();
        self.more(|more| {
            more.detail = Some(format!("Too many requests for tier {tier}, quota {quota}."));
            more.tier = Some(tier);
            more.quota = Some(quota);
            more.retry_after = Some(retry_after);
        })
    }

    /// Says how long to wait before trying again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_api_key::{Denial, DenialCode};
    /// Denial::new(DenialCode::StoreUnavailable).with_retry_after(Duration::from_secs(1));
    /// ```
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        self.more(|more| more.retry_after = Some(after))
    }

    /// Too many credentials from the caller's address were nobody's: it is not known yet whether this
    /// one is.
    pub(crate) fn held_up(quota: String, retry_after: Duration) -> Self {
        Self::new(DenialCode::RateLimited).more(|more| {
            let detail = format!("Too many unknown keys came from this address, quota {quota}.");
            more.detail = Some(detail);
            more.remediation =
                Some("Check that your key is right, and wait as long as Retry-After says.");
            more.quota = Some(quota);
            more.retry_after = Some(retry_after);
        })
    }

    /// Says what the client can do about it in words of its own.
    pub(crate) fn with_remediation(self, remediation: &'static str) -> Self {
        self.more(|more| more.remediation = Some(remediation))
    }

    /// With the nonce for the next proof.
    #[cfg(feature = "jwt")]
    pub(crate) fn with_dpop_nonce(self, nonce: HeaderValue) -> Self {
        self.more(|more| more.dpop_nonce = Some(nonce))
    }

    /// The nonce for the next proof.
    pub(crate) fn dpop_nonce(&self) -> Option<&HeaderValue> {
        self.more.as_ref()?.dpop_nonce.as_ref()
    }

    /// With what the answer's headers say of the caller's quotas.
    pub(crate) fn with_rate_fields(self, fields: Option<RateFields>) -> Self {
        match fields {
            Some(fields) => self.more(|more| more.rate_fields = Some(fields)),
            None => self,
        }
    }

    pub(crate) fn rate_fields(&self) -> Option<&RateFields> {
        self.more.as_ref()?.rate_fields.as_ref()
    }

    /// Why.
    pub fn code(&self) -> DenialCode {
        self.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// What happened, in a few words: the same for all refusals of this code.
    pub fn title(&self) -> &'static str {
        self.code.row().title
    }

    /// What happened, in one sentence for the client.
    pub fn detail(&self) -> &str {
        let own = self.more.as_ref().and_then(|more| more.detail.as_deref());
        own.unwrap_or_else(|| self.code.row().detail)
    }

    /// What the client can do about it.
    pub fn remediation(&self) -> &'static str {
        let own = self.more.as_ref().and_then(|more| more.remediation);
        own.unwrap_or_else(|| self.code.row().remediation)
    }

    /// The module that was asked for.
    pub fn module(&self) -> Option<&Module> {
        self.more.as_ref()?.module.as_ref()
    }

    /// The license that the module needs.
    pub fn license(&self) -> Option<&LicenseId> {
        self.more.as_ref()?.license.as_ref()
    }

    /// The end of that license.
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.more.as_ref()?.valid_until
    }

    /// The scopes that the route asks for.
    pub fn required_scopes(&self) -> &[Scope] {
        self.more.as_ref().map_or(&[], |more| &more.required_scopes)
    }

    /// The scopes that the caller lacks.
    pub fn missing_scopes(&self) -> &[Scope] {
        self.more.as_ref().map_or(&[], |more| &more.missing_scopes)
    }

    /// The tier whose quota is used up.
    pub fn tier(&self) -> Option<&Tier> {
        self.more.as_ref()?.tier.as_ref()
    }

    /// The name of the quota that is used up.
    pub fn quota(&self) -> Option<&str> {
        self.more.as_ref()?.quota.as_deref()
    }

    /// How long to wait before trying again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.more.as_ref()?.retry_after
    }

    /// `Retry-After` in whole seconds, rounded up, so that who waits that long is not early.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        let after = self.retry_after()?;
        Some((after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1))
    }
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.more {
            Some(more) => f
                .debug_tuple("Denial")
                .field(&self.code)
                .field(more)
                .finish(),
            None => f.debug_tuple("Denial").field(&self.code).finish(),
        }
    }
}

impl From<DenialCode> for Denial {
    fn from(code: DenialCode) -> Self {
        Self::new(code)
    }
}

impl Serialize for Denial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Problem::of(self).serialize(serializer)
    }
}

/// The problem document of a refusal.
pub(crate) struct Problem<'a> {
    pub(crate) denial: &'a Denial,
    /// What problem types begin with; nothing: these docs.
    pub(crate) type_base: Option<&'a str>,
    pub(crate) remediation: &'a str,
}

impl<'a> Problem<'a> {
    fn of(denial: &'a Denial) -> Self {
        Self {
            denial,
            type_base: None,
            remediation: denial.remediation(),
        }
    }
}

impl Serialize for Problem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let denial = self.denial;
        let row = denial.code.row();
        let mut map = serializer.serialize_map(None)?;
        // RFC 9457 §3.1.1: the type is a URI that people can follow.
        let (base, name) = self
            .type_base
            .map_or((DOCS, row.variant), |base| (base, row.code));
        map.serialize_entry("type", &format_args!("{base}{name}"))?;
        map.serialize_entry("title", row.title)?;
        map.serialize_entry("status", &row.status.as_u16())?;
        map.serialize_entry("detail", denial.detail())?;
        map.serialize_entry("code", row.code)?;
        map.serialize_entry("remediation", self.remediation)?;
        if let Some(more) = &denial.more {
            let mut text = |name, value: Option<&str>| match value {
                Some(value) => map.serialize_entry(name, value),
                None => Ok(()),
            };
            text("module", more.module.as_ref().map(Module::as_str))?;
            text("license", more.license.as_ref().map(LicenseId::as_str))?;
            text("tier", more.tier.as_ref().map(Tier::as_str))?;
            text("quota", more.quota.as_deref())?;
            if let Some(valid_until) = &more.valid_until {
                map.serialize_entry("valid_until", valid_until)?;
            }
            if !more.required_scopes.is_empty() {
                map.serialize_entry("required_scopes", &more.required_scopes)?;
                map.serialize_entry("missing_scopes", &more.missing_scopes)?;
            }
        }
        map.end()
    }
}

const DOCS: &str =
    "https://docs.rs/tower-api-key/latest/tower_api_key/enum.DenialCode.html#variant.";
