//! Bearer tokens that are JWTs (RFC 7519).
