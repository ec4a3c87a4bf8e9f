//! Asking the backends, and what may be used of what they said before.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::{
    cache::Cache,
    changes::{Changes, Stamp},
    clock::{Clock, Now, Timestamp},
    denial::DenialCode,
    flight::Flights,
    intern::Interner,
    key_store::{KeyDigest, KeyRecord, KeyStore},
    license_ledger::{LicenseLedger, Standings},
    noted_store::NotedStore,
    observe::{self, Backend},
    pass::{Origin, Pass, Rights, State, micros},
    rate_limiter::Refusal,
    strangers::Strangers,
    token::UserModules,
    unlicensed,
};

mod tokens;

pub(crate) use tokens::{Tokens, Verifier};

/// How long what was read may be used, and how hard the backends are asked.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) max_staleness: Duration,
    pub(crate) cache_ttl: Duration,
    pub(crate) cache_capacity: usize,
    pub(crate) lookup_timeout: Duration,
    pub(crate) verification_timeout: Duration,
    pub(crate) lookups_at_once: usize,
}

/// The backends with the memory of what they said.
pub(crate) struct Lookup {
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) ledger: Arc<dyn LicenseLedger>,
    pub(crate) verifiers: Box<[Verifier]>,
    user_modules: UserModules,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cache: Cache,
    /// What the store tells of changes; of a silent one, what the layer's own manager does.
    store_changes: Changes,
    /// Whether the store tells of every change, so that no age matters.
    store_tells: bool,
    ledger_changes: Changes,
    /// Monotonic microseconds until which a silent store that failed is not asked again about what
    /// is still known.
    spared_until: AtomicU64,
    rights: Interner<Rights>,
    standings: Interner<Standings>,
    /// How many look-ups may be under way at once.
    turns: Semaphore,
    keys: Line,
    /// Apart: an issuer that hangs holds up no key.
    tokens: Line,
    /// By credential and rights, since a ledger may answer by the modules a record carries.
    judgements: Flights<(KeyDigest, usize), Option<Judged>>,
    limits: Limits,
}

/// Look-ups under way of one kind of credential.
struct Line {
    backend: Backend,
    flights: Flights<KeyDigest, Found>,
    /// Nothing: as many unknown credentials are asked about as come.
    strangers: Option<Arc<Strangers>>,
}

impl Line {
    fn holds_up(&self, address: Option<IpAddr>) -> bool {
        let strangers = self.strangers.as_ref();
        strangers.is_some_and(|strangers| strangers.holds_up(address))
    }
}

/// What is known of a credential without asking anybody.
pub(crate) enum Recalled {
    /// Its key part is current.
    Current(Pass),
    /// No such key.
    Absent,
    /// Somebody has to be asked; what was known before may be all there is in an outage.
    Unknown(Option<Pass>),
}

/// What was found by a credential.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Pass(Pass),
    Denied(DenialCode),
    /// Nobody was asked: too many from its address were nobody's.
    HeldUp(Box<Refusal>),
    Unavailable,
}

/// What the ledger said, as of when.
#[derive(Debug, Clone)]
struct Judged {
    standings: Arc<Standings>,
    stamp: Stamp,
}

/// Who is asked about a credential. It has no form for people: it may hold a token.
#[derive(Clone)]
pub(crate) enum Source {
    Store,
    /// The layer's verifier of this index.
    Verifier(u8, Zeroizing<Vec<u8>>),
}

impl Source {
    pub(crate) fn is_verifier(&self) -> bool {
        matches!(self, Self::Verifier(..))
    }
}

impl Lookup {
    pub(crate) fn new(
        store: Arc<dyn KeyStore>,
        ledger: Arc<dyn LicenseLedger>,
        tokens: Tokens,
        clock: Arc<dyn Clock>,
        strangers: Option<Arc<Strangers>>,
        limits: Limits,
    ) -> Self {
        Self {
            store_tells: store.changes().is_some(),
            store_changes: store.changes().cloned().unwrap_or_default(),
            ledger_changes: ledger.changes().clone(),
            spared_until: AtomicU64::new(0),
            // Unknown texts are smaller and come in floods; a quarter keeps the usual suspects.
            cache: Cache::new(limits.cache_capacity, (limits.cache_capacity / 4).max(1)),
            rights: Interner::new(),
            standings: Interner::new(),
            turns: Semaphore::new(limits.lookups_at_once),
            tokens: Line {
                backend: Backend::Verifier,
                flights: Flights::new(limits.verification_timeout),
                strangers: strangers.as_ref().map(|keys| Arc::new(keys.beside())),
            },
            keys: Line {
                backend: Backend::KeyStore,
                flights: Flights::new(limits.lookup_timeout),
                strangers,
            },
            judgements: Flights::new(limits.lookup_timeout),
            store,
            ledger,
            verifiers: (tokens.verifiers.into_iter())
                .map(|verifier| Verifier::new(verifier, limits.lookups_at_once))
                .collect(),
            user_modules: tokens.user_modules,
            clock,
            limits,
        }
    }

    /// What is remembered of the credential, if nothing says that it is out of date.
    pub(crate) fn current(&self, digest: &KeyDigest, now: Now) -> Option<Pass> {
        self.cache
            .pass(digest)
            .filter(|pass| self.is_current(pass, now))
    }

    /// All that is known of the credential without asking anybody.
    pub(crate) fn recall(&self, digest: &KeyDigest, now: Now) -> Recalled {
        match self.cache.pass(digest) {
            Some(pass) if self.is_current(&pass, now) => Recalled::Current(pass),
            Some(pass) => Recalled::Unknown(Some(pass)),
            None if self.store_is_in_touch(now)
                && self.cache.is_absent(digest, &self.store_changes, now) =>
            {
                Recalled::Absent
            }
            None => Recalled::Unknown(None),
        }
    }

    fn is_current(&self, pass: &Pass, now: Now) -> bool {
        if pass.state() == State::Token {
            return pass.is_fresh(now);
        }
        self.store_changes
            .still_current(pass.slot(), pass.key_stamp())
            && self.store_is_in_touch(now)
            && match pass.origin() {
                Origin::Session => pass.is_fresh(now),
                _ => self.store_tells || pass.is_fresh(now) || self.is_spared(pass, now),
            }
    }

    /// Whether a silent store has just failed, and is not to be asked by every request.
    fn is_spared(&self, pass: &Pass, now: Now) -> bool {
        micros(now.monotonic) < self.spared_until.load(Ordering::Acquire)
            && self.may_outlive_outage(pass, now)
    }

    /// Whether what a silent store said of a key may still be used while the store is away: it said
    /// it at most `max_staleness` ago, and nothing has changed it since, as far as is known here.
    fn may_outlive_outage(&self, pass: &Pass, now: Now) -> bool {
        let grace = self
            .limits
            .max_staleness
            .saturating_sub(self.limits.cache_ttl);
        !self.store_tells
            && pass.state() != State::Token
            && pass.origin() != Origin::Session
            && self
                .store_changes
                .still_current(pass.slot(), pass.key_stamp())
            && micros(now.monotonic) <= pass.fresh_until().saturating_add(micros(grace))
    }

    /// Whether nothing has been told of a credential's key since it was read.
    #[cfg(feature = "manage")]
    pub(crate) fn is_unchanged(&self, pass: &Pass) -> bool {
        self.store_changes
            .still_current(pass.slot(), pass.key_stamp())
    }

    /// When a key was last used through this layer, by its current or its previous text.
    pub(crate) fn last_used(&self, record: &KeyRecord) -> Option<Timestamp> {
        let previous = record.previous.as_ref().map(|previous| previous.digest);
        let digests = [Some(record.digest), previous];
        let passes = digests
            .into_iter()
            .flatten()
            .filter_map(|digest| self.cache.peek(&digest));
        passes.filter_map(|pass| pass.last_used()).max()
    }

    /// How far store and ledger have come; nothing where the store does not tell of its changes.
    pub(crate) fn stamps(&self) -> Option<[Stamp; 2]> {
        let stamps = || [self.store_changes.stamp(), self.ledger_changes.stamp()];
        self.store_tells.then(stamps)
    }

    fn store_is_in_touch(&self, now: Now) -> bool {
        self.store_changes
            .in_touch(now.monotonic, self.limits.max_staleness)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The store for those who change it: what is changed through it is in force here at once, also
    /// where the store itself cannot tell.
    pub(crate) fn store_for_changes(&self) -> Arc<dyn KeyStore> {
        let store = Arc::clone(&self.store);
        if self.store_tells {
            return store;
        }
        Arc::new(NotedStore {
            store,
            changes: self.store_changes.clone(),
        })
    }

    /// What the ledger said of the credential's holder, if nothing says that it is out of date.
    pub(crate) fn standings<'p>(&self, pass: &'p Pass, now: Now) -> Option<&'p Standings> {
        let standings = pass.standings()?;
        if self.needs_no_ledger(pass) {
            return Some(standings);
        }
        let changes = &self.ledger_changes;
        (changes.still_current(pass.slot(), pass.standings_stamp())
            && changes.in_touch(now.monotonic, self.limits.max_staleness))
        .then_some(standings)
    }

    /// Asks who knows the credential; `known` is what was remembered of it, and `address` is where it
    /// comes from.
    pub(crate) async fn find(
        self: &Arc<Self>,
        digest: KeyDigest,
        source: Source,
        known: Option<Pass>,
        address: Option<IpAddr>,
    ) -> Found {
        let line = self.line(&source);
        let found = loop {
            let stamp = || self.store_changes.stamp();
            let (lookup, known, source) = (Arc::clone(self), known.clone(), source.clone());
            let ask = move |stamp| lookup.ask(digest, source, known, address, stamp);
            let found = line.flights.join(digest, stamp(), stamp, ask).await;
            match found {
                // It joined a look-up that somebody from another address had begun.
                Ok(Found::HeldUp(_)) if !line.holds_up(address) => {}
                Ok(found) => break found,
                Err(failure) => {
                    observe::lookup_failed(line.backend, failure);
                    break Found::Unavailable;
                }
            }
        };
        let now = self.clock.now();
        match (found, known) {
            (Found::Unavailable, Some(known)) if self.may_outlive_outage(&known, now) => {
                let until = micros(now.monotonic.saturating_add(ASK_AGAIN));
                self.spared_until.store(until, Ordering::Release);
                Found::Pass(known)
            }
            (found, _) => found,
        }
    }

    fn line(&self, source: &Source) -> &Line {
        match source {
            Source::Store => &self.keys,
            Source::Verifier(..) => &self.tokens,
        }
    }

    /// Asks, when it is its turn: for whoever is interested in the answer.
    async fn ask(
        self: Arc<Self>,
        digest: KeyDigest,
        source: Source,
        known: Option<Pass>,
        address: Option<IpAddr>,
        stamp: Stamp,
    ) -> Found {
        let attempt = match (&known, &self.line(&source).strangers) {
            (None, Some(strangers)) => match strangers.admit(address).await {
                Ok(attempt) => Some(attempt),
                Err(refusal) => return Found::HeldUp(refusal),
            },
            // A key in use is not held up by who shares its address.
            _ => None,
        };
        let found = match source {
            Source::Store => {
                let _turn = self.turns.acquire().await;
                self.find_key(digest, known, stamp).await
            }
            Source::Verifier(verifier, token) => {
                let _turn = self.verifiers[usize::from(verifier)].turns.acquire().await;
                self.verify_token(digest, verifier, &token, stamp).await
            }
        };
        if let (Found::Denied(DenialCode::InvalidKey), Some(attempt)) = (&found, attempt) {
            attempt.fail();
        }
        found
    }

    async fn find_key(&self, digest: KeyDigest, known: Option<Pass>, stamp: Stamp) -> Found {
        // Its age counts from before it was read.
        let fresh_until = match self.store_tells {
            true => u64::MAX,
            false => micros(
                self.clock
                    .now()
                    .monotonic
                    .saturating_add(self.limits.cache_ttl),
            ),
        };
        let answer = self.store.find(&digest).await;
        if answer.is_ok() {
            self.spared_until.store(0, Ordering::Release);
        }
        match answer {
            Ok(Some(record)) => {
                let known = known.or_else(|| self.cache.peek(&digest));
                let pass = Pass::of_key(record, &digest, stamp, fresh_until, &self.rights)
                    .going_on_from(known.as_ref());
                self.cache.keep(pass.clone());
                Found::Pass(pass)
            }
            Ok(None) => {
                self.cache.keep_absent(digest, stamp, fresh_until);
                Found::Denied(DenialCode::InvalidKey)
            }
            Err(error) => {
                observe::backend_failed(Backend::KeyStore, &error);
                Found::Unavailable
            }
        }
    }

    /// The credential with what the ledger says now; nothing in an outage.
    pub(crate) async fn judge(self: &Arc<Self>, pass: &Pass) -> Option<Pass> {
        let stamp = || self.ledger_changes.stamp();
        let (lookup, asked) = (Arc::clone(self), pass.clone());
        let key = (*pass.digest(), std::ptr::from_ref(pass.rights()).addr());
        let answer = self
            .judgements
            .join(key, stamp(), stamp, move |stamp| async move {
                let standings = lookup.ask_ledger(&asked).await?;
                Some(Judged { standings, stamp })
            });
        match answer.await {
            Ok(Some(Judged { standings, stamp })) => {
                // To our own key part: that of who began the look-up may be older.
                let pass = pass.with_standings(standings, stamp);
                // A token that may not be remembered takes no key's place.
                if pass.state() != State::Token || pass.is_fresh(self.clock.now()) {
                    self.cache.keep(pass.clone());
                }
                Some(pass)
            }
            Ok(None) => None,
            Err(failure) => {
                observe::lookup_failed(Backend::Ledger, failure);
                None
            }
        }
    }

    async fn ask_ledger(&self, pass: &Pass) -> Option<Arc<Standings>> {
        if self.needs_no_ledger(pass) {
            let standings = unlicensed::allowed(&pass.rights().carried);
            return Some(self.standings.share(standings));
        }
        let _turn = self.turns.acquire().await;
        match self
            .ledger
            .standings(&pass.holder()?, &pass.rights().carried)
            .await
        {
            Ok(mut standings) => {
                // Alike standings are shared between keys. The ledger's clock would set them apart,
                // and matters only where it is ahead of ours.
                if standings.clock <= self.clock.now().wall {
                    standings.clock = Timestamp::MIN;
                }
                // So would each key's own expiry, which is judged with the key.
                if standings.active_until == pass.expires_at() {
                    standings.active_until = None;
                }
                Some(self.standings.share(standings))
            }
            Err(error) => {
                observe::backend_failed(Backend::Ledger, &error);
                None
            }
        }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("cache", &self.cache)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

const ASK_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actor, KeyManager, ManualClock, MemoryKeyStore, MemoryLedger, Module, NewKey};

    #[tokio::test]
    async fn keys_with_expiries_of_their_own_share_what_the_ledger_says() {
        let clock = Arc::new(ManualClock::new());
        let store = MemoryKeyStore::new();
        let ledger = MemoryLedger::new().with_clock(clock.clone());
        let manager = KeyManager::new(store.clone(), ledger.clone()).with_clock(clock.clone());
        let launcher = Module::new("launcher").expect("a module");
        let system = Actor::system();
        manager
            .map_module(&launcher, None, &system)
            .await
            .expect("mapped");
        let limits = Limits {
            max_staleness: Duration::ZERO,
            cache_ttl: Duration::ZERO,
            cache_capacity: 8,
            lookup_timeout: Duration::from_secs(1),
            verification_timeout: Duration::from_secs(1),
            lookups_at_once: 1,
        };
        let lookup = Lookup::new(
            Arc::new(store),
            Arc::new(ledger),
            Tokens::default(),
            Arc::clone(&clock) as Arc<dyn Clock>,
            None,
            limits,
        );
        let lookup = Arc::new(lookup);
        let mut shared = Vec::new();
        for seconds in [60, 120] {
            let expiry = clock
                .now()
                .wall
                .saturating_add(Duration::from_secs(seconds));
            let new = NewKey::named("short").with_modules([launcher.clone()]);
            let created = manager.create(new.with_expires_at(expiry), &system).await;
            let digest = created.expect("created").key.record.digest;
            let Found::Pass(pass) = lookup.find(digest, Source::Store, None, None).await else {
                panic!("not found");
            };
            let pass = lookup.judge(&pass).await.expect("judged");
            shared.push(std::ptr::from_ref(pass.standings().expect("standings")).addr());
        }
        assert_eq!(shared[0], shared[1]);
    }
}
