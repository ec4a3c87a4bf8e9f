//! Who may call what, of whose key.

use serde_json::{Value, json};
use tower_api_key::{
    Actor, KeyId, KeyPatch, License, NewKey, Seats,
    manage::{MANAGEMENT_MODULE, ManagementPolicy},
};

use crate::support::{Client, World, license, module, request};

/// Whose key a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Nobody's: it is a call on none, or on one without rights.
    Plain,
    /// The manager's own.
    Own,
    /// Another manager's.
    Manager,
    /// The same, disabled.
    Disabled,
    /// The same, which expires.
    Expiring,
    Administrator,
    /// Nobody's, where managing needs the license `management-2026`.
    Licensed,
}

impl Of {
    /// The id of such a key, which is made for it.
    async fn key(self, world: &World) -> KeyId {
        let new = NewKey::named("target");
        let manages = || NewKey::named("target").with_modules([module(MANAGEMENT_MODULE)]);
        let key = match self {
            Self::Plain => world.key(new.with_modules([module("open")])).await,
            Self::Own => return world.manager.id.clone(),
            Self::Manager | Self::Disabled => world.key(manages()).await,
            Self::Expiring => {
                let end = "2999-01-01T00:00:00Z".parse().unwrap();
                world.key(manages().with_expires_at(end)).await
            }
            Self::Administrator => world.key(new.with_administrator(true)).await,
            Self::Licensed => {
                let (system, seats) = (Actor::system(), Seats::Limited(2));
                let license = License::new(license("management-2026"), seats);
                let management = module(MANAGEMENT_MODULE);
                let mapped = world
                    .keys
                    .map_module(&management, Some(&license.id), &system);
                mapped.await.unwrap();
                world.keys.set_license(license, &system).await.unwrap();
                world.key(new).await
            }
        };
        if self == Self::Disabled {
            let disabled = world.keys.disable(&key.id, &Actor::system()).await;
            disabled.unwrap();
        }
        key.id
    }
}

/// A call, and with what status it is answered to an administrator and to a manager. `ID` is the
/// key's.
type Row = (&'static str, &'static str, Option<Value>, Of, u16, u16);

fn matrix() -> Vec<Row> {
    let body = |body: Value| Some(body);
    let named = |body: Value| {
        let mut named = json!({"name": "new"});
        let fields = body.as_object().unwrap().clone();
        named.as_object_mut().unwrap().extend(fields);
        Some(named)
    };
    let mut rows: Vec<Row> = vec![
        ("GET", "/keys", None, Of::Plain, 200, 200),
        ("POST", "/keys", named(json!({})), Of::Plain, 201, 201),
        (
            "POST",
            "/keys",
            named(json!({"modules": ["open"]})),
            Of::Plain,
            201,
            201,
        ),
        (
            "POST",
            "/keys",
            named(json!({"administrator": false})),
            Of::Plain,
            201,
            201,
        ),
        (
            "POST",
            "/keys",
            named(json!({"administrator": true})),
            Of::Plain,
            201,
            403,
        ),
        (
            "POST",
            "/keys",
            named(json!({"modules": ["open", MANAGEMENT_MODULE]})),
            Of::Plain,
            201,
            403,
        ),
    ];
    // Reading is for all who manage.
    for of in [Of::Plain, Of::Own, Of::Manager, Of::Administrator] {
        rows.push(("GET", "/keys/ID", None, of, 200, 200));
    }
    // Administrators' keys are changed by administrators only, whatever it is.
    let changes: [(&str, &str, Option<Value>, u16); 8] = [
        ("PATCH", "/keys/ID", body(json!({"name": "b"})), 200),
        ("PATCH", "/keys/ID", body(json!({})), 200),
        ("PATCH", "/keys/ID", body(json!({"enabled": false})), 200),
        (
            "PATCH",
            "/keys/ID",
            body(json!({"administrator": false})),
            200,
        ),
        ("POST", "/keys/ID/revoke", None, 200),
        ("DELETE", "/keys/ID", None, 204),
        ("PUT", "/keys/ID/modules/open", None, 200),
        ("DELETE", "/keys/ID/modules/open", None, 204),
    ];
    for (method, path, body, status) in changes {
        for of in [Of::Plain, Of::Own, Of::Manager, Of::Administrator] {
            let manager = if of == Of::Administrator { 403 } else { status };
            rows.push((method, path, body.clone(), of, status, manager));
        }
    }
    let management = "/keys/ID/modules/rest_api_management";
    let end = |end: &str| body(json!({"expires_at": end}));
    let (enable, never) = (
        body(json!({"enabled": true})),
        body(json!({"expires_at": null})),
    );
    rows.extend([
        // What makes a manager, or an administrator.
        ("PUT", management, None, Of::Plain, 200, 403),
        ("PUT", management, None, Of::Own, 200, 403),
        ("DELETE", management, None, Of::Manager, 204, 204),
        (
            "PATCH",
            "/keys/ID",
            body(json!({"administrator": true})),
            Of::Plain,
            200,
            403,
        ),
        (
            "PATCH",
            "/keys/ID",
            body(json!({"administrator": true})),
            Of::Own,
            200,
            403,
        ),
        // What brings one back.
        ("PATCH", "/keys/ID", enable.clone(), Of::Plain, 200, 200),
        ("PATCH", "/keys/ID", enable.clone(), Of::Manager, 200, 200),
        ("PATCH", "/keys/ID", enable.clone(), Of::Own, 200, 200),
        ("PATCH", "/keys/ID", enable.clone(), Of::Disabled, 200, 403),
        ("PATCH", "/keys/ID", enable, Of::Administrator, 200, 403),
        // What lets one last longer.
        ("PATCH", "/keys/ID", never.clone(), Of::Plain, 200, 200),
        ("PATCH", "/keys/ID", never.clone(), Of::Manager, 200, 200),
        ("PATCH", "/keys/ID", never, Of::Expiring, 200, 403),
        (
            "PATCH",
            "/keys/ID",
            end("2999-01-01T00:00:00.000001Z"),
            Of::Expiring,
            200,
            403,
        ),
        (
            "PATCH",
            "/keys/ID",
            end("2999-01-01T00:00:00Z"),
            Of::Expiring,
            200,
            200,
        ),
        (
            "PATCH",
            "/keys/ID",
            end("2998-01-01"),
            Of::Expiring,
            200,
            200,
        ),
        (
            "PATCH",
            "/keys/ID",
            end("2998-01-01"),
            Of::Manager,
            200,
            200,
        ),
        ("PATCH", "/keys/ID", end("2998-01-01"), Of::Own, 200, 200),
        (
            "PATCH",
            "/keys/ID",
            end("2998-01-01"),
            Of::Administrator,
            200,
            403,
        ),
        // What hands one over.
        ("POST", "/keys/ID/regenerate", None, Of::Plain, 200, 200),
        ("POST", "/keys/ID/regenerate", None, Of::Own, 200, 200),
        ("POST", "/keys/ID/regenerate", None, Of::Manager, 200, 403),
        (
            "POST",
            "/keys/ID/regenerate",
            None,
            Of::Administrator,
            200,
            403,
        ),
    ]);
    // What lets keys manage that have the module and no seat.
    let mapping = |license: Value| body(json!({ "license": license }));
    let seats = |seats: u32| body(json!({"seats": seats, "valid_until": null}));
    let management = "/modules/rest_api_management";
    let (other, needed) = ("/licenses/launcher-2026", "/licenses/management-2026");
    rows.extend([
        (
            "PUT",
            "/modules/lino",
            mapping(json!(null)),
            Of::Plain,
            201,
            201,
        ),
        (
            "PUT",
            "/modules/open",
            mapping(json!("management-2026")),
            Of::Licensed,
            200,
            200,
        ),
        ("PUT", management, mapping(json!(null)), Of::Plain, 200, 403),
        (
            "PUT",
            management,
            mapping(json!(null)),
            Of::Licensed,
            200,
            403,
        ),
        (
            "PUT",
            management,
            mapping(json!("launcher-2026")),
            Of::Plain,
            200,
            403,
        ),
        (
            "PUT",
            management,
            mapping(json!("launcher-2026")),
            Of::Licensed,
            200,
            403,
        ),
        ("PUT", "/licenses/new", seats(9), Of::Plain, 201, 201),
        ("PUT", other, seats(9), Of::Licensed, 200, 200),
        ("PUT", needed, seats(9), Of::Plain, 201, 201),
        ("PUT", needed, seats(9), Of::Licensed, 200, 403),
        ("PUT", needed, seats(2), Of::Licensed, 200, 403),
        ("DELETE", other, None, Of::Plain, 204, 204),
        ("DELETE", other, None, Of::Licensed, 204, 204),
        ("DELETE", needed, None, Of::Licensed, 204, 403),
    ]);
    rows
}

#[tokio::test]
async fn callers_may_do_what_their_role_allows_and_a_refused_call_changes_nothing() {
    for (method, path, body, of, administrator, manager) in matrix() {
        let world = World::new().await;
        let call = format!("{method} {path} {body:?} of {of:?}");
        let id = of.key(&world).await;
        let template = path;
        let path = template.replace("ID", id.as_str());
        let before = world.everything().await;
        let tries = [
            (&world.outsider, 403, "module_access_missing"),
            (
                &Client {
                    id: id.clone(),
                    text: "rk_live_nobody".into(),
                },
                401,
                "invalid_key",
            ),
        ];
        for (client, status, code) in tries {
            let answer = world.call(method, &path, client, body.clone()).await;
            answer.refused(status, code);
        }
        let nobody = request(method, &path).body(axum::body::Body::empty());
        world
            .send(nobody.unwrap())
            .await
            .refused(401, "missing_credential");
        if manager == 403 {
            let answer = world
                .call(method, &path, &world.manager, body.clone())
                .await;
            answer.refused(403, "forbidden");
        }
        assert_eq!(world.everything().await, before, "{call}");
        if manager != 403 {
            let answer = world
                .call(method, &path, &world.manager, body.clone())
                .await;
            assert_eq!(answer.status, manager, "{call}: {:?}", answer.body);
        }

        let world = World::new().await;
        let id = of.key(&world).await;
        let path = template.replace("ID", id.as_str());
        let answer = world.call(method, &path, &world.administrator, body).await;
        assert_eq!(answer.status, administrator, "{call}: {:?}", answer.body);
    }
}

#[tokio::test]
async fn key_that_is_made_an_administrator_meanwhile_has_the_modules_it_had() {
    for (method, had) in [("PUT", false), ("DELETE", true)] {
        let mut undone = 0;
        for at in 1.. {
            let (world, plan) = World::interrupted().await;
            let (id, system) = (world.outsider.id.clone(), Actor::system());
            let launcher = [module("launcher")];
            if had {
                world.keys.assign(&id, &launcher, &system).await.unwrap();
            }
            let (keys, promoted) = (world.keys.clone(), id.clone());
            plan.interrupt(at, async move {
                let patch = KeyPatch::new().with_administrator(true);
                keys.update(&promoted, &patch, &Actor::system())
                    .await
                    .unwrap();
            });
            let path = format!("/keys/{id}/modules/launcher");
            let answer = world.call(method, &path, &world.manager, None).await;
            let was_interrupted = plan.lift();
            let has = async || {
                let key = world.keys.read(&id).await.unwrap();
                key.modules.iter().any(|known| known.module == launcher[0])
            };
            if answer.status == 403 {
                answer.refused(403, "forbidden");
                assert_eq!(has().await, had, "{method} interrupted at {at}");
                let log = world.keys.events(0, usize::MAX).await.unwrap();
                let by_manager = log
                    .iter()
                    .filter(|event| event.actor == world.manager.actor());
                undone += usize::from(by_manager.count() > 0);
            } else {
                assert!(answer.status.is_success(), "{}", answer.status);
                assert_eq!(has().await, !had, "{method} interrupted at {at}");
            }
            if !was_interrupted {
                break;
            }
        }
        assert!(undone > 0, "{method} was never undone");
    }
}

#[tokio::test]
async fn manager_without_a_seat_may_not_manage() {
    let world = World::new().await;
    let system = Actor::system();
    let (management, license) = (module(MANAGEMENT_MODULE), license("launcher-2026"));
    // Its one seat is for one of the two.
    let mapped = world.keys.map_module(&management, Some(&license), &system);
    mapped.await.unwrap();
    world
        .call("GET", "/keys", &world.manager, None)
        .await
        .is(200);
    let second = NewKey::named("second").with_modules([module(MANAGEMENT_MODULE)]);
    let second = world.key(second).await;
    let answer = world.call("GET", "/keys", &second, None).await;
    answer.refused(403, "license_limit_reached");
    world.administer("GET", "/keys", None).await.is(200);
}

#[tokio::test]
async fn manager_can_take_management_from_itself_and_not_back() {
    let world = World::new().await;
    let path = "/keys/manager/modules/rest_api_management";
    let answer = world.call("DELETE", path, &world.manager, None).await;
    answer.is(204);
    let answer = world.call("PUT", path, &world.manager, None).await;
    answer.refused(403, "module_access_missing");
}

#[tokio::test]
async fn policy_of_the_host_decides_who_is_a_manager() {
    use tower_api_key::{
        Denial, DenialCode,
        manage::{Applicant, Role},
    };
    struct Everybody;
    #[async_trait::async_trait]
    impl ManagementPolicy for Everybody {
        async fn role(&self, applicant: Applicant<'_>) -> Result<Role, Denial> {
            match applicant.grant().is_administrator() {
                true => Err(DenialCode::InsufficientScope.into()),
                false => Ok(Role::Manager),
            }
        }
    }
    let world = World::with(|builder| builder.with_policy(Everybody)).await;
    world
        .call("GET", "/keys", &world.outsider, None)
        .await
        .is(200);
    let body = Some(json!({"name": "a", "administrator": true}));
    let answer = world.call("POST", "/keys", &world.outsider, body).await;
    answer.refused(403, "forbidden");
    let answer = world.administer("GET", "/keys", None).await;
    answer.refused(403, "insufficient_scope");
}

/// http.md 4: on grants too. Administrators burn none.
#[tokio::test]
async fn managers_are_told_of_their_quota_and_burn_none_by_reading() {
    let world = World::new().await;
    let plan = async |client| {
        let body = Some(json!({"enabled": true}));
        world
            .call("POST", "/limited-edition/plan", client, body)
            .await
    };
    for left in ["999", "998"] {
        let answer = plan(&world.manager).await;
        let fields = answer.is(200).headers["ratelimit"].to_str().unwrap();
        assert!(fields.contains(&format!("r={left};")), "{fields}");
        assert_eq!(answer.headers["vary"], "x-api-key, authorization");
        assert_eq!(answer.headers["cache-control"], "no-store");
        let read = world.call("GET", "/modules", &world.manager, None).await;
        assert!(!read.is(200).headers.contains_key("ratelimit"));
    }
    let answer = plan(&world.administrator).await;
    assert!(!answer.is(200).headers.contains_key("ratelimit"));
}
