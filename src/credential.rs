//! Where a credential stands in a request: taking it out, and putting it back.
//!
//! 1. There are three carriers: a header of the service's choice (`X-API-Key: KEY`),
//!    `Authorization: Bearer KEY` ([RFC 6750 §2.1][bearer]) and a query parameter (`?api_key=KEY`),
//!    which is off by default because query strings end up in logs.
//! 2. The scheme's name counts in any case; one or more spaces follow it. `Bearer` with nothing
//!    behind it, an empty header and an empty parameter are a credential that is empty, and so an
//!    invalid one. Space around a field's value is not part of it (RFC 9110 §5.5).
//! 3. `Authorization` with another scheme is no credential of ours: it is neither read nor removed. Where
//!    tokens are taken that are bound to a key, `Authorization: DPoP TOKEN` ([RFC 9449 §7.1][dpop]) is
//!    read as `Bearer` is, and the proofs in `DPoP` headers go with it.
//! 4. Of the query string pairs are what stands between `&`; a name ends at the first `=`. Names and
//!    values are percent-decoded once; a `%` that two hex digits do not follow stands for itself, and
//!    so does `+` (this is a URI, not a form).
//! 5. More than one credential is one too many (RFC 6750 §2), equal ones too: a repeated header or
//!    parameter, two carriers, a `Bearer` or `DPoP` beside another `Authorization` header. A setting
//!    takes the first instead, in the order of rule 1.
//!
//! Nothing is allocated, but for the value of a parameter.
//!
//! [bearer]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
//! [dpop]: https://www.rfc-editor.org/rfc/rfc9449#section-7.1

use std::fmt;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::AUTHORIZATION,
    uri::{Parts, PathAndQuery},
};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::name::{self, InvalidName};

/// Where a service looks for a credential.
#[derive(Debug, Clone)]
pub(crate) struct Carriers {
    /// The header that holds a key and nothing else; `x-api-key` by default.
    pub(crate) header: Option<HeaderName>,
    /// Whether `Authorization: Bearer` is read; on by default.
    pub(crate) bearer: bool,
    /// Whether `Authorization: DPoP` is read; off by default.
    pub(crate) dpop: bool,
    /// The query parameter, by its decoded name; none by default.
    pub(crate) query: Option<String>,
    /// Whether the first of several credentials is taken; by default several are refused.
    pub(crate) first_of_many: bool,
}

/// One of the places for a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Header,
    Bearer,
    /// A token that comes with a proof, and never a key.
    Dpop,
    Query,
}

/// What a request presents.
#[derive(Debug)]
pub(crate) enum Presented {
    Nothing,
    /// More than one credential.
    Many,
    One(Credential),
}

/// A credential of a request that has only this one, or of which it is the first that counts.
pub(crate) struct Credential {
    pub(crate) carrier: Carrier,
    text: Text,
}

/// The text of a credential, or a header's value that holds it.
enum Text {
    /// The only one, no longer in the request.
    Taken(HeaderValue),
    /// Still in the request, perhaps beside others.
    Seen(HeaderValue),
    /// The value of a query parameter, wiped on drop.
    Parameter(Zeroizing<Vec<u8>>),
}

impl Carriers {
    /// Whether these settings make sense: to be asked at set-up.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] where there is no carrier, where `Authorization` is to be read in two ways, or
    /// where the parameter's name is not 1 to 64 visible ASCII characters.
    pub(crate) fn check(&self) -> Result<(), InvalidName> {
        if self.reads_authorization() && self.header == Some(AUTHORIZATION) {
            let rule = "another header than `authorization`, which is read for tokens";
            return Err(InvalidName::new("credential header", "authorization", rule));
        }
        if let Some(query) = &self.query
            && !name::visible_ascii(query, 64)
        {
            let rule = "1 to 64 visible ASCII characters";
            return Err(InvalidName::new("credential parameter", query, rule));
        }
        if self.header.is_none() && !self.reads_authorization() && self.query.is_none() {
            let rule = "at least one of header, bearer and query parameter";
            return Err(InvalidName::new("choice of credential carriers", "", rule));
        }
        Ok(())
    }

    /// The credential of a request: taken out of its headers where that is a matter of one look-up,
    /// which is nearly always.
    pub(crate) fn take(&self, headers: &mut HeaderMap, query: Option<&str>) -> Presented {
        let repeated = headers.len() != headers.keys_len();
        if repeated || self.first_of_many || self.query.is_some() {
            return self.see(headers, query);
        }
        let own = self.header.as_ref().and_then(|name| headers.remove(name));
        let scheme = headers
            .get(AUTHORIZATION)
            .and_then(|value| self.scheme(value));
        match (own, &self.header) {
            (Some(value), Some(name)) if scheme.is_some() => {
                headers.insert(name, value);
                Presented::Many
            }
            (Some(value), _) => Presented::one(Carrier::Header, Text::Taken(value)),
            (None, _) => {
                match scheme.and_then(|scheme| Some((scheme, headers.remove(AUTHORIZATION)?))) {
                    Some((carrier, value)) => Presented::one(carrier, Text::Taken(value)),
                    None => Presented::Nothing,
                }
            }
        }
    }

    /// The credential of a request, which stays as it is.
    fn see(&self, headers: &HeaderMap, query: Option<&str>) -> Presented {
        let mut first = None;
        let mut many = false;
        let mut found = |repeated, credential: &dyn Fn() -> Credential| {
            many |= repeated || first.is_some();
            first.get_or_insert_with(credential);
        };
        let in_header = |carrier, value: &HeaderValue| Credential {
            carrier,
            text: Text::Seen(value.clone()),
        };
        if let Some(name) = &self.header {
            for value in headers.get_all(name) {
                found(false, &|| in_header(Carrier::Header, value));
            }
        }
        if self.reads_authorization() {
            let values = headers.get_all(AUTHORIZATION);
            for value in &values {
                if let Some(carrier) = self.scheme(value) {
                    let beside_another = values.iter().nth(1).is_some();
                    found(beside_another, &|| in_header(carrier, value));
                }
            }
        }
        if let (Some(name), Some(query)) = (&self.query, query) {
            for pair in query.split('&').filter(|pair| has_name(pair, name)) {
                let value = pair.split_once('=').map_or("", |(_, value)| value);
                found(false, &|| Credential {
                    carrier: Carrier::Query,
                    text: Text::parameter(value),
                });
            }
        }
        match first {
            None => Presented::Nothing,
            Some(_) if many && !self.first_of_many => Presented::Many,
            Some(credential) => Presented::One(credential),
        }
    }

    /// Removes every credential that is still in the headers of a request that presented
    /// `presented`.
    pub(crate) fn strip(&self, headers: &mut HeaderMap, presented: Presented) {
        if self.dpop {
            headers.remove(PROOF);
        }
        if let Presented::One(Credential {
            text: Text::Taken(_),
            ..
        }) = presented
        {
            return;
        }
        if let Some(name) = &self.header {
            headers.remove(name);
        }
        let values = headers.get_all(AUTHORIZATION);
        if values.iter().any(|value| self.scheme(value).is_some()) {
            let foreign: Vec<_> = values
                .iter()
                .filter(|value| self.scheme(value).is_none())
                .cloned()
                .collect();
            headers.remove(AUTHORIZATION);
            for value in foreign {
                headers.append(AUTHORIZATION, value);
            }
        }
    }

    /// Leaves the headers of a request that presented `presented` as they were sent, with their
    /// credentials marked as sensitive.
    pub(crate) fn leave(&self, headers: &mut HeaderMap, presented: Presented) {
        if let Presented::One(Credential {
            carrier,
            text: Text::Taken(value),
        }) = presented
        {
            match (carrier, &self.header) {
                (Carrier::Header, Some(name)) => drop(headers.insert(name, value)),
                _ => drop(headers.insert(AUTHORIZATION, value)),
            }
        }
        self.mark_sensitive(headers);
    }

    /// Whether a header of this name can hold a credential, or what proves one.
    fn holds_credential(&self, name: &HeaderName) -> bool {
        self.header.as_ref() == Some(name)
            || (self.reads_authorization() && name == AUTHORIZATION)
            || (self.dpop && name == PROOF)
    }

    /// Whether `Authorization` is read in one way or another.
    fn reads_authorization(&self) -> bool {
        self.bearer || self.dpop
    }

    /// By which scheme of ours an `Authorization` header's value holds a credential.
    fn scheme(&self, value: &HeaderValue) -> Option<Carrier> {
        let has = |scheme| after_scheme(value, scheme).is_some();
        if self.bearer && has(BEARER) {
            Some(Carrier::Bearer)
        } else if self.dpop && has(DPOP) {
            Some(Carrier::Dpop)
        } else {
            None
        }
    }

    /// Marks the headers that can hold a credential as sensitive, for a service that keeps them:
    /// their `Debug` form then hides them, and HTTP/2 compression does not remember them.
    pub(crate) fn mark_sensitive(&self, headers: &mut HeaderMap) {
        for (name, value) in headers.iter_mut() {
            if self.holds_credential(name) {
                value.set_sensitive(true);
            }
        }
    }

    /// The URI without the query parameter, where it has it; every other byte stays as it was.
    ///
    /// A query string of which nothing is left goes with its `?`.
    pub(crate) fn strip_uri(&self, uri: &Uri) -> Option<Uri> {
        let name = self.query.as_deref()?;
        let (path, query) = uri.path_and_query()?.as_str().split_once('?')?;
        if !query.split('&').any(|pair| has_name(pair, name)) {
            return None;
        }
        let mut rebuilt = path.to_owned();
        let mut separator = '?';
        for pair in query.split('&').filter(|pair| !has_name(pair, name)) {
            rebuilt.push(separator);
            rebuilt.push_str(pair);
            separator = '&';
        }
        if rebuilt.len() == path.len() + 1 {
            rebuilt.pop();
        }
        // `http://host?api_key=…` has an empty path.
        let path = if path.is_empty() { "/" } else { path };
        let rebuilt = if rebuilt.is_empty() { path } else { &rebuilt };
        let mut parts: Parts = uri.clone().into_parts();
        // Pieces of a valid URI make a valid one. Should `http` ever see it otherwise, the query goes
        // as a whole, and at last the path, for `*`, which no route has: the credential never stays.
        parts.path_and_query = PathAndQuery::try_from(rebuilt)
            .or_else(|_| PathAndQuery::try_from(path))
            .ok();
        Some(Uri::from_parts(parts).unwrap_or_else(|_| Uri::from_static("*")))
    }
}

impl Default for Carriers {
    fn default() -> Self {
        Self {
            header: Some(HeaderName::from_static("x-api-key")),
            bearer: true,
            dpop: false,
            query: None,
            first_of_many: false,
        }
    }
}

impl Presented {
    /// Whether it is a token that comes with a proof.
    pub(crate) fn is_to_be_proven(&self) -> bool {
        matches!(self, Self::One(credential) if credential.carrier == Carrier::Dpop)
    }

    /// With a session that came in a cookie, which is a credential beside any other.
    #[cfg(feature = "manage")]
    pub(crate) fn with_session(self, text: &str) -> Self {
        match self {
            Self::Nothing => {
                // Not decoded: a session's text has nothing in it that would be.
                let text = Zeroizing::new(text.as_bytes().to_vec());
                Self::one(Carrier::Bearer, Text::Parameter(text))
            }
            Self::One(_) | Self::Many => Self::Many,
        }
    }

    fn one(carrier: Carrier, text: Text) -> Self {
        Self::One(Credential { carrier, text })
    }
}

impl Text {
    fn parameter(value: &str) -> Self {
        // The room for all of it up front: growing would leave copies of the text behind.
        let mut text = Zeroizing::new(Vec::with_capacity(value.len()));
        text.extend(percent_decode_str(value));
        Self::Parameter(text)
    }
}

impl Credential {
    /// The text, as bytes.
    pub(crate) fn text(&self) -> &[u8] {
        match (&self.text, self.carrier) {
            (Text::Parameter(text), _) => text,
            (Text::Taken(value) | Text::Seen(value), carrier) => match carrier {
                Carrier::Bearer => after_scheme(value, BEARER).unwrap_or_default(),
                Carrier::Dpop => after_scheme(value, DPOP).unwrap_or_default(),
                Carrier::Header | Carrier::Query => value.as_bytes().trim_ascii(),
            },
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("carrier", &self.carrier)
            .finish_non_exhaustive()
    }
}

/// What follows `scheme` in an `Authorization` header; nothing where the scheme is another one.
fn after_scheme<'v>(value: &'v HeaderValue, scheme: &str) -> Option<&'v [u8]> {
    let value = value.as_bytes().trim_ascii();
    let (named, rest) = value.split_at_checked(scheme.len())?;
    let ends = matches!(rest.first(), None | Some(b' ' | b'\t'));
    (ends && named.eq_ignore_ascii_case(scheme.as_bytes())).then(|| rest.trim_ascii_start())
}

fn has_name(pair: &str, name: &str) -> bool {
    let encoded = pair.split_once('=').map_or(pair, |(encoded, _)| encoded);
    percent_decode_str(encoded).eq(name.bytes())
}

const BEARER: &str = "bearer";
const DPOP: &str = "dpop";
/// The header with the proof that belongs to a token (RFC 9449 §4.1).
pub(crate) const PROOF: HeaderName = HeaderName::from_static("dpop");

#[cfg(test)]
mod tests;
