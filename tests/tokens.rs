//! Verifiers of bearer tokens that others plug in.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use support::{World, admin, get, module};
use tower_api_key::{
    Changes, DenialCode, Holder, KeyFormats, KeyText, LicenseLedger, NewKey, Now, Operation,
    Principal, Scope, TokenError, TokenVerifier, UserModules,
};

/// Takes `token:NAME` for NAME's token, who has the module `launcher` by it.
#[derive(Clone)]
struct Tokens {
    /// Before the name.
    prefix: &'static str,
    asked: Arc<AtomicUsize>,
    keep_for: Duration,
    changes: Changes,
}

impl Tokens {
    fn new(prefix: &'static str, keep_for: Duration) -> Self {
        Self {
            prefix,
            asked: Arc::default(),
            keep_for,
            changes: Changes::new(),
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TokenVerifier for Tokens {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(self.prefix.as_bytes()) || token.starts_with(b"rk_")
    }

    async fn verify(&self, token: &[u8], now: Now) -> Result<Principal, TokenError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let name =
            std::str::from_utf8(&token[self.prefix.len()..]).map_err(|_| TokenError::Invalid)?;
        match name {
            "old" => Err(TokenError::Expired),
            "away" => Err(TokenError::Unavailable("nobody there".into())),
            "wrong" => Err(TokenError::Invalid),
            name => {
                let holder = format!("https://issuer.example|{name}");
                let mut principal = Principal::new(Holder::new(holder).expect("a holder"));
                principal.name = Some(name.to_owned());
                principal.scopes = vec![Scope::new("read:realms").expect("a scope")];
                principal.expires_at = Some(now.wall.saturating_add(Duration::from_secs(600)));
                principal.keep_for = self.keep_for;
                principal.modules = vec![module("launcher")];
                Ok(principal)
            }
        }
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }
}

async fn with_tokens(keep_for: Duration) -> (World, Tokens) {
    let tokens = Tokens::new("token:", keep_for);
    let plugged = tokens.clone();
    let world = World::with(|builder| builder.with_token_verifier(plugged)).await;
    (world, tokens)
}

async fn bearer(world: &World, path: &str, token: &str) -> support::Answer {
    let request = get(path).header("authorization", format!("Bearer {token}"));
    world.send(request).await
}

#[tokio::test]
async fn one_route_accepts_keys_and_tokens() {
    let (world, tokens) = with_tokens(Duration::from_secs(60)).await;
    let scope = Scope::new("read:realms").expect("a scope");
    let key = world
        .create(NewKey::named("key").with_scopes([scope]))
        .await;
    bearer(&world, "/realms", key.text.expose()).await.granted();
    assert_eq!(tokens.asked(), 0);
    for _ in 0..3 {
        let answer = bearer(&world, "/realms", "token:alice").await;
        let grant = answer.granted().grant.clone().expect("a grant");
        assert_eq!(grant.principal(), "https://issuer.example|alice");
        assert_eq!(grant.name(), "alice");
        assert_eq!(grant.key_id(), None);
        assert_eq!(grant.environment(), None);
    }
    assert_eq!(tokens.asked(), 1, "remembered for its minute");
    world.clock.advance(Duration::from_secs(60));
    bearer(&world, "/realms", "token:alice").await.granted();
    assert_eq!(tokens.asked(), 2);
}

#[tokio::test]
async fn a_token_is_refused_at_its_expiry_however_long_it_is_remembered() {
    let (world, _) = with_tokens(Duration::from_secs(3_600)).await;
    bearer(&world, "/me", "token:alice").await.granted();
    world.clock.advance(Duration::from_secs(600));
    let answer = bearer(&world, "/me", "token:alice").await;
    answer.refused(401, "expired_key", "The token has expired.");
}

#[tokio::test]
async fn a_token_that_may_not_be_remembered_is_verified_each_time() {
    let (world, tokens) = with_tokens(Duration::ZERO).await;
    for _ in 0..3 {
        bearer(&world, "/me", "token:alice").await.granted();
    }
    assert_eq!(tokens.asked(), 3);
}

#[tokio::test]
async fn a_broken_key_is_nobody_elses_token() {
    let (world, tokens) = with_tokens(Duration::ZERO).await;
    let key = world.key(&[]).await;
    let broken = format!("{}x", key.text.expose());
    assert_eq!(bearer(&world, "/me", &broken).await.code(), "invalid_key");
    assert_eq!(
        world.get("/me", "token:alice").await.code(),
        "invalid_key",
        "only as a bearer"
    );
    let long = format!("token:{}", "a".repeat(16 * 1_024));
    assert_eq!(bearer(&world, "/me", &long).await.code(), "invalid_key");
    assert_eq!(tokens.asked(), 0);
}

#[tokio::test]
async fn a_verifiers_errors_have_their_codes() {
    let (world, _) = with_tokens(Duration::ZERO).await;
    assert_eq!(
        bearer(&world, "/me", "token:wrong").await.code(),
        "invalid_key"
    );
    let answer = bearer(&world, "/me", "token:old").await;
    answer.refused(401, "expired_key", "The token has expired.");
    let answer = bearer(&world, "/me", "token:away").await;
    let detail = "Tokens cannot be verified at the moment.";
    answer.refused(503, "store_unavailable", detail);
    assert_eq!(
        answer.denial.expect("a denial").code(),
        DenialCode::StoreUnavailable
    );
}

#[tokio::test]
async fn a_user_holds_modules_and_seats_like_a_key() {
    let (world, _) = with_tokens(Duration::from_secs(60)).await;
    assert_eq!(
        bearer(&world, "/engines", "token:alice").await.code(),
        "module_access_missing"
    );
    let holder = Holder::new("https://issuer.example|alice").expect("a holder");
    let assign = Operation::Assign {
        holder,
        modules: vec![module("launcher")],
    };
    world
        .ledger
        .apply(assign, &admin())
        .await
        .expect("assigned");
    bearer(&world, "/engines", "token:alice").await.granted();
}

#[tokio::test]
async fn modules_that_a_token_names_count_only_where_the_service_says_so() {
    let tokens = Tokens::new("token:", Duration::from_secs(60));
    for (source, code) in [
        (UserModules::FromToken, None),
        (UserModules::FromLedger, Some("module_access_missing")),
    ] {
        let tokens = tokens.clone();
        let world = World::with(|builder| {
            let builder = builder.with_token_verifier(tokens);
            builder.with_user_modules(source)
        });
        let world = world.await;
        let answer = bearer(&world, "/engines", "token:alice").await;
        match code {
            Some(code) => assert_eq!(answer.code(), code),
            None => drop(answer.granted()),
        }
        // Licenses are for keys: this one has the module, and takes the only way to it.
        let key = world.key(&["launcher"]).await;
        bearer(&world, "/engines", key.text.expose())
            .await
            .granted();
    }
}

#[tokio::test]
async fn a_module_that_a_token_does_not_name_is_refused_whatever_the_ledger_says() {
    let tokens = Tokens::new("token:", Duration::from_secs(60));
    let world = World::with(|builder| {
        let builder = builder.with_token_verifier(tokens);
        builder.with_user_modules(UserModules::FromToken)
    });
    let world = world.await;
    let assign = Operation::Assign {
        holder: Holder::new("https://issuer.example|alice").expect("a holder"),
        modules: vec![module("lino")],
    };
    let assigned = world.ledger.apply(assign, &admin()).await;
    assigned.expect("assigned");
    let answer = bearer(&world, "/lino", "token:alice").await;
    assert_eq!(answer.code(), "module_access_missing");
}

#[tokio::test]
async fn a_verifier_that_withdraws_a_key_is_asked_again() {
    let first = Tokens::new("first:", Duration::from_secs(600));
    let second = Tokens::new("second:", Duration::from_secs(600));
    let (one, two) = (first.clone(), second.clone());
    let world = World::with(|builder| builder.with_token_verifier(one).with_token_verifier(two));
    let world = world.await;
    let send = async || {
        bearer(&world, "/me", "first:alice").await.granted();
        bearer(&world, "/me", "second:bob").await.granted();
        [first.asked(), second.asked()]
    };
    assert_eq!(send().await, [1, 1]);
    assert_eq!(send().await, [1, 1], "both are remembered");
    second.changes.everything();
    assert_eq!(send().await, [1, 2], "what the other one said still holds");
    assert_eq!(
        send().await,
        [1, 2],
        "and what is verified anew is remembered"
    );
    first.changes.everything();
    assert_eq!(send().await, [2, 2]);
}

#[tokio::test]
async fn the_first_verifier_that_recognizes_a_token_decides() {
    let first = Tokens::new("token:", Duration::from_secs(60));
    let second = Tokens::new("token:a", Duration::from_secs(60));
    let third = Tokens::new("other:", Duration::from_secs(60));
    let plugged = [&first, &second, &third].map(Clone::clone);
    let world = World::with(|builder| {
        let plug = |builder: tower_api_key::ApiKeyLayerBuilder, tokens| {
            builder.with_token_verifier(tokens)
        };
        plugged.into_iter().fold(builder, plug)
    });
    let world = world.await;
    bearer(&world, "/me", "token:alice").await.granted();
    assert_eq!(
        bearer(&world, "/me", "token:wrong").await.code(),
        "invalid_key"
    );
    bearer(&world, "/me", "other:bob").await.granted();
    assert_eq!(
        bearer(&world, "/me", "nobody:eve").await.code(),
        "invalid_key"
    );
    let asked = [&first, &second, &third].map(Tokens::asked);
    assert_eq!(asked, [2, 0, 1], "there is no second guess");
}

/// Never answers.
struct Hanging;

#[async_trait]
impl TokenVerifier for Hanging {
    fn recognizes(&self, token: &[u8]) -> bool {
        token.starts_with(b"hang:")
    }

    async fn verify(&self, _: &[u8], _: Now) -> Result<Principal, TokenError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_hangs_holds_up_no_key_and_no_other_verifier() {
    let tokens = Tokens::new("token:", Duration::from_secs(60));
    let world = World::with(|builder| {
        let builder = builder.with_token_verifier(Hanging);
        builder.with_token_verifier(tokens).with_lookups_at_once(2)
    });
    let world = world.await;
    let key = world.key(&["launcher"]).await;
    let start = tokio::time::Instant::now();
    // More than may be under way at once, and fewer than may fail.
    let names: Vec<_> = (0..50).map(|number| format!("hang:{number}")).collect();
    let hanging = names.iter().map(|name| bearer(&world, "/me", name));
    let hanging = futures_util::future::join_all(hanging);
    let others = async {
        bearer(&world, "/engines", key.text.expose())
            .await
            .granted();
        bearer(&world, "/me", "token:alice").await.granted();
        tokio::time::Instant::now() - start
    };
    let (answers, waited) = tokio::join!(hanging, others);
    assert_eq!(waited, Duration::ZERO);
    assert!(answers.iter().all(|answer| answer.status == 503));
    assert_eq!(tokio::time::Instant::now() - start, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn keys_are_looked_up_while_tokens_fill_the_line_of_their_address() {
    let world = World::with(|builder| builder.with_token_verifier(Hanging)).await;
    let key = world.key(&[]).await;
    let start = tokio::time::Instant::now();
    let names: Vec<_> = (0..70).map(|number| format!("hang:{number}")).collect();
    let hanging = futures_util::future::join_all(names.iter().map(|n| bearer(&world, "/me", n)));
    let used = async {
        bearer(&world, "/me", key.text.expose()).await.granted();
        tokio::time::Instant::now() - start
    };
    let (_, waited) = tokio::join!(hanging, used);
    assert_eq!(waited, Duration::ZERO);
}

/// Takes any text.
struct Anything;

#[async_trait]
impl TokenVerifier for Anything {
    fn recognizes(&self, _: &[u8]) -> bool {
        true
    }

    async fn verify(&self, _: &[u8], _: Now) -> Result<Principal, TokenError> {
        Err(TokenError::Invalid)
    }
}

#[tokio::test]
async fn a_key_of_a_foreign_form_is_no_bearer_beside_a_verifier_of_any_text() {
    let world = World::with(|builder| {
        let formats = KeyFormats::default().with_opaque(true);
        builder.with_formats(formats).with_token_verifier(Anything)
    });
    let world = world.await;
    let text = KeyText::new("an-imported-text-of-another-system-0001");
    let actor = admin();
    let imported = world.manager.import(NewKey::named("old"), &text, &actor);
    imported.await.expect("imported");
    for _ in 0..2 {
        // Remembered or not.
        let answer = bearer(&world, "/me", text.expose()).await;
        assert_eq!(answer.code(), "invalid_key");
        world.get("/me", text.expose()).await.granted();
    }
    let own = world.key(&[]).await;
    for _ in 0..2 {
        bearer(&world, "/me", own.text.expose()).await.granted();
    }
}
