//! An API behind the layer, on a socket, with a clock that can be moved ahead.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, routing::get};
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::Layer;
use tower_api_key::{
    Actor, ApiKeyLayer, Clock, Grant, MemoryKeyStore, MemoryLedger, NewKey, Now, RouteModules,
    Rule, Scope, SystemClock, TokenVerifier, jwt::Dpop,
};

use crate::{
    bound::ProofKey,
    http::{read_body, send},
};

pub(crate) struct Api {
    url: String,
    clock: Arc<MovedClock>,
    /// A key that may read realms.
    pub(crate) key: String,
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    /// The Bearer challenge (RFC 6750 §3).
    pub(crate) challenge: Option<String>,
}

/// The system's clock, and what it was moved ahead.
#[derive(Default)]
struct MovedClock {
    system: SystemClock,
    ahead: AtomicU64,
}

impl Clock for MovedClock {
    fn now(&self) -> Now {
        let now = self.system.now();
        let ahead = Duration::from_secs(self.ahead.load(Ordering::SeqCst));
        Now::new(now.wall.saturating_add(ahead), now.monotonic + ahead)
    }
}

impl Api {
    /// Serves realms to whom these verifiers, or a key, let in.
    pub(crate) async fn serve(verifiers: Vec<Arc<dyn TokenVerifier>>) -> Self {
        let map = RouteModules::builder()
            .get(
                "/v1/realms",
                Rule::authenticated().with_scope("read:realms"),
            )
            .post(
                "/v1/realms",
                Rule::authenticated().with_scope("write:realms"),
            )
            .build()
            .expect("a map");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let clock = Arc::new(MovedClock::default());
        let mut layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new())
            .with_clock(Arc::clone(&clock))
            .with_dpop(Dpop::builder(&url).build().expect("a base URL"))
            // However slow the machine is: what is late is no outage here.
            .with_verification_timeout(Duration::from_secs(30));
        for verifier in verifiers {
            layer = layer.with_token_verifier(verifier);
        }
        let layer = layer.build().expect("a layer");
        let reader =
            NewKey::named("reader").with_scopes([Scope::new("read:realms").expect("a name")]);
        let actor = Actor::new("test").expect("a name");
        let key = layer.manager().create(reader, &actor).await.expect("a key");

        let app = Router::new().route("/v1/realms", get(caller).post(caller));
        let guarded = Router::new().fallback_service(layer.layer(app));
        let key = key.text.expose().to_owned();
        Self::start(listener, guarded, clock, key)
    }

    /// Any other service with realms, which takes this key.
    pub(crate) fn of(listener: TcpListener, service: Router, key: String) -> Self {
        Self::start(listener, service, Arc::default(), key)
    }

    fn start(listener: TcpListener, service: Router, clock: Arc<MovedClock>, key: String) -> Self {
        let address = listener.local_addr().expect("an address");
        // Ends with the test's runtime.
        tokio::spawn(axum::serve(listener, service).into_future());
        Self {
            url: format!("http://{address}"),
            clock,
            key,
        }
    }

    /// Lets `duration` pass.
    pub(crate) fn wait(&self, duration: Duration) {
        self.clock
            .ahead
            .fetch_add(duration.as_secs(), Ordering::SeqCst);
    }

    pub(crate) async fn read(&self, token: &str) -> Answer {
        let request = self.request(Method::GET, &format!("Bearer {token}"));
        Answer::of(request).await
    }

    pub(crate) async fn write(&self, token: &str) -> Answer {
        let request = self.request(Method::POST, &format!("Bearer {token}"));
        Answer::of(request).await
    }

    /// Sends a token with the proof that its sender has this key.
    pub(crate) async fn read_bound(&self, token: &str, key: &ProofKey) -> Answer {
        let mut request = self.request(Method::GET, &format!("DPoP {token}"));
        key.sign(&mut request, Some(token));
        Answer::of(request).await
    }

    fn request(&self, method: Method, authorization: &str) -> Request<Vec<u8>> {
        Request::builder()
            .method(method)
            .uri(format!("{}/v1/realms", self.url))
            .header(header::AUTHORIZATION, authorization)
            .body(Vec::new())
            .expect("a request")
    }
}

impl Answer {
    async fn of(request: Request<Vec<u8>>) -> Self {
        let Ok(response) = send(request).await;
        let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
        let mut challenges = challenges.iter().filter_map(|value| value.to_str().ok());
        Self {
            status: response.status(),
            body: read_body(&response),
            challenge: challenges
                .find(|c| c.starts_with("Bearer"))
                .map(str::to_owned),
        }
    }

    /// That it was granted, to whom.
    #[track_caller]
    pub(crate) fn granted_to(&self, principal: &str) {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        assert_eq!(self.body["principal"], principal, "{self:?}");
    }

    /// That it was refused, and why.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.body["code"], code, "{self:?}");
    }
}

async fn caller(grant: Grant) -> Json<Value> {
    Json(json!({ "principal": grant.principal(), "scopes": grant.scopes() }))
}
