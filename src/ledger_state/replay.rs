//! The past, read from the log.

use std::collections::BTreeMap;

use crate::{
    clock::Timestamp,
    license_ledger::{EventKind, Holder, LicenseEvent, LicenseId},
};

/// Who held the seats of each license at a past moment, the oldest reservation first.
///
/// `events` is the log from its beginning; it is read up to `at`, and what happened at that very
/// instant counts. A license of which nobody held a seat is left out.
pub fn seats_at<'a>(
    events: impl IntoIterator<Item = &'a LicenseEvent>,
    at: Timestamp,
) -> BTreeMap<LicenseId, Vec<Holder>> {
    let mut held: BTreeMap<(&LicenseId, &Holder), u64> = BTreeMap::new();
    for event in events.into_iter().take_while(|event| event.at <= at) {
        match &event.kind {
            EventKind::Reserved {
                license, holder, ..
            } => {
                held.insert((license, holder), event.seq);
            }
            EventKind::ReservationRemoved {
                license, holder, ..
            } => {
                held.remove(&(license, holder));
            }
            _ => {}
        }
    }
    let mut oldest_first: Vec<_> = held.into_iter().collect();
    oldest_first.sort_unstable_by_key(|(_, seq)| *seq);
    let mut seats: BTreeMap<LicenseId, Vec<Holder>> = BTreeMap::new();
    for ((license, holder), _) in oldest_first {
        seats
            .entry(license.clone())
            .or_default()
            .push(holder.clone());
    }
    seats
}
