//! What an issuer publishes about itself.
//!
//! Two documents say the same: that of OpenID Connect Discovery 1.0 §4 (its well-known path behind the
//! issuer's own one) and that of RFC 8414 §3 (in front of it). The first is asked first, because
//! nearly all issuers have it, the second where the first is not there.

use super::{
    error::{FetchError, FetchErrorKind},
    http::HttpClient,
    url::{EndpointUrl, IssuerUrl},
};
use crate::jwt::json::Object;

/// The URL that the issuer's document gives under `member`.
///
/// # Errors
///
/// [`FetchError`]: of the document; [`FetchErrorKind::WrongIssuer`] where it is not that of exactly
/// this issuer (RFC 8414 §3.3), [`FetchErrorKind::Malformed`] where it is no document, or gives no URL
/// there that may be asked.
pub(crate) async fn discover(
    client: &HttpClient,
    issuer: &IssuerUrl,
    member: &'static str,
) -> Result<EndpointUrl, FetchError> {
    let openid = issuer.with_appended("/.well-known/openid-configuration");
    let oauth = issuer.with_inserted("/.well-known/oauth-authorization-server");
    let (url, text) = match client.fetch_json(&openid).await {
        Ok(text) => (openid, text),
        Err(openid_error) if is_absent(&openid_error) => match client.fetch_json(&oauth).await {
            Ok(text) => (oauth, text),
            Err(error) if is_absent(&error) => return Err(error.with_source(openid_error)),
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    endpoint_in(&text, &url, issuer, member)
}

/// The URL under `member` in the document `text`, which was found at `url`.
fn endpoint_in(
    text: &[u8],
    url: &EndpointUrl,
    issuer: &IssuerUrl,
    member: &'static str,
) -> Result<EndpointUrl, FetchError> {
    let malformed = |why: String| FetchError::new(url, FetchErrorKind::Malformed).with_source(why);
    let document =
        Object::parse(text, LONGEST_DOCUMENT).map_err(|error| malformed(error.to_string()))?;
    let said = document.text("issuer");
    if said != Some(issuer.as_str()) {
        let said = said.map(|said| said.chars().take(200).collect::<String>());
        let said = said.map_or("it names no issuer".to_owned(), |said| {
            format!("it names {said:?}")
        });
        return Err(FetchError::new(url, FetchErrorKind::WrongIssuer).with_source(said));
    }
    let endpoint = document
        .text(member)
        .ok_or_else(|| malformed(format!("it has no `{member}`")))?;
    let endpoint = EndpointUrl::parse(endpoint)
        .map_err(|error| malformed(format!("its `{member}`: {error}")))?;
    // An issuer elsewhere knows nothing of this machine, whose own services would be asked.
    if issuer.url().is_https() && !endpoint.is_https() {
        return Err(malformed(format!(
            "its `{member}` is not https: {endpoint}"
        )));
    }
    Ok(endpoint)
}

/// Whether the server answered, and has nothing there: a redirect or a page count as nothing.
fn is_absent(error: &FetchError) -> bool {
    match error.kind() {
        FetchErrorKind::Status(status) => (300..500).contains(status),
        kind => *kind == FetchErrorKind::NotJson,
    }
}

/// Bytes of the longest document.
const LONGEST_DOCUMENT: usize = 128 * 1_024;

#[cfg(test)]
mod tests;
