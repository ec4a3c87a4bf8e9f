//! Step 6: the rate limiter's word, and what comes of it.

use std::net::IpAddr;

use futures_util::future::BoxFuture;

use crate::{
    clock::{Now, Timestamp},
    denial::{Denial, DenialCode},
    error::BackendError,
    flight::Failure,
    gate::{Decision, Gate, Missing, Needs, Step, ask, outage},
    grant::Grant,
    module_map::Requirement,
    observe::{self, Backend},
    pass::Pass,
    rate_limiter::{Allowance, Check, Subject, Usage},
};

impl Gate {
    /// Step 6: counts a request that everything else would grant.
    pub(super) fn count(
        &self,
        caller: Option<&Pass>,
        needs: Option<&Requirement>,
        address: impl FnOnce() -> Option<IpAddr>,
        now: Now,
    ) -> Check {
        let rights = caller.map(Pass::rights);
        match &self.limiter {
            Some(limiter) if !rights.is_some_and(|rights| rights.administrator) => {
                let subject = Subject {
                    principal: caller.map(Pass::principal),
                    owner: rights.and_then(|rights| rights.owner.as_deref()),
                    tier: rights.and_then(|rights| rights.tier.as_ref()),
                    address: address(),
                    cost: needs.map_or(1, Requirement::cost),
                    place: caller.map(Pass::place),
                };
                limiter.check(subject, now)
            }
            _ => Check::Done(Allowance::Admitted(Usage::NONE)),
        }
    }

    pub(super) fn count_now(
        &self,
        caller: Option<Pass>,
        requirement: Needs<'_>,
        address: impl FnOnce() -> Option<IpAddr>,
        now: Now,
    ) -> Step {
        match self.count(caller.as_ref(), requirement.as_deref(), address, now) {
            Check::Done(allowance) => self
                .settle(allowance, caller, requirement.as_deref(), now.wall)
                .into(),
            // It has been counted already: nobody asks again where it comes from.
            Check::Later(answer) => ask(requirement, None, Missing::Count(caller, answer)),
        }
    }

    /// Step 7, or the limiter's refusal.
    pub(super) fn settle(
        &self,
        allowance: Allowance,
        caller: Option<Pass>,
        needs: Option<&Requirement>,
        now: Timestamp,
    ) -> Decision {
        match allowance {
            Allowance::Admitted(usage) => {
                let fields = self.rate_headers.fields(&usage, now);
                match caller {
                    Some(caller) => {
                        observe::granted();
                        self.uses.granted(&caller, now);
                        Decision::Granted(Grant::new(self.id, caller, now), fields)
                    }
                    None => {
                        observe::anonymous();
                        Decision::Anonymous(fields)
                    }
                }
            }
            Allowance::Refused(refusal) => {
                let fields = self.rate_headers.fields_of_refusal(&refusal, now);
                let denial = Denial::new(DenialCode::RateLimited)
                    .with_quota(refusal.tier, refusal.quota, refusal.retry_after)
                    .with_rate_fields(fields);
                self.refuse(denial, needs, caller.as_ref(), now)
            }
        }
    }

    pub(super) async fn settle_later(
        &self,
        answer: BoxFuture<'static, Result<Allowance, BackendError>>,
        caller: Option<Pass>,
        needs: Option<&Requirement>,
    ) -> Decision {
        let limit = self.lookup.limits().lookup_timeout;
        let answer = tokio::time::timeout(limit, answer).await;
        let now = self.lookup.clock.now().wall;
        match answer {
            Ok(Ok(allowance)) => return self.settle(allowance, caller, needs, now),
            Ok(Err(error)) => observe::backend_failed(Backend::Limiter, &error),
            Err(_) => observe::lookup_failed(Backend::Limiter, Failure::TimedOut),
        }
        let denial = outage(DenialCode::LimiterUnavailable);
        self.refuse(denial, needs, caller.as_ref(), now)
    }
}
