//! What has to happen by and by: the ledger's time passes, last-used times are written.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    error::BackendError,
    layer::Shared,
    license_ledger::{Actor, Operation},
    observe,
    pass::micros,
};

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) task: bool,
    pub(crate) last_used_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            task: true,
            last_used_every: Duration::from_secs(60),
        }
    }
}

/// What was done when.
#[derive(Debug)]
pub(crate) struct Schedule {
    settings: Settings,
    started: AtomicBool,
    /// Monotonic microseconds of the last writing of last-used times.
    written: AtomicU64,
}

impl Schedule {
    pub(crate) fn new(settings: Settings) -> Self {
        let started = AtomicBool::new(!settings.task);
        Self {
            settings,
            started,
            written: AtomicU64::new(0),
        }
    }

    /// Whether the last-used times are to be written now; who is told so does it.
    fn is_due(&self, now: Duration) -> bool {
        let (now, written) = (micros(now), self.written.load(Ordering::Relaxed));
        now >= written.saturating_add(micros(self.settings.last_used_every))
            && self
                .written
                .compare_exchange(written, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Shared {
    /// Starts the task, once, where a runtime is there to run it.
    pub(crate) fn start_maintenance(self: &Arc<Self>) {
        if self.maintenance.started.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.maintenance.started.swap(true, Ordering::Relaxed) {
            return;
        }
        let shared = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                // Noted where it failed; the next round tries again.
                let _ = shared.maintain().await;
            }
        });
    }

    pub(crate) async fn maintain(&self) -> Result<(), BackendError> {
        let lookup = &self.gate.lookup;
        let ticked = match lookup.ledger.apply(Operation::Tick, &Actor::system()).await {
            Ok(_) | Err(BackendError::ReadOnly) => Ok(()),
            Err(error) => {
                observe::maintenance_failed("tick", &error);
                Err(error)
            }
        };
        let written = if self.maintenance.is_due(lookup.clock.now().monotonic) {
            self.flush().await
        } else {
            Ok(())
        };
        ticked.and(written)
    }

    pub(crate) async fn flush(&self) -> Result<(), BackendError> {
        match self.gate.uses.write(&*self.gate.lookup.store).await {
            Ok(()) | Err(BackendError::ReadOnly) => Ok(()),
            Err(error) => {
                observe::maintenance_failed("last_used", &error);
                Err(error)
            }
        }
    }
}

const EVERY: Duration = Duration::from_secs(1);
