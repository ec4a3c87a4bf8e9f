//! Access tokens of OAuth 2.0 authorization servers (RFC 6749): what they publish, fetched with care.
//!
//! Whatever this module asks of an authorization server goes through an [`HttpClient`]:
//!
//! 1. `https` only; `http` is for a server on this very machine (127.0.0.0/8, `::1`, `localhost`).
//! 2. The whole exchange ends within a time limit (5 s), an answer within a size limit (512 KiB,
//!    counted while it is read).
//! 3. No redirect is followed: an answer is status 200 with a JSON content type, or an error.
//! 4. An error names the place and the cause, and never a secret.
//!
//! What it tells clients is the [`ResourceMetadata`].

pub(crate) mod discovery;
mod error;
pub(crate) mod http;
mod introspection;
mod metadata;
mod remote_keys;
#[cfg(test)]
mod test_server;
pub(crate) mod url;

pub use self::{
    error::{FetchError, FetchErrorKind, OAuthSetupError, UrlFlaw},
    http::{HttpClient, HttpClientBuilder},
    introspection::{ClientCredentials, Introspection, IntrospectionBuilder},
    metadata::{BearerMethod, InvalidMetadata, ResourceMetadata, ResourceMetadataBuilder},
    remote_keys::{RemoteKeys, RemoteKeysBuilder},
};
