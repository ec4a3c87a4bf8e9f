//! A key as an administrator sees it.

use crate::{
    clock::Timestamp,
    key_format::KeyText,
    key_store::KeyRecord,
    license_ledger::{LicenseId, Module, Standing, Standings, Status},
};

/// A key as an administrator sees it: its record, and what the ledger says of its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagedKey {
    /// What is stored of it, with the freshest `last_used_at` that this process knows.
    pub record: KeyRecord,
    /// The modules it is assigned, in order of their name.
    pub modules: Vec<AssignedModule>,
}

/// A key's module, as of the moment it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssignedModule {
    /// The module.
    pub module: Module,
    /// The license it needs, if any.
    pub license: Option<LicenseId>,
    /// Whether the key has a seat of it.
    pub status: Status,
}

/// A key with a new text: the only time that the text is seen.
#[derive(Debug)]
#[non_exhaustive]
pub struct CreatedKey {
    /// The key.
    pub key: ManagedKey,
    /// Its text: the secret to hand over.
    pub text: KeyText,
}

/// The assigned modules, judged at `now`.
pub(super) fn assigned(standings: &Standings, now: Timestamp) -> Vec<AssignedModule> {
    let judge = |(module, standing): (&Module, &Standing)| AssignedModule {
        module: module.clone(),
        license: license(standing),
        status: standings.judge(standing, now),
    };
    standings.modules().map(judge).collect()
}

fn license(standing: &Standing) -> Option<LicenseId> {
    match standing {
        Standing::NotRequired => None,
        Standing::Unknown(license) => license.clone(),
        Standing::Licensed { license, .. } => Some(license.clone()),
    }
}
