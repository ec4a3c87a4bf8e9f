//! What an authorization server says of a token (RFC 7662 §2.2), and whether that will do.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    jwt::{
        ClaimMapping,
        claims::{self, LONGEST_SUBJECT},
        json::{Json, Object},
        mapping::is_fit_for_people,
    },
    license_ledger::Holder,
    token::{Principal, TokenError},
};

/// What an answer must fit.
pub(super) struct Expected {
    pub(super) issuer: String,
    /// None: whatever the token is meant for.
    pub(super) audiences: Vec<Box<str>>,
    pub(super) mapping: ClaimMapping,
    pub(super) cache: Duration,
    pub(super) needs_token_type: bool,
}

/// Why there is no principal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Invalid,
    Expired,
    /// It may be a refresh token.
    Untyped,
    /// This is no answer: whatever is wrong is not the token.
    Malformed(&'static str),
}

/// The claims of an answer are judged as those of a JWT.
impl From<TokenError> for Refusal {
    fn from(_: TokenError) -> Self {
        Self::Invalid
    }
}

impl Expected {
    /// Whom an answer makes its token speak for.
    pub(super) fn judge(&self, answer: &[u8], now: Timestamp) -> Result<Principal, Refusal> {
        let answer = Object::parse(answer, LONGEST)
            .map_err(|_| Refusal::Malformed("it is no JSON object that can be read in one way"))?;
        match answer.get("active") {
            Some(Json::Bool(true)) => {}
            // Why not is not said, and not asked (§2.2).
            Some(Json::Bool(false)) => return Err(Refusal::Invalid),
            _ => return Err(Refusal::Malformed("its `active` is neither true nor false")),
        }
        if text(&answer, "iss", "its `iss` is no text")?.is_some_and(|iss| iss != self.issuer) {
            return Err(Refusal::Invalid);
        }
        if !self.audiences.is_empty() && !claims::is_for(answer.get("aud"), &self.audiences) {
            return Err(Refusal::Invalid);
        }
        let mut principal = Principal::new(self.holder(&answer)?);
        principal.confirmation = claims::confirmation(&answer)?;
        self.check_kind(&answer, principal.confirmation.is_some())?;
        self.mapping.apply(&answer, &mut principal)?;
        if principal.name.is_none() {
            let username = answer.text("username");
            let username = username.filter(|name| is_fit_for_people(name));
            principal.name = username.map(Into::into);
        }

        let not_before = instant(&answer, "nbf", "its `nbf` is no instant")?;
        if not_before.is_some_and(|not_before| not_before > now.saturating_add(LEEWAY)) {
            return Err(Refusal::Invalid);
        }
        principal.expires_at = instant(&answer, "exp", "its `exp` is no instant")?;
        principal.keep_for = match principal.expires_at {
            Some(expires_at) if expires_at <= now => return Err(Refusal::Expired),
            Some(expires_at) => self.cache.min(expires_at.saturating_since(now)),
            None => self.cache,
        };
        Ok(principal)
    }

    fn holder(&self, answer: &Object<'_>) -> Result<Holder, Refusal> {
        let subject = text(answer, "sub", "its `sub` is no text")?;
        let client = text(answer, "client_id", "its `client_id` is no text")?;
        let (issuer, name) = match (subject, client) {
            (Some(subject), _) => (self.issuer.clone(), subject),
            // No issuer has a fragment (RFC 8414 §2): whatever a server calls its users, none of them
            // is taken for this client.
            (None, Some(client)) => (format!("{}#client", self.issuer), client),
            (None, None) => {
                let why = "it says neither `sub` nor `client_id`";
                return Err(Refusal::Malformed(why));
            }
        };
        if !(1..=LONGEST_SUBJECT).contains(&name.len()) {
            return Err(Refusal::Invalid);
        }
        Ok(claims::holder(&issuer, name)?)
    }

    /// Whether this is an access token, which RFC 7662 has no word for.
    fn check_kind(&self, answer: &Object<'_>, is_bound: bool) -> Result<(), Refusal> {
        if claims::are_of_another_kind(answer) {
            return Err(Refusal::Invalid);
        }
        match text(answer, "token_type", "its `token_type` is no text")? {
            None if self.needs_token_type => Err(Refusal::Untyped),
            None => Ok(()),
            Some(kind) if kind.eq_ignore_ascii_case("Bearer") => Ok(()),
            // RFC 9449 §5: whose key it is bound to must be known.
            Some(kind) if kind.eq_ignore_ascii_case("DPoP") && is_bound => Ok(()),
            Some(_) => Err(Refusal::Invalid),
        }
    }
}

/// A member that may be left out; `null` is as good as left out.
fn text<'a>(
    answer: &'a Object<'_>,
    name: &str,
    otherwise: &'static str,
) -> Result<Option<&'a str>, Refusal> {
    match answer.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::Malformed(otherwise)),
    }
}

fn instant(
    answer: &Object<'_>,
    name: &str,
    otherwise: &'static str,
) -> Result<Option<Timestamp>, Refusal> {
    match answer.get(name) {
        Some(Json::Null) => Ok(None),
        _ => claims::instant(answer, name).map_err(|_| Refusal::Malformed(otherwise)),
    }
}

/// Bytes of the longest answer; tokens themselves are at most a quarter as long.
const LONGEST: usize = 64 * 1_024;
/// How far the server's clock may be ahead of ours: it has just found the token valid.
const LEEWAY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
