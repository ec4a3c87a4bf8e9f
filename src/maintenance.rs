//! What has to happen by and by: the ledger's time passes, what was noted and counted of uses is
//! written, and what a crash cut in two between store and ledger is repaired.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    changes::Stamp,
    error::BackendError,
    keys::ManageError,
    layer::Shared,
    license_ledger::{Actor, Operation},
    observe,
    pass::micros,
};

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) task: bool,
    pub(crate) last_used_every: Duration,
    pub(crate) reconcile_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            task: true,
            last_used_every: Duration::from_secs(60),
            reconcile_every: Duration::from_secs(60),
        }
    }
}

/// What was done when.
#[derive(Debug)]
pub(crate) struct Schedule {
    settings: Settings,
    started: AtomicBool,
    /// Monotonic microseconds of the last writing of uses.
    written: AtomicU64,
    /// The same of the last time store and ledger were compared, plus one; none yet: 0.
    reconciled: AtomicU64,
    /// How far store and ledger had come when they were last found to agree.
    agreed: Mutex<Option<[Stamp; 2]>>,
}

impl Schedule {
    pub(crate) fn new(settings: Settings) -> Self {
        let started = AtomicBool::new(!settings.task);
        Self {
            settings,
            started,
            written: AtomicU64::new(0),
            reconciled: AtomicU64::new(0),
            agreed: Mutex::new(None),
        }
    }

    /// For what shares the task of another.
    #[cfg(feature = "manage")]
    pub(crate) fn without_task() -> Self {
        Self::new(Settings {
            task: false,
            ..Settings::default()
        })
    }

    /// Whether store and ledger are to be compared now; who is told so does it.
    fn is_reconciling_due(&self, now: Duration) -> bool {
        let (now, last) = (micros(now), self.reconciled.load(Ordering::Relaxed));
        let every = micros(self.settings.reconcile_every);
        (last == 0 || now >= (last - 1).saturating_add(every))
            && self
                .reconciled
                .compare_exchange(last, now + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Whether uses are to be written now; who is told so does it.
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
    /// Starts the task where none is running and a runtime is there to run it.
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
        let running = Running(Arc::downgrade(self));
        runtime.spawn(async move {
            // It reads all keys, which may take its time: the others do not wait for it.
            let mut reconciling = tokio::spawn(async {});
            loop {
                tokio::time::sleep(EVERY).await;
                let Some(shared) = running.0.upgrade() else {
                    return;
                };
                // Each in a task of its own, so that one that panics or hangs in a backend holds up
                // neither the other nor the next round.
                if reconciling.is_finished() && shared.reconciling_is_due() {
                    let shared = Arc::clone(&shared);
                    reconciling = tokio::spawn(async move { drop(shared.reconcile().await) });
                }
                let other = Arc::clone(&shared);
                let mut tick = tokio::spawn(async move { shared.tick().await });
                let mut write = tokio::spawn(async move { other.write_due().await });
                for task in [&mut tick, &mut write] {
                    if tokio::time::timeout(LONGEST, &mut *task).await.is_err() {
                        task.abort();
                    }
                }
            }
        });
    }

    /// What the task does in each round; all of it is tried.
    pub(crate) async fn maintain(&self) -> Result<(), BackendError> {
        let ticked = self.tick().await;
        let written = self.write_due().await;
        let reconciled = match self.reconciling_is_due() {
            true => self.reconcile().await,
            false => Ok(()),
        };
        ticked.and(written).and(reconciled)
    }

    fn reconciling_is_due(&self) -> bool {
        let now = self.gate.lookup.clock.now().monotonic;
        self.maintenance.is_reconciling_due(now)
    }

    /// Compares store and ledger, unless they agreed the last time and nothing has changed since, or
    /// the ledger knows nobody.
    async fn reconcile(&self) -> Result<(), BackendError> {
        let lookup = &self.gate.lookup;
        let before = lookup.stamps();
        let agreed = || {
            let agreed = self.maintenance.agreed.lock();
            agreed.unwrap_or_else(PoisonError::into_inner)
        };
        if before.is_some() && *agreed() == before {
            return Ok(());
        }
        let reconciled = async {
            if lookup.ledger.holders(None, 1).await?.is_empty() {
                return Ok(true);
            }
            let reconciled = self.manager().reconcile(&Actor::system()).await;
            let reconciled = match reconciled {
                Err(ManageError::ReadOnly) => return Ok(true),
                other => other.map_err(BackendError::unavailable)?,
            };
            observe::reconciled(&reconciled);
            Ok(reconciled.is_clean())
        };
        match reconciled.await {
            Ok(is_clean) => {
                *agreed() = before.filter(|_| is_clean);
                Ok(())
            }
            Err(error) => {
                observe::maintenance_failed("reconcile", &error);
                Err(error)
            }
        }
    }

    async fn tick(&self) -> Result<(), BackendError> {
        match self
            .gate
            .lookup
            .ledger
            .apply(Operation::Tick, &Actor::system())
            .await
        {
            Ok(_) | Err(BackendError::ReadOnly) => Ok(()),
            Err(error) => {
                observe::maintenance_failed("tick", &error);
                Err(error)
            }
        }
    }

    async fn write_due(&self) -> Result<(), BackendError> {
        match self
            .maintenance
            .is_due(self.gate.lookup.clock.now().monotonic)
        {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    pub(crate) async fn flush(&self) -> Result<(), BackendError> {
        let lookup = &self.gate.lookup;
        let now = lookup.clock.now().wall;
        let written = self.gate.uses.write(&*lookup.store, now).await;
        let told = |task, answer| match answer {
            Ok(()) | Err(BackendError::ReadOnly) => Ok(()),
            Err(error) => {
                observe::maintenance_failed(task, &error);
                Err(error)
            }
        };
        let (last_used, usage) = (written.last_used, written.usage);
        told("last_used", last_used).and(told("usage", usage))
    }
}

/// The task while it runs. Where its runtime ends before the layer does, the next request that asks
/// a backend starts another one.
struct Running(Weak<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.maintenance.started.store(false, Ordering::Relaxed);
        }
    }
}

/// What ends is told within a second, what telling takes included.
const EVERY: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
