//! What the modules sell: engines with their nodes, launcher items, shows and channels.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use serde_json::{Value, json};

use crate::problem::Problem;

/// The collections of `studio.json`, by name.
pub(crate) struct Studio(Value);

type Answer = Result<Json<Value>, Problem>;

impl Studio {
    pub(crate) fn read() -> serde_json::Result<Self> {
        serde_json::from_str(include_str!("studio.json")).map(Self)
    }
}

/// Not a word about keys, modules or licenses: the layer has seen to them.
pub(crate) fn routes(studio: Studio) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/api/rest/v1/engines", get(engines))
        .route("/api/rest/v1/engines/{id}", get(engine))
        .route("/api/rest/v1/engines/{id}/nodes", get(nodes))
        .route("/api/rest/v1/engines/{id}/nodes/{node}", get(node))
        .route("/api/rest/v1/launcher/items", all("items"))
        .route("/api/rest/v1/launcher/items/{id}", one("items", "item"))
        .route("/api/rest/v1/lino/shows", all("shows"))
        .route("/api/rest/v1/lino/shows/{id}", one("shows", "show"))
        .route("/api/rest/v1/playout/channels", all("channels"))
        .route(
            "/api/rest/v1/playout/channels/{id}",
            one("channels", "channel"),
        )
        .with_state(Arc::new(studio))
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn engines(State(studio): State<Arc<Studio>>) -> Json<Value> {
    let engines = studio.0["engines"].as_array().into_iter().flatten();
    Json(engines.map(without_nodes).collect())
}

async fn engine(State(studio): State<Arc<Studio>>, Path(id): Path<String>) -> Answer {
    let engine = find(&studio.0["engines"], &id, "engine")?;
    Ok(Json(without_nodes(engine)))
}

async fn nodes(State(studio): State<Arc<Studio>>, Path(id): Path<String>) -> Answer {
    let engine = find(&studio.0["engines"], &id, "engine")?;
    Ok(Json(engine["nodes"].clone()))
}

async fn node(
    State(studio): State<Arc<Studio>>,
    Path((id, node)): Path<(String, String)>,
) -> Answer {
    let engine = find(&studio.0["engines"], &id, "engine")?;
    find(&engine["nodes"], &node, "node").cloned().map(Json)
}

/// A route to the whole of a collection.
fn all(collection: &'static str) -> axum::routing::MethodRouter<Arc<Studio>> {
    get(async move |State(studio): State<Arc<Studio>>| Json(studio.0[collection].clone()))
}

/// A route to one thing in a collection.
fn one(collection: &'static str, what: &'static str) -> axum::routing::MethodRouter<Arc<Studio>> {
    get(
        async move |State(studio): State<Arc<Studio>>, Path(id): Path<String>| -> Answer {
            find(&studio.0[collection], &id, what).cloned().map(Json)
        },
    )
}

fn find<'s>(collection: &'s Value, id: &str, what: &str) -> Result<&'s Value, Problem> {
    let mut things = collection.as_array().into_iter().flatten();
    let found = things.find(|thing| thing["id"] == id);
    found.ok_or_else(|| Problem::not_found(what))
}

/// The nodes are another module's.
fn without_nodes(engine: &Value) -> Value {
    json!({"id": engine["id"], "name": engine["name"], "status": engine["status"]})
}
