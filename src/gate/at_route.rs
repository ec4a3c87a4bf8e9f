//! The guard of a single route: what it asks for, of a caller whom the layer let pass.

use std::{borrow::Cow, sync::Arc};

use crate::{
    clock::{Now, Timestamp},
    denial::{Denial, DenialCode},
    gate::{
        Caller, Decision, Gate, Incoming, Missing, Step, ask,
        judge::{Judgement, check},
        outage,
    },
    grant::{Grant, Nobody},
    module_map::Requirement,
    observe,
};

impl Gate {
    /// Decides from memory.
    pub(crate) fn decide_at_route(
        &self,
        needs: &Requirement,
        request: Incoming<'_>,
        now: Now,
    ) -> Step {
        // What another layer let pass is not what this guard's layer let pass.
        let grant = request
            .extensions
            .get::<Grant>()
            .filter(|grant| grant.gate() == self.id);
        let Some(grant) = grant else {
            return match request.extensions.get::<Nobody>() {
                Some(nobody) if nobody.gate == self.id => {
                    let denial = DenialCode::MissingCredential.into();
                    self.refuse_at_route(denial, needs, None, now.wall)
                }
                _ => Decision::NotGated,
            }
            .into();
        };
        let pass = Arc::clone(grant.pass());
        let caller = Caller {
            digest: grant.digest(),
            pass,
        };
        let standings = self.lookup.standings(&caller.pass, now);
        match check(&caller.pass, needs, standings, now.wall) {
            Judgement::Cleared => Decision::Cleared(grant.clone()).into(),
            Judgement::Refused(denial) => self
                .refuse_at_route(denial, needs, Some(&caller), now.wall)
                .into(),
            Judgement::NeedsStandings => ask(
                Some(Cow::Borrowed(needs)),
                request,
                Missing::AtRoute(caller),
            ),
        }
    }

    /// Asks the ledger, and decides.
    pub(super) async fn decide_at_route_later(
        &self,
        mut caller: Caller,
        needs: Option<&Requirement>,
    ) -> Decision {
        let needs = needs.expect("a guard asks for something");
        let judged = self.lookup.judge(caller.digest, &caller.pass).await;
        let now = self.lookup.clock.now().wall;
        if let Some(pass) = judged {
            caller.pass = pass;
            match check(&caller.pass, needs, caller.pass.standings(), now) {
                Judgement::Cleared => return Decision::Cleared(self.grant(&caller, now)),
                Judgement::Refused(denial) => {
                    return self.refuse_at_route(denial, needs, Some(&caller), now);
                }
                Judgement::NeedsStandings => {}
            }
        }
        let denial = outage(DenialCode::LedgerUnavailable);
        self.refuse_at_route(denial, needs, Some(&caller), now)
    }

    /// Every refusal of a guard ends here. The layer itself has counted the request already.
    fn refuse_at_route(
        &self,
        denial: Denial,
        needs: &Requirement,
        caller: Option<&Caller>,
        now: Timestamp,
    ) -> Decision {
        let principal = caller.map(|caller| caller.pass.principal());
        if self.is_shadowed(Some(needs)) {
            observe::shadowed_at_route(&denial, principal);
            let grant = caller.map(|caller| self.grant(caller, now));
            return Decision::Shadowed {
                denial,
                grant,
                at_route: true,
            };
        }
        observe::refused_at_route(&denial, principal);
        Decision::Refused(denial)
    }
}
