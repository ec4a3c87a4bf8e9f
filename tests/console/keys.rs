//! REST API Keys: the seed's walk, and what is said before anything is done.

use serde_json::{Value, json};

use crate::{
    browser::{Window, named},
    console, hub,
    hub::{ENGINES, Hub, x_api_key},
    id_of, make_key, manage, set_license, sign_in, signed_in,
};

/// Waits for the sentences that a dialog says of what follows.
async fn consequences(window: &Window) -> Value {
    window
        .until("$$('[data-test=consequences] li').length && $$('[data-test=consequences] li').map(text)")
        .await
}

/// Confirms what the open dialog asks, and waits until it is gone.
async fn confirm(window: &Window) {
    window.click("dialog [data-test=submit]").await;
    window.until("!$('dialog')").await;
}

async fn state_of(window: &Window, state: &str) {
    window
        .until(&format!(
            "$('.page-head [data-test=key-status]')?.dataset.state === '{state}'"
        ))
        .await;
}

/// "Creating an API Key for Launch Control", step by step.
#[tokio::test]
async fn key_for_launch_control_is_made_copied_and_used() {
    let hub = hub();
    let window = signed_in(&hub).await;
    let permissions = json!({
        "origin": format!("http://{}", hub.address),
        "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"],
    });
    window.cdp("Browser.grantPermissions", permissions).await;
    window.click("#nav-licenses").await;
    window.until("text('h1') === 'License & Features'").await;

    // 1. Navigate to User Management > REST API Keys.
    let group = window.js("text($('#nav-keys').closest('.nav-group').firstChild)");
    assert_eq!(group.await, "User Management");
    window.click(named("REST API Keys")).await;
    window.until("text('h1') === 'REST API Keys'").await;
    // 2. Click Add New API Key button (plus icon).
    window.click(named("Add New API Key")).await;
    // 3. Enter a descriptive name (e.g., "API Key-All Access").
    window.fill("[name=name]", "API Key-All Access").await;
    // 4. Assign the Launcher module resource.
    window.says("1 of 2 seats free").await;
    window.click("[data-test=module-launcher]").await;
    let copy = "$$('dialog button').find((button) => text(button) === 'Copy to Clipboard')";
    assert_eq!(window.js(&format!("{copy}.disabled")).await, true);
    // 5. Click on Generate API Key button. This will activate the Copy to Clipboard button.
    window.click(named("Generate API Key")).await;
    window
        .until(&format!("$('#new-key') && !{copy}.disabled"))
        .await;
    // 6. Copy the generated API Key for use in your application.
    window.click(named("Copy to Clipboard")).await;
    window.until("text('#copy-key') === 'Copied'").await;
    let shown = window.js("text('#new-key')").await;
    let copied = window.promised("navigator.clipboard.readText()").await;
    assert_eq!(copied, shown);
    let key = copied.as_str().expect("a text");

    let engines = hub.get(ENGINES, &[&x_api_key(key)]).granted();
    assert_eq!(engines[0]["id"], "engine-1");
    window.click("#copy-curl").await;
    window.until("text('#copy-curl') === 'Copied'").await;
    let line = window.promised("navigator.clipboard.readText()").await;
    let line = line.as_str().expect("a text");
    // As the README has it.
    let readme = include_str!("../../README.md");
    let general = line
        .replace(key, "…")
        .replace(&hub.address, "127.0.0.1:3000");
    assert!(readme.contains(&format!("`{general}`")), "{line}");
    assert_eq!(run_line(line), engines);

    // It is nowhere any more but in the clipboard.
    window.click("#secret-done").await;
    window
        .until("!$('dialog') && row('key-row', 'API Key-All Access')")
        .await;
    let page = window.js("document.documentElement.outerHTML").await;
    assert!(!page.as_str().expect("a text").contains(key));
    let row = window
        .js("text(row('key-row', 'API Key-All Access'))")
        .await;
    let row = row.as_str().expect("a text");
    assert!(row.contains(&key[key.len() - 4..]), "{row}");
    assert!(row.contains("launcher") && row.contains("Active"), "{row}");

    window.click(named("API Key-All Access")).await;
    window
        .until("text('[data-module=launcher] [data-test=module-status]') === 'Reserved'")
        .await;
    let last_used = "$$('dt').find((name) => text(name) === 'Last used').nextSibling";
    window
        .until(&format!("text({last_used}) === 'just now'"))
        .await;

    // The last seats are taken away: the key is refused, and the page says so.
    let key_page = window.js("location.hash").await;
    let key_page = key_page.as_str().expect("an address");
    set_seats(&window, "0").await;
    assert_eq!(
        consequences(&window).await,
        json!(["API Key-Launcher and API Key-All Access would lose their seats."])
    );
    confirm(&window).await;
    hub.get(ENGINES, &[&x_api_key(key)]).refused(
        403,
        "license_limit_reached",
        "License limit reached, cannot reserve additional licenses.",
    );
    let answer = run_line(line);
    assert_eq!(answer["code"], "license_limit_reached");
    window.goto(&format!("{}{key_page}", console(&hub))).await;
    window
        .until("text('[data-module=launcher] .status-cell') === 'Reservation failed\\nlimit reached, 2nd in line'")
        .await;
    // Given back, they are the keys' again.
    set_seats(&window, "2").await;
    assert_eq!(
        consequences(&window).await,
        json!(["API Key-Launcher and API Key-All Access would get seats."])
    );
    confirm(&window).await;
    assert_eq!(run_line(line), engines);
}

/// Opens what changes the license `launcher`, and types other seats.
async fn set_seats(window: &Window, seats: &str) {
    window.click("#nav-licenses").await;
    window.click(named("launcher")).await;
    window.click(named("Change seats or date")).await;
    window
        .until("text('[data-test=consequences]') === 'Nothing is changed yet.'")
        .await;
    window.fill("[name=seats]", seats).await;
    window
        .until("!text('[data-test=consequences]').startsWith('Nothing') && !$('dialog [data-test=submit]').disabled")
        .await;
}

/// Runs a line as a person's shell does; answers with the JSON that comes back.
fn run_line(line: &str) -> Value {
    let run = std::process::Command::new("sh")
        .args(["-c", &format!("{line} --silent")])
        .output();
    serde_json::from_slice(&run.expect("a shell").stdout).expect("JSON")
}

#[tokio::test]
async fn name_that_would_be_markup_stays_text() {
    const NAME: &str = "<script>window.ran=1</script><img src=x onerror=\"window.ran=1\">";
    let hub = hub();
    set_license(&hub, "launcher", 3, None);
    let (id, _) = make_key(
        &hub,
        json!({"name": NAME, "modules": ["launcher"], "owner": NAME}),
    );
    let window = signed_in(&hub).await;
    for page in [
        "#/keys".to_owned(),
        format!("#/keys/{id}"),
        "#/licenses/launcher".to_owned(),
        "#/activity".to_owned(),
    ] {
        window.goto(&format!("{}{page}", console(&hub))).await;
        window.says(NAME).await;
    }
    window.goto(&format!("{}#/keys/{id}", console(&hub))).await;
    window.click("#delete").await;
    window.until("text('dialog').includes('onerror')").await;
    consequences(&window).await;
    confirm(&window).await;
    window
        .until("text('[data-test=toast]').includes('onerror')")
        .await;
    let found = window.js("[window.ran ?? 0, $$('img, #app script').length, document.title]");
    assert_eq!(found.await, json!([0, 0, "REST API Keys · API Console"]));
}

#[tokio::test]
async fn what_follows_is_said_before_it_is_done() {
    let hub = hub();
    set_license(&hub, "launcher", 1, None);
    let first = id_of(&hub, "API Key-Launcher");
    let launcher = |name| json!({"name": name, "modules": ["launcher"]});
    make_key(&hub, launcher("API Key-B"));
    make_key(&hub, launcher("API Key-C"));
    let window = signed_in(&hub).await;
    window.click(named("API Key-Launcher")).await;
    state_of(&window, "active").await;

    let next = json!(["Frees 1 seat of launcher; API Key-B is next."]);
    for opener in ["#revoke", "#delete", "[aria-label=\"Unassign launcher\"]"] {
        window.click(opener).await;
        assert_eq!(consequences(&window).await, next, "{opener}");
        window.click("dialog [data-test=cancel]").await;
        window.until("!$('dialog')").await;
    }
    // Nothing was done: it was asked only.
    let key = manage(&hub, &format!("GET /keys/{first}"), None);
    assert_eq!(
        (&key["enabled"], &key["revoked_at"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(key["modules"][0]["status"], "reserved");

    window.click("#switch").await;
    assert_eq!(consequences(&window).await, next);
    confirm(&window).await;
    state_of(&window, "disabled").await;
    window
        .until("text('[data-module=launcher] [data-test=why]') === 'key disabled'")
        .await;
    window.click("#switch").await;
    let waits = "It gets no seat of launcher now: there it waits in line, and is refused.";
    assert_eq!(consequences(&window).await, json!([waits]));
    confirm(&window).await;
    state_of(&window, "active").await;
    window
        .until("text('[data-module=launcher] [data-test=module-status]') === 'Reservation failed'")
        .await;

    window.click("#revoke").await;
    let nothing = json!(["No seat changes hands."]);
    assert_eq!(consequences(&window).await, nothing);
    confirm(&window).await;
    state_of(&window, "revoked").await;
    window.click("#delete").await;
    consequences(&window).await;
    confirm(&window).await;
    window
        .until("text('h1') === 'REST API Keys' && $$('[data-test=key-row]').length")
        .await;
    assert_eq!(
        window.js("row('key-row', 'API Key-Launcher')").await,
        json!(null)
    );
}

#[tokio::test]
async fn regenerated_key_is_shown_once_and_the_old_one_lives_as_long_as_chosen() {
    let hub = hub();
    let status = |key: &str| hub.get(ENGINES, &[&x_api_key(key)]).status;
    let window = signed_in(&hub).await;
    window.click(named("API Key-Launcher")).await;
    let mut texts = vec![hub.key("Launcher").to_owned()];
    for grace in ["3600", "0"] {
        window.click("#regenerate").await;
        window.choose("[name=grace_seconds]", grace).await;
        window.click("dialog [data-test=submit]").await;
        let text = window.until("text('#new-key')").await;
        texts.push(text.as_str().expect("a text").to_owned());
        // Closing without having copied it asks once more.
        window.click("#secret-done").await;
        window.says("You have not copied the key.").await;
        window.click("#secret-done").await;
        window.until("!$('dialog')").await;
        let lives = if grace == "0" { 401 } else { 200 };
        assert_eq!(status(&texts[texts.len() - 2]), lives);
        assert_eq!(status(&texts[texts.len() - 1]), 200);
    }
    assert_eq!(status(&texts[0]), 401);
}

#[tokio::test]
async fn fault_is_said_at_its_field_and_search_finds_what_is_there() {
    let hub = hub();
    let window = signed_in(&hub).await;
    window.click("#add-key").await;
    window.click("dialog [data-test=submit]").await;
    window
        .until("text('[data-field=name] .field-error') === 'Give the key a name.'")
        .await;
    assert_eq!(window.js("$('[name=name]').ariaInvalid").await, "true");
    window.fill("[name=name]", "Edge").await;
    window.click("dialog summary").await;
    window
        .fill("[name=allowed_addresses]", "192.0.2.0/99")
        .await;
    window.click("dialog [data-test=submit]").await;
    // The service says it, and of which field.
    window
        .until("text('[data-field=allowed_addresses] .field-error')")
        .await;
    window.press(thirtyfour::Key::Escape).await;
    window.until("!$('dialog')").await;
    assert_eq!(window.js("row('key-row', 'Edge')").await, json!(null));

    window.fill("#search", "lino").await;
    window
        .until("$$('[data-test=key-row]').length === 1 && row('key-row', 'API Key-Lino')")
        .await;
    window.fill("#search", "nobody at all").await;
    window
        .until("text('[data-test=empty] h3') === 'No key matches'")
        .await;
    window.click(named("Clear the search")).await;
    window.until("$$('[data-test=key-row]').length > 4").await;
}

#[tokio::test]
async fn modules_are_assigned_and_each_says_its_state() {
    let hub = hub();
    let (id, _) = make_key(&hub, json!({"name": "API Key-Studio"}));
    let window = signed_in(&hub).await;
    window.goto(&format!("{}#/keys/{id}", console(&hub))).await;
    window.click("#assign").await;
    for module in ["launcher", "lino", "rest_api_management"] {
        window.click(format!("[data-test=module-{module}]")).await;
    }
    confirm(&window).await;
    let state = |module: &str| format!("text('[data-module={module}] .status-cell')");
    for (module, said) in [
        ("launcher", "Reserved"),
        ("lino", "Reservation failed\nlimit reached, 1st in line"),
        ("rest_api_management", "No license needed"),
    ] {
        let said = Value::from(said);
        window.until(&format!("{} === {said}", state(module))).await;
    }
    // A change made elsewhere shows by itself.
    free_lino(&hub);
    window
        .until(&format!("{} === 'Reserved'", state("lino")))
        .await;
}

fn free_lino(hub: &Hub) {
    let holder = id_of(hub, "API Key-Lino");
    manage(hub, &format!("DELETE /keys/{holder}/modules/lino"), None);
}

#[tokio::test]
async fn text_that_nobody_has_copied_outlasts_going_back_and_the_session() {
    let hub = hub();
    let managing = json!({"name": "Reception", "modules": ["rest_api_management"]});
    let (id, reception) = make_key(&hub, managing);
    let window = Window::open().await;
    window.goto(&console(&hub)).await;
    sign_in(&window, &reception).await;
    window.click("#nav-licenses").await;
    window.until("text('h1') === 'License & Features'").await;
    window.click("#nav-keys").await;
    window.click("#add-key").await;
    window.fill("[name=name]", "API Key-Once").await;
    window.click(named("Generate API Key")).await;
    let text = window.until("text('#new-key')").await;
    let is_warned = "!dispatchEvent(new Event('beforeunload', { cancelable: true }))";
    assert_eq!(window.js(is_warned).await, true);

    window.js("history.back()").await;
    window.until("text('h1') === 'License & Features'").await;
    assert_eq!(window.js("text('#new-key')").await, text);
    manage(&hub, &format!("POST /keys/{id}/revoke"), None);
    window.until("$('#key')").await;
    assert_eq!(window.js("text('#new-key')").await, text);
    window.click("#copy-key").await;
    window.until("text('#copy-key') === 'Copied'").await;
    assert_eq!(window.js(is_warned).await, false);
    window.click("#secret-done").await;
    window
        .until("!$('dialog') && document.activeElement.id === 'key'")
        .await;
}

#[tokio::test]
async fn dialog_is_opened_once_however_often_it_is_asked_for() {
    let hub = hub();
    let window = signed_in(&hub).await;
    for (page, opener, read) in [
        ("API Key-Lino", "#assign", "api/modules"),
        ("REST API Keys", "#add-key", "api/modules"),
    ] {
        window.click(named(page)).await;
        window.until(&format!("$('{opener}')")).await;
        window.hold_back(read).await;
        window
            .js(&format!("$('{opener}').click() ?? $('{opener}').click()"))
            .await;
        window.until("held.length").await;
        window
            .until("(() => { while (held.length) held.shift()(); })() ?? $('dialog')")
            .await;
        window.promised("fetch('session')").await;
        assert_eq!(window.js("$$('dialog').length").await, 1, "{opener}");
        // Nor by a key that is pressed where nothing has the focus.
        window.js("document.activeElement.blur()").await;
        window.press("n?").await;
        window.promised("fetch('session')").await;
        assert_eq!(window.js("$$('dialog').length").await, 1, "{opener}");
        window.press(thirtyfour::Key::Escape).await;
        window.until("!$('dialog')").await;
    }
    // Who has gone on to another page is not asked there.
    window.hold_back("api/licenses").await;
    window.click("#add-key").await;
    window.until("held.length").await;
    window.click("#nav-activity").await;
    window.until("$('[data-test=entry]')").await;
    window
        .js("(() => { while (held.length) held.shift()(); })()")
        .await;
    window.promised("fetch('session')").await;
    assert_eq!(window.js("$('dialog')").await, json!(null));
}

/// The clocks of Berlin are put back at three on that night: half past two is twice.
#[tokio::test]
async fn expiry_that_nobody_touched_stays_in_the_hour_that_is_twice() {
    const SECOND: &str = "2100-10-31T01:30:00Z";
    let hub = hub();
    let (id, _) = make_key(&hub, json!({"name": "Night", "expires_at": SECOND}));
    let window = signed_in(&hub).await;
    let berlin = json!({"timezoneId": "Europe/Berlin"});
    window.cdp("Emulation.setTimezoneOverride", berlin).await;
    window.goto(&format!("{}#/keys/{id}", console(&hub))).await;
    window.click("#edit").await;
    window.fill("[name=name]", "Late night").await;
    confirm(&window).await;
    window.until("text('h1') === 'Late night'").await;
    let key = manage(&hub, &format!("GET /keys/{id}"), None);
    assert_eq!(key["expires_at"], SECOND);
}

#[tokio::test]
async fn new_key_is_seen_in_the_list_whatever_was_searched_for() {
    let hub = hub();
    let window = signed_in(&hub).await;
    window.fill("#search", "lino").await;
    window.until("$$('[data-test=key-row]').length === 1").await;
    window.click("#add-key").await;
    window.fill("[name=name]", "API Key-Stage").await;
    window.click(named("Generate API Key")).await;
    window.until("$('#new-key')").await;
    window
        .until("row('key-row', 'API Key-Stage') && $('#search').value === ''")
        .await;
}

/// U+202E turns what follows it: the end of a sentence, were it not kept to the name.
#[tokio::test]
async fn name_turns_the_direction_of_itself_only() {
    const NAME: &str = "API Key-\u{202e}B";
    let hub = hub();
    set_license(&hub, "launcher", 1, None);
    make_key(&hub, json!({"name": NAME, "modules": ["launcher"]}));
    let window = signed_in(&hub).await;
    let isolated = |within: &str| {
        let name = Value::from(NAME);
        format!(
            "(() => {{
               const words = document.createTreeWalker($('{within}'), NodeFilter.SHOW_TEXT);
               const found = [];
               while (words.nextNode()) if (words.currentNode.data.includes({name})) found.push(words.currentNode.parentElement);
               return found.length && found.every((element) => {{
                 const look = getComputedStyle(element);
                 return look.unicodeBidi === 'isolate' || look.display.includes('block');
               }});
             }})()"
        )
    };
    window.until(&isolated("#keys-table")).await;
    window.click(named("API Key-Launcher")).await;
    window.click("#revoke").await;
    window.until(&isolated("[data-test=consequences]")).await;
    window.click("dialog [data-test=cancel]").await;
    window.click("#nav-activity").await;
    window.until(&isolated(".log")).await;
}

#[tokio::test]
async fn key_without_a_seat_is_told_so_where_its_text_is_shown() {
    let hub = hub();
    // More than fit: they are as high as any.
    for module in ["a", "b", "c", "d", "e"] {
        let none = json!({"license": null});
        manage(&hub, &format!("PUT /modules/{module}"), Some(&none));
    }
    let window = signed_in(&hub).await;
    window.click("#add-key").await;
    window.fill("[name=name]", "Late").await;
    let least = "Math.min(...$$('.ticks .tick').map((tick) => tick.offsetHeight))";
    let least = window.js(least).await;
    assert!(least.as_f64().expect("a height") >= 38.0, "{least}");
    window.click("[data-test=module-lino]").await;
    window.choose("[name=expiry]", "at").await;
    window
        .js("$('[name=expiry_at]').value = '2020-01-01T00:00'")
        .await;
    window.click(named("Generate API Key")).await;
    // Where the date is wrong the focus is on it, and its field is not named as in the request.
    window
        .until("text('[data-field=expires_at] .field-error').startsWith('It is in the past')")
        .await;
    assert_eq!(window.js("document.activeElement.name").await, "expiry_at");
    window.choose("[name=expiry]", "").await;
    window.click(named("Generate API Key")).await;
    window
        .until("text('dialog .states').replaceAll(/\\s+/g, ' ') === 'lino Reservation failed limit reached'")
        .await;
}

#[tokio::test]
async fn keys_of_one_name_are_told_apart() {
    let hub = hub();
    set_license(&hub, "launcher", 1, None);
    let mut hints = Vec::new();
    for _ in 0..2 {
        let (id, _) = make_key(&hub, json!({"name": "Twin", "modules": ["launcher"]}));
        let key = manage(&hub, &format!("GET /keys/{id}"), None);
        hints.push(key["hint"].as_str().expect("a text").to_owned());
    }
    let window = signed_in(&hub).await;
    window.click("#nav-licenses").await;
    window.click(named("launcher")).await;
    for hint in &hints {
        window
            .until(&format!("text('#waiting').includes('Twin ({hint})')"))
            .await;
    }
    window.click("[data-test=release]").await;
    let next = format!("Frees 1 seat of launcher; Twin ({}) is next.", hints[0]);
    assert_eq!(consequences(&window).await, json!([next]));
}

#[tokio::test]
async fn list_is_as_it_was_when_one_comes_back_from_a_key() {
    let hub = hub();
    for number in 0..120 {
        make_key(&hub, json!({"name": format!("API Key-{number:03}")}));
    }
    let window = signed_in(&hub).await;
    window
        .until("$$('[data-test=key-row]').length === 100")
        .await;
    window.click("#load-more").await;
    window.until("row('key-row', 'API Key-000')").await;
    window.click(named("API Key-000")).await;
    window
        .until("text('h1') === 'API Key-000' && scrollY === 0")
        .await;
    window.js("history.back()").await;
    window
        .until("row('key-row', 'API Key-000') && scrollY > 1000")
        .await;
    // A key that is deleted elsewhere is no dead end.
    window.click(named("API Key-001")).await;
    window.until("text('h1') === 'API Key-001'").await;
    let gone = id_of(&hub, "API Key-001");
    manage(&hub, &format!("DELETE /keys/{gone}"), None);
    window.says("This key was deleted.").await;
    assert_eq!(window.js("text('h1')").await, "API Key-001");
    window.click(named("All REST API Keys")).await;
    window.until("row('key-row', 'API Key-000')").await;
}
