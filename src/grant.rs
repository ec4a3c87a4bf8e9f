//! What a handler reads of the caller it was given.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    answers::Answers,
    changes::Stamp,
    clock::Timestamp,
    intern::Interner,
    key_store::{Environment, KeyId, KeyRecord, Scope, Tier},
    license_ledger::{Holder, Module, Standings, Status},
    name,
    pass::{Origin, Pass, State},
    token::SessionKey,
};

/// A caller who passed every check: among the request's extensions where the layer granted it.
///
/// A client cannot make one: it exists only where the layer put it.
#[derive(Clone)]
pub struct Grant {
    gate: GateId,
    pass: Pass,
    at: Timestamp,
}

/// Which layer a grant is of: its clones, and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GateId(u64);

impl GateId {
    /// Of no layer.
    const NONE: Self = Self(0);

    /// One that no other layer of this process has.
    pub(crate) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Grant {
    pub(crate) fn new(gate: GateId, pass: Pass, at: Timestamp) -> Self {
        Self { gate, pass, at }
    }

    pub(crate) fn gate(&self) -> GateId {
        self.gate
    }

    /// A grant made by hand, for tests of handlers: whoever calls with `record`'s key at `at`, and
    /// what a ledger says of him, where the route asks for modules.
    ///
    /// It proves nothing: only a layer's own grant does.
    ///
    /// ```
    /// use tower_api_key::{Grant, KeyDigest, KeyId, KeyRecord, Timestamp};
    /// let now = Timestamp::from_unix_seconds(1_767_225_600);
    /// let digest = KeyDigest::from_bytes([7; 32]);
    /// let record = KeyRecord::new(KeyId::new("key-1")?, digest, "stage left", now);
    /// assert_eq!(Grant::by_hand(record, None, now).name(), "stage left");
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    pub fn by_hand(record: KeyRecord, standings: Option<Standings>, at: Timestamp) -> Self {
        let (digest, start) = (record.digest, Stamp::START);
        let mut pass = Pass::of_key(record, &digest, start, u64::MAX, &Interner::new());
        if let Some(standings) = standings {
            pass = pass.with_standings(Arc::new(standings), start);
        }
        Self::new(GateId::NONE, pass, at)
    }

    pub(crate) fn pass(&self) -> &Pass {
        &self.pass
    }

    /// Whether the caller has proven to have the key that the token is bound to.
    pub(crate) fn is_bound(&self) -> bool {
        self.pass.is_bound()
    }

    /// Who calls: a key's public id, or `issuer|subject` for a token.
    pub fn principal(&self) -> &str {
        self.pass.principal()
    }

    /// The public id of the key that was used; nothing for a token.
    pub fn key_id(&self) -> Option<KeyId> {
        if self.pass.state() == State::Token {
            return None;
        }
        KeyId::new(self.pass.principal()).ok()
    }

    /// Whether it came by a session of the key, and not by the key itself.
    pub fn is_session(&self) -> bool {
        self.pass.origin() == Origin::Session
    }

    /// What a session of the key has to name; nothing for a token, and for what is a session already:
    /// no session prolongs itself.
    pub fn session_key(&self) -> Option<SessionKey> {
        let key = self.key_id().filter(|_| !self.is_session())?;
        Some(SessionKey::new(key, self.pass.digest()))
    }

    /// The caller as a holder of licenses.
    pub fn holder(&self) -> Holder {
        self.pass
            .holder()
            .expect("a key id or a holder was checked when it was read")
    }

    /// The key's name for people; empty where there is none.
    pub fn name(&self) -> &str {
        self.pass.name()
    }

    /// The key's environment; nothing for a token.
    pub fn environment(&self) -> Option<&Environment> {
        self.pass.rights().environment.as_ref()
    }

    /// Whose key it is, in the host's own terms.
    pub fn owner(&self) -> Option<&str> {
        self.pass.rights().owner.as_deref()
    }

    /// Whether it is an administrator's.
    pub fn is_administrator(&self) -> bool {
        self.pass.rights().administrator
    }

    /// The scopes, in order.
    pub fn scopes(&self) -> &[Scope] {
        &self.pass.rights().scopes
    }

    /// Whether it has this scope.
    pub fn has_scope(&self, scope: impl AsRef<str>) -> bool {
        has_scope(self.scopes(), scope.as_ref())
    }

    /// The rate tier; nothing: the default one.
    pub fn tier(&self) -> Option<&Tier> {
        self.pass.rights().tier.as_ref()
    }

    /// When it expires.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.pass.expires_at()
    }

    /// The status of a module for this caller when the request was granted; nothing where the
    /// ledger was not asked, because the route needs no module.
    pub fn status(&self, module: &Module) -> Option<Status> {
        Some(self.pass.standings()?.status(module, self.at))
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("principal", &self.principal())
            .field("name", &self.name())
            .field("scopes", &self.scopes())
            .finish_non_exhaustive()
    }
}

/// Whether `scope` is among `scopes`, which are in order.
pub(crate) fn has_scope(scopes: &[Scope], scope: &str) -> bool {
    name::find(scopes, scope, Scope::as_str).is_some()
}

/// Among a request's extensions where the layer let it pass without a caller: on a public route, on
/// one for anonymous callers, or because a module is in shadow mode. With what answers
/// a handler that asks for a caller all the same.
#[derive(Clone)]
pub(crate) struct Nobody {
    pub(crate) gate: GateId,
    #[cfg_attr(
        not(feature = "axum"),
        expect(dead_code, reason = "read by extractors")
    )]
    pub(crate) answers: Arc<Answers>,
}
