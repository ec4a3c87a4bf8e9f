//! Files for stores in SQLite, each in a folder of its own.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tower_api_key::{KeyDigest, KeyId, KeyRecord, KeyStore, Timestamp};

/// The path of a file that is not there yet, alone in its folder.
///
/// The folders of this process are below one, which the next run of the same tests removes.
pub fn fresh() -> PathBuf {
    static FOLDERS: LazyLock<PathBuf> = LazyLock::new(|| {
        let tests = std::env::current_exe().unwrap();
        let name = tests.file_stem().unwrap().to_owned();
        let folders = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folders);
        folders
    });
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let folder = FOLDERS.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir_all(&folder).unwrap();
    folder.join("keys.db")
}

/// A pool as a host might have one.
pub async fn pool(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path);
    let options = options.create_if_missing(true);
    SqlitePool::connect_with(options).await.unwrap()
}

/// A pool that cannot write.
pub async fn read_only_pool(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let pool = SqlitePoolOptions::new().max_connections(2);
    pool.connect_with(options).await.unwrap()
}

pub fn record(number: u64) -> KeyRecord {
    let created_at = Timestamp::from_unix_seconds(1_767_225_600);
    let name = format!("Key {number}");
    KeyRecord::new(id(number), digest(number), name, created_at)
}

pub fn id(number: u64) -> KeyId {
    KeyId::new(format!("k{number}")).unwrap()
}

pub fn digest(number: u64) -> KeyDigest {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    KeyDigest::from_bytes(bytes)
}

pub async fn fill(store: &impl KeyStore, keys: u64) {
    for number in 0..keys {
        store.insert(record(number)).await.unwrap();
    }
}
