use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use proptest::prelude::*;

use super::*;

/// What lies in a cell: whose it is, and how often he was there.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Visits {
    who: u64,
    count: u64,
    idle: bool,
}

struct AsTold;

impl Judge<Visits> for AsTold {
    fn is_idle(&self, visits: &Visits) -> bool {
        visits.idle
    }

    fn weight(&self, visits: &Visits) -> u64 {
        visits.count
    }
}

fn visit(cells: &Cells<Visits>, key: u64) -> (u32, u64) {
    cells.of(key, &AsTold, |visits| {
        if visits.count == 0 {
            visits.who = key;
        }
        assert_eq!(visits.who, key, "nobody finds what is another's");
        visits.count += 1;
        visits.count
    })
}

/// Like the hashes that keys are.
fn key(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[test]
fn everyone_finds_his_own_cell_again_by_key_and_by_place() {
    let cells = Cells::new(100_000);
    let places: Vec<_> = (0..5_000).map(|n| visit(&cells, key(n)).0).collect();
    for (n, place) in (0..).zip(places) {
        assert_eq!(visit(&cells, key(n)), (place, 2));
        let seen = cells.at(place, |own| own == key(n), |visits| *visits);
        assert_eq!(seen.map(|visits| visits.who), Some(key(n)));
        assert_eq!(cells.at(place, |own| own == key(n) + 1, |_| ()), None);
    }
    assert_eq!(cells.known(key(5_000), |_| ()), None);
    assert_eq!(cells.at(5_000, |_| true, |_| ()), Some(()), "nobody's yet");
    assert_eq!(cells.at(u32::MAX, |_| true, |_| ()), None);
}

#[test]
fn who_is_idle_makes_place_before_a_new_cell_is_made() {
    let cells = Cells::new(100_000);
    for n in 0..1_000 {
        visit(&cells, key(n));
        cells.known(key(n), |visits| visits.idle = true);
    }
    let highest = (1_000..2_000).map(|n| visit(&cells, key(n)).0).max();
    assert!(highest < Some(1_000), "{highest:?}");
}

#[test]
fn where_all_places_are_taken_the_busiest_stay() {
    let cells = Cells::new(256);
    for _ in 0..1_000 {
        visit(&cells, key(0));
    }
    for n in 1..20_000 {
        assert_eq!(visit(&cells, key(n)).1, 1);
        assert_eq!(visit(&cells, key(n)).1, 2, "the newest is there");
    }
    assert_eq!(visit(&cells, key(0)).1, 1_001);
    let kept = (0..20_000).filter(|n| cells.known(key(*n), |_| ()).is_some());
    assert_eq!(kept.count(), 256);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// As long as nobody has to go, cells are a map.
    #[test]
    fn with_room_enough_nothing_is_lost(visits in prop::collection::vec(0_u64..300, 0..2_000)) {
        let cells = Cells::new(300);
        let mut model = HashMap::<u64, u64>::new();
        for n in visits {
            let count = model.entry(n).or_default();
            *count += 1;
            assert_eq!(visit(&cells, key(n)).1, *count);
        }
    }
}

#[test]
fn many_threads_at_once_count_every_visit() {
    let cells = Cells::new(10_000);
    thread::scope(|scope| {
        for thread in 0..4 {
            let cells = &cells;
            scope.spawn(move || {
                for round in 0..20_000_u64 {
                    visit(cells, key((round * 7 + thread) % 500));
                }
            });
        }
    });
    let all = (0..500).filter_map(|n| cells.known(key(n), |visits| visits.count));
    assert_eq!(all.sum::<u64>(), 80_000);
}

#[test]
fn many_threads_that_drive_each_other_out_never_find_what_is_anothers() {
    let cells = Cells::new(16);
    thread::scope(|scope| {
        for thread in 0..4 {
            let cells = &cells;
            scope.spawn(move || {
                for round in 0..20_000_u64 {
                    visit(cells, key((round * 31 + thread * 17) % 97));
                }
            });
        }
    });
}

/// Lets the owner know that he is looked at, and waits until he stands at the door.
struct Announced<'a> {
    looks: &'a AtomicBool,
}

impl Judge<Visits> for Announced<'_> {
    fn is_idle(&self, visits: &Visits) -> bool {
        self.looks.store(true, Ordering::Release);
        for _ in 0..100 {
            thread::yield_now();
        }
        visits.idle
    }

    fn weight(&self, visits: &Visits) -> u64 {
        visits.count
    }
}

#[test]
fn who_comes_back_while_he_is_looked_at_loses_nothing() {
    for _ in 0..500 {
        let cells = Cells::new(100);
        let (place, _) = visit(&cells, key(0));
        cells.known(key(0), |visits| visits.idle = true);
        let looks = AtomicBool::new(false);
        let finds_his_own = thread::scope(|scope| {
            let owner = scope.spawn(|| {
                while !looks.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                cells.at(place, |own| own == key(0), |_| ()).is_some()
            });
            cells.of(key(1), &Announced { looks: &looks }, |_| ());
            owner.join().expect("no panic")
        });
        assert!(!finds_his_own, "it is given away by then");
    }
}
