//! The ledger of a service that sells no licenses.

use std::collections::BTreeSet;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    changes::Changes,
    clock::Timestamp,
    error::BackendError,
    license_ledger::{
        Actor, Holder, HolderState, LicenseEvent, LicenseId, LicenseLedger, Line, Module,
        Operation, Overview, Standing, Standings,
    },
};

/// A [`LicenseLedger`] without licenses: a key may use the modules that its own record carries
/// ([`KeyRecord::modules`](crate::KeyRecord::modules)), and none of them needs a seat.
///
/// 1. It keeps nothing, so its log is empty and it knows no holders and no modules. Nothing in it
///    expires, so it reads no time: its clock stands at [`Timestamp::MIN`].
/// 2. What concerns a key's life (created, disabled, revoked, expired, deleted) is accepted and
///    needs no doing; so do passing time and switching off limited edition, which is never on.
/// 3. What it would have to keep (assignments, licenses, mappings, limited edition) is refused as
///    [`ReadOnly`](BackendError::ReadOnly), so a [`KeyManager`](crate::KeyManager) over it makes keys
///    without modules only. Modules are changed where they are: in the key's record.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use tower_api_key::{Holder, LicenseLedger, Module, Status, Timestamp, Unlicensed};
/// let (launcher, playout) = (Module::new("launcher")?, Module::new("playout")?);
/// let carried = [launcher.clone()];
/// let standings = Unlicensed::new().standings(&Holder::new("k1")?, &carried).await?;
/// assert_eq!(standings.status(&launcher, Timestamp::MIN), Status::NotRequired);
/// assert_eq!(standings.status(&playout, Timestamp::MIN), Status::NotAssigned);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Unlicensed {
    changes: Changes,
    latest: watch::Sender<u64>,
}

impl Unlicensed {
    /// The ledger without licenses.
    pub fn new() -> Self {
        Self {
            changes: Changes::new(),
            latest: watch::Sender::new(0),
        }
    }
}

impl Default for Unlicensed {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl LicenseLedger for Unlicensed {
    async fn apply(
        &self,
        operation: Operation,
        _: &Actor,
    ) -> Result<Vec<LicenseEvent>, BackendError> {
        match operation {
            Operation::Assign { modules, .. } | Operation::Unassign { modules, .. }
                if modules.is_empty() =>
            {
                Ok(Vec::new())
            }
            Operation::DeleteKey { .. }
            | Operation::RevokeKey { .. }
            | Operation::SetActive { .. }
            | Operation::SetActiveUntil { .. }
            | Operation::SetLimitedEdition { enabled: false }
            | Operation::Record { .. }
            | Operation::Tick => Ok(Vec::new()),
            Operation::Assign { .. }
            | Operation::Unassign { .. }
            | Operation::SetLicense { .. }
            | Operation::SetLicenseIf { .. }
            | Operation::RemoveLicense { .. }
            | Operation::RemoveLicenseIf { .. }
            | Operation::MapModule { .. }
            | Operation::SetLimitedEdition { enabled: true } => Err(BackendError::ReadOnly),
        }
    }

    async fn plan(&self, operation: &Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        // Nothing is kept of what is applied.
        self.apply(operation.clone(), &Actor::system()).await
    }

    async fn standings(&self, _: &Holder, carried: &[Module]) -> Result<Standings, BackendError> {
        Ok(allowed(carried))
    }

    async fn standings_of(
        &self,
        asked: &[(Holder, &[Module])],
    ) -> Result<Vec<Standings>, BackendError> {
        Ok(asked.iter().map(|(_, carried)| allowed(carried)).collect())
    }

    async fn first_unknown(&self, modules: &[Module]) -> Result<Option<Module>, BackendError> {
        Ok(modules.first().cloned())
    }

    async fn overview(&self) -> Result<Overview, BackendError> {
        Ok(Overview::new(
            Timestamp::MIN,
            false,
            0,
            Vec::new(),
            Vec::new(),
        ))
    }

    async fn line(&self, _: &LicenseId, _: usize) -> Result<Option<Line>, BackendError> {
        Ok(None)
    }

    async fn holders(
        &self,
        _: Option<&Holder>,
        _: usize,
    ) -> Result<Vec<HolderState>, BackendError> {
        Ok(Vec::new())
    }

    async fn events(&self, _: u64, _: usize) -> Result<Vec<LicenseEvent>, BackendError> {
        Ok(Vec::new())
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }
}

/// The standings of a key whose record carries these modules.
pub(crate) fn allowed(carried: &[Module]) -> Standings {
    let modules: BTreeSet<_> = carried.iter().cloned().collect();
    let modules = modules
        .into_iter()
        .map(|module| (module, Standing::NotRequired));
    Standings::new(Timestamp::MIN, false, true, None, modules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyEvent, KeyId, License, Seats, Status};

    /// The answer, which is that of the plan too.
    async fn apply(operation: Operation) -> Result<Vec<LicenseEvent>, BackendError> {
        let ledger = Unlicensed::new();
        let planned = ledger.plan(&operation).await;
        let answer = ledger.apply(operation, &Actor::system()).await;
        assert_eq!(format!("{planned:?}"), format!("{answer:?}"));
        answer
    }

    fn holder() -> Holder {
        Holder::new("k1").unwrap()
    }

    fn module() -> Module {
        Module::new("launcher").unwrap()
    }

    #[tokio::test]
    async fn carried_modules_are_all_there_is() {
        let ledger = Unlicensed::new();
        let carried = [module(), Module::new("a").unwrap(), module()];
        let standings = ledger.standings(&holder(), &carried).await.unwrap();
        let names: Vec<_> = standings.modules().map(|(m, _)| m.as_str()).collect();
        assert_eq!(names, ["a", "launcher"]);
        let status = |module| standings.status(&module, Timestamp::MAX);
        assert_eq!(status(module()), Status::NotRequired);
        assert_eq!(status(Module::new("playout").unwrap()), Status::NotAssigned);
        assert_eq!(ledger.overview().await.unwrap().licenses, []);
        let unknown = ledger.first_unknown(&carried).await.unwrap();
        assert_eq!(unknown, Some(module()), "it keeps none");
        assert_eq!(ledger.first_unknown(&[]).await.unwrap(), None);
        assert_eq!(ledger.events(0, 9).await.unwrap(), []);
        assert_eq!(*ledger.latest().borrow(), 0);
    }

    #[tokio::test]
    async fn each_of_several_may_use_what_its_own_record_carries() {
        let carried = [vec![module()], vec![], vec![Module::new("a").unwrap()]];
        let asked: Vec<_> = carried.iter().map(|own| (holder(), &own[..])).collect();
        let answers = Unlicensed::new().standings_of(&asked).await.unwrap();
        let own = |standings: &Standings| -> Vec<Module> {
            standings.modules().map(|(m, _)| m.clone()).collect()
        };
        assert!(answers.iter().map(own).eq(carried.clone()), "{answers:?}");
    }

    #[tokio::test]
    async fn life_of_a_key_needs_no_doing() {
        let holder = holder();
        let key = KeyId::new("k1").unwrap();
        for operation in [
            Operation::Record {
                event: KeyEvent::Created(key),
            },
            Operation::Assign {
                holder: holder.clone(),
                modules: vec![],
            },
            Operation::SetActive {
                holder: holder.clone(),
                active: false,
            },
            Operation::SetActiveUntil {
                holder: holder.clone(),
                active_until: Some(Timestamp::MIN),
            },
            Operation::RevokeKey {
                holder: holder.clone(),
            },
            Operation::DeleteKey { holder },
            Operation::SetLimitedEdition { enabled: false },
            Operation::Tick,
        ] {
            assert_eq!(apply(operation).await.unwrap(), []);
        }
    }

    #[tokio::test]
    async fn what_would_have_to_be_kept_is_refused() {
        let license = License::new(LicenseId::new("lic").unwrap(), Seats::Unlimited);
        for operation in [
            Operation::Assign {
                holder: holder(),
                modules: vec![module()],
            },
            Operation::Unassign {
                holder: holder(),
                modules: vec![module()],
            },
            Operation::MapModule {
                module: module(),
                license: None,
            },
            Operation::RemoveLicense {
                license: license.id.clone(),
            },
            Operation::RemoveLicenseIf {
                expected: license.clone(),
            },
            Operation::SetLicenseIf {
                license: license.clone(),
                expected: None,
            },
            Operation::SetLicense { license },
            Operation::SetLimitedEdition { enabled: true },
        ] {
            let answer = apply(operation.clone()).await;
            assert!(
                matches!(answer, Err(BackendError::ReadOnly)),
                "{operation:?}: {answer:?}"
            );
        }
    }
}
