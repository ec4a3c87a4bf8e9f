//! Licenses, modules, limited edition and the log, as an administrator handles them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_core::Stream;
use futures_util::stream;
use tokio::sync::watch;

use crate::{
    error::BackendError,
    keys::{KeyManager, error::ManageError},
    license_ledger::{
        Actor, EventKind, License, LicenseEvent, LicenseId, LicenseLedger, Line, Module, Operation,
        Overview,
    },
};

impl KeyManager {
    /// Adds a license, or changes seats and validity of the one with its id together, and answers
    /// with what that brought about: an addition has a
    /// [`LicenseAdded`](EventKind::LicenseAdded) among it.
    ///
    /// # Errors
    ///
    /// An outage, or a ledger that is read-only.
    pub async fn set_license(
        &self,
        license: License,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, ManageError> {
        self.apply(Operation::SetLicense { license }, actor).await
    }

    /// The same where the license is as `expected` (nothing: there is none with its id), in one
    /// step: of several who have read the same license, and each want another one, one succeeds.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ManageError::Conflict), with nothing changed, where the license is neither as
    /// expected nor, then, as wanted; an outage, or a ledger that is read-only.
    ///
    /// ```
    /// # use tower_api_key::{Actor, KeyManager, License, LicenseId, ManageError, Seats};
    /// # async fn one_more(manager: &KeyManager, id: &LicenseId) -> Result<(), ManageError> {
    /// let overview = manager.overview().await?;
    /// let found = overview.licenses.into_iter().find(|known| known.license.id == *id);
    /// if let Some(seen) = found.map(|known| known.license)
    ///     && let Seats::Limited(seats) = seen.seats
    /// {
    ///     let mut license = seen.clone();
    ///     license.seats = Seats::Limited(seats + 1);
    ///     manager.set_license_if(license, Some(seen), &Actor::system()).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_license_if(
        &self,
        license: License,
        expected: Option<License>,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, ManageError> {
        let operation = Operation::SetLicenseIf {
            license: license.clone(),
            expected,
        };
        let events = self.apply(operation, actor).await?;
        if events.iter().any(|event| sets(event, &license.id)) {
            return Ok(events);
        }
        match self.license(&license.id).await {
            // A call that is made again after an outage finds its own work done.
            Ok(found) if found == license => Ok(events),
            Ok(_) | Err(ManageError::UnknownLicense(_)) => Err(ManageError::Conflict),
            Err(error) => Err(error),
        }
    }

    /// Removes a license, and answers with what that brought about. Its modules stay mapped to it,
    /// and who uses them is refused until it is added again or they are mapped elsewhere.
    ///
    /// # Errors
    ///
    /// [`UnknownLicense`](ManageError::UnknownLicense), also where it was removed before; an
    /// outage, or a ledger that is read-only.
    pub async fn remove_license(
        &self,
        license: &LicenseId,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, ManageError> {
        let operation = Operation::RemoveLicense {
            license: license.clone(),
        };
        let events = self.apply(operation, actor).await?;
        match events.iter().any(removes) {
            true => Ok(events),
            false => Err(ManageError::UnknownLicense(license.clone())),
        }
    }

    /// The same where the license is as `expected`, in one step.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ManageError::Conflict), with nothing changed, where it is not;
    /// [`UnknownLicense`](ManageError::UnknownLicense) where it is not there; an outage, or a ledger
    /// that is read-only.
    pub async fn remove_license_if(
        &self,
        expected: License,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, ManageError> {
        let id = expected.id.clone();
        let operation = Operation::RemoveLicenseIf { expected };
        let events = self.apply(operation, actor).await?;
        if events.iter().any(removes) {
            return Ok(events);
        }
        self.license(&id).await?;
        Err(ManageError::Conflict)
    }

    /// Makes a module known, says which license it needs, if any, and answers with what that
    /// brought about. The license may be added later: until then who uses the module is refused.
    ///
    /// # Errors
    ///
    /// An outage, or a ledger that is read-only.
    pub async fn map_module(
        &self,
        module: &Module,
        license: Option<&LicenseId>,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, ManageError> {
        let operation = Operation::MapModule {
            module: module.clone(),
            license: license.cloned(),
        };
        self.apply(operation, actor).await
    }

    /// Switches limited edition, in which every license counts as expired, and answers with what
    /// that brought about.
    ///
    /// # Errors
    ///
    /// An outage, or a ledger that is read-only.
    pub async fn set_limited_edition(
        &self,
        enabled: bool,
        actor: &Actor,
    ) -> Result<Vec<LicenseEvent>, ManageError> {
        let operation = Operation::SetLimitedEdition { enabled };
        self.apply(operation, actor).await
    }

    /// Lets the time pass until now, and answers with what expired. The seats of keys that expire
    /// are freed by this and by every change, so it should be called once a second.
    ///
    /// # Errors
    ///
    /// An outage, or a ledger that is read-only.
    pub async fn tick(&self) -> Result<Vec<LicenseEvent>, ManageError> {
        self.apply(Operation::Tick, &Actor::system()).await
    }

    /// All licenses and modules, with how many seats are taken and how many keys wait.
    ///
    /// # Errors
    ///
    /// An outage.
    pub async fn overview(&self) -> Result<Overview, ManageError> {
        let overview = self.0.ledger.overview().await;
        overview.map_err(ManageError::of_ledger)
    }

    /// Who holds the seats of a license and who waits, at most `limit` of each.
    ///
    /// # Errors
    ///
    /// [`UnknownLicense`](ManageError::UnknownLicense); an outage.
    pub async fn line(&self, license: &LicenseId, limit: usize) -> Result<Line, ManageError> {
        let line = self.0.ledger.line(license, limit).await;
        line.map_err(ManageError::of_ledger)?
            .ok_or_else(|| ManageError::UnknownLicense(license.clone()))
    }

    /// The log after event `after` (0: from the beginning), at most `limit` entries: who did what,
    /// and when.
    ///
    /// # Errors
    ///
    /// An outage.
    pub async fn events(&self, after: u64, limit: usize) -> Result<Vec<LicenseEvent>, ManageError> {
        let events = self.0.ledger.events(after, limit).await;
        events.map_err(ManageError::of_ledger)
    }

    /// The log after event `after`, each entry once and in order, and then what happens from now
    /// on: a stream that ends only by being dropped, and needs no manager to go on.
    ///
    /// It can be resumed elsewhere with the `seq` of the last event.
    ///
    /// # Errors
    ///
    /// The ledger's error, as an item: the stream then waits a second, and goes on where it
    /// stopped.
    ///
    /// ```
    /// # use futures_util::StreamExt;
    /// # use tower_api_key::KeyManager;
    /// # async fn watch(manager: &KeyManager) {
    /// let mut log = manager.follow(0);
    /// while let Some(Ok(event)) = log.next().await {
    ///     println!("{} {}: {:?}", event.seq, event.actor, event.kind);
    /// }
    /// # }
    /// ```
    pub fn follow(
        &self,
        after: u64,
    ) -> impl Stream<Item = Result<LicenseEvent, BackendError>> + Send + Unpin + use<> {
        let follower = Follower {
            latest: self.0.ledger.latest(),
            ledger: Arc::clone(&self.0.ledger),
            after,
            read: VecDeque::new(),
            failed: false,
        };
        Box::pin(stream::unfold(follower, |mut follower| async {
            let item = follower.next().await;
            Some((item, follower))
        }))
    }
}

/// Whether a license was added or changed by hand; that its time has passed is no such thing.
fn sets(event: &LicenseEvent, id: &LicenseId) -> bool {
    match &event.kind {
        EventKind::LicenseAdded { license, .. }
        | EventKind::CountChanged { license, .. }
        | EventKind::ValidityChanged { license, .. }
        | EventKind::LicenseRenewed { license, .. } => license == id,
        _ => false,
    }
}

fn removes(event: &LicenseEvent) -> bool {
    matches!(event.kind, EventKind::LicenseRemoved { .. })
}

/// How far one follower of the log has come.
struct Follower {
    ledger: Arc<dyn LicenseLedger>,
    latest: watch::Receiver<u64>,
    /// The last event handed out.
    after: u64,
    /// What has been read and not yet handed out.
    read: VecDeque<LicenseEvent>,
    /// Whether the last read failed.
    failed: bool,
}

impl Follower {
    async fn next(&mut self) -> Result<LicenseEvent, BackendError> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                return Ok(event);
            }
            if std::mem::take(&mut self.failed) {
                tokio::time::sleep(PAUSE).await;
            }
            // Before the read: what is written during it then wakes the wait below.
            self.latest.mark_unchanged();
            match self.ledger.events(self.after, EVENTS_AT_ONCE).await {
                Ok(events) if events.is_empty() => self.wait().await,
                Ok(events) => self.read = events.into(),
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
    }

    async fn wait(&mut self) {
        if self.latest.changed().await.is_err() {
            // Nobody is there to tell any more, yet the log can be read.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// How long to wait before asking again, without a sign that there is something new.
const PAUSE: Duration = Duration::from_secs(1);
const EVENTS_AT_ONCE: usize = 256;
