//! Access tokens of OAuth 2.0 authorization servers (RFC 6749).
