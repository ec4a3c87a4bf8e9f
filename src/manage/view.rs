//! Keys as clients see them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clock::Timestamp,
    key_format::KeyText,
    key_store::{AddressRange, Environment, KeyId, KeyRecord, Scope, Tier},
    keys::{AssignedModule, ManagedKey},
    license_ledger::{LicenseId, Module, Reason, Status},
};

/// A key: everything but its text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyView {
    id: KeyId,
    /// A name for people.
    name: String,
    environment: Environment,
    /// What people may see of the text: prefix, environment and the last four characters.
    hint: String,
    created_at: Timestamp,
    /// The last authenticated request; null: never used.
    #[schema(required)]
    last_used_at: Option<Timestamp>,
    /// The first instant at which it no longer works; null: it never expires.
    #[schema(required)]
    expires_at: Option<Timestamp>,
    enabled: bool,
    /// When it was revoked, for good.
    #[schema(required)]
    revoked_at: Option<Timestamp>,
    /// Whether it is an administrator's.
    administrator: bool,
    /// The modules it is assigned, in order of their name.
    modules: Vec<ModuleView>,
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<Scope>,
    /// Its rate tier; null: the default one.
    #[schema(required)]
    tier: Option<Tier>,
    /// Whose it is, in the host's own terms.
    #[schema(required)]
    owner: Option<String>,
    /// Where it may be used from; empty: from anywhere.
    // IPv6 ranges have more forms than the ones that are asked for.
    #[schema(value_type = Vec<String>)]
    allowed_addresses: Vec<AddressRange>,
}

/// A key with its text, which is seen this once.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyWithText)]
pub(super) struct TextView<'a> {
    #[serde(flatten)]
    object: KeyView,
    /// The text: the secret to hand over.
    #[schema(value_type = String)]
    key: &'a str,
}

/// A module that a key is assigned.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AssignedModule)]
pub(super) struct ModuleView {
    module: Module,
    /// The license it needs, if any.
    #[schema(required)]
    license: Option<LicenseId>,
    status: StatusView,
    /// Why there is no seat, where there is none.
    #[schema(required)]
    reason: Option<ReasonView>,
}

/// Whether there is a seat for it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Status)]
enum StatusView {
    Reserved,
    Expired,
    ReservationFailed,
    NotRequired,
}

/// Why there is no seat.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Reason)]
enum ReasonView {
    LimitReached,
    Unavailable,
    KeyDisabled,
    ValidUntil,
    LimitedEdition,
}

/// A page of the keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyPage)]
pub(super) struct KeyPageView {
    /// In order of the id.
    items: Vec<KeyView>,
    /// What to ask for the next page with; null: this was the last one.
    #[schema(required)]
    next_cursor: Option<KeyId>,
}

impl KeyPageView {
    /// The first `limit` of `keys`, which are one more where there is another page.
    pub(super) fn new(mut keys: Vec<ManagedKey>, limit: usize) -> Self {
        let is_last = keys.len() <= limit;
        keys.truncate(limit);
        let last = keys.last().map(|key| key.record.id.clone());
        Self {
            next_cursor: last.filter(|_| !is_last),
            items: keys.into_iter().map(KeyView::from).collect(),
        }
    }
}

impl<'a> TextView<'a> {
    pub(super) fn new(key: ManagedKey, text: &'a KeyText) -> Self {
        Self {
            object: key.into(),
            key: text.expose(),
        }
    }
}

impl From<ManagedKey> for KeyView {
    fn from(ManagedKey { record, modules }: ManagedKey) -> Self {
        // Field by field, so that a new one is either shown or left out on purpose.
        let KeyRecord {
            id,
            digest: _,
            previous: _,
            hint,
            name,
            environment,
            created_at,
            last_used_at,
            expires_at,
            revoked_at,
            enabled,
            administrator,
            scopes,
            tier,
            owner,
            allowed_addresses,
            modules: _,
            revision: _,
        } = record;
        Self {
            id,
            name,
            environment,
            hint,
            created_at,
            last_used_at,
            expires_at,
            enabled,
            revoked_at,
            administrator,
            modules: modules.into_iter().map(ModuleView::from).collect(),
            scopes: scopes.into_iter().collect(),
            tier,
            owner,
            allowed_addresses,
        }
    }
}

impl From<AssignedModule> for ModuleView {
    fn from(assigned: AssignedModule) -> Self {
        let reason = assigned.status.reason();
        Self {
            module: assigned.module,
            license: assigned.license,
            status: match assigned.status {
                Status::Reserved => StatusView::Reserved,
                Status::Expired(_) => StatusView::Expired,
                Status::NotRequired => StatusView::NotRequired,
                // What is assigned is never said not to be.
                Status::ReservationFailed(_) | Status::NotAssigned => StatusView::ReservationFailed,
            },
            reason: reason.map(|reason| match reason {
                Reason::LimitReached => ReasonView::LimitReached,
                Reason::Unavailable => ReasonView::Unavailable,
                Reason::KeyDisabled => ReasonView::KeyDisabled,
                Reason::ValidUntil => ReasonView::ValidUntil,
                Reason::LimitedEdition => ReasonView::LimitedEdition,
            }),
        }
    }
}
