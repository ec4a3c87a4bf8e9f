//! The reasons for refusals, each with its status, sentence and remedy.

use std::{fmt, str::FromStr};

use http::StatusCode;
use serde::{Serialize, Serializer};

use crate::name::InvalidName;

/// Why a request was refused.
///
/// Each code has one HTTP status, one gRPC status and one remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DenialCode {
    /// 401: no credential was sent. Send the key in the header `X-API-Key`, or as
    /// `Authorization: Bearer`. A scheme that is not ours counts as nothing.
    MissingCredential,
    /// 401: the key is malformed or unknown. Check that the whole key was copied, and that it was
    /// neither regenerated nor deleted.
    InvalidKey,
    /// 401: the key is past its expiry. Ask for a new one or a later expiry.
    ExpiredKey,
    /// 401: the key was revoked, for good. Ask for a new one.
    RevokedKey,
    /// 401: the key is disabled. Ask its administrator to enable it.
    DisabledKey,
    /// 401: the key is for another environment. Use one made for this one.
    WrongEnvironment,
    /// 401: the token is bound to its client's key, and the proof in the header `DPoP` that the client
    /// has it is missing or not right for this request (RFC 9449 §7.1). The sentence says what is wrong
    /// with it.
    InvalidDpopProof,
    /// 401: a proof needs a nonce of this service: the one in this answer's header `DPoP-Nonce` (RFC
    /// 9449 §9). Send a new proof with it.
    UseDpopNonce,
    /// 400: more than one credential in one request, or one sent twice (RFC 6750 §3.1). Send one.
    MultipleCredentials,
    /// 400: two parsers could read the path in two ways. Send it in its plain form.
    AmbiguousPath,
    /// 403: the key is not assigned the module. Assign the required module resource to it.
    ModuleAccessMissing,
    /// 403: no seat is reserved for the key. Make sure the license is available and reserved.
    LicenseNotReserved,
    /// 403: the license is past its end, or the system is in limited edition. Renew it.
    LicenseExpired,
    /// 403: all seats are taken. Release unused reservations, or get more seats.
    LicenseLimitReached,
    /// 403: the key lacks scopes the route asks for (RFC 6750 §3.1).
    InsufficientScope,
    /// 403: the key may not be used from this address.
    AddressNotAllowed,
    /// 403: no entry of the service's module map covers the route.
    RouteNotMapped,
    /// 429: the quota of the caller's tier is used up (RFC 6585 §4).
    RateLimited,
    /// 503: the key store cannot be asked. Nothing is known against the key.
    StoreUnavailable,
    /// 503: the license ledger cannot be asked. Nothing is known against the key.
    LedgerUnavailable,
    /// 503: the rate limiter cannot be asked. Nothing is known against the key.
    LimiterUnavailable,
}

/// The fixed part of an answer.
pub(super) struct Row {
    pub(super) code: &'static str,
    pub(super) status: StatusCode,
    /// The name of the variant, which is the anchor in these docs.
    pub(super) variant: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: &'static str,
    pub(super) remediation: &'static str,
}

impl DenialCode {
    /// Every code.
    pub const ALL: [Self; 21] = [
        Self::MissingCredential,
        Self::InvalidKey,
        Self::ExpiredKey,
        Self::RevokedKey,
        Self::DisabledKey,
        Self::WrongEnvironment,
        Self::InvalidDpopProof,
        Self::UseDpopNonce,
        Self::MultipleCredentials,
        Self::AmbiguousPath,
        Self::ModuleAccessMissing,
        Self::LicenseNotReserved,
        Self::LicenseExpired,
        Self::LicenseLimitReached,
        Self::InsufficientScope,
        Self::AddressNotAllowed,
        Self::RouteNotMapped,
        Self::RateLimited,
        Self::StoreUnavailable,
        Self::LedgerUnavailable,
        Self::LimiterUnavailable,
    ];

    /// The code as clients see it, such as `module_access_missing`.
    pub fn as_str(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.row().status
    }

    /// The gRPC status code: 16 UNAUTHENTICATED, 7 PERMISSION_DENIED, 8 RESOURCE_EXHAUSTED,
    /// 14 UNAVAILABLE or 3 INVALID_ARGUMENT.
    pub fn grpc_status(self) -> u8 {
        match self.status() {
            StatusCode::UNAUTHORIZED => 16,
            StatusCode::FORBIDDEN => 7,
            StatusCode::TOO_MANY_REQUESTS => 8,
            StatusCode::BAD_REQUEST => 3,
            _ => 14,
        }
    }

    pub(super) fn row(self) -> Row {
        let (code, status, variant, title, detail, remediation) = match self {
            Self::MissingCredential => (
                "missing_credential",
                StatusCode::UNAUTHORIZED,
                "MissingCredential",
                "Credential missing",
                "API Key is missing or invalid.",
                "Send your API key as the WWW-Authenticate headers of this answer say, such as X-API-Key.",
            ),
            Self::InvalidKey => (
                "invalid_key",
                StatusCode::UNAUTHORIZED,
                "InvalidKey",
                "API key invalid",
                "API Key is missing or invalid.",
                "Check that the whole key was copied and that it was not regenerated or deleted.",
            ),
            Self::ExpiredKey => (
                "expired_key",
                StatusCode::UNAUTHORIZED,
                "ExpiredKey",
                "API key expired",
                "API Key has expired.",
                "Ask your administrator for a new key or a later expiry.",
            ),
            Self::RevokedKey => (
                "revoked_key",
                StatusCode::UNAUTHORIZED,
                "RevokedKey",
                "API key revoked",
                "API Key has been revoked.",
                "Ask your administrator for a new key; a revoked one never works again.",
            ),
            Self::DisabledKey => (
                "disabled_key",
                StatusCode::UNAUTHORIZED,
                "DisabledKey",
                "API key disabled",
                "API Key is disabled.",
                "Ask your administrator to enable the key.",
            ),
            Self::WrongEnvironment => (
                "wrong_environment",
                StatusCode::UNAUTHORIZED,
                "WrongEnvironment",
                "API key of another environment",
                "API Key belongs to another environment.",
                "Use a key made for this environment.",
            ),
            Self::InvalidDpopProof => (
                "invalid_dpop_proof",
                StatusCode::UNAUTHORIZED,
                "InvalidDpopProof",
                "DPoP proof invalid",
                "The DPoP proof is missing or invalid.",
                "Send a new proof, made for this request, in the header DPoP.",
            ),
            Self::UseDpopNonce => (
                "use_dpop_nonce",
                StatusCode::UNAUTHORIZED,
                "UseDpopNonce",
                "DPoP nonce needed",
                "The DPoP proof needs a nonce of this service.",
                "Send a new proof with the nonce in this answer's header DPoP-Nonce.",
            ),
            Self::MultipleCredentials => (
                "multiple_credentials",
                StatusCode::BAD_REQUEST,
                "MultipleCredentials",
                "More than one credential",
                "The request carries more than one credential.",
                "Send one credential, once.",
            ),
            Self::AmbiguousPath => (
                "ambiguous_path",
                StatusCode::BAD_REQUEST,
                "AmbiguousPath",
                "Ambiguous path",
                "The path can be read in more than one way.",
                "Send the path in its plain form.",
            ),
            Self::ModuleAccessMissing => (
                "module_access_missing",
                StatusCode::FORBIDDEN,
                "ModuleAccessMissing",
                "Module access missing",
                "API Key does not have access to required module resource",
                "Assign the required module resource to the API key.",
            ),
            Self::LicenseNotReserved => (
                "license_not_reserved",
                StatusCode::FORBIDDEN,
                "LicenseNotReserved",
                "License not reserved",
                "Required license is not reserved for this API Key.",
                "Make sure the required license is available and reserved for the API key.",
            ),
            Self::LicenseExpired => (
                "license_expired",
                StatusCode::FORBIDDEN,
                "LicenseExpired",
                "License expired",
                "Required license has expired.",
                "Renew the license or contact your administrator.",
            ),
            Self::LicenseLimitReached => (
                "license_limit_reached",
                StatusCode::FORBIDDEN,
                "LicenseLimitReached",
                "License limit reached",
                "License limit reached, cannot reserve additional licenses.",
                "Release unused reservations or get more seats.",
            ),
            Self::InsufficientScope => (
                "insufficient_scope",
                StatusCode::FORBIDDEN,
                "InsufficientScope",
                "Scope missing",
                "API Key lacks a required scope.",
                "Use a key with all of the required scopes.",
            ),
            Self::AddressNotAllowed => (
                "address_not_allowed",
                StatusCode::FORBIDDEN,
                "AddressNotAllowed",
                "Address not allowed",
                "API Key may not be used from this address.",
                "Call from an allowed address, or have this one added to the key.",
            ),
            Self::RouteNotMapped => (
                "route_not_mapped",
                StatusCode::FORBIDDEN,
                "RouteNotMapped",
                "Route not mapped",
                "No access rule covers this route.",
                "Check method and path; if they are right, the service has to add a rule.",
            ),
            Self::RateLimited => (
                "rate_limited",
                StatusCode::TOO_MANY_REQUESTS,
                "RateLimited",
                "Rate limited",
                "Too many requests.",
                "Wait as long as Retry-After says, or ask for a higher tier.",
            ),
            Self::StoreUnavailable => (
                "store_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "StoreUnavailable",
                "Key store unavailable",
                "API keys cannot be checked at the moment.",
                "Try again; your key was neither accepted nor refused.",
            ),
            Self::LedgerUnavailable => (
                "ledger_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "LedgerUnavailable",
                "License ledger unavailable",
                "Licenses cannot be checked at the moment.",
                "Try again; your license was neither accepted nor refused.",
            ),
            Self::LimiterUnavailable => (
                "limiter_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "LimiterUnavailable",
                "Rate limiter unavailable",
                "Rate limits cannot be checked at the moment.",
                "Try again later.",
            ),
        };
        Row {
            code,
            status,
            variant,
            title,
            detail,
            remediation,
        }
    }
}

impl fmt::Display for DenialCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DenialCode {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|code| code.as_str() == text);
        found.ok_or_else(|| InvalidName::new("denial code", text, "the code of a refusal"))
    }
}

impl Serialize for DenialCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_among_all_of_them() {
        let source = include_str!("code.rs");
        let rows = source.lines().filter_map(|line| {
            let row = line.strip_prefix("            Self::")?;
            row.strip_suffix(" => (")
        });
        let rows: Vec<_> = rows.collect();
        let all: Vec<_> = (DenialCode::ALL.iter().map(|code| code.row().variant)).collect();
        assert_eq!(all, rows);
        for code in DenialCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
        }
    }
}
