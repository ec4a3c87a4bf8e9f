//! What is said at set-up, and what is made there.

use std::error::Error;

use sqlx::{Executor, PgPool, postgres::PgPoolOptions};
use tokio::{sync::Barrier, task::JoinSet};
use tower_api_key::{KeyStore, OpenError, OpenErrorKind, PostgresStore, postgres::ConnectPostgres};

use super::{connect, record, server};

async fn refused(connect: ConnectPostgres) -> OpenError {
    connect.await.expect_err("it cannot be opened")
}

/// The error and its sources, as people would see them.
fn whole(error: &OpenError) -> String {
    let mut whole = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        whole += &format!(": {error}");
        source = error.source();
    }
    whole
}

#[tokio::test]
async fn wrong_password_is_named_and_not_told() {
    let error = refused(PostgresStore::connect(server::address_of(
        "postgres", "hunter2",
    )))
    .await;
    assert_eq!(error.kind(), OpenErrorKind::NotAccepted);
    let whole = whole(&error);
    assert!(whole.contains("postgres@127.0.0.1"), "{whole}");
    assert!(
        whole.contains("password authentication failed for user"),
        "{whole}"
    );
    assert!(!whole.contains("hunter2") && !format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn refused_connection_is_named_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://keys:hunter2@127.0.0.1:{port}/services");
    let error = refused(PostgresStore::connect(url)).await;
    assert_eq!(error.kind(), OpenErrorKind::Unreachable);
    let place = format!("postgres://keys@127.0.0.1:{port}/services");
    assert!(error.place().starts_with(&place), "{}", error.place());
    assert!(
        whole(&error).contains("Connection refused"),
        "{}",
        whole(&error)
    );
}

#[tokio::test]
async fn missing_database_is_named() {
    let address = server::address();
    let (server, _) = address.rsplit_once('/').unwrap();
    let error = refused(PostgresStore::connect(format!("{server}/nowhere"))).await;
    assert_eq!(error.kind(), OpenErrorKind::NotFound);
    assert!(error.place().contains("/nowhere"));
}

#[tokio::test]
async fn pool_with_another_isolation_is_refused() {
    let schema = server::own_name("isolation");
    let pool = |isolation: &'static str| {
        let set = format!("SET default_transaction_isolation = '{isolation}'");
        let options = PgPoolOptions::new().after_connect(move |connection, _| {
            let set = sqlx::AssertSqlSafe(set.clone());
            Box::pin(async move { connection.execute(set).await.map(drop) })
        });
        options.connect_lazy(&server::address()).unwrap()
    };
    for isolation in ["repeatable read", "serializable"] {
        let connect = PostgresStore::with_pool(pool(isolation)).with_schema(&schema);
        let error = refused(connect).await;
        assert_eq!(error.kind(), OpenErrorKind::InvalidSetting);
        let whole = whole(&error);
        assert!(
            whole.contains("default_transaction_isolation") && whole.contains(isolation),
            "{whole}"
        );
    }
    let connect = PostgresStore::with_pool(pool("read committed")).with_schema(&schema);
    connect.await.unwrap();
}

#[tokio::test]
async fn missing_right_to_make_the_schema_is_named() {
    let role = server::own_name("stranger");
    server::execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'p'")).await;
    let schema = server::own_name("not_made");
    let stranger = PostgresStore::connect(server::address_of(&role, "p")).with_schema(&schema);
    let error = refused(stranger).await;
    assert_eq!(error.kind(), OpenErrorKind::NotPermitted);
    assert!(error.place().contains(&schema));
    // Nor may it read what somebody else has made.
    connect(&schema).await.unwrap();
    let stranger = PostgresStore::connect(server::address_of(&role, "p")).with_schema(&schema);
    assert_eq!(refused(stranger).await.kind(), OpenErrorKind::NotPermitted);
}

#[tokio::test]
async fn database_that_cannot_be_written_lacks_tables() {
    let url = format!(
        "{}?options[default_transaction_read_only]=on",
        server::address()
    );
    let read_only = PostgresStore::connect(url).with_schema(server::own_name("not_made"));
    assert_eq!(refused(read_only).await.kind(), OpenErrorKind::ReadOnly);
}

#[tokio::test]
async fn tables_of_a_later_version_are_refused_untouched() {
    let schema = server::own_name("later");
    connect(&schema).await.unwrap();
    server::execute(&format!("UPDATE {schema}.tower_schema SET version = 99")).await;
    let error = refused(connect(&schema).with_tenant("another")).await;
    let OpenErrorKind::Newer { found: 99, known } = error.kind() else {
        panic!("{error:?}");
    };
    assert!(known >= 1);
    let tenants = format!("SELECT count(*) FROM {schema}.tower_tenant");
    assert_eq!(server::ask(&tenants).await, 1);
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_named() {
    let address = server::address;
    for (connect, named) in [
        (PostgresStore::connect("mysql//hunter2@db"), "the URL"),
        (PostgresStore::connect(address()).with_schema(""), "schema"),
        (
            PostgresStore::connect(address()).with_schema("s".repeat(64)),
            "schema",
        ),
        (PostgresStore::connect(address()).with_tenant(""), "tenant"),
        (
            PostgresStore::connect(address()).with_tenant("a\0b"),
            "tenant",
        ),
    ] {
        let error = refused(connect).await;
        assert_eq!(error.kind(), OpenErrorKind::InvalidSetting);
        assert!(whole(&error).contains(named), "{}", whole(&error));
        assert!(!whole(&error).contains("hunter2"));
    }
}

#[tokio::test]
async fn keys_are_there_when_the_store_is_opened_again() {
    let schema = server::own_name("Opened again; \"quoted\"");
    let store = connect(&schema).await.unwrap();
    store.insert(record(1)).await.unwrap();
    drop(store);
    let store = connect(&schema).await.unwrap();
    assert_eq!(
        store.find(&record(1).digest).await.unwrap(),
        Some(record(1))
    );
}

#[tokio::test]
async fn many_that_open_at_once_make_one_schema() {
    for _ in 0..5 {
        let schema = server::own_name("at_once");
        let start = std::sync::Arc::new(Barrier::new(8));
        let mut opening = JoinSet::new();
        for number in 0..8 {
            let (start, schema) = (start.clone(), schema.clone());
            opening.spawn(async move {
                start.wait().await;
                let store = connect(&schema).await.unwrap();
                store.insert(record(number)).await.unwrap();
            });
        }
        opening.join_all().await;
        let keys = format!("SELECT count(*) FROM {schema}.tower_key");
        assert_eq!(server::ask(&keys).await, 8);
    }
}

#[tokio::test]
async fn pool_of_the_service_is_used_as_it_is() {
    // One connection that is somewhere else, and hides our tables as well as it can.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            Box::pin(async move {
                let hide = "CREATE TEMPORARY TABLE tower_key (id text);
                     CREATE TEMPORARY TABLE tower_tenant (id text)";
                connection.execute(hide).await.map(drop)
            })
        })
        .connect_lazy(&server::address())
        .unwrap();
    let path = async |pool: &PgPool| -> String {
        let path = sqlx::query_scalar("SELECT current_setting('search_path')");
        path.fetch_one(pool).await.unwrap()
    };
    let before = path(&pool).await;
    let store = PostgresStore::with_pool(pool.clone()).with_schema(server::own_name("pool"));
    let store = store.await.unwrap();
    store.insert(record(1)).await.unwrap();
    super::change(&store, &record(1).id).await;
    assert!(store.delete(&record(1).id).await.unwrap());
    assert_eq!(path(&pool).await, before);
}
