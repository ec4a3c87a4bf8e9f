//! What a flood of requests that are nobody's costs: memory that stays, and questions to the store.

use std::{
    env,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use axum::body::Body;
use http::{Request, StatusCode};
use tower::{Layer, ServiceExt};
use tower_api_key::{
    ApiKeyLayer, BackendError, Environment, KeyDigest, KeyFormats, KeyId, KeyQuery, KeyRecord,
    KeyStore, MemoryKeyStore, MemoryRateLimiter, PeerAddress, RouteModules, Rule, Tiers, Timestamp, UsageCount,
    Unlicensed,
};

use crate::{
    memory::{self, resident},
    note, row,
    support::nothing,
};

/// What is sent, and what the store may be asked at most.
const KINDS: [(&str, &str, Option<f64>); 4] = [
    ("one", "well-formed keys from one address", Some(1_000.0)),
    ("many", "well-formed keys, each from another /64", None),
    ("malformed", "malformed keys", Some(0.0)),
    (
        "anonymous",
        "requests without a key, each from another /64",
        Some(0.0),
    ),
];

pub fn report() {
    let count = env::var("FLOOD").unwrap_or("1000000".into());
    for (kind, sent, most) in KINDS {
        let [bytes, asked, served] = memory::in_a_process_of_its_own(["flood", kind, &count]);
        let megabytes = bytes / f64::from(1 << 20);
        let figure = format!("growth in MiB over {count} {sent}");
        row("flood", &figure, false, 16.0, megabytes);
        match most {
            Some(most) => row("flood", "the store was asked", false, most, asked),
            None => note("flood", "the store was asked", asked),
        }
        note("flood", "of these were served", served);
    }
}

/// One flood; prints by how many bytes it made this process grow, how often the store was asked, and
/// how many requests were served.
pub fn print(kind: &str, count: usize) {
    let asked = Arc::new(AtomicU64::new(0));
    let map = RouteModules::builder()
        .get("/closed", Rule::authenticated())
        .get("/open", Rule::anonymous());
    let map = map.build().expect("a map");
    let store = Asked(MemoryKeyStore::new(), Arc::clone(&asked));
    let layer = ApiKeyLayer::builder(store, map, Unlicensed::new())
        .with_rate_limiter(MemoryRateLimiter::new(Tiers::default()))
        .with_maintenance_task(false)
        .build();
    let service = layer.expect("a layer").layer(nothing());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let served = runtime.expect("a runtime").block_on(async {
        let before = resident();
        let mut served = 0;
        for number in 0..count {
            let Ok(answer) = service.clone().oneshot(request(kind, number)).await;
            served += usize::from(answer.status() == StatusCode::OK);
        }
        println!("{}", resident().saturating_sub(before));
        served
    });
    println!("{}\n{served}", asked.load(Ordering::Relaxed));
}

fn request(kind: &str, number: usize) -> Request<Body> {
    let path = if kind == "anonymous" {
        "/open"
    } else {
        "/closed"
    };
    let network = match kind {
        "many" | "anonymous" => number as u128,
        _ => 0,
    };
    let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | network << 64 | 1);
    let request = Request::get(path).extension(PeerAddress::from(IpAddr::from(address)));
    let request = match kind {
        "anonymous" => request,
        "malformed" => request.header("x-api-key", format!("rk_live_{number:033}")),
        _ => {
            let key = KeyFormats::default().generate(&Environment::live());
            request.header("x-api-key", key.expect("random bytes").expose())
        }
    };
    request.body(Body::empty()).expect("a request")
}

/// Counts how often it is asked for a key.
struct Asked(MemoryKeyStore, Arc<AtomicU64>);

#[async_trait]
impl KeyStore for Asked {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.find(digest).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.0.get(id).await
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        self.0.insert(record).await
    }

    async fn update(&self, record: KeyRecord) -> Result<KeyRecord, BackendError> {
        self.0.update(record).await
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        self.0.delete(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        self.0.list(query).await
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        self.0.record_last_used(uses).await
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        self.0.record_usage(counts, forget_before).await
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        self.0.usage(id, since).await
    }

    fn changes(&self) -> Option<&tower_api_key::Changes> {
        self.0.changes()
    }
}
