//! URLs that may be asked: `https`, or `http` to this very machine.

use std::fmt;

use ::http::{Uri, uri::Scheme};

use super::error::{OAuthSetupError, UrlFlaw};
use crate::web_url::{self, Flaw};

/// An absolute URL, `https` unless its host is this very machine, without user info or fragment.
///
/// Shown without its query part, which may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EndpointUrl(Uri);

impl EndpointUrl {
    /// # Errors
    ///
    /// [`OAuthSetupError::Url`]
    pub(crate) fn parse(text: &str) -> Result<Self, OAuthSetupError> {
        Self::check(text).map_err(|flaw| OAuthSetupError::Url {
            url: shown(text, flaw),
            flaw,
        })
    }

    pub(crate) fn check(text: &str) -> Result<Self, UrlFlaw> {
        let uri = web_url::check(text).map_err(|flaw| match flaw {
            Flaw::NotAUrl => UrlFlaw::NotAUrl,
            Flaw::Fragment => UrlFlaw::Fragment,
            Flaw::UserInfo => UrlFlaw::UserInfo,
            Flaw::Insecure => UrlFlaw::Insecure,
        })?;
        match text.len() {
            0..=LONGEST => Ok(Self(uri)),
            _ => Err(UrlFlaw::NotAUrl),
        }
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.0.scheme_str(), self.0.authority());
        let scheme = scheme.unwrap_or_default();
        let authority = authority.map_or("", ::http::uri::Authority::as_str);
        write!(f, "{scheme}://{authority}{}", self.0.path())?;
        if self.0.query().is_some() {
            f.write_str("?…")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of an issuer: a URL without query part, compared character by character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IssuerUrl {
    text: String,
    url: EndpointUrl,
}

impl IssuerUrl {
    /// # Errors
    ///
    /// [`OAuthSetupError::Url`]
    pub(crate) fn parse(text: &str) -> Result<Self, OAuthSetupError> {
        let url = EndpointUrl::parse(text)?;
        if text.contains('?') {
            return Err(OAuthSetupError::Url {
                url: shown(text, UrlFlaw::Query),
                flaw: UrlFlaw::Query,
            });
        }
        Ok(Self {
            text: text.to_owned(),
            url,
        })
    }

    /// As it was given.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Where the issuer itself lives.
    pub(crate) fn url(&self) -> &EndpointUrl {
        &self.url
    }

    /// `suffix` after the issuer's own path (OpenID Connect Discovery 1.0 §4.1).
    pub(crate) fn with_appended(&self, suffix: &str) -> EndpointUrl {
        self.with_path(&format!("{}{suffix}", self.path()))
    }

    /// `prefix` between host and the issuer's own path (RFC 8414 §3.1).
    pub(crate) fn with_inserted(&self, prefix: &str) -> EndpointUrl {
        self.with_path(&format!("{prefix}{}", self.path()))
    }

    /// The issuer's own path without a `/` at its end.
    fn path(&self) -> &str {
        let path = self.url.0.path();
        path.strip_suffix('/').unwrap_or(path)
    }

    fn with_path(&self, path: &str) -> EndpointUrl {
        let mut parts = self.url.0.clone().into_parts();
        parts.path_and_query = Some(
            path.parse()
                .expect("a path, and a known one before or behind"),
        );
        EndpointUrl(Uri::from_parts(parts).expect("parts of a URL with another path"))
    }
}

/// What an error may show of a text that is no good URL.
fn shown(text: &str, flaw: UrlFlaw) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    // Wherever an `@` stands, what precedes it may be a password.
    let text = match text.rsplit_once('@') {
        Some((_, host)) => host,
        None if flaw == UrlFlaw::UserInfo => "",
        None => text,
    };
    text.chars().take(200).collect()
}

/// Bytes of the longest URL.
const LONGEST: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_for_this_machine_only() {
        for good in [
            "https://issuer.example",
            "https://issuer.example:8443/a/b?c=d",
            "https://192.0.2.1/keys",
            "http://127.0.0.1:9000",
            "http://127.8.9.10/",
            "http://[::1]:80/keys",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://localhost/keys",
            "http://LocalHost:1/",
            "HTTPS://issuer.example",
        ] {
            assert!(EndpointUrl::check(good).is_ok(), "{good}");
        }
        for (bad, flaw) in [
            ("http://issuer.example", UrlFlaw::Insecure),
            ("http://192.0.2.1/", UrlFlaw::Insecure),
            ("http://0.0.0.0/", UrlFlaw::Insecure),
            ("http://[::ffff:127.0.0.1]/", UrlFlaw::Insecure),
            ("http://127.1/", UrlFlaw::Insecure),
            ("http://2130706433/", UrlFlaw::Insecure),
            ("http://127.0.0.1.evil.example/", UrlFlaw::Insecure),
            ("http://localhost.evil.example/", UrlFlaw::Insecure),
            ("http://evil.example/localhost", UrlFlaw::Insecure),
            ("ftp://localhost/", UrlFlaw::Insecure),
            ("http://localhost@evil.example/", UrlFlaw::UserInfo),
            ("https://a:b@issuer.example/", UrlFlaw::UserInfo),
            ("https://issuer.example/#a", UrlFlaw::Fragment),
            ("https:///keys", UrlFlaw::NotAUrl),
            ("https://:443/keys", UrlFlaw::NotAUrl),
            ("issuer.example", UrlFlaw::NotAUrl),
            ("/keys", UrlFlaw::NotAUrl),
            ("", UrlFlaw::NotAUrl),
            ("https://issuer.example/a b", UrlFlaw::NotAUrl),
            // With it, `issuer|subject` could be read in two ways.
            ("https://issuer.example/a|b", UrlFlaw::NotAUrl),
            ("https://issuer.example/%", UrlFlaw::NotAUrl),
            ("https://issuer.example/\u{e4}", UrlFlaw::NotAUrl),
        ] {
            assert_eq!(EndpointUrl::check(bad), Err(flaw), "{bad}");
        }
        let long = format!("https://issuer.example/{}", "a".repeat(LONGEST));
        assert_eq!(EndpointUrl::check(&long), Err(UrlFlaw::NotAUrl));
    }

    #[test]
    fn errors_and_urls_show_no_secret() {
        for text in [
            "https://me:secret@issuer.example/a",
            "https://issuer.example/a#secret",
            "http://issuer.example/a?secret",
            "me:secret@issuer.example",
            "https://me:sec#secret@issuer.example",
            "https://me:secret@ issuer.example",
        ] {
            let error = EndpointUrl::parse(text).expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let url = EndpointUrl::parse("https://issuer.example/keys?secret").expect("a URL");
        assert_eq!(format!("{url} {url:?}").matches("keys?…").count(), 2);
        assert!(!format!("{url} {url:?}").contains("secret"));
    }

    #[test]
    fn issuers_have_no_query() {
        let error = IssuerUrl::parse("https://issuer.example/?a").expect_err("a query");
        assert!(error.to_string().contains("query part"), "{error}");
        assert!(IssuerUrl::parse("https://issuer.example/?").is_err());
        assert!(IssuerUrl::parse("http://issuer.example/").is_err());
    }

    #[test]
    fn well_known_paths_are_inserted_or_appended() {
        for (issuer, inserted, appended) in [
            (
                "https://a.example",
                "https://a.example/w",
                "https://a.example/w",
            ),
            (
                "https://a.example/",
                "https://a.example/w",
                "https://a.example/w",
            ),
            (
                "https://a.example/t/1",
                "https://a.example/w/t/1",
                "https://a.example/t/1/w",
            ),
            (
                "https://a.example:9/t/",
                "https://a.example:9/w/t",
                "https://a.example:9/t/w",
            ),
        ] {
            let url = IssuerUrl::parse(issuer).expect(issuer);
            assert_eq!(url.with_inserted("/w").to_string(), inserted);
            assert_eq!(url.with_appended("/w").to_string(), appended);
            assert_eq!(url.as_str(), issuer);
        }
    }
}
