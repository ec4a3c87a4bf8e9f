//! What a manager may not do to keys, and administrators may: rule 3 of the [module](super::super).
//!
//! Who is an administrator stands in the key's record, so a change that a manager makes of the
//! record names the revision that was judged. Who manages stands in the ledger, which knows no
//! revisions: a key that is given the module in the moment between judgement and change is changed
//! as if the change had come first. The manager gains no more by it than by coming first.

use crate::{
    key_store::KeyRecord,
    keys::{KeyPatch, ManagedKey, NewKey},
    license_ledger::Module,
    manage::{caller::Caller, policy::MANAGEMENT_MODULE, problem::Problem},
};

impl Caller {
    /// Whether he may make this key.
    pub(super) fn check_new(&self, new: &NewKey) -> Result<(), Problem> {
        if new.administrator {
            self.check_administrator("makes administrators")?;
        }
        if new.modules.iter().any(is_management) {
            self.check_administrator(HANDS_OUT)?;
        }
        Ok(())
    }

    /// Whether he may take from this key: revoke it, delete it, unassign its modules.
    pub(in crate::manage) fn check_owned(&self, key: &ManagedKey) -> Result<(), Problem> {
        match key.record.administrator {
            true => self.check_administrator("changes an administrator's key"),
            false => Ok(()),
        }
    }

    /// Whether he may change this key so.
    pub(super) fn check_patch(&self, key: &ManagedKey, patch: &KeyPatch) -> Result<(), Problem> {
        self.check_owned(key)?;
        if patch.administrator == Some(true) {
            self.check_administrator("makes administrators")?;
        }
        if manages(key) {
            if patch.enabled == Some(true) && !key.record.enabled {
                self.check_administrator("enables a key that manages")?;
            }
            if lasts_longer(&key.record, patch) {
                self.check_administrator("lets a key that manages last longer")?;
            }
        }
        Ok(())
    }

    /// Whether he may give this key a new text, which he then has.
    pub(super) fn check_new_text(&self, key: &ManagedKey) -> Result<(), Problem> {
        self.check_owned(key)?;
        match manages(key) && !self.is(&key.record.id) {
            true => self.check_administrator("gives another key that manages a new text"),
            false => Ok(()),
        }
    }

    /// Whether he may assign this key these modules.
    pub(super) fn check_assignment(
        &self,
        key: &ManagedKey,
        modules: &[Module],
    ) -> Result<(), Problem> {
        self.check_owned(key)?;
        match modules.iter().any(is_management) {
            true => self.check_administrator(HANDS_OUT),
            false => Ok(()),
        }
    }
}

fn manages(key: &ManagedKey) -> bool {
    key.modules
        .iter()
        .any(|assigned| is_management(&assigned.module))
}

fn is_management(module: &Module) -> bool {
    module.as_str() == MANAGEMENT_MODULE
}

fn lasts_longer(record: &KeyRecord, patch: &KeyPatch) -> bool {
    match (patch.expires_at, record.expires_at) {
        (Some(Some(new)), Some(old)) => new > old,
        (Some(None), Some(_)) => true,
        (None, _) | (Some(_), None) => false,
    }
}

const HANDS_OUT: &str = "hands out the module rest_api_management";
