//! Without a mouse.

use thirtyfour::Key;

use crate::{browser::Window, console, hub};

#[tokio::test]
async fn keyboard_alone_signs_in_makes_a_key_and_looks_at_it() {
    let hub = hub();
    let window = Window::open().await;
    window.goto(&console(&hub)).await;
    window.until("document.activeElement.id === 'key'").await;
    window.press(hub.key("Administrator")).await;
    window.press(Key::Enter).await;
    window.until("$('#keys-table')").await;

    // The first stop leads past the way about.
    window.reload().await;
    window.until("$('#keys-table')").await;
    window.tab_to("focus.id === 'skip'").await;
    window.press(Key::Enter).await;
    window.until("document.activeElement.id === 'main'").await;
    window.tab_to("focus.id === 'add-key'").await;
    assert!(ring(&window).await, "the focus is seen");
    window.press(Key::Enter).await;
    window.until("document.activeElement.name === 'name'").await;
    window.press("API Key-Keyboard").await;
    window
        .tab_to("focus.dataset.test === 'module-launcher'")
        .await;
    assert!(ring(&window).await, "the focus is seen");
    window.press(" ").await;
    window
        .until("$('[data-test=module-launcher]').checked")
        .await;
    window.press(Key::Enter).await;
    window
        .until("$('#new-key') && document.activeElement.id === 'copy-key'")
        .await;
    // A dialog keeps the focus; Escape asks once whether the key was copied.
    window.tab_to("focus.id === 'secret-done'").await;
    window.press(Key::Escape).await;
    window.says("You have not copied the key.").await;
    window.press(Key::Escape).await;
    window
        .until("!$('dialog') && document.activeElement.id === 'add-key'")
        .await;

    window
        .tab_to("focus.textContent === 'API Key-Keyboard'")
        .await;
    window.press(Key::Enter).await;
    window
        .until("text('h1') === 'API Key-Keyboard' && $('#delete')")
        .await;
    window.tab_to("focus.id === 'delete'").await;
    window.press(Key::Enter).await;
    // The careful answer is at hand.
    window
        .until("document.activeElement.dataset.test === 'cancel'")
        .await;
    window.press(Key::Enter).await;
    window
        .until("!$('dialog') && document.activeElement.id === 'delete'")
        .await;

    for (keys, title) in [
        ("gl", "License & Features"),
        ("ga", "Activity"),
        ("gk", "REST API Keys"),
    ] {
        window.js("document.activeElement.blur()").await;
        window.press(keys).await;
        window.until(&format!("text('h1') === '{title}'")).await;
    }
}

/// Whether something around what has the focus, or it itself, shows that.
async fn ring(window: &Window) -> bool {
    let ring = "((focus) => [focus, focus.parentElement].some((element) => {
        const look = getComputedStyle(element);
        return look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) >= 2;
    }))(document.activeElement)";
    window.js(ring).await == true
}
