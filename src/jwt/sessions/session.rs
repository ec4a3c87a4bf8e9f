//! What a session says.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Serialize, Serializer};

use super::SessionError;
use crate::{
    jwt::{
        claims::LONGEST_SUBJECT,
        mapping::{MOST_MODULES, MOST_SCOPES, is_fit_for_people},
    },
    key_store::{Scope, Tier},
    license_ledger::Module,
    name,
    token::KeyThumbprint,
};

/// A session of a user to begin: who it is, and what the user may do until it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    subject: String,
    name: Option<String>,
    scopes: Vec<Scope>,
    tier: Option<Tier>,
    modules: Vec<Module>,
    administrator: bool,
}

impl Session {
    /// One of the user with this id, of 1 to 255 visible ASCII characters, who may do nothing yet.
    pub fn of(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            name: None,
            scopes: Vec::new(),
            tier: None,
            modules: Vec::new(),
            administrator: false,
        }
    }

    /// A name for people, of 1 to 200 characters. By default none.
    ///
    /// ```
    /// # use tower_api_key::jwt::Session;
    /// Session::of("user-7").with_name("Ada");
    /// ```
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The scopes, at most 200. By default none.
    ///
    /// ```
    /// # use tower_api_key::{Scope, jwt::Session};
    /// Session::of("user-7").with_scopes([Scope::new("read:realms")?]);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.scopes = scopes.into_iter().collect();
        self
    }

    /// The rate tier. By default the default one.
    ///
    /// ```
    /// # use tower_api_key::{Tier, jwt::Session};
    /// Session::of("user-7").with_tier(Some(Tier::new("premium")?));
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_tier(mut self, tier: Option<Tier>) -> Self {
        self.tier = tier;
        self
    }

    /// The modules that the session itself grants, at most 1,000. By default none.
    ///
    /// ```
    /// # use tower_api_key::{Module, jwt::Session};
    /// Session::of("user-7").with_modules([Module::new("launcher")?]);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_modules(mut self, modules: impl IntoIterator<Item = Module>) -> Self {
        self.modules = modules.into_iter().collect();
        self
    }

    /// Whether the user may administer. By default not.
    ///
    /// ```
    /// # use tower_api_key::jwt::Session;
    /// Session::of("admin-1").with_administrator(true);
    /// ```
    #[must_use]
    pub fn with_administrator(mut self, administrator: bool) -> Self {
        self.administrator = administrator;
        self
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    pub(super) fn check(&self) -> Result<(), SessionError> {
        if !name::visible_ascii(&self.subject, LONGEST_SUBJECT) {
            return Err(SessionError::Subject);
        }
        if !self.name.as_deref().is_none_or(is_fit_for_people) {
            return Err(SessionError::Name);
        }
        if self.scopes.len() > MOST_SCOPES || self.modules.len() > MOST_MODULES {
            return Err(SessionError::TooLarge);
        }
        Ok(())
    }

    pub(super) fn payload<'s>(&'s self, holder: &'s str) -> Payload<'s> {
        Payload {
            name: self.name.as_deref(),
            scopes: &self.scopes,
            tier: self.tier.as_ref(),
            modules: &self.modules,
            administrator: self.administrator,
            ..Payload::of_holder(holder)
        }
    }
}

/// What is signed of a session beside its times.
#[derive(Debug, Serialize)]
pub(super) struct Payload<'s> {
    pub(super) sub: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'s str>,
    #[serde(
        rename = "scope",
        skip_serializing_if = "<[_]>::is_empty",
        serialize_with = "words"
    )]
    pub(super) scopes: &'s [Scope],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tier: Option<&'s Tier>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) modules: &'s [Module],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) administrator: bool,
    #[serde(rename = "cnf", skip_serializing_if = "Option::is_none")]
    pub(super) confirmation: Option<Confirmation>,
}

/// RFC 9449 §6.1.
#[derive(Debug, Serialize)]
pub(super) struct Confirmation {
    jkt: String,
}

impl From<KeyThumbprint> for Confirmation {
    fn from(thumbprint: KeyThumbprint) -> Self {
        Self {
            jkt: BASE64_URL_SAFE_NO_PAD.encode(thumbprint.as_bytes()),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Claims<'s> {
    iss: &'s str,
    aud: &'s str,
    iat: i64,
    exp: i64,
    #[serde(flatten)]
    payload: Payload<'s>,
}

impl<'s> Payload<'s> {
    /// Of somebody who may do nothing.
    pub(super) fn of_holder(sub: &'s str) -> Self {
        Self {
            sub,
            key: None,
            name: None,
            scopes: &[],
            tier: None,
            modules: &[],
            administrator: false,
            confirmation: None,
        }
    }

    /// Of the key of this id, begun with the text of this fingerprint.
    pub(super) fn of_key(id: &'s str, fingerprint: &'s str) -> Self {
        Self {
            key: Some(fingerprint),
            ..Self::of_holder(id)
        }
    }

    /// With the issuer, who is the audience too, and the times in seconds.
    pub(super) fn claims(self, url: &'s str, iat: i64, exp: i64) -> Claims<'s> {
        Claims {
            iss: url,
            aud: url,
            iat,
            exp,
            payload: self,
        }
    }
}

/// Scopes as RFC 6749 §3.3 has them: words with spaces between.
fn words<S: Serializer>(scopes: &&[Scope], serializer: S) -> Result<S::Ok, S::Error> {
    let words: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
    serializer.serialize_str(&words.join(" "))
}
