//! Who may do what: the module map, the licenses, and the keys of the first start.

use std::error::Error;

use http::Method;
use tower_api_key::{
    Actor, KeyId, KeyManager, KeyText, License, LicenseId, ManageError, ManagedKey, Module, NewKey,
    RouteError, RouteModules, Rule, Scope, Seats, Tier,
};

/// Each module, the name of its key, how many keys may use it at once, and a route to try.
const MODULES: [(&str, &str, Seats, &str); 4] = [
    (
        "launcher",
        "API Key-Launcher",
        Seats::Limited(2),
        "/api/rest/v1/engines",
    ),
    (
        "nodegraph_editor",
        "API Key-Nodegraph Editor",
        Seats::Limited(1),
        "/api/rest/v1/engines/engine-1/nodes",
    ),
    (
        "lino",
        "API Key-Lino",
        Seats::Limited(1),
        "/api/rest/v1/lino/shows",
    ),
    (
        "playout",
        "API Key-Playout",
        Seats::Unlimited,
        "/api/rest/v1/playout/channels",
    ),
];

const REALM_SCOPES: [&str; 7] = [
    "read:realms",
    "download:realms",
    "write:realms",
    "delete:realms",
    "read:stats",
    "read:profile",
    "write:profile",
];

/// A key that was made at this start.
pub(crate) struct FirstKey {
    pub(crate) key: ManagedKey,
    /// Nothing where it was given.
    pub(crate) text: Option<KeyText>,
    /// A route to try it on.
    pub(crate) route: Option<&'static str>,
}

/// What each route asks for. What no entry covers is refused.
pub(crate) fn module_map() -> Result<RouteModules, RouteError> {
    let scope = |scope| Rule::authenticated().with_scope(scope);
    RouteModules::builder()
        .prefix_on([Method::GET], "/api/rest/v1/engines", "launcher")
        .prefix("/api/rest/v1/engines/{id}/nodes", "nodegraph_editor")
        .prefix("/api/rest/v1/launcher", "launcher")
        .prefix("/api/rest/v1/lino", "lino")
        .prefix("/api/rest/v1/playout", "playout")
        .get("/v1/realms", Rule::anonymous().with_scope("read:realms"))
        .post("/v1/realms", scope("write:realms"))
        .delete("/v1/realms/{id}", scope("delete:realms"))
        .get("/v1/realms/{id}/download", scope("download:realms"))
        .get("/v1/stats", scope("read:stats"))
        .get("/v1/profile", scope("read:profile"))
        .put("/v1/profile", scope("write:profile"))
        .get("/health", Rule::public())
        .build()
}

/// On the first start adds one license a module, an administrator's key with all scopes, one key a
/// module, and two with the scopes, one of them in the premium tier. Later only an administrator's key
/// is added, where one is given that is not known: whoever lost the others begins with that.
pub(crate) async fn set_up(
    manager: &KeyManager,
    admin_key: Option<&KeyText>,
) -> Result<Vec<FirstKey>, Box<dyn Error>> {
    let actor = Actor::new("hub")?;
    let is_first = manager.overview().await?.seq == 0;
    let scopes: Result<Vec<_>, _> = REALM_SCOPES.into_iter().map(Scope::new).collect();
    let scopes = scopes?;
    let mut administrator = NewKey::named("API Key-Administrator")
        .with_administrator(true)
        .with_scopes(scopes.clone());
    if is_first {
        administrator = administrator.with_id(KeyId::new("administrator")?);
    }
    // Of hubs that start at once on one database, one gets to make this key, and goes on.
    let made = match admin_key {
        Some(text) => {
            let imported = manager.import(administrator, text, &actor).await;
            imported.map(|key| (key, None))
        }
        None if is_first => {
            let created = manager.create(administrator, &actor).await;
            created.map(|created| (created.key, Some(created.text)))
        }
        None => return Ok(Vec::new()),
    };
    let mut keys = match made {
        Ok((key, text)) => vec![FirstKey {
            key,
            text,
            route: None,
        }],
        Err(ManageError::Duplicate { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(format!("the administrator's key: {error}").into()),
    };
    if !is_first {
        return Ok(keys);
    }
    // Who has this one may manage; it needs no license.
    let management = Module::new("rest_api_management")?;
    manager.map_module(&management, None, &actor).await?;
    for (module, name, seats, route) in MODULES {
        let license = License::new(LicenseId::new(module)?, seats);
        let module = Module::new(module)?;
        manager
            .map_module(&module, Some(&license.id), &actor)
            .await?;
        manager.set_license(license, &actor).await?;
        let new = NewKey::named(name).with_modules([module]);
        keys.push(create(manager, new, route, &actor).await?);
    }
    let realms = |name| NewKey::named(name).with_scopes(scopes.clone());
    let premium = realms("API Key-Premium").with_tier(Tier::new("premium")?);
    for new in [realms("API Key-Realms"), premium] {
        keys.push(create(manager, new, "/v1/realms", &actor).await?);
    }
    Ok(keys)
}

async fn create(
    manager: &KeyManager,
    new: NewKey,
    route: &'static str,
    actor: &Actor,
) -> Result<FirstKey, Box<dyn Error>> {
    let created = manager.create(new, actor).await?;
    Ok(FirstKey {
        key: created.key,
        text: Some(created.text),
        route: Some(route),
    })
}
