//! What a layer remembers of one credential: small, immutable but for when and how often it was used.

use std::{
    fmt,
    ops::Deref,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use triomphe::ThinArc;

use crate::{
    changes::{Changes, MovingStamp, Slot, Stamp},
    clock::{Now, Timestamp},
    intern::Interner,
    key_store::{AddressRange, Environment, KeyDigest, KeyRecord, Scope, Tier},
    license_ledger::{Holder, Module, Standings},
    rate_limiter::Place,
    token::{KeyThumbprint, Principal, SessionKey},
    usage::Hour,
};

mod granted;

use granted::Granted;
pub(crate) use granted::Tally;

/// One credential's rights, as last read: a handle that is cheap to clone.
///
/// A million of these are meant to fit, so each is one block of memory: a counter, the [`Facts`],
/// and the label, which is the principal (a key's public id or `issuer|subject`) directly followed
/// by the name, and by the thumbprint of the key that a token is bound to. Nothing is allocated beside it, and what comes in its place is of the same size:
/// so no holes are left between a million of them.
#[derive(Clone)]
pub(crate) struct Pass(ThinArc<Facts, u8>);

/// What was read of a credential, its texts aside; what many keys have in common is shared between
/// them.
///
/// In this order: what a warm request reads lies together, and the rest behind it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Facts {
    /// What the credential is found by.
    digest: KeyDigest,
    key_stamp: MovingStamp,
    /// Microseconds; [`NEVER`] where it does not expire.
    expires_at: i64,
    slot: Slot,
    state: State,
    origin: Origin,
    /// Whether it is a token's that is bound to a key, whose thumbprint then ends the label.
    bound: bool,
    /// Whether it is known to wait to be written.
    unwritten: AtomicBool,
    /// Bytes of the label that are the principal.
    principal_len: u16,
    /// Microseconds of the last authenticated request; [`UNUSED`] before the first one here.
    last_used: AtomicI64,
    /// How often it was granted since that was last written.
    granted: Granted,
    /// Where the rate limiter counts it.
    place: Place,
    rights: Arc<Rights>,
    standings_stamp: MovingStamp,
    standings: Option<Arc<Standings>>,
    /// Monotonic microseconds up to which the key part may be used without asking again.
    fresh_until: u64,
}

/// What many keys have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rights {
    pub(crate) environment: Option<Environment>,
    pub(crate) administrator: bool,
    /// In order.
    pub(crate) scopes: Box<[Scope]>,
    pub(crate) tier: Option<Tier>,
    pub(crate) owner: Option<Box<str>>,
    pub(crate) allowed_addresses: Box<[AddressRange]>,
    /// The modules that the key's record carries itself.
    pub(crate) carried: Box<[Module]>,
}

/// A key's session, as its token has it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) until: Option<Timestamp>,
    pub(crate) confirmation: Option<KeyThumbprint>,
}

/// What a credential is, its expiry aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// A key that works.
    Enabled,
    Disabled,
    Revoked,
    /// A verified token that is no key's session.
    Token,
}

/// What led to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its text.
    Text,
    /// The text before it was regenerated: past its time it is unknown, not expired.
    OldText,
    /// A session of the key.
    Session,
}

const NEVER: i64 = i64::MAX;
const UNUSED: i64 = i64::MIN;
/// Bytes.
const THUMBPRINT: usize = 32;

impl Pass {
    /// What `record`, found by `digest`, allows.
    pub(crate) fn of_key(
        record: KeyRecord,
        digest: &KeyDigest,
        stamp: Stamp,
        fresh_until: u64,
        rights: &Interner<Rights>,
    ) -> Self {
        // The store answers for the current and the previous text only: anything else proves no
        // secret and is over already.
        let (origin, over_at) = match &record.previous {
            _ if record.digest == *digest => (Origin::Text, NEVER),
            Some(previous) if previous.digest == *digest => {
                (Origin::OldText, previous.until.unix_micros())
            }
            _ => (Origin::OldText, i64::MIN),
        };
        Self::of_record(record, digest, origin, over_at, stamp, fresh_until, rights)
    }

    /// What a session of this key allows, found by `digest`, while the text that it was begun with
    /// works, and at most until then; nothing where that text is no longer one of the key's.
    pub(crate) fn of_session(
        record: KeyRecord,
        session: &Session,
        digest: &KeyDigest,
        stamp: Stamp,
        fresh_until: u64,
        rights: &Interner<Rights>,
    ) -> Option<Self> {
        let until = session.until.map_or(NEVER, Timestamp::unix_micros);
        let begun_with = |digest: &KeyDigest| digest.fingerprint() == session.key.fingerprint;
        let over_at = match &record.previous {
            _ if begun_with(&record.digest) => until,
            Some(previous) if begun_with(&previous.digest) => {
                until.min(previous.until.unix_micros())
            }
            _ => return None,
        };
        let origin = Origin::Session;
        let pass = Self::of_record(record, digest, origin, over_at, stamp, fresh_until, rights);
        Some(pass.bound_to(session.confirmation))
    }

    fn of_record(
        record: KeyRecord,
        digest: &KeyDigest,
        origin: Origin,
        over_at: i64,
        stamp: Stamp,
        fresh_until: u64,
        rights: &Interner<Rights>,
    ) -> Self {
        let expires_at = record.expires_at.map_or(NEVER, Timestamp::unix_micros);
        let label = [record.id.as_str(), &record.name].concat();
        let facts = Facts {
            digest: *digest,
            principal_len: record.id.as_str().len() as u16,
            slot: Changes::slot(record.id.as_str()),
            expires_at: expires_at.min(over_at),
            origin,
            bound: false,
            state: match (record.revoked_at, record.enabled) {
                (Some(_), _) => State::Revoked,
                (None, false) => State::Disabled,
                (None, true) => State::Enabled,
            },
            rights: rights.share(Rights {
                environment: Some(record.environment),
                administrator: record.administrator,
                scopes: record.scopes.into_iter().collect(),
                tier: record.tier,
                owner: record.owner.map(String::into_boxed_str),
                allowed_addresses: record.allowed_addresses.into(),
                carried: record.modules.into(),
            }),
            standings: None,
            key_stamp: stamp.into(),
            standings_stamp: stamp.into(),
            fresh_until,
            last_used: AtomicI64::new(record.last_used_at.map_or(UNUSED, Timestamp::unix_micros)),
            unwritten: AtomicBool::new(false),
            granted: Granted::default(),
            place: Place::default(),
        };
        Self::new(facts, label.as_bytes())
    }

    /// What a verified token allows.
    pub(crate) fn of_token(
        principal: Principal,
        digest: &KeyDigest,
        stamp: Stamp,
        fresh_until: u64,
        rights: &Interner<Rights>,
    ) -> Self {
        let mut scopes = principal.scopes;
        scopes.sort();
        scopes.dedup();
        let holder = principal.holder.as_str();
        let label = [holder, principal.name.as_deref().unwrap_or_default()].concat();
        let facts = Facts {
            digest: *digest,
            principal_len: holder.len() as u16,
            slot: Changes::slot(holder),
            expires_at: principal.expires_at.map_or(NEVER, Timestamp::unix_micros),
            origin: Origin::Text,
            bound: false,
            state: State::Token,
            rights: rights.share(Rights {
                environment: None,
                administrator: principal.administrator,
                scopes: scopes.into(),
                tier: principal.tier,
                owner: None,
                allowed_addresses: Box::default(),
                carried: principal.modules.into(),
            }),
            standings: None,
            key_stamp: stamp.into(),
            standings_stamp: stamp.into(),
            fresh_until,
            last_used: AtomicI64::new(UNUSED),
            unwritten: AtomicBool::new(false),
            granted: Granted::default(),
            place: Place::default(),
        };
        Self::new(facts, label.as_bytes()).bound_to(principal.confirmation)
    }

    /// The same for a token that is bound to a key.
    fn bound_to(self, key: Option<KeyThumbprint>) -> Self {
        let Some(key) = key else { return self };
        let facts = Facts {
            bound: true,
            ..self.facts()
        };
        Self::new(facts, &[self.label(), key.as_bytes()].concat())
    }

    /// The same, going on from what was remembered before: when it was used, and, where the ledger
    /// would be asked the same again, what the ledger said.
    pub(crate) fn going_on_from(self, known: Option<&Self>) -> Self {
        let Some(known) = known.filter(|known| known.principal() == self.principal()) else {
            return self;
        };
        self.raise_last_used(known);
        if Arc::ptr_eq(&self.rights, &known.rights) {
            self.place.note(known.place.noted());
        }
        match &known.standings {
            Some(standings) if Arc::ptr_eq(&self.rights, &known.rights) => {
                self.with_standings(Arc::clone(standings), known.standings_stamp.get())
            }
            _ => self,
        }
    }

    /// The same with what the ledger says now.
    pub(crate) fn with_standings(&self, standings: Arc<Standings>, stamp: Stamp) -> Self {
        let facts = Facts {
            standings: Some(standings),
            standings_stamp: stamp.into(),
            ..self.facts()
        };
        Self::new(facts, self.label())
    }

    /// A copy of its own, which does not wait to be written: what was counted waits where it was.
    fn facts(&self) -> Facts {
        let facts = Facts {
            rights: Arc::clone(&self.rights),
            standings: self.standings.clone(),
            key_stamp: self.key_stamp.get().into(),
            standings_stamp: self.standings_stamp.get().into(),
            last_used: AtomicI64::new(self.last_used.load(Ordering::Relaxed)),
            unwritten: AtomicBool::new(false),
            granted: Granted::default(),
            place: Place::default(),
            ..**self
        };
        facts.place.note(self.place.noted());
        facts
    }

    fn new(facts: Facts, label: &[u8]) -> Self {
        Self(ThinArc::from_header_and_slice(facts, label))
    }

    /// Whether it is the very same, and not only of the same credential.
    pub(crate) fn is(&self, other: &Self) -> bool {
        ptr::eq(self.0.ptr(), other.0.ptr())
    }

    /// What the credential is found by.
    pub(crate) fn digest(&self) -> &KeyDigest {
        &self.digest
    }

    /// A key's public id or `issuer|subject`.
    pub(crate) fn principal(&self) -> &str {
        text(&self.label()[..usize::from(self.principal_len)])
    }

    pub(crate) fn holder(&self) -> Option<Holder> {
        Holder::new(self.principal()).ok()
    }

    pub(crate) fn name(&self) -> &str {
        let behind = if self.is_bound() { THUMBPRINT } else { 0 };
        let end = self.label().len() - behind;
        text(&self.label()[usize::from(self.principal_len)..end])
    }

    /// Whether it is a token that is bound to a key of its client's.
    pub(crate) fn is_bound(&self) -> bool {
        self.bound
    }

    /// The key that it is bound to.
    pub(crate) fn confirmation(&self) -> Option<KeyThumbprint> {
        let thumbprint = self.label().last_chunk::<THUMBPRINT>();
        let thumbprint = thumbprint.filter(|_| self.is_bound());
        thumbprint.copied().map(KeyThumbprint::from_bytes)
    }

    fn label(&self) -> &[u8] {
        &self.0.slice
    }

    pub(crate) fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Where the rate limiter counts it.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        (self.expires_at != NEVER).then(|| Timestamp::from_unix_micros(self.expires_at))
    }

    pub(crate) fn is_past(&self, now: Timestamp) -> bool {
        now.unix_micros() >= self.expires_at
    }

    pub(crate) fn standings(&self) -> Option<&Standings> {
        self.standings.as_deref()
    }

    pub(crate) fn key_stamp(&self) -> &MovingStamp {
        &self.key_stamp
    }

    pub(crate) fn standings_stamp(&self) -> &MovingStamp {
        &self.standings_stamp
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    /// Whether its time to live is not over, whatever may have changed.
    pub(crate) fn is_fresh(&self, now: Now) -> bool {
        self.fresh_until == u64::MAX || micros(now.monotonic) < self.fresh_until
    }

    /// Monotonic microseconds of the end of its time to live.
    pub(crate) fn fresh_until(&self) -> u64 {
        self.fresh_until
    }

    /// The last authenticated request that came through this layer or had been written before.
    pub(crate) fn last_used(&self) -> Option<Timestamp> {
        let micros = self.last_used.load(Ordering::Relaxed);
        (micros != UNUSED).then(|| Timestamp::from_unix_micros(micros))
    }

    /// Notes an authenticated request, and answers whether this is the first one since the last
    /// writing.
    pub(crate) fn used(&self, now: Timestamp) -> bool {
        let now = now.unix_micros();
        if self.last_used.load(Ordering::Relaxed) < now {
            self.last_used.store(now, Ordering::Relaxed);
        }
        !self.unwritten.load(Ordering::Relaxed) && self.requeue()
    }

    /// Marks it as waiting to be written, and answers whether it was not.
    pub(crate) fn requeue(&self) -> bool {
        !self.unwritten.swap(true, Ordering::AcqRel)
    }

    /// Takes over when `other`, of the same key, was used.
    pub(crate) fn raise_last_used(&self, other: &Self) {
        self.last_used
            .fetch_max(other.last_used.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Counts a granted request, and answers what was counted in an hour that is over.
    #[inline]
    pub(crate) fn count(&self, hour: Hour) -> Option<Tally> {
        self.granted.add(hour)
    }

    /// Whether a writing has begun since it was last queued.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        !self.unwritten.load(Ordering::Relaxed)
    }

    /// Begins a writing: later requests are noted for the next one. Answers what was counted before.
    ///
    /// In this order: who counts after this has taken the count finds that it has to queue again.
    pub(crate) fn begin_writing(&self) -> Option<Tally> {
        self.unwritten.store(false, Ordering::Release);
        self.granted.take()
    }

    /// What was counted and waits to be written.
    pub(crate) fn counted(&self) -> Option<Tally> {
        self.granted.waiting()
    }
}

impl Deref for Pass {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.0.header.header
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("principal", &self.principal())
            .field("name", &self.name())
            .field("facts", &**self)
            .finish()
    }
}

/// Checked again each time: a warm request reads no text unless a limiter asks whose it is.
fn text(part_of_label: &[u8]) -> &str {
    str::from_utf8(part_of_label).expect("the label is two texts, cut where they meet")
}

/// Monotonic time as a number, far from overflow for some 500,000 years.
pub(crate) fn micros(monotonic: Duration) -> u64 {
    u64::try_from(monotonic.as_micros()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyId;

    fn pass(name: &str) -> Pass {
        let (id, digest) = (
            KeyId::new("key-1").expect("an id"),
            KeyDigest::from_bytes([7; 32]),
        );
        let record = KeyRecord::new(id, digest, name, Timestamp::from_unix_seconds(0));
        Pass::of_key(record, &digest, Stamp::START, u64::MAX, &Interner::new())
    }

    #[test]
    fn both_texts_are_read_as_they_were_written() {
        for name in ["", "stage left", "Bühne"] {
            let pass = pass(name);
            let standings = Standings::new(Timestamp::MIN, false, true, None, []);
            for pass in [pass.with_standings(standings.into(), Stamp::START), pass] {
                assert_eq!((pass.principal(), pass.name()), ("key-1", name));
            }
        }
    }

    #[test]
    fn the_key_that_a_token_is_bound_to_is_kept_apart_from_its_texts() {
        // Bytes that are no UTF-8, and some that would be a part of the name.
        for confirmation in [None, Some([0xff; 32]), Some([b'x'; 32])] {
            let confirmation = confirmation.map(KeyThumbprint::from_bytes);
            for name in [None, Some("Bühne")] {
                let holder = Holder::new("https://issuer|someone").expect("a holder");
                let principal = Principal {
                    name: name.map(str::to_owned),
                    confirmation,
                    ..Principal::new(holder)
                };
                let (digest, rights) = (KeyDigest::from_bytes([7; 32]), Interner::new());
                let pass = Pass::of_token(principal, &digest, Stamp::START, 0, &rights);
                let standings = Standings::new(Timestamp::MIN, false, true, None, []);
                for pass in [pass.with_standings(standings.into(), Stamp::START), pass] {
                    assert_eq!(pass.principal(), "https://issuer|someone");
                    assert_eq!(pass.name(), name.unwrap_or_default());
                    assert_eq!(pass.confirmation(), confirmation);
                    assert_eq!(pass.is_bound(), confirmation.is_some());
                }
            }
        }
        assert_eq!(pass("x").confirmation(), None);
    }

    #[test]
    fn a_pass_takes_at_most_128_bytes_and_its_texts() {
        // With the counter before them and the length of the label behind.
        assert!(size_of::<Facts>() + 2 * size_of::<usize>() <= 128);
        assert_eq!(size_of::<Option<Pass>>(), size_of::<usize>());
    }
}
