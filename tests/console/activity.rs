//! What a key was used for, and who did what.

use std::{fs, time::Instant};

use serde_json::json;

use crate::{
    browser::{LIMIT, named},
    console, hub,
    hub::{ENGINES, folder, x_api_key},
    id_of, make_key, manage, signed_in,
};

#[tokio::test]
async fn chart_shows_what_was_granted_and_what_was_refused() {
    let hub = hub();
    let key = x_api_key(hub.key("Launcher"));
    for _ in 0..3 {
        hub.get(ENGINES, &[&key]).granted();
    }
    hub.get("/api/rest/v1/lino/shows", &[&key]);
    let window = signed_in(&hub).await;
    window.click(named("API Key-Launcher")).await;
    window
        .until("text('.legend').replaceAll(/\\s+/g, ' ') === 'Granted 3 Refused 1 Rate limited 0'")
        .await;
    let drawn = window.js(
        "$$('.chart rect:is(.granted, .refused)').map((bar) => bar.getBoundingClientRect().height)",
    );
    let drawn = drawn.await;
    let [granted, refused] = &drawn.as_array().expect("a list")[..] else {
        panic!("two parts of a bar: {drawn}");
    };
    let ratio = granted.as_f64().expect("a height") / refused.as_f64().expect("a height");
    assert!((2.9..3.1).contains(&ratio), "{ratio}");
    let causes = window.js("text('.causes li').replaceAll(/\\s+/g, ' ')");
    assert_eq!(causes.await, "Module not assigned module_access_missing 1");
    window.click("[data-hours=\"168\"]").await;
    window
        .until("$('[data-hours=\"168\"]').ariaPressed === 'true' && $$('.chart g').length === 28")
        .await;
}

#[tokio::test]
async fn everything_that_was_done_stands_in_the_log_and_in_its_csv() {
    let hub = hub();
    let window = signed_in(&hub).await;
    window.click("#nav-activity").await;
    window.until("$$('[data-test=entry]').length > 10").await;
    // What happens while somebody looks is put on top.
    make_key(&hub, json!({"name": "=1+1", "modules": ["launcher"]}));
    let top = "$$('[data-test=entry]').slice(0, 3).map((entry) => entry.dataset.event)";
    window
        .until(&format!(
            "{top}.join() === 'reserved,module_assigned,key_created'"
        ))
        .await;
    window
        .until("text('[data-test=entry] .entry-text') === '=1+1 got a seat of launcher: assigned'")
        .await;
    window
        .until("text('[data-test=entry] .entry-meta').startsWith('by API Key-Administrator')")
        .await;

    let downloads = folder();
    let behaviour = json!({"behavior": "allow", "downloadPath": downloads});
    window.cdp("Browser.setDownloadBehavior", behaviour).await;
    window.click("#export").await;
    let started = Instant::now();
    let csv = loop {
        let files = fs::read_dir(&downloads).expect("a folder").flatten();
        let named = files
            .map(|file| file.path())
            .find(|path| path.extension().is_some_and(|end| end == "csv"));
        // Its name is taken before it is written.
        let text = named.and_then(|path| fs::read_to_string(path).ok());
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            break text;
        }
        assert!(started.elapsed() < LIMIT, "nothing was downloaded");
        tokio::task::yield_now().await;
    };
    let log = manage(&hub, "GET /audit?limit=500", None);
    let events = log["items"].as_array().expect("a list");
    assert_eq!(csv.matches("\r\n").count(), events.len() + 1);
    let head = "\u{feff}seq,at,event,actor,actor_name,key_id,key_name,module,license,sentence\r\n";
    assert!(csv.starts_with(head), "{csv}");
    for event in events {
        let (seq, kind) = (&event["seq"], event["event"].as_str().expect("a kind"));
        assert!(
            csv.lines().any(|line| {
                line.trim_start_matches('\u{feff}')
                    .starts_with(&format!("{seq},"))
                    && line.contains(&format!(",{kind},"))
            }),
            "{event}"
        );
    }
    // A spreadsheet would have taken the name for a formula.
    assert!(csv.contains(",'=1+1,"), "{csv}");

    window.choose("#filter-event", "key_created").await;
    window
        .until("$$('[data-test=entry]').length && $$('[data-test=entry]').every((entry) => entry.dataset.event === 'key_created')")
        .await;
    let lino = id_of(&hub, "API Key-Lino");
    window.choose("#filter-key", &lino).await;
    window.until("$$('[data-test=entry]').length === 1").await;
    // The filter is part of the address.
    window.reload().await;
    window
        .until("$$('[data-test=entry]').length === 1 && text('[data-test=entry]').includes('API Key-Lino was created')")
        .await;
    assert!(console(&hub).starts_with("http://127.0.0.1"));
}

/// The options are patched in place, and a browser keeps to the one that a person has chosen.
#[tokio::test]
async fn filter_shows_what_is_filtered_by() {
    let hub = hub();
    make_key(&hub, json!({"name": "By the administrator"}));
    let window = signed_in(&hub).await;
    window.click("#nav-activity").await;
    window.until("$$('[data-test=entry]').length > 10").await;
    let administrator = format!("key:{}", id_of(&hub, "API Key-Administrator"));
    for actor in [administrator.as_str(), "", "hub", "", "system"] {
        window.choose("#filter-actor", actor).await;
        let chosen = if actor.is_empty() { "All" } else { actor };
        let shown = "text($('#filter-actor').selectedOptions[0])";
        let expected = match actor {
            actor if actor == administrator => "API Key-Administrator",
            "system" => "System",
            _ => chosen,
        };
        let address = match actor {
            "" => "!location.hash.includes('actor')".to_owned(),
            actor => format!("decodeURIComponent(location.hash).includes('actor={actor}')"),
        };
        window.until(&address).await;
        // What is loaded then does not change what was chosen.
        window.promised("fetch('session')").await;
        window
            .until(&format!(
                "{shown} === '{expected}' && $('#filter-actor').value === '{actor}'"
            ))
            .await;
    }
}

/// In Berlin the day of 25 October 2026 has 25 hours, and that of 29 March 23.
#[tokio::test]
async fn days_of_the_chart_begin_where_peoples_days_do() {
    let hub = hub();
    let window = signed_in(&hub).await;
    let berlin = json!({"timezoneId": "Europe/Berlin"});
    window.cdp("Emulation.setTimezoneOverride", berlin).await;
    for (size, hours, now) in [
        (24, 720, "2026-11-03T12:10:00Z"),
        (6, 168, "2026-10-28T12:10:00Z"),
        (24, 720, "2026-04-03T12:10:00Z"),
    ] {
        let starts = window
            .promised(&format!(
                "import('./chart.js').then(({{ buckets }}) => buckets([], {hours}, {size}, Date.parse('{now}'))
                   .map(({{ at }}) => [new Date(at).getHours() % {size}, new Date(at).getMinutes()]))"
            ))
            .await;
        let starts = starts.as_array().expect("a list");
        assert_eq!(starts.len(), hours / size);
        assert!(
            starts.iter().all(|start| *start == json!([0, 0])),
            "{size}: {starts:?}"
        );
    }
    // An hour of a day that has 25 is counted on that day.
    let counted = "import('./chart.js').then(({ buckets }) => buckets(
        [{ hour: '2026-10-24T22:00:00Z', granted: 1, refused: {}, limited: 0 }, { hour: '2026-10-25T22:00:00Z', granted: 2, refused: {}, limited: 0 }],
        720, 24, Date.parse('2026-11-03T12:10:00Z')).filter(({ granted }) => granted).map(({ at, granted }) => [new Date(at).getDate(), granted]))";
    assert_eq!(window.promised(counted).await, json!([[25, 3]]));
    // Hours follow each other, also the one that is twice.
    let hours = "import('./chart.js').then(({ buckets }) => {
        const made = buckets([], 24, 1, Date.parse('2026-10-25T00:40:00Z'));
        return [new Date(made[23].at).toISOString(), made.every(({ at, end }) => end - at === 3600000)]; })";
    assert_eq!(
        window.promised(hours).await,
        json!(["2026-10-25T00:00:00.000Z", true])
    );
}
