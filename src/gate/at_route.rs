//! The guard of a single route: what it asks for, of a caller whom the layer let pass.

use std::borrow::Cow;

use http::Extensions;

use crate::{
    clock::{Now, Timestamp},
    denial::{Denial, DenialCode},
    gate::{
        Decision, Gate, Missing, Step, ask,
        judge::{Judgement, check},
        outage,
    },
    grant::{Grant, Nobody},
    module_map::Requirement,
    observe,
    pass::Pass,
};

impl Gate {
    /// Decides from memory.
    pub(crate) fn decide_at_route(
        &self,
        needs: &Requirement,
        extensions: &Extensions,
        now: Now,
    ) -> Step {
        // What another layer let pass is not what this guard's layer let pass.
        let grant = extensions
            .get::<Grant>()
            .filter(|grant| grant.gate() == self.id);
        let Some(grant) = grant else {
            return match extensions.get::<Nobody>() {
                Some(nobody) if nobody.gate == self.id => {
                    let denial = DenialCode::MissingCredential.into();
                    self.refuse_at_route(denial, needs, None, now.wall)
                }
                _ => Decision::NotGated,
            }
            .into();
        };
        let pass = grant.pass();
        let standings = self.lookup.standings(pass, now);
        match check(pass, needs, standings, now.wall) {
            Judgement::Cleared => Decision::Cleared(grant.clone()).into(),
            Judgement::Refused(denial) => self
                .refuse_at_route(denial, needs, Some(pass), now.wall)
                .into(),
            Judgement::NeedsStandings => ask(
                Some(Cow::Borrowed(needs)),
                None,
                Missing::AtRoute(pass.clone()),
            ),
        }
    }

    /// Whether a caller has what `needs` asks for, as of now; the refusal is nobody's yet.
    #[cfg(feature = "manage")]
    pub(crate) async fn check(&self, grant: &Grant, needs: &Requirement) -> Result<(), Denial> {
        let (pass, now) = (grant.pass(), self.lookup.clock.now());
        let standings = self.lookup.standings(pass, now);
        let mut judgement = check(pass, needs, standings, now.wall);
        if let Judgement::NeedsStandings = judgement
            && let Some(pass) = self.lookup.judge(pass).await
        {
            let now = self.lookup.clock.now().wall;
            judgement = check(&pass, needs, pass.standings(), now);
        }
        match judgement {
            Judgement::Cleared => Ok(()),
            Judgement::Refused(denial) => Err(denial),
            Judgement::NeedsStandings => Err(outage(DenialCode::LedgerUnavailable)),
        }
    }

    /// Asks the ledger, and decides.
    pub(super) async fn decide_at_route_later(
        &self,
        pass: Pass,
        needs: Option<&Requirement>,
    ) -> Decision {
        let needs = needs.expect("a guard asks for something");
        let judged = self.lookup.judge(&pass).await;
        let now = self.lookup.clock.now().wall;
        if let Some(pass) = &judged {
            match check(pass, needs, pass.standings(), now) {
                Judgement::Cleared => return Decision::Cleared(self.grant(pass, now)),
                Judgement::Refused(denial) => {
                    return self.refuse_at_route(denial, needs, Some(pass), now);
                }
                Judgement::NeedsStandings => {}
            }
        }
        let denial = outage(DenialCode::LedgerUnavailable);
        self.refuse_at_route(denial, needs, Some(&judged.unwrap_or(pass)), now)
    }

    /// Every refusal of a guard ends here. The layer itself has counted the request already.
    fn refuse_at_route(
        &self,
        denial: Denial,
        needs: &Requirement,
        caller: Option<&Pass>,
        now: Timestamp,
    ) -> Decision {
        let principal = caller.map(Pass::principal);
        if self.is_shadowed(Some(needs)) {
            observe::shadowed_at_route(&denial, principal);
            let grant = caller.map(|pass| self.grant(pass, now));
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
