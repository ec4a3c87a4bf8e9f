//! What an operation reads goes by the seats that move, not by how many holders there are.

use std::sync::Arc;

use tokio::task::JoinSet;
use tower_api_key::{
    Actor, Holder, License, LicenseId, LicenseLedger, Module, Operation, PostgresStore, Seats,
};

use super::{server, until};

const HOLDERS: usize = 3_000;

/// Rows that were read of the tables in a schema, by whatever way.
async fn rows_read(schema: &str) -> i64 {
    let read = format!(
        "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint \
         FROM pg_stat_user_tables WHERE schemaname = '{schema}'"
    );
    server::ask(&read).await
}

/// A store whose connections are known by its name.
async fn open(name: &str) -> PostgresStore {
    let url = format!("{}?application_name={name}", server::address());
    PostgresStore::connect(url).with_schema(name).await.unwrap()
}

/// The server counts what a connection read when it is closed.
async fn close(store: PostgresStore, name: &str) {
    drop(store);
    let connections =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
    until("all connections are closed", async || {
        server::ask(&connections).await == 0
    })
    .await;
}

fn assign(holder: &str) -> Operation {
    Operation::Assign {
        holder: Holder::new(holder).unwrap(),
        modules: vec![module()],
    }
}

fn module() -> Module {
    Module::new("launcher").unwrap()
}

async fn waiting_for_ten_seats(name: &str) {
    let store = open(name).await;
    let license = License::new(LicenseId::new("launcher").unwrap(), Seats::Limited(10));
    let map = Operation::MapModule {
        module: module(),
        license: Some(license.id.clone()),
    };
    for operation in [map, Operation::SetLicense { license }] {
        store.apply(operation, &Actor::system()).await.unwrap();
    }
    let mut assignments = JoinSet::new();
    let shared = Arc::new(store);
    for number in 0..HOLDERS {
        let store = Arc::clone(&shared);
        assignments.spawn(async move {
            let assign = assign(&format!("h{number}"));
            store.apply(assign, &Actor::system()).await.unwrap()
        });
    }
    assignments.join_all().await;
    close(Arc::into_inner(shared).unwrap(), name).await;
}

#[tokio::test]
async fn operation_among_many_holders_reads_few_rows() {
    let name = &server::own_name("reading");
    waiting_for_ten_seats(name).await;
    let holder = |number: usize| Holder::new(format!("h{number}")).unwrap();
    for operation in [
        assign("somebody-new"),
        Operation::Unassign {
            holder: holder(2),
            modules: vec![module()],
        },
        Operation::SetActive {
            holder: holder(3),
            active: false,
        },
        Operation::DeleteKey { holder: holder(4) },
        Operation::SetLicense {
            license: License::new(LicenseId::new("launcher").unwrap(), Seats::Limited(12)),
        },
        Operation::Tick,
    ] {
        let before = rows_read(name).await;
        let store = open(name).await;
        store
            .apply(operation.clone(), &Actor::system())
            .await
            .unwrap();
        store.standings(&holder(7), &[]).await.unwrap();
        close(store, name).await;
        let read = rows_read(name).await - before;
        assert!((1..200).contains(&read), "{operation:?} reads {read} rows");
    }
}
