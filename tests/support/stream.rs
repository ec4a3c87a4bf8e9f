//! A reader of Server-Sent Events.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use axum::{
    Router,
    body::{Body, BodyDataStream},
};
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

/// A stream that was granted, read block by block.
pub struct Stream {
    pub headers: HeaderMap,
    /// What a client comes back with (the HTML standard, §9.2.6).
    pub last_event_id: Option<u64>,
    body: BodyDataStream,
}

/// What a block of the stream says.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    Event {
        seq: u64,
        name: String,
        data: Value,
    },
    /// How long to wait before coming back, and from where on.
    Retry {
        millis: u64,
    },
    Comment,
    Closing {
        reason: String,
    },
}

/// Asks for the stream at this address, as a client that has read up to `last_event_id`.
pub async fn ask(app: &Router, uri: &str, key: &str, last_event_id: Option<u64>) -> Response<Body> {
    let mut request = Request::get(uri).header("x-api-key", key);
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let request = request.body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

impl Stream {
    pub async fn open(app: &Router, uri: &str, key: &str, last_event_id: Option<u64>) -> Self {
        Self::of(ask(app, uri, key, last_event_id).await)
    }

    #[track_caller]
    pub fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        assert_eq!(parts.status, StatusCode::OK);
        assert_eq!(parts.headers["content-type"], "text/event-stream");
        Self {
            headers: parts.headers,
            last_event_id: None,
            body: body.into_data_stream(),
        }
    }

    /// The next block, as soon as it comes; nothing where the stream has ended.
    pub async fn next(&mut self) -> Option<Block> {
        let chunk = self.body.next().await?.unwrap();
        Some(self.read(std::str::from_utf8(&chunk).unwrap()))
    }

    /// The next block, if there is one already.
    pub fn ready(&mut self) -> Option<Block> {
        self.next().now_or_never().flatten()
    }

    /// The next event's number and data; everything else is passed over. Panics where the stream ends.
    pub async fn event(&mut self) -> (u64, Value) {
        loop {
            match self.next().await {
                Some(Block::Event { seq, data, .. }) => return (seq, data),
                Some(Block::Closing { reason }) => panic!("closing: {reason}"),
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
    }

    /// The numbers of the next events.
    pub async fn seqs(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.len() < count {
            seqs.push(self.event().await.0);
        }
        seqs
    }

    /// Reads on to the end, which the service says the reason of.
    pub async fn closing(&mut self) -> (Vec<u64>, String) {
        let mut seqs = Vec::new();
        loop {
            match self.next().await.expect("a stream says why it ends") {
                Block::Event { seq, .. } => seqs.push(seq),
                Block::Closing { reason } => {
                    assert_eq!(self.next().await, None, "nothing comes after the end");
                    return (seqs, reason);
                }
                _ => {}
            }
        }
    }

    fn read(&mut self, block: &str) -> Block {
        let block = block.strip_suffix("\n\n").expect("whole blocks");
        let (mut id, mut event, mut data, mut retry) = (None, None, None, None);
        for line in block.lines() {
            assert!(!line.is_empty(), "one block: {block:?}");
            let (name, value) = line.split_once(':').expect("a field");
            let field = match name {
                "" => continue,
                "id" => &mut id,
                "event" => &mut event,
                "data" => &mut data,
                "retry" => &mut retry,
                _ => panic!("an unknown field: {line}"),
            };
            let value = value.strip_prefix(' ').expect("a space");
            assert_eq!(field.replace(value.to_owned()), None, "each field once");
        }
        let id: Option<u64> = id.map(|id| id.parse().unwrap());
        self.last_event_id = id.or(self.last_event_id);
        let data: Option<Value> = data.map(|data| serde_json::from_str(&data).unwrap());
        match (event, data) {
            (Some(name), Some(data)) if name == "closing" => {
                assert_eq!(id, None, "it is no entry of the log");
                let reason = data["reason"].as_str().unwrap().to_owned();
                Block::Closing { reason }
            }
            (Some(name), Some(data)) => {
                let seq = id.expect("an event has an id");
                assert_eq!(data["seq"], seq);
                assert_eq!(data["event"], name);
                Block::Event { seq, name, data }
            }
            (None, None) => match retry {
                Some(millis) => Block::Retry {
                    millis: millis.parse().unwrap(),
                },
                None => Block::Comment,
            },
            half => panic!("half an event: {half:?}"),
        }
    }
}
