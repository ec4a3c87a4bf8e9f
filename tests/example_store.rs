//! The store of `examples/custom_store`, which cannot tell of changes, passes the suite.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

#[path = "../examples/custom_store/json_file.rs"]
mod json_file;

use json_file::JsonFile;

tower_api_key::key_store_conformance!(fresh);

/// A store in a file of its own.
async fn fresh() -> JsonFile {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("keys-{}.json", COUNT.fetch_add(1, Ordering::Relaxed));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Left there by an earlier run, or not there at all.
    let _ = fs::remove_file(&path);
    JsonFile::new(&path)
}
