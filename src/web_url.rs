//! URLs that may be asked or told for security's sake.

use std::{fmt, net::IpAddr};

use http::Uri;

/// An `https` URL, or an `http` one of this machine itself; without user information and fragment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WebUrl {
    /// As it was written: identifiers are compared by the letter (RFC 3986 §6.2.1).
    text: String,
    uri: Uri,
}

impl WebUrl {
    /// What [`parse`](Self::parse) takes.
    pub(crate) const RULE: &str = "an https URL (http only for localhost), without user information \
                                   and fragment";

    /// Nothing where a text is no such URL.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri = check(text).ok()?;
        let text = text.to_owned();
        Some(Self { text, uri })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    #[cfg(feature = "oauth")]
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Scheme, host and port, as they were written.
    #[cfg(any(feature = "oauth", test))]
    pub(crate) fn origin(&self) -> &str {
        let host = self.text.find("://").map_or(0, |colon| colon + 3);
        let end = self.text[host..].find(['/', '?']);
        end.map_or(&self.text, |end| &self.text[..host + end])
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Why a text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    NotAUrl,
    Fragment,
    UserInfo,
    Insecure,
}

/// Reads a URL, or says which rule it breaks first.
pub(crate) fn check(text: &str) -> Result<Uri, Flaw> {
    // `Uri` drops a fragment without a word, and takes characters that no URI has.
    if text.contains('#') {
        return Err(Flaw::Fragment);
    }
    if !is_uri(text) {
        return Err(Flaw::NotAUrl);
    }
    let uri: Uri = text.parse().map_err(|_| Flaw::NotAUrl)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Flaw::NotAUrl);
    };
    if authority.as_str().contains('@') {
        return Err(Flaw::UserInfo);
    }
    if authority.host().is_empty() {
        return Err(Flaw::NotAUrl);
    }
    match scheme {
        "https" => Ok(uri),
        "http" if is_loopback(authority.host()) => Ok(uri),
        _ => Err(Flaw::Insecure),
    }
}

/// Whether each character may stand in a URI, and each `%` begins an octet (RFC 3986 §2).
pub(crate) fn is_uri(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    let octet = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    text.bytes().all(allowed) && text.split('%').skip(1).all(octet)
}

/// Whether a host is this machine, whatever a resolver says (RFC 6761 §6.3 for the name).
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || (address.parse::<IpAddr>()).is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_url_is_taken_as_it_was_written() {
        for text in [
            "https://api.example",
            "https://API.example:8443/v1/?a=%2F",
            "https://[2001:db8::1]/v1",
            "http://localhost:3000/v1",
            "http://127.8.0.1",
            "http://[::1]:3000/",
        ] {
            let url = WebUrl::parse(text).expect(text);
            assert_eq!(url.as_str(), text);
        }
    }

    #[test]
    fn url_that_is_not_safe_or_not_whole_is_refused() {
        for text in [
            "",
            "/v1",
            "api.example",
            "https://",
            "https:///v1",
            "https://:443/",
            "http://api.example",
            "http://localhost.example",
            "http://128.0.0.1",
            "ftp://localhost/",
            "https://user:secret@api.example/",
            "http://localhost@api.example/",
            "https://api.example/#part",
            "https://api.example/#",
            "https://api.example/a b",
            "https://api.example/\"",
            "https://api.example/{id}",
            "https://api.example/ü",
            "https://api.example/%2",
            "https://api.example/%zz",
            "https://api.example/\r\n",
        ] {
            assert_eq!(WebUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn origin_ends_where_path_or_query_begins() {
        for (text, origin) in [
            ("https://api.example", "https://api.example"),
            ("https://api.example:1/a/b", "https://api.example:1"),
            ("https://api.example?a/b", "https://api.example"),
        ] {
            let url = WebUrl::parse(text).expect(text);
            assert_eq!(url.origin(), origin);
        }
    }
}
