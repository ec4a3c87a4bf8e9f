//! What can be asked: rules 5 to 8 of the contract, the log, and names of all kinds.

use std::time::Duration;

use Seats::Limited;

use super::*;
use crate::license_ledger::HolderState;

/// Rule 6: the log is numbered from 1 and can be read from anywhere, page by page.
pub async fn log_is_read_in_pages(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let mut scene = Scene::new(ledger, clock, "rule 6: events are the log, page by page");
    let empty = scene
        .ledger
        .events(0, 10)
        .await
        .expect("rule 6: events answers");
    assert_eq!(empty, [], "rule 6: the log of a fresh ledger is empty");
    scene = scene.with_seats(3).await;
    scene.assign_all(&["A", "B", "C", "D", "E"]).await;
    scene.log_is_whole().await;
    for limit in [0, 1, 4, usize::MAX] {
        for after in 0..=scene.log.len() {
            let page = scene.ledger.events(after as u64, limit).await;
            let page = page.expect("rule 6: events answers");
            let rest = &scene.log[after..];
            let expected = &rest[..rest.len().min(limit)];
            assert_eq!(
                page, expected,
                "rule 6: at most {limit} events after {after}"
            );
        }
    }
    for after in [scene.log.len() as u64 + 1, i64::MAX as u64, u64::MAX] {
        let page = scene
            .ledger
            .events(after, 10)
            .await
            .expect("rule 6: events answers");
        assert_eq!(page, [], "rule 6: after {after} comes nothing");
    }
}

/// `latest` carries the number of the last event, also to who subscribed before.
pub async fn latest_reaches_the_last_event(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "latest carries the number of the last event whenever it grows";
    let mut scene = Scene::new(ledger, clock, rule);
    let mut early = scene.ledger.latest();
    assert_eq!(*early.borrow(), 0, "{rule}: 0 where there is none");
    scene = scene.with_seats(1).await;
    for name in ["A", "B", "C"] {
        scene.make(assign(name, &["launcher"])).await;
        let last = scene.log.len() as u64;
        let mut late = scene.ledger.latest();
        for receiver in [&mut early, &mut late] {
            let reached = receiver.wait_for(|number| *number >= last);
            let reached = tokio::time::timeout(Duration::from_secs(10), reached).await;
            let reached = reached.unwrap_or_else(|_| panic!("{rule}: {last} within 10 seconds"));
            let number = *reached.expect("the ledger is still there");
            assert_eq!(number, last, "{rule}, and no number that no event has");
        }
    }
}

/// Holders come in order of their bytes, page by page.
pub async fn holders_are_in_order_of_their_bytes(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "holders are in order of their name's bytes";
    let mut scene = Scene::new(ledger, clock, rule);
    let ordered = [
        "!",
        "-",
        "10",
        "2",
        "A",
        "B",
        "a",
        "a-b",
        "aB",
        "ab",
        "https://i|s",
        "~",
    ];
    for place in [4, 11, 0, 7, 2, 9, 5, 1, 10, 3, 8, 6] {
        scene.make(assign(ordered[place], &["launcher"])).await;
    }
    let names = |holders: Vec<HolderState>| -> Vec<String> {
        holders
            .iter()
            .map(|known| known.holder.to_string())
            .collect()
    };
    for (place, name) in ordered.iter().enumerate() {
        for limit in [0, 1, 5, usize::MAX] {
            let page = scene.ledger.holders(Some(&holder(name)), limit).await;
            let page = names(page.expect("rule 5: holders answers"));
            let rest = &ordered[place + 1..];
            let expected = &rest[..rest.len().min(limit)];
            assert_eq!(page, expected, "{rule}: at most {limit} after {name}");
        }
    }
    let between = scene.ledger.holders(Some(&holder("aA")), 1).await;
    let between = names(between.expect("rule 5: holders answers"));
    assert_eq!(
        between,
        ["aB"],
        "{rule}: the starting point need not be there"
    );
}

/// Both halves of a line are cut at the limit; an unknown license has none.
pub async fn line_is_cut_at_the_limit(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "line answers at most `limit` of those who hold a seat and of those who wait";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(3).await;
    for (seconds, name) in (0..).zip(["F", "E", "D", "C", "B", "A"]) {
        scene.set_clock(seconds);
        scene.make(assign(name, &["launcher"])).await;
    }
    let id = license("lic");
    for limit in [0, 1, 2, 3, usize::MAX] {
        let line = scene
            .ledger
            .line(&id, limit)
            .await
            .expect("rule 5: line answers");
        let line = line.expect("the license is known");
        let since = |names: &[&str], start: i64| -> Vec<_> {
            let since = (start..).zip(names).take(limit);
            since
                .map(|(seconds, name)| (holder(name), at(seconds)))
                .collect()
        };
        assert_eq!(
            line.reserved,
            since(&["F", "E", "D"], 0),
            "{rule}: the oldest first"
        );
        assert_eq!(
            line.waiting,
            since(&["C", "B", "A"], 3),
            "{rule}: the first in line first"
        );
    }
    let unknown = scene.ledger.line(&license("unknown"), 9).await;
    let unknown = unknown.expect("rule 5: line answers");
    assert_eq!(
        unknown, None,
        "line answers nothing where the license is unknown"
    );
}

/// A holder that the ledger does not know has no modules and is active; what a key's record
/// carries is none of this ledger's business.
pub async fn unknown_holder_is_active_without_modules(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "a holder that the ledger does not know has no modules and is active";
    let mut scene = Scene::new(ledger, clock, rule);
    scene = scene.with_seats(9).await;
    let carried = [module("launcher"), module("playout")];
    let standings = scene.ledger.standings(&holder("nobody"), &carried).await;
    let standings = standings.expect("rule 5: standings answers");
    let expected = Standings::new(at(0), false, true, None, []);
    assert_eq!(standings, expected, "{rule}; carried modules are ignored");
    scene.assign_all(&["A"]).await;
    let standings = scene.ledger.standings(&holder("A"), &carried).await;
    let standings = standings.expect("rule 5: standings answers");
    let status = standings.status(&module("playout"), at(0));
    assert_eq!(status, Status::NotAssigned, "carried modules are ignored");
}

/// Rule 7: asked of several holders, of none or of very many, a ledger answers of each what it says
/// of it alone, also where it is asked of twice or not known.
pub async fn several_holders_are_answered_in_the_order_asked(
    ledger: impl LicenseLedger,
    clock: Arc<ManualClock>,
) {
    let rule = "rule 7: standings_of answers as many as it is asked of, in the order asked";
    let mut scene = Scene::new(ledger, clock, rule).with_seats(1).await;
    scene.assign_all(&["B", "A"]).await;
    scene.make(set_active("C", false)).await;
    let carried = [module("launcher"), module("playout")];
    for names in [
        &[][..],
        &["A"],
        &["nobody"],
        &["C", "A", "B"],
        &["B", "nobody", "A", "A", "nobody", "B"],
    ] {
        // Each with other carried modules, which are none of this ledger's business.
        let carried = (0..).map(|place| &carried[..place % 3]);
        let asked: Vec<_> = names.iter().map(|name| holder(name)).zip(carried).collect();
        let answers = scene.ledger.standings_of(&asked).await;
        let answers = answers.expect("rule 7: standings_of answers");
        let mut one_by_one = Vec::new();
        for name in names {
            one_by_one.push(scene.standings(name).await);
        }
        assert_eq!(answers, one_by_one, "{rule}: {names:?}");
    }

    let name = |place: usize| match place {
        20_000 => "A".to_owned(),
        39_999 => "B".to_owned(),
        _ => format!("stranger-{place}"),
    };
    let many: Vec<_> = (0..40_000)
        .map(|place| (holder(&name(place)), &[][..]))
        .collect();
    let answers = scene.ledger.standings_of(&many).await;
    let answers = answers.expect("rule 7: standings_of answers");
    assert_eq!(answers.len(), many.len(), "{rule}, however many they are");
    for ((holder, _), standings) in many.iter().zip(answers) {
        let expected = scene.model.standings(holder);
        assert_eq!(standings, expected, "{rule}: {holder} among many");
    }
}

/// Rule 8: the first module that was never mapped is named; a mapping to nothing, or to a license
/// that is not there, counts.
pub async fn first_unknown_module_is_named(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "rule 8: first_unknown answers the first module asked of that was never mapped";
    let mut scene = Scene::new(ledger, clock, rule).with_seats(1).await;
    scene.make(map_to_nothing("open")).await;
    scene.make(map("later", "no-such-license")).await;
    scene.make(map("gone", "removed")).await;
    scene.make(set("removed", Limited(1), None)).await;
    scene.make(remove("removed")).await;
    // An assignment does not make its module known.
    scene.make(assign("A", &["z", "launcher"])).await;
    let known = ["launcher", "open", "later", "gone"];
    for (asked, unknown) in [
        (&[][..], None),
        (&known, None),
        (&["gone", "gone", "open"], None),
        (&["z"], Some("z")),
        (&["open", "z", "launcher", "a", "z"], Some("z")),
        (&["a", "open", "z"], Some("a")),
        (&["later", "Launcher"], Some("Launcher")),
    ] {
        let modules: Vec<_> = asked.iter().map(|text| module(text)).collect();
        let answer = scene.ledger.first_unknown(&modules).await;
        let answer = answer.expect("rule 8: first_unknown answers");
        assert_eq!(answer, unknown.map(module), "{rule}: {asked:?}");
    }

    let mut many: Vec<_> = (0..40_000).map(|place| module(known[place % 4])).collect();
    for unknown in [None, Some(module("z"))] {
        many.extend(unknown.clone());
        let answer = scene.ledger.first_unknown(&many).await;
        let answer = answer.expect("rule 8: first_unknown answers");
        assert_eq!(answer, unknown, "{rule}, however many they are");
    }
}

/// Names of every kind, to their greatest length, come back as given and are told apart.
pub async fn names_come_back_as_given(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "names are compared byte by byte and come back as given";
    let mut scene = Scene::new(ledger, clock, rule);
    let longest_holder = format!("https://issuer.example/|{}", "s".repeat(488));
    let longest = "%_'\"\\".repeat(40);
    let names = [
        ("a", "m", "l"),
        ("A", "M", "L"),
        ("a'--", "m%", "l_"),
        (&longest_holder, &longest, &longest),
    ];
    for (holder, module, license) in names {
        scene.make(map(module, license)).await;
        scene.make(set(license, Limited(1), None)).await;
        scene.make(assign(holder, &[module])).await;
    }
    for (holder, own, _) in names {
        for (_, module, _) in names {
            let expected = match module == own {
                true => Status::Reserved,
                false => Status::NotAssigned,
            };
            scene.status_is(holder, module, expected).await;
        }
    }
    scene.log_is_whole().await;
}

/// The outermost numbers and instants are kept exactly.
pub async fn extremes_come_back_as_given(ledger: impl LicenseLedger, clock: Arc<ManualClock>) {
    let rule = "numbers and instants are kept exactly";
    let mut scene = Scene::new(ledger, clock, rule);
    scene.clock.advance(Duration::from_micros(1));
    let until = |text: &str, seats, valid_until| Operation::SetLicense {
        license: License::new(license(text), seats).with_valid_until(Some(valid_until)),
    };
    scene
        .make(until("most", Limited(u32::MAX), Timestamp::MAX))
        .await;
    scene.make(until("over", Limited(0), Timestamp::MIN)).await;
    scene
        .make(until(
            "odd",
            Seats::Unlimited,
            at(0).saturating_add(Duration::from_micros(7)),
        ))
        .await;
    scene.clock.advance(Duration::from_micros(5));
    scene.says(Operation::Tick, &[]).await;
    scene.clock.advance(Duration::from_micros(1));
    scene.says(Operation::Tick, &["expired odd"]).await;
    scene
        .make(Operation::SetActiveUntil {
            holder: holder("A"),
            active_until: Some(Timestamp::MAX),
        })
        .await;
    scene
        .make(Operation::SetActiveUntil {
            holder: holder("B"),
            active_until: Some(Timestamp::MIN),
        })
        .await;
    scene.log_is_whole().await;
}
