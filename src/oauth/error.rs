//! What can go wrong with an authorization server.

use std::{error::Error, fmt, sync::Arc};

use thiserror::Error;

use crate::error::BoxError;

/// Why something was not fetched: from where, what, and the cause as source.
#[derive(Debug, Clone, Error)]
#[error("{url}: {kind}")]
pub struct FetchError {
    url: String,
    kind: FetchErrorKind,
    // Shared: one failed fetch answers all who waited for it.
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What kept it from being fetched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FetchErrorKind {
    /// No connection: the name is not known, nobody listens, the certificate is not trusted.
    #[error("cannot be reached")]
    Unreachable,
    /// The exchange took longer than its time limit.
    #[error("did not answer in time")]
    TimedOut,
    /// The exchange ended before the answer did, or was no HTTP.
    #[error("broke off")]
    BrokenOff,
    /// Another status than 200, redirects included.
    #[error("answered with status {0}")]
    Status(u16),
    /// The content type of the answer is not JSON.
    #[error("answered with something else than JSON")]
    NotJson,
    /// The answer is longer than 512 KiB.
    #[error("answered with more than 512 KiB")]
    TooLarge,
    /// The answer is not the document it should be: the source tells.
    #[error("answered with a document that is not valid")]
    Malformed,
    /// The discovery document is that of another issuer.
    #[error("answered for another issuer")]
    WrongIssuer,
    /// The task that fetched it is gone: the runtime is shutting down, or there is none.
    #[error("was not asked to the end")]
    Died,
}

impl FetchError {
    /// `url` is shown: it must hold no secret.
    pub(crate) fn new(url: impl fmt::Display, kind: FetchErrorKind) -> Self {
        Self {
            url: url.to_string(),
            kind,
            source: None,
        }
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// From where, without the query part.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What went wrong.
    pub fn kind(&self) -> &FetchErrorKind {
        &self.kind
    }
}

/// What is wrong with the settings of something that talks to an authorization server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OAuthSetupError {
    /// A URL that cannot be used.
    #[error("{url:?} {flaw}")]
    Url {
        /// The text, without what may be a password in it.
        url: String,
        /// What is wrong with it.
        flaw: UrlFlaw,
    },
    /// No root certificate to trust: the operating system has none that can be read, or the PEM text
    /// given holds none.
    #[error("no root certificate to trust")]
    NoRootCertificates(#[source] BoxError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] BoxError),
    /// Settings that cannot be or do not go together.
    #[error("{0}")]
    Setting(&'static str),
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UrlFlaw {
    /// It is no absolute URL.
    #[error("is not an absolute URL")]
    NotAUrl,
    /// It is neither `https`, nor `http` to this very machine.
    #[error("is not https, and http is for 127.0.0.0/8, ::1 and localhost only")]
    Insecure,
    /// It holds a user name or a password.
    #[error("holds a user name or a password")]
    UserInfo,
    /// It has a fragment (`#…`).
    #[error("has a fragment")]
    Fragment,
    /// It has a query part (`?…`), which an issuer has not ([RFC 8414 §2](https://www.rfc-editor.org/rfc/rfc8414#section-2)).
    #[error("has a query part, which an issuer has not")]
    Query,
}
