//! Tower middleware for API keys: key validation, module checks and license seats in one layer.

mod body;
mod cache;
mod changes;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod credential;
mod denial;
mod error;
mod flight;
mod future;
mod gate;
mod grant;
mod host;
mod intern;
mod key_format;
mod key_store;
mod keys;
mod layer;
mod ledger_state;
mod license_ledger;
mod lookup;
mod maintenance;
mod memory;
mod module_map;
mod name;
pub mod observe;
mod pass;
mod path;
mod rate_limiter;
mod require;
mod service;
mod token;
mod unlicensed;
mod uses;

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "tonic")]
pub mod tonic;

pub use body::ResponseBody;
pub use changes::{Changes, Stamp};
pub use clock::{Clock, InvalidTimestamp, ManualClock, Now, SystemClock, Timestamp};
pub use denial::{Denial, DenialCode, RenderDenial};
pub use error::{BackendError, BoxError};
pub use future::ResponseFuture;
pub use grant::Grant;
pub use host::PeerAddress;
pub use key_format::{GenerateError, KeyFormat, KeyFormats, KeyHasher, KeyText};
pub use key_store::{
    AddressRange, Environment, KeyDigest, KeyId, KeyQuery, KeyRecord, KeyStore, PreviousDigest,
    Scope, Tier,
};
pub use keys::{
    AssignedModule, CreatedKey, KeyManager, KeyPatch, ManageError, ManagedKey, NewKey, Reconciled,
};
pub use layer::{ApiKeyLayer, ApiKeyLayerBuilder, SetupError};
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
pub use path::{PathForm, PathForms};
pub use rate_limiter::{Allowance, Check, RateLimiter, Subject};
pub use require::{RequireModule, RequireScopes};
pub use service::ApiKeyService;
pub use token::{Principal, TokenError, TokenVerifier};
pub use unlicensed::Unlicensed;
