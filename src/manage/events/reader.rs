//! Who reads a stream, and whether he still may.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{self, Either};
use http::StatusCode;
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::super::{Parts, caller::Caller};
use crate::{
    changes::Stamp,
    license_ledger::{EventKind, Holder, LicenseEvent},
};

/// Who reads, as he was when the stream began.
pub(super) struct Reader {
    pub(super) parts: Arc<Parts>,
    caller: Caller,
    holder: Holder,
    /// How long he may read at most, and why no longer.
    pub(super) limit: (Duration, Closing),
    /// The last entry that whoever judges the caller after the beginning knows of.
    known: u64,
    /// How often tokens had been withdrawn.
    withdrawals: u64,
    judging: Interval,
    judged: Option<Judged>,
}

/// When the policy was last asked.
struct Judged {
    /// How far the ledger had come.
    stamp: Stamp,
    /// Until when the answer holds if nothing changes in the ledger.
    until: Instant,
}

/// Why the service ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Closing {
    /// Something has happened by which the caller may have lost the right to it.
    RightsChanged,
    /// The caller's credential is over.
    Expired,
    /// It has lasted an hour.
    TimeLimit,
    /// The reader has taken nothing for 30 seconds.
    NotRead,
    ShuttingDown,
}

impl Reader {
    pub(super) fn new(parts: Arc<Parts>, caller: Caller) -> Self {
        let lookup = &parts.gate.gate.lookup;
        let until = caller.grant.expires_at();
        let left = until.map(|until| until.saturating_since(lookup.clock.now().wall));
        let mut judging = interval(JUDGING);
        judging.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            holder: caller.grant.holder(),
            limit: match left {
                Some(left) if left < LONGEST => (left, Closing::Expired),
                _ => (LONGEST, Closing::TimeLimit),
            },
            known: *lookup.ledger.latest().borrow(),
            withdrawals: lookup.withdrawals(),
            judging,
            judged: None,
            parts,
            caller,
        }
    }

    /// What `work` comes to, unless the caller loses the right to read during it.
    pub(super) async fn while_judged<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Closing> {
        let mut work = pin!(work);
        loop {
            // First: work that is always ready does not keep it from its turn.
            match future::select(pin!(self.judging.tick()), work.as_mut()).await {
                Either::Left(_) => {}
                Either::Right((done, _)) => return Ok(done),
            }
            self.judge().await?;
        }
    }

    /// Whether the caller may read on. An entry that may end his rights is told first: otherwise the
    /// stream that follows this one would begin with it, and end.
    pub(super) fn judge_after(&self, event: &LicenseEvent) -> Result<(), Closing> {
        let is_news = event.seq > self.known;
        let is_own = event.kind.holder() == Some(&self.holder);
        match is_news && is_own && may_end_rights(&event.kind) {
            true => Err(Closing::RightsChanged),
            false => Ok(()),
        }
    }

    /// Whether the caller may still read, as far as this process knows.
    pub(super) async fn judge(&mut self) -> Result<(), Closing> {
        self.judge_key()?;
        self.judge_role().await
    }

    fn judge_key(&self) -> Result<(), Closing> {
        let (grant, lookup) = (&self.caller.grant, &self.parts.gate.gate.lookup);
        let now = lookup.clock.now().wall;
        if grant.expires_at().is_some_and(|end| end <= now) {
            return Err(Closing::Expired);
        }
        let is_of_token = grant.is_session() || grant.key_id().is_none();
        let is_withdrawn = is_of_token && lookup.withdrawals() != self.withdrawals;
        match is_withdrawn || !lookup.is_unchanged(grant.pass()) {
            true => Err(Closing::RightsChanged),
            false => Ok(()),
        }
    }

    /// Asks the policy, unless its last answer still holds.
    async fn judge_role(&mut self) -> Result<(), Closing> {
        let stamp = self.parts.gate.gate.lookup.ledger.changes().stamp();
        let now = Instant::now();
        let holds = |judged: &Judged| judged.stamp == stamp && now < judged.until;
        if self.judged.as_ref().is_some_and(holds) {
            return Ok(());
        }
        let holds_for = match self.parts.caller(self.caller.grant.clone()).await {
            Ok(_) => ASKED_AGAIN,
            // An outage is not a denial.
            Err(denial) if denial.status() == StatusCode::SERVICE_UNAVAILABLE => JUDGING,
            Err(_) => return Err(Closing::RightsChanged),
        };
        let until = now + holds_for;
        self.judged = Some(Judged { stamp, until });
        Ok(())
    }
}

/// Whether a holder to whom this happened has to be judged anew.
fn may_end_rights(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::KeyChanged { .. }
            | EventKind::KeyDisabled { .. }
            | EventKind::KeyRevoked { .. }
            | EventKind::KeyDeleted { .. }
            | EventKind::KeyRegenerated { .. }
            | EventKind::KeyExpired { .. }
            | EventKind::ModuleUnassigned { .. }
            | EventKind::ReservationRemoved { .. }
    )
}

/// How often it is looked whether the caller may still read.
const JUDGING: Duration = Duration::from_secs(1);
/// How long a policy's answer holds where nothing changes in the ledger.
const ASKED_AGAIN: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(3_600);
