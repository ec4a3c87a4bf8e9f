//! Access tokens of a real authorization server, from the user's consent to the last refusal:
//! `scripts/with-oidc cargo test --features axum,oauth --test oidc`.

mod api;
mod app;
mod bound;
mod browser;
mod consent;
mod example;
mod http;
mod hub;
mod issuer;
mod opaque;
mod signed;
