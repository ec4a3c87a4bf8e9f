//! Requests over a real socket.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;

/// Sends a request and follows no redirect. The form that the crate `oauth2` calls, too.
pub(crate) async fn send(request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Infallible> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = request.map(|body| Full::new(Bytes::from(body)));
    let (head, body) = client
        .request(request)
        .await
        .expect("answered")
        .into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Ok(Response::from_parts(head, body.to_vec()))
}

pub(crate) async fn get(url: &str) -> (StatusCode, Value) {
    let request = Request::get(url).body(Vec::new());
    json(request.expect("a request")).await
}

pub(crate) async fn post(url: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::post(url)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes());
    json(request.expect("a request")).await
}

async fn json(request: Request<Vec<u8>>) -> (StatusCode, Value) {
    let Ok(response) = send(request).await;
    (response.status(), read_body(&response))
}

/// JSON, or whatever else it is as a text.
pub(crate) fn read_body(response: &Response<Vec<u8>>) -> Value {
    let body = response.body();
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}
