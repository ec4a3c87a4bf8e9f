//! Tower middleware for API keys: key validation, module checks and license seats in one layer.

mod changes;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod credential;
mod error;
mod key_format;
mod key_store;
mod keys;
mod ledger_state;
mod license_ledger;
mod memory;
mod module_map;
mod name;
mod unlicensed;
mod path;

pub use changes::{Changes, Stamp};
pub use clock::{Clock, InvalidTimestamp, ManualClock, Now, SystemClock, Timestamp};
pub use error::{BackendError, BoxError};
pub use key_format::{GenerateError, KeyFormat, KeyFormats, KeyHasher, KeyText};
pub use key_store::{
    AddressRange, Environment, KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore, PreviousDigest,
    Scope, Tier,
};
pub use keys::{
    AssignedModule, CreatedKey, KeyManager, KeyPatch, ManageError, ManagedKey, NewKey, Reconciled,
};
pub use ledger_state::{LedgerState, seats_at};
pub use license_ledger::{
    Actor, EventKind, Eviction, Holder, HolderState, KeyEvent, License, LicenseEvent, LicenseId,
    LicenseLedger, LicenseUse, Line, Module, Operation, Overview, Reason, RemovedCause,
    ReservedCause, Seat, Seats, Standing, Standings, Status,
};
pub use memory::{MemoryKeyStore, MemoryLedger};
pub use module_map::{
    Lint, LintKind, ModuleMap, Modules, Requirement, RouteEntry, RouteError, RouteFlaw,
    RouteModules, RouteModulesBuilder, RouteProblem, Rule,
};
pub use name::InvalidName;
pub use unlicensed::Unlicensed;
pub use path::{PathForm, PathForms};
