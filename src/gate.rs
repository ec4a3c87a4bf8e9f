//! The checks, in order. It sees method, URI, headers and extensions, never a body.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{
    Extensions, HeaderMap, Method, Uri,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};
use zeroize::Zeroizing;

use crate::{
    clock::{Now, Timestamp},
    credential::{Carrier, Carriers, Credential, Presented},
    denial::{Denial, DenialCode},
    error::BackendError,
    forwarded::TrustedProxies,
    grant::{GateId, Grant},
    host,
    key_format::{KeyFormats, KeyHasher, LONGEST_KEY, Verdict},
    key_store::{Environment, KeyDigest},
    license_ledger::{Module, Standings},
    lookup::{Found, Lookup, Recalled, Source},
    module_map::{ModuleMap, Requirement},
    observe,
    pass::Pass,
    path::{self, PathForms},
    rate_headers::{RateFields, RateHeaders},
    rate_limiter::{Allowance, Check, RateLimiter},
    token::LONGEST_TOKEN,
    uses::Uses,
};

mod at_route;
mod count;
mod judge;
mod possession;

use judge::{Judgement, check, key_trouble, worded};
pub(crate) use possession::{CheckPossession, Evidence};

/// Everything that decides about a request: one for all clones of a layer and its services.
pub(crate) struct Gate {
    pub(crate) id: GateId,
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) uses: Arc<Uses>,
    pub(crate) map: Arc<dyn ModuleMap>,
    pub(crate) limiter: Option<Arc<dyn RateLimiter>>,
    pub(crate) rate_headers: RateHeaders,
    pub(crate) carriers: Carriers,
    pub(crate) formats: KeyFormats,
    pub(crate) hasher: KeyHasher,
    /// Nothing: every environment.
    pub(crate) environments: Option<Vec<Environment>>,
    /// Nothing: the connection's other end is the client.
    pub(crate) proxies: Option<TrustedProxies>,
    pub(crate) admitted_paths: PathForms,
    pub(crate) admits_preflight: bool,
    pub(crate) shadowed: Vec<Module>,
    /// Nothing: no proofs are taken.
    pub(crate) possession: Option<Arc<dyn CheckPossession>>,
}

/// What the gate sees of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'r> {
    pub(crate) method: &'r Method,
    pub(crate) uri: &'r Uri,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) extensions: &'r Extensions,
}

/// What a route asks for; nothing where it is not mapped.
pub(crate) type Needs<'m> = Option<Cow<'m, Requirement>>;

/// What happens to a request.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It is none of our business.
    Public,
    /// It goes on without a caller.
    Anonymous(Option<RateFields>),
    /// It goes on.
    Granted(Grant, Option<RateFields>),
    /// It goes on although it would be refused: its modules are in shadow mode.
    Shadowed {
        denial: Denial,
        grant: Option<Grant>,
        at_route: bool,
    },
    /// The guard of a single route lets it go on; the layer has done the rest.
    Cleared(Grant),
    /// It ends here.
    Refused(Denial),
    /// It came to the guard of a single route past the layer.
    NotGated,
}

/// A decision, or what is missing for it.
pub(crate) enum Step {
    Decided(Decision),
    Ask(Question),
}

/// A request that memory alone could not decide, apart from the request itself.
pub(crate) struct Question {
    requirement: Option<Requirement>,
    address: Option<IpAddr>,
    missing: Missing,
}

enum Missing {
    Key {
        digest: KeyDigest,
        source: Source,
        known: Option<Pass>,
        evidence: Option<Box<Evidence>>,
    },
    Standings(Pass),
    Count(
        Option<Pass>,
        BoxFuture<'static, Result<Allowance, BackendError>>,
    ),
    /// What the ledger says, for the guard of a single route.
    AtRoute(Pass),
}

/// Whose a credential is.
enum Identity {
    Known(Pass),
    /// Somebody has to be asked.
    Unknown(Missing),
}

impl<'r> Incoming<'r> {
    pub(crate) fn of<B>(request: &'r http::Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

impl Gate {
    /// The same gate for a part of the service that maps its routes itself. What it grants, this one
    /// has granted.
    #[cfg(feature = "manage")]
    pub(crate) fn with_map(&self, map: Arc<dyn ModuleMap>) -> Self {
        Self {
            id: self.id,
            lookup: Arc::clone(&self.lookup),
            uses: Arc::clone(&self.uses),
            map,
            limiter: self.limiter.clone(),
            rate_headers: self.rate_headers,
            carriers: self.carriers.clone(),
            formats: self.formats.clone(),
            hasher: self.hasher.clone(),
            environments: self.environments.clone(),
            proxies: self.proxies.clone(),
            // All of its routes ask for the same.
            admitted_paths: PathForms::from_iter(path::PathForm::ALL),
            admits_preflight: false,
            // What is not a module's cannot be in shadow mode.
            shadowed: Vec::new(),
            possession: self.possession.clone(),
        }
    }

    /// Finds out what a request needs before anything is read of its credential, or decides where
    /// that does not matter.
    pub(crate) fn locate(&self, request: Incoming<'_>, now: Now) -> Result<Needs<'_>, Decision> {
        if self.admits_preflight && is_preflight(request) {
            return Err(Decision::Public);
        }
        let (uri, rewritten) = host::asked_uri(request.uri, request.extensions);
        if let Some(form) = path::ambiguity(uri.path(), self.admitted_paths) {
            let detail = format!("The path can be read in more than one way: it holds {form}.");
            let denial = Denial::new(DenialCode::AmbiguousPath).with_detail(detail);
            return Err(self.refuse(denial, None, None, now.wall));
        }
        let method = if request.method == Method::HEAD {
            &Method::GET
        } else {
            request.method
        };
        let matched = host::matched_path(request.extensions);
        let requirement = self.map.requirement(method, uri.path(), matched);
        // Behind a rewrite nobody can tell whether the pattern or the path finds the handler.
        if rewritten
            && matched.is_some()
            && self.map.requirement(method, uri.path(), None) != requirement
        {
            return Ok(None);
        }
        match requirement.as_deref() {
            Some(Requirement::Public) => Err(Decision::Public),
            _ => Ok(requirement),
        }
    }

    /// Decides from memory: no await, no box, no lock across calls.
    pub(crate) fn decide_now(
        &self,
        requirement: Needs<'_>,
        presented: &Presented,
        request: Incoming<'_>,
        now: Now,
    ) -> Step {
        let needs = requirement.as_deref();
        let address = || self.client_address(request.headers, request.extensions);
        let identity = match presented {
            Presented::One(credential) => self.identify(credential, request, now),
            Presented::Many => Err(DenialCode::MultipleCredentials.into()),
            Presented::Nothing if matches!(needs, Some(Requirement::Anonymous { .. })) => {
                return self.count_now(None, requirement, address, now);
            }
            Presented::Nothing => Err(DenialCode::MissingCredential.into()),
        };
        let caller = match identity {
            Ok(Identity::Known(caller)) => caller,
            Ok(Identity::Unknown(missing)) => return ask(requirement, address(), missing),
            Err(denial) => return self.refuse(denial, needs, None, now.wall).into(),
        };
        let standings = self.lookup.standings(&caller, now);
        match self.judge(&caller, needs, standings, address, now.wall) {
            Judgement::Cleared => self.count_now(Some(caller), requirement, address, now),
            Judgement::Refused(denial) => {
                self.refuse(denial, needs, Some(&caller), now.wall).into()
            }
            Judgement::NeedsStandings => ask(requirement, address(), Missing::Standings(caller)),
        }
    }

    /// Where a request comes from, as far as that is known.
    fn client_address(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let peer = host::peer_address(extensions)?;
        match &self.proxies {
            Some(proxies) => proxies.client_address(headers, peer),
            None => Some(peer),
        }
    }

    /// Asks for what was missing, fills the memory, and judges again.
    pub(crate) async fn decide(&self, question: Question) -> Decision {
        let Question {
            requirement,
            address,
            missing,
        } = question;
        let needs = requirement.as_ref();
        let now = || self.lookup.clock.now();
        let refuse = |denial, caller| self.refuse(denial, needs, caller, now().wall);
        let mut caller = match missing {
            Missing::Standings(caller) => caller,
            Missing::Key {
                digest,
                source,
                known,
                evidence,
            } => {
                let is_token = source.is_verifier();
                let found = self.lookup.find(digest, source, known, address).await;
                let confirmed = match found {
                    Found::Pass(pass) => self.confirmed(pass, evidence.as_deref(), now()),
                    Found::Denied(code) => Err(worded(is_token, code.into())),
                    Found::HeldUp(refusal) => {
                        let fields = self.rate_headers.fields_of_refusal(&refusal, now().wall);
                        let denial = Denial::held_up(refusal.quota, refusal.retry_after);
                        Err(denial.with_rate_fields(fields))
                    }
                    Found::Unavailable => {
                        let denial = outage(DenialCode::StoreUnavailable);
                        Err(worded(is_token, denial))
                    }
                };
                match confirmed {
                    Ok(pass) => pass,
                    Err(denial) => return refuse(denial, None),
                }
            }
            Missing::Count(caller, answer) => {
                return self.settle_later(answer, caller, needs).await;
            }
            Missing::AtRoute(pass) => return self.decide_at_route_later(pass, needs).await,
        };
        // What was read since the request came in is used even if something changed again.
        let mut at = now();
        let standings = self.lookup.standings(&caller, at);
        let mut judgement = self.judge(&caller, needs, standings, || address, at.wall);
        if let Judgement::NeedsStandings = judgement {
            let Some(pass) = self.lookup.judge(&caller).await else {
                return refuse(outage(DenialCode::LedgerUnavailable), Some(&caller));
            };
            caller = pass;
            at = now();
            let standings = caller.standings();
            judgement = self.judge(&caller, needs, standings, || address, at.wall);
        }
        match judgement {
            Judgement::Refused(denial) => refuse(denial, Some(&caller)),
            Judgement::NeedsStandings => {
                refuse(outage(DenialCode::LedgerUnavailable), Some(&caller))
            }
            Judgement::Cleared => match self.count(Some(&caller), needs, || address, at) {
                Check::Done(allowance) => self.settle(allowance, Some(caller), needs, at.wall),
                Check::Later(answer) => self.settle_later(answer, Some(caller), needs).await,
            },
        }
    }

    /// Step 1: whose the credential is, or who has to be asked.
    fn identify(
        &self,
        credential: &Credential,
        request: Incoming<'_>,
        now: Now,
    ) -> Result<Identity, Denial> {
        let text = credential.text();
        let evidence = Evidence::of(credential, request);
        let verifier = self.verifier_of(credential);
        // No key is bound to another one.
        let may_be_key = verifier.is_none() && evidence.is_none() && text.len() <= LONGEST_KEY;
        let digest = may_be_key.then(|| self.hasher.digest(text));
        // A key that is remembered was well-formed when it was read: its form is looked at only
        // where it is not.
        if let Some(digest) = digest
            && let Some(pass) = self.lookup.current(&digest, now)
        {
            return Ok(Identity::Known(self.confirmed(pass, None, now)?));
        }
        let digest = match (verifier, digest) {
            // A key and a token of the same text are two credentials.
            (Some(index), _) => self.lookup.token_digest(index, self.hasher.digest(text)),
            (None, Some(digest)) if self.formats.verdict(text) != Verdict::Malformed => digest,
            (None, _) => return Err(DenialCode::InvalidKey.into()),
        };
        Ok(match self.lookup.recall(&digest, now) {
            Recalled::Current(pass) => {
                Identity::Known(self.confirmed(pass, evidence.as_deref(), now)?)
            }
            Recalled::Absent => return Err(DenialCode::InvalidKey.into()),
            Recalled::Unknown(known) => {
                let source = match verifier {
                    Some(index) => Source::Verifier(index, Zeroizing::new(text.to_vec())),
                    None => Source::Store,
                };
                Identity::Unknown(Missing::Key {
                    digest,
                    source,
                    known,
                    evidence,
                })
            }
        })
    }

    /// Whose token a credential is, if it is one: by its form alone, whatever is remembered.
    fn verifier_of(&self, credential: &Credential) -> Option<u8> {
        let text = credential.text();
        let may_be_token = self.lookup.has_verifiers()
            && matches!(credential.carrier, Carrier::Bearer | Carrier::Dpop)
            && text.len() <= LONGEST_TOKEN
            // A key is a key, and a broken one too: nobody else is asked about it.
            && !self.formats.claims(text);
        may_be_token.then(|| self.lookup.verifier_of(text))?
    }

    /// Whether it admits keys of this environment.
    #[cfg(feature = "manage")]
    pub(crate) fn admits(&self, environment: &Environment) -> bool {
        let admitted = self.environments.as_deref();
        admitted.is_none_or(|admitted| admitted.contains(environment))
    }

    /// Steps 2 to 5: what is known of the caller, against what the route asks for.
    fn judge(
        &self,
        pass: &Pass,
        needs: Option<&Requirement>,
        standings: Option<&Standings>,
        address: impl FnOnce() -> Option<IpAddr>,
        now: Timestamp,
    ) -> Judgement {
        if let Some(denial) = key_trouble(pass, self.environments.as_deref(), now) {
            return Judgement::Refused(denial);
        }
        self.uses.note(pass, now);
        let allowed = &pass.rights().allowed_addresses;
        if !allowed.is_empty()
            && !address().is_some_and(|address| allowed.iter().any(|r| r.contains(address)))
        {
            return Judgement::Refused(DenialCode::AddressNotAllowed.into());
        }
        match needs {
            Some(needs) => check(pass, needs, standings, now),
            None => Judgement::Refused(DenialCode::RouteNotMapped.into()),
        }
    }

    /// Every refusal of the layer ends here: said, or only noted where all of the route's modules
    /// are in shadow mode.
    fn refuse(
        &self,
        denial: Denial,
        needs: Option<&Requirement>,
        caller: Option<&Pass>,
        now: Timestamp,
    ) -> Decision {
        let principal = caller.map(Pass::principal);
        if !self.is_shadowed(needs) {
            observe::refused(&denial, principal);
            if let Some(caller) = caller {
                self.uses.refused(caller, denial.code(), now);
            }
            return Decision::Refused(denial);
        }
        observe::shadowed(&denial, principal);
        // Only who sent a key that works, from where it may be used, is a caller to the handler.
        let works = |pass: &Pass| key_trouble(pass, self.environments.as_deref(), now).is_none();
        let known =
            caller.filter(|pass| works(pass) && denial.code() != DenialCode::AddressNotAllowed);
        match (known, caller) {
            (Some(pass), _) => self.uses.granted(pass, now),
            (None, Some(pass)) => self.uses.refused(pass, denial.code(), now),
            (None, None) => {}
        }
        let grant = known.map(|pass| self.grant(pass, now));
        Decision::Shadowed {
            denial,
            grant,
            at_route: false,
        }
    }

    fn grant(&self, pass: &Pass, now: Timestamp) -> Grant {
        Grant::new(self.id, pass.clone(), now)
    }

    fn is_shadowed(&self, needs: Option<&Requirement>) -> bool {
        let modules = needs.map_or(&[][..], Requirement::modules);
        !modules.is_empty() && modules.iter().all(|module| self.shadowed.contains(module))
    }
}

impl From<Decision> for Step {
    fn from(decision: Decision) -> Self {
        Self::Decided(decision)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("lookup", &self.lookup)
            .field("carriers", &self.carriers)
            .field("environments", &self.environments)
            .field("shadowed", &self.shadowed)
            .finish_non_exhaustive()
    }
}

/// RFC 9110 has no word for it; Fetch §3.2.2 has: OPTIONS that a browser sends on its own.
fn is_preflight(request: Incoming<'_>) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn ask(requirement: Needs<'_>, address: Option<IpAddr>, missing: Missing) -> Step {
    Step::Ask(Question {
        requirement: requirement.map(Cow::into_owned),
        address,
        missing,
    })
}

/// An outage passes; how soon nobody knows.
fn outage(code: DenialCode) -> Denial {
    Denial::new(code).with_retry_after(Duration::from_secs(1))
}
