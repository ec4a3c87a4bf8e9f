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
    credential::{Carrier, Carriers, Presented, Text},
    denial::{Denial, DenialCode},
    error::BackendError,
    grant::{Grant, Nobody, has_scope},
    host,
    key_format::{KeyFormats, KeyHasher, Verdict},
    key_store::{Environment, KeyDigest, Scope},
    license_ledger::{Module, Reason, Standing, Standings, Status},
    lookup::{Found, Lookup, Recalled, Source},
    module_map::{ModuleMap, Modules, Requirement},
    observe::{self, Backend},
    pass::{Pass, State},
    path::{self, PathForms},
    rate_limiter::{Allowance, Check, RateLimiter, Subject},
    uses::Uses,
};

/// Everything that decides about a request: one for all clones of a layer and its services.
pub(crate) struct Gate {
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) uses: Uses,
    pub(crate) map: Box<dyn ModuleMap>,
    pub(crate) limiter: Option<Arc<dyn RateLimiter>>,
    pub(crate) carriers: Carriers,
    pub(crate) formats: KeyFormats,
    pub(crate) hasher: KeyHasher,
    /// Nothing: every environment.
    pub(crate) environments: Option<Vec<Environment>>,
    pub(crate) admitted_paths: PathForms,
    pub(crate) admits_preflight: bool,
    pub(crate) shadowed: Vec<Module>,
}

/// What the gate sees of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'r> {
    pub(crate) method: &'r Method,
    pub(crate) uri: &'r Uri,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) extensions: &'r Extensions,
}

/// What happens to a request.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It is none of our business.
    Public,
    /// It goes on without a caller.
    Anonymous,
    /// It goes on.
    Granted(Grant),
    /// It goes on although it would be refused: its modules are in shadow mode.
    Shadowed(Denial, Option<Grant>),
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
        known: Option<Arc<Pass>>,
    },
    Standings(Caller),
    Count(
        Option<Caller>,
        BoxFuture<'static, Result<Allowance, BackendError>>,
    ),
    /// What the ledger says, for the guard of a single route.
    AtRoute(Caller),
}

/// Who calls: a credential and what is known of it.
struct Caller {
    digest: KeyDigest,
    pass: Arc<Pass>,
}

/// What is known of a caller says this about a request.
enum Judgement {
    Cleared,
    Refused(Denial),
    /// The ledger has to be asked first.
    NeedsStandings,
}

impl Gate {
    /// Decides from memory: no await, no box, no lock across calls.
    pub(crate) fn decide_now(&self, request: Incoming<'_>, now: Now) -> Step {
        if self.admits_preflight && is_preflight(request) {
            return Decision::Public.into();
        }
        let uri = host::asked_uri(request.uri, request.extensions);
        if let Some(form) = path::ambiguity(uri.path(), self.admitted_paths) {
            let detail = format!("The path can be read in more than one way: it holds {form}.");
            let denial = Denial::new(DenialCode::AmbiguousPath).with_detail(detail);
            return self.refuse(denial, None, None).into();
        }
        let method = if request.method == Method::HEAD {
            &Method::GET
        } else {
            request.method
        };
        let matched = host::matched_path(request.extensions);
        let requirement = self.map.requirement(method, uri.path(), matched);
        if let Some(Requirement::Public) = requirement.as_deref() {
            return Decision::Public.into();
        }
        let needs = requirement.as_deref();
        let (digest, source) = match self.credential(request) {
            Ok(Some(found)) => found,
            Ok(None) if matches!(needs, Some(Requirement::Anonymous { .. })) => {
                return self.count_now(None, requirement, request, now);
            }
            Ok(None) => {
                return self
                    .refuse(DenialCode::MissingCredential.into(), needs, None)
                    .into();
            }
            Err(code) => return self.refuse(code.into(), needs, None).into(),
        };
        let pass = match self.lookup.recall(&digest, now) {
            Recalled::Current(pass) => pass,
            Recalled::Absent => {
                return self
                    .refuse(DenialCode::InvalidKey.into(), needs, None)
                    .into();
            }
            Recalled::Unknown(known) => {
                let source = source.into();
                return ask(
                    requirement,
                    request,
                    Missing::Key {
                        digest,
                        source,
                        known,
                    },
                );
            }
        };
        let standings = self.lookup.standings(&pass, now);
        let address = || host::peer_address(request.extensions);
        let judgement = self.judge(&pass, needs, standings, address, now.wall);
        let caller = Caller { digest, pass };
        match judgement {
            Judgement::Cleared => self.count_now(Some(caller), requirement, request, now),
            Judgement::Refused(denial) => self.refuse(denial, needs, Some(&caller)).into(),
            Judgement::NeedsStandings => ask(requirement, request, Missing::Standings(caller)),
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
        let mut caller = match missing {
            Missing::Standings(caller) => caller,
            Missing::Key {
                digest,
                source,
                known,
            } => match self.lookup.find(digest, source, known).await {
                Found::Pass(pass) => Caller { digest, pass },
                Found::Denied(code) => return self.refuse(code.into(), needs, None),
                Found::Unavailable => {
                    return self.refuse(outage(DenialCode::StoreUnavailable), needs, None);
                }
            },
            Missing::Count(caller, answer) => {
                return self.settle_later(answer.await, caller, needs);
            }
            Missing::AtRoute(caller) => return self.decide_at_route_later(caller, needs).await,
        };
        // What was read since the request came in is used even if something changed again.
        let mut now = self.lookup.clock.now();
        let standings = self.lookup.standings(&caller.pass, now);
        let mut judgement = self.judge(&caller.pass, needs, standings, || address, now.wall);
        if let Judgement::NeedsStandings = judgement {
            let Some(pass) = self.lookup.judge(caller.digest, &caller.pass).await else {
                let denial = outage(DenialCode::LedgerUnavailable);
                return self.refuse(denial, needs, Some(&caller));
            };
            caller.pass = pass;
            now = self.lookup.clock.now();
            let standings = caller.pass.standings();
            judgement = self.judge(&caller.pass, needs, standings, || address, now.wall);
        }
        match judgement {
            Judgement::Refused(denial) => self.refuse(denial, needs, Some(&caller)),
            Judgement::NeedsStandings => {
                self.refuse(outage(DenialCode::LedgerUnavailable), needs, Some(&caller))
            }
            Judgement::Cleared => match self.count(Some(&caller), || address, now) {
                Check::Done(allowance) => self.settle(allowance, Some(caller), needs, now.wall),
                Check::Later(answer) => self.settle_later(answer.await, Some(caller), needs),
            },
        }
    }

    /// The guard of a single route: what it asks for, of a caller whom the layer let pass.
    pub(crate) fn decide_at_route(
        &self,
        needs: &Requirement,
        request: Incoming<'_>,
        now: Now,
    ) -> Step {
        let Some(grant) = request.extensions.get::<Grant>() else {
            return match request.extensions.get::<Nobody>() {
                Some(_) => self.refuse(DenialCode::MissingCredential.into(), Some(needs), None),
                None => Decision::NotGated,
            }
            .into();
        };
        let caller = Caller {
            digest: grant.digest(),
            pass: Arc::clone(grant.pass()),
        };
        let standings = self.lookup.standings(&caller.pass, now);
        match check(&caller.pass, needs, standings, now.wall) {
            Judgement::Cleared => Decision::Cleared(grant.clone()).into(),
            Judgement::Refused(denial) => self.refuse(denial, Some(needs), Some(&caller)).into(),
            Judgement::NeedsStandings => ask(
                Some(Cow::Borrowed(needs)),
                request,
                Missing::AtRoute(caller),
            ),
        }
    }

    async fn decide_at_route_later(
        &self,
        mut caller: Caller,
        needs: Option<&Requirement>,
    ) -> Decision {
        if let Some(pass) = self.lookup.judge(caller.digest, &caller.pass).await {
            caller.pass = pass;
            let now = self.lookup.clock.now().wall;
            let route = needs.unwrap_or(&Requirement::Public);
            match check(&caller.pass, route, caller.pass.standings(), now) {
                Judgement::Cleared => return Decision::Cleared(caller.grant(now)),
                Judgement::Refused(denial) => return self.refuse(denial, needs, Some(&caller)),
                Judgement::NeedsStandings => {}
            }
        }
        self.refuse(outage(DenialCode::LedgerUnavailable), needs, Some(&caller))
    }

    /// Step 1: which key or token, and who knows it; nothing where no credential was sent.
    fn credential<'r>(
        &self,
        request: Incoming<'r>,
    ) -> Result<Option<(KeyDigest, SourceOf<'r>)>, DenialCode> {
        let (carrier, text) = match self.carriers.read(request.headers, request.uri.query()) {
            Presented::Nothing => return Ok(None),
            Presented::Many => return Err(DenialCode::MultipleCredentials),
            Presented::One { carrier, text } => (carrier, text),
        };
        let verdict = self.formats.verdict(&text);
        let is_token = verdict != Verdict::WellFormed
            && carrier == Carrier::Bearer
            // A broken key is a broken key: nobody else is asked about it.
            && !self.formats.claims(&text)
            && text.len() <= LONGEST_TOKEN
            && self.lookup.recognizes_token(&text);
        let source = match verdict {
            _ if is_token => SourceOf::Verifier(text),
            Verdict::WellFormed | Verdict::Opaque => SourceOf::Store(text),
            Verdict::Malformed => return Err(DenialCode::InvalidKey),
        };
        Ok(Some((self.hasher.digest(source.text()), source)))
    }

    /// Steps 2 to 5: what is known of the caller, against what the route asks for.
    fn judge(
        &self,
        pass: &Arc<Pass>,
        needs: Option<&Requirement>,
        standings: Option<&Standings>,
        address: impl FnOnce() -> Option<IpAddr>,
        now: Timestamp,
    ) -> Judgement {
        if let Some(code) = self.key_trouble(pass, now) {
            return Judgement::Refused(code.into());
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

    /// Step 2: whether the key itself works.
    fn key_trouble(&self, pass: &Pass, now: Timestamp) -> Option<DenialCode> {
        let past = pass.is_past(now);
        if past && pass.is_superseded() {
            return Some(DenialCode::InvalidKey);
        }
        let foreign = |environments: &Vec<Environment>| {
            let environment = pass.rights().environment.as_ref();
            environment.is_some_and(|environment| !environments.contains(environment))
        };
        if self.environments.as_ref().is_some_and(foreign) {
            return Some(DenialCode::WrongEnvironment);
        }
        match pass.state() {
            State::Disabled => Some(DenialCode::DisabledKey),
            State::Revoked => Some(DenialCode::RevokedKey),
            State::Enabled | State::Token if past => Some(DenialCode::ExpiredKey),
            State::Enabled | State::Token => None,
        }
    }

    /// Step 6: counts a request that everything else would grant.
    fn count(
        &self,
        caller: Option<&Caller>,
        address: impl FnOnce() -> Option<IpAddr>,
        now: Now,
    ) -> Check {
        let pass = caller.map(|caller| &caller.pass);
        let rights = pass.map(|pass| pass.rights());
        match &self.limiter {
            Some(limiter) if !rights.is_some_and(|rights| rights.administrator) => {
                let subject = Subject {
                    principal: pass.map(|pass| pass.principal()),
                    owner: rights.and_then(|rights| rights.owner.as_deref()),
                    tier: rights.and_then(|rights| rights.tier.as_ref()),
                    address: address(),
                };
                limiter.check(subject, now)
            }
            _ => Check::Done(Allowance::Admitted),
        }
    }

    fn count_now(
        &self,
        caller: Option<Caller>,
        requirement: Option<Cow<'_, Requirement>>,
        request: Incoming<'_>,
        now: Now,
    ) -> Step {
        let address = || host::peer_address(request.extensions);
        match self.count(caller.as_ref(), address, now) {
            Check::Done(allowance) => self
                .settle(allowance, caller, requirement.as_deref(), now.wall)
                .into(),
            Check::Later(answer) => ask(requirement, request, Missing::Count(caller, answer)),
        }
    }

    /// Step 7, or the limiter's refusal.
    fn settle(
        &self,
        allowance: Allowance,
        caller: Option<Caller>,
        needs: Option<&Requirement>,
        now: Timestamp,
    ) -> Decision {
        match (allowance, caller) {
            (Allowance::Admitted, Some(caller)) => {
                observe::granted();
                Decision::Granted(caller.grant(now))
            }
            (Allowance::Admitted, None) => {
                observe::anonymous();
                Decision::Anonymous
            }
            (
                Allowance::Refused {
                    tier,
                    quota,
                    retry_after,
                },
                caller,
            ) => {
                let denial = Denial::new(DenialCode::RateLimited);
                let denial = denial.with_quota(tier, quota, retry_after);
                self.refuse(denial, needs, caller.as_ref())
            }
        }
    }

    fn settle_later(
        &self,
        answer: Result<Allowance, BackendError>,
        caller: Option<Caller>,
        needs: Option<&Requirement>,
    ) -> Decision {
        match answer {
            Ok(allowance) => self.settle(allowance, caller, needs, self.lookup.clock.now().wall),
            Err(error) => {
                observe::backend_failed(Backend::Limiter, &error);
                self.refuse(
                    outage(DenialCode::LimiterUnavailable),
                    needs,
                    caller.as_ref(),
                )
            }
        }
    }

    /// Every refusal ends here: said, or only noted where all of the route's modules are in shadow
    /// mode.
    fn refuse(
        &self,
        denial: Denial,
        needs: Option<&Requirement>,
        caller: Option<&Caller>,
    ) -> Decision {
        let principal = caller.map(|caller| caller.pass.principal());
        let modules = needs.map_or(&[][..], Requirement::modules);
        if !modules.is_empty() && modules.iter().all(|module| self.shadowed.contains(module)) {
            observe::shadowed(&denial, principal);
            // Only who sent a key that works is a caller to the handler.
            let now = self.lookup.clock.now().wall;
            let known = caller.filter(|caller| self.key_trouble(&caller.pass, now).is_none());
            return Decision::Shadowed(denial, known.map(|caller| caller.grant(now)));
        }
        observe::refused(&denial, principal);
        Decision::Refused(denial)
    }
}

/// Who knows a credential, with its text while the request is at hand.
enum SourceOf<'r> {
    Store(Text<'r>),
    Verifier(Text<'r>),
}

impl SourceOf<'_> {
    fn text(&self) -> &[u8] {
        let (Self::Store(text) | Self::Verifier(text)) = self;
        text
    }
}

impl From<SourceOf<'_>> for Source {
    fn from(source: SourceOf<'_>) -> Self {
        match source {
            SourceOf::Store(_) => Self::Store,
            SourceOf::Verifier(token) => Self::Verifier(Zeroizing::new(token.to_vec())),
        }
    }
}

impl Caller {
    fn grant(&self, now: Timestamp) -> Grant {
        Grant::new(Arc::clone(&self.pass), self.digest, now)
    }
}

/// Steps 4 and 5: modules, then scopes, then licenses.
fn check(
    pass: &Pass,
    needs: &Requirement,
    standings: Option<&Standings>,
    now: Timestamp,
) -> Judgement {
    let outcome = match needs {
        Requirement::Modules { modules, scopes } => {
            let Some(standings) = standings else {
                return Judgement::NeedsStandings;
            };
            check_assigned(modules, standings)
                .and_then(|()| check_scopes(scopes, &pass.rights().scopes))
                .and_then(|()| check_licenses(modules, standings, now))
        }
        other => check_scopes(other.scopes(), &pass.rights().scopes),
    };
    outcome.map_or_else(Judgement::Refused, |()| Judgement::Cleared)
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

impl From<Decision> for Step {
    fn from(decision: Decision) -> Self {
        Self::Decided(decision)
    }
}

/// Step 4, first half: which modules the key is assigned.
fn check_assigned(modules: &Modules, standings: &Standings) -> Result<(), Denial> {
    let assigned = |module: &Module| standings.standing(module).is_some();
    let missing = match modules {
        Modules::One(module) => (!assigned(module)).then_some(module),
        Modules::All(modules) => modules.iter().find(|module| !assigned(module)),
        Modules::Any(modules) if modules.iter().any(assigned) => None,
        Modules::Any(modules) => modules.first(),
    };
    match missing {
        Some(module) => Err(Denial::new(DenialCode::ModuleAccessMissing).with_module(module)),
        None => Ok(()),
    }
}

/// Step 4, second half: whether the key has every scope that is asked for.
fn check_scopes(required: &[Scope], granted: &[Scope]) -> Result<(), Denial> {
    if required
        .iter()
        .all(|scope| has_scope(granted, scope.as_str()))
    {
        return Ok(());
    }
    let lacking = |scope: &&Scope| !has_scope(granted, scope.as_str());
    let missing = required.iter().filter(lacking).cloned().collect();
    Err(Denial::new(DenialCode::InsufficientScope).with_scopes(required, missing))
}

/// Step 5: whether the licenses of the modules are reserved.
fn check_licenses(modules: &Modules, standings: &Standings, now: Timestamp) -> Result<(), Denial> {
    let check = |module: &Module| check_license(module, standings, now);
    match modules {
        Modules::One(module) => check(module),
        Modules::All(modules) => modules.iter().try_for_each(check),
        Modules::Any(modules) => {
            let assigned = modules
                .iter()
                .filter(|module| standings.standing(module).is_some());
            let mut first = Ok(());
            for module in assigned {
                match check(module) {
                    Ok(()) => return Ok(()),
                    refused if first.is_ok() => first = refused,
                    _ => {}
                }
            }
            first
        }
    }
}

fn check_license(module: &Module, standings: &Standings, now: Timestamp) -> Result<(), Denial> {
    let Some(standing) = standings.standing(module) else {
        return Err(Denial::new(DenialCode::ModuleAccessMissing).with_module(module));
    };
    let code = match standings.judge(standing, now) {
        Status::Reserved | Status::NotRequired => return Ok(()),
        Status::NotAssigned => DenialCode::ModuleAccessMissing,
        Status::Expired(_) => DenialCode::LicenseExpired,
        Status::ReservationFailed(Reason::LimitReached) => DenialCode::LicenseLimitReached,
        Status::ReservationFailed(_) => DenialCode::LicenseNotReserved,
    };
    let denial = Denial::new(code).with_module(module);
    Err(match standing {
        Standing::Licensed {
            license,
            valid_until,
            ..
        } => denial.with_license(license, *valid_until),
        Standing::Unknown(Some(license)) => denial.with_license(license, None),
        Standing::Unknown(None) | Standing::NotRequired => denial,
    })
}

/// RFC 9110 has no word for it; Fetch §3.2.2 has: OPTIONS that a browser sends on its own.
fn is_preflight(request: Incoming<'_>) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn ask(requirement: Option<Cow<'_, Requirement>>, request: Incoming<'_>, missing: Missing) -> Step {
    Step::Ask(Question {
        requirement: requirement.map(Cow::into_owned),
        address: host::peer_address(request.extensions),
        missing,
    })
}

/// An outage passes; how soon nobody knows.
fn outage(code: DenialCode) -> Denial {
    Denial::new(code).with_retry_after(Duration::from_secs(1))
}

/// Bytes; a longer token is invalid without being hashed.
const LONGEST_TOKEN: usize = 16 * 1_024;
