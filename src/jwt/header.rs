//! The parts of a token, and the first of them: the JOSE header.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{
    jwt::{algorithm::Algorithm, json::Object},
    token::{LONGEST_TOKEN, TokenError},
};

/// A token in its compact form ([RFC 7515 §3.1](https://www.rfc-editor.org/rfc/rfc7515#section-3.1)).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'t> {
    header: &'t [u8],
    payload: &'t [u8],
    signature: &'t [u8],
    /// Header and payload: what is signed.
    pub(crate) message: &'t [u8],
}

impl<'t> Parts<'t> {
    /// Splits a token of at most [`LONGEST_TOKEN`] bytes into its three parts.
    pub(crate) fn split(token: &'t [u8]) -> Result<Self, TokenError> {
        if token.len() > LONGEST_TOKEN {
            return Err(TokenError::Invalid);
        }
        let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        let (Some((first, _)), Some((second, _)), None) = (dots.next(), dots.next(), dots.next())
        else {
            return Err(TokenError::Invalid);
        };
        Ok(Self {
            header: &token[..first],
            payload: &token[first + 1..second],
            signature: &token[second + 1..],
            message: &token[..second],
        })
    }

    /// The JSON text of the header.
    pub(crate) fn header(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.header)
    }

    /// The JSON text of the payload.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.payload)
    }

    pub(crate) fn signature(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.signature)
    }
}

/// Whether a text begins like a JOSE header and has three parts. It may be none all the same.
pub(crate) fn looks_like_token(text: &[u8]) -> bool {
    // `{` followed by `"`, a space, a tab or a line's end, in base64url.
    (text.starts_with(b"ey") || text.starts_with(b"ew"))
        && text.iter().filter(|&&byte| byte == b'.').count() == 2
}

/// What a header says; of the rest nothing is read. Keys that a token brings with it or points at
/// (`jwk`, `jku`, `x5c`, `x5u`) prove nothing about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<&'t str>,
    pub(crate) typ: Option<&'t str>,
}

impl<'t> Header<'t> {
    /// Reads a header whose `alg` is one that is known here. One with `crit` asks for an extension
    /// (RFC 7515 §4.1.11), and none is understood.
    pub(crate) fn read(header: &'t Object<'_>) -> Result<Self, TokenError> {
        let optional = |name| match header.get(name) {
            None => Ok(None),
            Some(value) => value.text().map(Some).ok_or(TokenError::Invalid),
        };
        if header.has("crit") || header.has("b64") {
            return Err(TokenError::Invalid);
        }
        Ok(Self {
            algorithm: header
                .text("alg")
                .and_then(Algorithm::from_name)
                .ok_or(TokenError::Invalid)?,
            kid: optional("kid")?,
            typ: optional("typ")?,
        })
    }
}

/// Whether two media types are the same, each with or without its `application/`
/// ([RFC 7515 §4.1.9](https://www.rfc-editor.org/rfc/rfc7515#section-4.1.9)).
pub(crate) fn is_type(typ: &str, expected: &str) -> bool {
    fn short(typ: &str) -> &str {
        match typ.split_at_checked(APPLICATION.len()) {
            Some((lead, rest)) if lead.eq_ignore_ascii_case(APPLICATION) => rest,
            _ => typ,
        }
    }
    short(typ).eq_ignore_ascii_case(short(expected))
}

fn decode(part: &[u8]) -> Result<Vec<u8>, TokenError> {
    // Without padding and with its unused bits zero: one text for one token.
    BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Invalid)
}

const APPLICATION: &str = "application/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_by_their_shape() {
        let tokens = ["eyJh.e30.AA", "eyAi.e30.", "ewog.e30.AA", "ew0K..", "ey..="];
        for text in tokens {
            assert!(looks_like_token(text.as_bytes()), "{text}");
        }
        let others = [
            "",
            ".",
            "..",
            "eyJh",
            "eyJh.e30",
            "eyJh.e30.AA.AA.AA",
            "a.b.c",
            "rk_live_ey",
        ];
        for text in others {
            assert!(!looks_like_token(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn types_are_compared_as_media_types() {
        for typ in [
            "at+jwt",
            "AT+JWT",
            "application/at+jwt",
            "Application/At+Jwt",
        ] {
            assert!(is_type(typ, "at+jwt"), "{typ}");
            assert!(is_type("at+jwt", typ), "{typ}");
        }
        for typ in [
            "",
            "jwt",
            "at+jwt ",
            "text/at+jwt",
            "application/",
            "at+jwt2",
            "application/é",
        ] {
            assert!(!is_type(typ, "at+jwt"), "{typ}");
        }
    }
}
