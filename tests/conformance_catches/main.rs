//! The suites can fail: backends with one fault each are caught, by the case that is about it.

mod broken_ledgers;
mod broken_limiters;
mod broken_stores;
mod racy_ledger;

/// Asserts that a case fails, and that its message names this rule.
async fn is_caught(rule: &str, case: impl Future<Output = ()> + Send + 'static) {
    let Err(failure) = tokio::spawn(case).await else {
        panic!("the case passed: {rule} is not tested");
    };
    let payload = failure.into_panic();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or_else(|| payload.downcast_ref().copied())
        .expect("a text");
    assert!(text.contains(rule), "{rule} is not in the message: {text}");
}

/// As long as a database takes, as far as other tasks can tell.
async fn a_moment() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
