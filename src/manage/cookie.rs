//! The cookie that holds a console's session.

#[cfg(feature = "console")]
use http::HeaderValue;
use http::{HeaderMap, header::COOKIE};
use zeroize::Zeroizing;

/// How a session is kept in a cookie (RFC 6265).
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionCookie {
    /// Whether it is sent without TLS too.
    pub(crate) is_insecure: bool,
}

impl SessionCookie {
    /// With the prefix a browser takes it from this host alone, over TLS, and for all of its paths:
    /// no other host of the domain can plant one
    /// ([RFC 6265bis §4.1.3.2](https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-4.1.3.2)).
    pub(crate) fn name(self) -> &'static str {
        match self.is_insecure {
            true => "tower_api_key_session",
            false => "__Host-tower_api_key_session",
        }
    }

    /// The session of a request; of several the first, as the more specific path comes first (RFC 6265
    /// §5.4).
    pub(crate) fn session(self, headers: &HeaderMap) -> Option<Zeroizing<String>> {
        let lines = headers.get_all(COOKIE).into_iter();
        let mut lines = lines.filter_map(|value| value.to_str().ok());
        lines.find_map(|line| {
            line.split(';').find_map(|pair| {
                let (name, value) = pair.trim().split_once('=')?;
                (name == self.name() && !value.is_empty()).then(|| Zeroizing::new(value.to_owned()))
            })
        })
    }

    /// Keeps `session` for so many seconds; none: forgets it. Where it is insecure it goes to the
    /// console alone: without a path, the browser takes that of the request (RFC 6265 §5.1.4), which
    /// a proxy may have taken a part of.
    #[cfg(feature = "console")]
    pub(crate) fn set(self, session: &str, seconds: u64) -> HeaderValue {
        let place = match self.is_insecure {
            true => "",
            false => "; Path=/; Secure",
        };
        let name = self.name();
        let cookie =
            format!("{name}={session}; Max-Age={seconds}; HttpOnly; SameSite=Strict{place}");
        let cookie = HeaderValue::try_from(cookie);
        let mut value = cookie.expect("a verified token is visible ASCII");
        value.set_sensitive(true);
        value
    }
}
