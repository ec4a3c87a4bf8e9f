//! The claims that every token must have, and what they say at one moment.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{
    clock::Timestamp,
    jwt::{
        issuer::{Trusted, Types},
        json::{Json, Object},
        sessions,
    },
    license_ledger::Holder,
    token::{KeyThumbprint, Principal, TokenError},
};

/// Whom a token speaks for whose signature has been verified with a key of `issuer`
/// ([RFC 7519 §4.1](https://www.rfc-editor.org/rfc/rfc7519#section-4.1)).
///
/// # Errors
///
/// [`TokenError::Expired`] where nothing but the time is wrong with it, otherwise
/// [`TokenError::Invalid`].
pub(crate) fn principal(
    claims: &Object<'_>,
    issuer: &Trusted,
    now: Timestamp,
) -> Result<Principal, TokenError> {
    if !is_for(claims.get("aud"), &issuer.audiences) {
        return Err(TokenError::Invalid);
    }
    if issuer.types == Types::Untyped && are_of_another_kind(claims) {
        return Err(TokenError::Invalid);
    }
    let expires_at = instant(claims, "exp")?.ok_or(TokenError::Invalid)?;
    let expires_at = expires_at.saturating_add(issuer.leeway);
    let begins_at = instant(claims, "nbf")?;
    if begins_at.is_some_and(|begins_at| begins_at > now.saturating_add(issuer.leeway)) {
        return Err(TokenError::Invalid);
    }
    let issued_at = instant(claims, "iat")?;
    if issued_at.is_some_and(|issued_at| issued_at > now.saturating_add(MOST_CLOCK_SKEW)) {
        return Err(TokenError::Invalid);
    }
    let subject = claims.text("sub").ok_or(TokenError::Invalid)?;
    let mut principal = match issuer.sessions {
        true => sessions::principal(claims, subject, &issuer.url)?,
        false => {
            if !(1..=LONGEST_SUBJECT).contains(&subject.len()) {
                return Err(TokenError::Invalid);
            }
            Principal::new(holder(&issuer.url, subject)?)
        }
    };
    principal.confirmation = confirmation(claims)?;
    issuer.mapping.apply(claims, &mut principal)?;
    principal.expires_at = Some(expires_at);
    principal.keep_for = issuer.keep_for;
    if now >= expires_at {
        return Err(TokenError::Expired);
    }
    Ok(principal)
}

/// A subject of an issuer as a holder of licenses: `issuer|subject`. No issuer has a `|` in it, so
/// there is one way to read it.
pub(crate) fn holder(issuer: &str, subject: &str) -> Result<Holder, TokenError> {
    Holder::new([issuer, "|", subject].concat()).map_err(|_| TokenError::Invalid)
}

/// Whether one of `audiences` is among those of a token: one text, or an array of texts.
pub(crate) fn is_for(aud: Option<&Json<'_>>, audiences: &[Box<str>]) -> bool {
    let ours = |text: &str| audiences.iter().any(|audience| **audience == *text);
    match aud {
        Some(Json::Text(text)) => ours(text),
        Some(Json::Array(items)) => {
            items.iter().all(|item| item.text().is_some())
                && items.iter().filter_map(Json::text).any(ours)
        }
        _ => false,
    }
}

/// A NumericDate (RFC 7519 §2): seconds since 1970, which may have a fraction.
pub(crate) fn instant(claims: &Object<'_>, name: &str) -> Result<Option<Timestamp>, TokenError> {
    const LATEST: i64 = Timestamp::MAX.unix_seconds();
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Integer(seconds @ 0..=LATEST)) => {
            Ok(Some(Timestamp::from_unix_seconds(*seconds)))
        }
        Some(Json::Float(seconds)) if (0.0..=LATEST as f64).contains(seconds) => {
            Ok(Some(Timestamp::from_unix_micros((seconds * 1e6) as i64)))
        }
        Some(_) => Err(TokenError::Invalid),
    }
}

/// Whether a token says of itself that it is none for an API, where no standard has a word for it: as
/// those of Keycloak (`typ`), Ory Hydra and Cognito (`token_use`) do, and every logout token
/// (OpenID Connect Back-Channel Logout §2.4).
pub(crate) fn are_of_another_kind(claims: &Object<'_>) -> bool {
    let says = |name| {
        let kind = claims.text(name).unwrap_or_default();
        let mut others = OTHER_KINDS.iter();
        others.any(|other| kind.eq_ignore_ascii_case(other))
    };
    says("token_use") || says("typ") || claims.has("events")
}

/// The key that a token is bound to ([RFC 7800](https://www.rfc-editor.org/rfc/rfc7800)). A token
/// that is bound in a way that nobody here checks, to a certificate for instance, is refused: taken
/// for unbound it would be worth more than its issuer meant.
pub(crate) fn confirmation(claims: &Object<'_>) -> Result<Option<KeyThumbprint>, TokenError> {
    let Some(cnf) = claims.get("cnf") else {
        return Ok(None);
    };
    let Json::Object(cnf) = cnf else {
        return Err(TokenError::Invalid);
    };
    let bytes = cnf
        .only("jkt")
        .and_then(|thumbprint| BASE64_URL_SAFE_NO_PAD.decode(thumbprint.text()?).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(TokenError::Invalid)?;
    Ok(Some(KeyThumbprint::from_bytes(bytes)))
}

/// OpenID Connect Core §2: at most 255 ASCII characters.
pub(crate) const LONGEST_SUBJECT: usize = 255;
const OTHER_KINDS: [&str; 6] = [
    "refresh",
    "refresh_token",
    "offline",
    "id",
    "id_token",
    "logout",
];
/// A token from a later moment than this was not issued by a sane clock.
const MOST_CLOCK_SKEW: Duration = Duration::from_secs(300);
