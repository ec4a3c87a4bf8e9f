//! What the scopes open: realms, statistics, and a profile for each key.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    response::IntoResponse,
    routing::{delete, get},
};
use http::{
    StatusCode,
    header::{CONTENT_DISPOSITION, LOCATION},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower_api_key::{Denial, Grant};

use crate::problem::Problem;

/// What is kept, until the hub stops.
#[derive(Default)]
pub(crate) struct Realms(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    realms: BTreeMap<String, Realm>,
    created: usize,
    downloads: u64,
    /// By the caller's public id.
    profiles: BTreeMap<String, Profile>,
    served: u64,
    /// By the code of the refusal.
    refused: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Serialize)]
struct Realm {
    id: String,
    #[serde(flatten)]
    realm: NewRealm,
    /// Whose it is, by the public id of the key.
    #[serde(skip)]
    owner: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRealm {
    name: String,
    #[serde(default)]
    description: String,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    display_name: String,
}

type Shared = State<Arc<Realms>>;

impl Realms {
    pub(crate) fn new() -> Self {
        let realms = Self::default();
        for (name, description) in [
            ("Floating islands", "Six islands and a bridge"),
            ("Old harbour", "A town by the sea, at night"),
        ] {
            let (name, description) = (name.into(), description.into());
            realms.lock().add(NewRealm { name, description }, None);
        }
        realms
    }

    /// Counts a request, by how it was answered.
    pub(crate) fn count(&self, refusal: Option<&Denial>) {
        let mut kept = self.lock();
        match refusal {
            Some(denial) => *kept.refused.entry(denial.code().as_str()).or_default() += 1,
            None => kept.served += 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, realm: NewRealm, owner: Option<String>) -> Realm {
        self.created += 1;
        let id = format!("realm-{}", self.created);
        let realm = Realm { id, realm, owner };
        self.realms.insert(realm.id.clone(), realm.clone());
        realm
    }
}

pub(crate) fn routes(realms: Arc<Realms>) -> Router {
    Router::new()
        .route("/v1/realms", get(list).post(create))
        .route("/v1/realms/{id}", delete(remove))
        .route("/v1/realms/{id}/download", get(download))
        .route("/v1/stats", get(stats))
        .route("/v1/profile", get(profile).put(set_profile))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(realms)
}

async fn list(State(realms): Shared) -> Json<Vec<Realm>> {
    Json(realms.lock().realms.values().cloned().collect())
}

/// With the feature `axum`, `Grant` is an extractor of its own; this example needs no feature.
async fn create(
    State(realms): Shared,
    Extension(grant): Extension<Grant>,
    body: Result<Json<NewRealm>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(realm) = body?;
    check("name", &realm.name)?;
    let mut kept = realms.lock();
    if kept.realms.len() >= MOST_REALMS {
        let detail = format!("There are {MOST_REALMS} realms; delete one first.");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let realm = kept.add(realm, Some(grant.principal().to_owned()));
    let location = [(LOCATION, format!("/v1/realms/{}", realm.id))];
    Ok((StatusCode::CREATED, location, Json(realm)))
}

async fn remove(
    State(realms): Shared,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut kept = realms.lock();
    let realm = kept.realms.get(&id).ok_or_else(no_realm)?;
    if realm.owner.as_deref() != Some(grant.principal()) {
        let detail = "The realm is not yours.";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    kept.realms.remove(&id);
    Ok(StatusCode::NO_CONTENT)
}

async fn download(
    State(realms): Shared,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let mut kept = realms.lock();
    let realm = kept.realms.get(&id).cloned().ok_or_else(no_realm)?;
    kept.downloads += 1;
    let file = format!("attachment; filename=\"{id}.json\"");
    Ok(([(CONTENT_DISPOSITION, file)], Json(realm)))
}

async fn stats(State(realms): Shared) -> Json<Value> {
    let kept = realms.lock();
    Json(json!({
        "realms": kept.realms.len(),
        "downloads": kept.downloads,
        "requests": {"served": kept.served, "refused": kept.refused},
    }))
}

async fn profile(State(realms): Shared, Extension(grant): Extension<Grant>) -> Json<Value> {
    let profile = realms.lock().profiles.get(grant.principal()).cloned();
    let profile = profile.unwrap_or_else(|| Profile {
        display_name: grant.name().to_owned(),
    });
    Json(described(&grant, &profile))
}

async fn set_profile(
    State(realms): Shared,
    Extension(grant): Extension<Grant>,
    body: Result<Json<Profile>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(profile) = body?;
    check("display_name", &profile.display_name)?;
    let answer = described(&grant, &profile);
    let principal = grant.principal().to_owned();
    realms.lock().profiles.insert(principal, profile);
    Ok(Json(answer))
}

fn described(grant: &Grant, profile: &Profile) -> Value {
    json!({
        "key_id": grant.principal(),
        "key_name": grant.name(),
        "scopes": grant.scopes(),
        "display_name": profile.display_name,
    })
}

fn check(field: &str, name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() || name.chars().count() > 200 {
        let detail = format!("{field} is empty or has more than 200 characters.");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    Ok(())
}

fn no_realm() -> Problem {
    Problem::not_found("realm")
}

const LONGEST_BODY: usize = 16 * 1024;
const MOST_REALMS: usize = 1_000;
