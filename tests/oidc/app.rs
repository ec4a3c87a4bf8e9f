//! An app that gets tokens for its user, written with the crate `oauth2`.

use std::{collections::HashMap, convert::Infallible};

use http::{Request, Response};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, PkceCodeChallenge, RedirectUrl, RefreshToken, RequestTokenError, RevocationUrl,
    Scope, StandardRevocableToken, TokenResponse, TokenUrl,
    basic::{BasicClient, BasicTokenResponse},
};

use crate::{
    bound::ProofKey,
    browser::{Answer, Browser},
    http::send,
    issuer::Issuer,
};

pub(crate) const CALLBACK: &str = "https://app.example/callback";

pub(crate) struct App {
    client: BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointSet, EndpointSet>,
    /// The API it wants tokens for.
    api: &'static str,
    /// What its tokens are bound to, if they are.
    pub(crate) key: Option<ProofKey>,
}

/// What an app holds of its user.
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: RefreshToken,
}

impl App {
    /// Registers with an issuer: `client_secret_basic`, `client_secret_post`, or `none` for an app
    /// that can keep no secret.
    pub(crate) async fn register(issuer: &Issuer, authentication: &str, api: &'static str) -> Self {
        let registration = issuer.register(authentication, CALLBACK).await;
        let mut client = BasicClient::new(ClientId::new(registration.client_id));
        if let Some(secret) = registration.client_secret {
            client = client.set_client_secret(ClientSecret::new(secret));
        }
        if authentication == "client_secret_post" {
            client = client.set_auth_type(AuthType::RequestBody);
        }
        let authorization = issuer.endpoint("authorization_endpoint").await;
        let token = issuer.endpoint("token_endpoint").await;
        let revocation = issuer.endpoint("revocation_endpoint").await;
        let revocation = revocation.replacen("http:", "https:", 1);
        let revocation = RevocationUrl::new(revocation).expect("a URL");
        let client = client
            .set_redirect_uri(RedirectUrl::new(CALLBACK.to_owned()).expect("a URL"))
            .set_auth_uri(AuthUrl::new(authorization).expect("a URL"))
            .set_token_uri(TokenUrl::new(token).expect("a URL"))
            .set_revocation_url(revocation);
        Self {
            client,
            api,
            key: None,
        }
    }

    /// Has its tokens bound to this key.
    pub(crate) fn bound(mut self, key: ProofKey) -> Self {
        self.key = Some(key);
        self
    }

    /// What it gets that asks to read and to write, of a user who lets it read.
    pub(crate) async fn reader(&self) -> Tokens {
        let asked = ["read:realms", "write:realms"];
        let allowed = Answer::Allow(&["read:realms"]);
        self.authorize(&asked, allowed).await.expect("tokens")
    }

    /// Sends the user to the issuer, and exchanges the code that comes back.
    ///
    /// # Errors
    ///
    /// The error that comes back instead (RFC 6749 §4.1.2.1).
    pub(crate) async fn authorize(
        &self,
        scopes: &[&str],
        answer: Answer<'_>,
    ) -> Result<Tokens, String> {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state) = self
            .client
            .authorize_url(CsrfToken::new_random)
            .add_scopes(scopes.iter().map(|scope| Scope::new((*scope).to_owned())))
            // Without the user's word no token outlives his session.
            .add_scope(Scope::new("offline_access".to_owned()))
            .add_extra_param("prompt", "consent")
            .add_extra_param("resource", self.api)
            .set_pkce_challenge(challenge)
            .url();
        let back = Browser::default().authorize(url, answer).await;
        assert!(back.as_str().starts_with(CALLBACK), "{back}");
        let back: HashMap<_, _> = back.query_pairs().into_owned().collect();
        assert_eq!(back["state"], *state.secret());
        if let Some(error) = back.get("error") {
            return Err(error.clone());
        }
        let code = AuthorizationCode::new(back["code"].clone());
        let exchanged = self
            .client
            .exchange_code(code)
            .set_pkce_verifier(verifier)
            .add_extra_param("resource", self.api)
            .request_async(&|request| send(self.signed(request)))
            .await;
        Ok(Tokens::of(&exchanged.expect("tokens")))
    }

    /// # Errors
    ///
    /// The error code of the answer (RFC 6749 §5.2).
    pub(crate) async fn refresh(&self, tokens: &Tokens) -> Result<Tokens, String> {
        let request = self.client.exchange_refresh_token(&tokens.refresh);
        let http = |request| send(self.signed(request));
        match request.request_async(&http).await {
            Ok(refreshed) => Ok(Tokens::of(&refreshed)),
            Err(RequestTokenError::ServerResponse(answer)) => Err(answer.error().to_string()),
            Err(error) => panic!("no answer: {error:?}"),
        }
    }

    fn signed(&self, mut request: Request<Vec<u8>>) -> Request<Vec<u8>> {
        if let Some(key) = &self.key {
            key.sign(&mut request, None);
        }
        request
    }

    /// Takes back a token (RFC 7009).
    ///
    /// # Errors
    ///
    /// The error code of the answer (RFC 7009 §2.2.1).
    pub(crate) async fn revoke(&self, token: StandardRevocableToken) -> Result<(), String> {
        let request = self.client.revoke_token(token).expect("an endpoint");
        match request.request_async(&unencrypted).await {
            Ok(()) => Ok(()),
            Err(RequestTokenError::ServerResponse(answer)) => Err(answer.error().to_string()),
            Err(error) => panic!("no answer: {error:?}"),
        }
    }
}

impl Tokens {
    fn of(response: &BasicTokenResponse) -> Self {
        Self {
            access: response.access_token().secret().clone(),
            refresh: response.refresh_token().expect("a refresh token").clone(),
        }
    }
}

/// The crate takes no revocation endpoint without TLS, not even on this machine.
async fn unencrypted(request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Infallible> {
    let (mut head, body) = request.into_parts();
    let mut parts = head.uri.into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    head.uri = http::Uri::from_parts(parts).expect("a URL");
    send(Request::from_parts(head, body)).await
}
