//! An authorization server on this machine, for tests: it answers as it is told, and keeps count.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use ::axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
};
use ::http::header::CONTENT_TYPE;
use tokio::net::TcpListener;

use super::HttpClient;

pub(crate) struct TestServer {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<(String, SocketAddr)>>>,
}

impl TestServer {
    /// One that answers each request with `answer`.
    pub(crate) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Request) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let list = Arc::clone(&seen);
        let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request| {
            let line = format!("{} {}", request.method(), request.uri());
            list.lock().expect("a list").push((line, peer));
            answer(request)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = Router::new()
            .fallback(handler)
            .into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { ::axum::serve(listener, service).await });
        Self { url, seen }
    }

    /// The requests so far: method, path and query.
    pub(crate) fn requests(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("a list");
        seen.iter().map(|(line, _)| line.clone()).collect()
    }

    /// How many requests came so far.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("a list").len()
    }

    /// How many connections they came over.
    pub(crate) fn connections(&self) -> usize {
        let seen = self.seen.lock().expect("a list");
        let mut peers: Vec<_> = seen.iter().map(|(_, peer)| *peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers.len()
    }
}

/// An answer with this status, content type and body.
pub(crate) fn answer(status: u16, content_type: &str, body: impl Into<Body>) -> Response {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .body(body.into())
        .expect("an answer")
}

/// A 200 with this JSON text.
pub(crate) fn json(body: impl Into<Body>) -> Response {
    answer(200, "application/json", body)
}

/// A client that needs nothing of the operating system.
pub(crate) fn client() -> HttpClient {
    let client = HttpClient::builder().with_root_certificates(AUTHORITY);
    client.build().expect("a client")
}

/// The root certificate of the authority that vouches for the certificate in `http/localhost.pem`.
pub(crate) const AUTHORITY: &[u8] = include_bytes!("http/authority.pem");
