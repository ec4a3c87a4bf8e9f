//! The script that counts, what it is told, and what it answers.

use std::{fmt::Write, time::Duration};

use ::redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};
use sha2::{Digest, Sha256};

use crate::{
    key_store::Tier,
    rate_limiter::{
        Algorithm, Allowance, Quota, QuotaUsage, Refusal, Subject, TierError, Tiers, Usage,
        plans::{Counted, Network, Plan, Plans, Who},
    },
};

/// Counts one request.
pub(super) const SCRIPT: &str = include_str!("count.lua");

/// Tiers, ready for the script.
pub(super) struct Ready {
    pub(super) tiers: Tiers,
    pub(super) plans: Plans,
    /// By the numbers of the quotas.
    measures: Vec<PackedMeasure>,
}

/// A quota in the terms of the script.
type PackedMeasure = [u8; 25];

/// One request on its way to the server.
pub(super) struct Request {
    pub(super) command: Cmd,
    plan: Plan,
}

impl Ready {
    pub(super) fn new(tiers: Tiers) -> Result<Self, TierError> {
        let plans = Plans::default().followed_by(&tiers)?;
        Ok(Self {
            measures: plans.known.iter().map(packed).collect(),
            plans,
            tiers,
        })
    }

    /// Other tiers in place of these: of a later version, but with no number for what was.
    pub(super) fn followed_by(&self, tiers: Tiers) -> Result<Self, TierError> {
        let mut next = Self::new(tiers)?;
        next.plans.version = self.plans.version.wrapping_add(1);
        Ok(next)
    }

    /// The same tiers with one part in so many of each quota.
    pub(super) fn divided_by(&self, parts: u32) -> Tiers {
        let mut divided = self.tiers.clone();
        for (tier, quotas) in self
            .tiers
            .iter()
            .filter(|(_, tier)| !tier.quotas.is_empty())
        {
            let quotas = quotas.quotas.iter().map(|quota| quota.divided_by(parts));
            let changed = divided.with_tier(tier.clone(), quotas);
            divided = changed.expect("as many quotas as before, of the same names");
        }
        divided
    }
}

impl Request {
    pub(super) fn new(
        script: &str,
        prefix: &str,
        ready: &Ready,
        plan: &Plan,
        caller: &Subject<'_>,
    ) -> Self {
        let quotas = plan.quotas.len();
        let mut key = key(prefix, plan, caller);
        let (head, each) = (
            key.len(),
            key.len() + LONGEST_NAME + size_of::<PackedMeasure>(),
        );
        let mut command = Cmd::with_capacity(4 + 2 * quotas, 80 + quotas * each);
        command.arg("EVALSHA").arg(script).arg(quotas);
        for counted in &plan.quotas {
            key.push_str(counted.quota.name());
            command.arg(&*key);
            key.truncate(head);
        }
        command.arg(caller.cost);
        for counted in &plan.quotas {
            command.arg(&ready.measures[usize::from(counted.number)]);
        }
        Self {
            command,
            plan: plan.clone(),
        }
    }

    /// A request that counts for nobody.
    pub(super) fn of_nobody(script: &str, prefix: &str) -> Self {
        let tier = Tier::new("nobody").expect("a valid name");
        let quota = Quota::per_second(1_000_000).expect("a valid quota");
        let tiers = Tiers::default().with_tier(tier.clone(), [quota]);
        let ready = Ready::new(tiers.expect("one quota")).expect("few quotas");
        let nobody = Subject::new("").with_tier(&tier);
        let (plan, _) = ready.plans.plan(&nobody);
        Self::new(script, prefix, &ready, plan, &nobody)
    }

    /// What the script's answer says.
    pub(super) fn allowance(&self, answer: Value) -> RedisResult<Allowance> {
        let Value::Array(answer) = answer else {
            return Err(answer.extract_error().err().unwrap_or_else(not_an_answer));
        };
        let mut numbers = answer.into_iter().map(|number| match number {
            Value::Int(number) => u64::try_from(number).map_err(|_| not_an_answer()),
            _ => Err(not_an_answer()),
        });
        let mut next = || numbers.next().unwrap_or_else(|| Err(not_an_answer()));
        let (longest, takes) = (next()?, Duration::from_micros(next()?));
        let mut usage = Usage::NONE;
        for counted in &self.plan.quotas {
            let remaining = u32::try_from(next()?).map_err(|_| not_an_answer())?;
            let reset = Duration::from_micros(next()?);
            usage = usage.and(QuotaUsage::new(counted.quota, remaining, reset));
        }
        let Some(longest) = longest.checked_sub(1) else {
            return Ok(Allowance::Admitted(usage));
        };
        let longest = self
            .plan
            .quotas
            .get(longest as usize)
            .ok_or_else(not_an_answer)?;
        let refusal = Refusal::new(self.plan.tier.clone(), longest.quota.name(), takes);
        Ok(Allowance::Refused(refusal.with_usage(usage)))
    }
}

/// What the names of a caller's keys begin with, such as `tower_api_key:1:{…}:standard:`; those of one caller are in one slot of a cluster.
fn key(prefix: &str, plan: &Plan, caller: &Subject<'_>) -> String {
    let tier = plan.tier.as_str();
    let mut key = String::with_capacity(prefix.len() + 42 + tier.len() + LONGEST_NAME);
    let digest = digest(&plan.who(caller));
    // Neither name holds a colon, so no two pairs of them are the same.
    write!(key, "{prefix}:{FORMAT}:{{{digest:032x}}}:{tier}:")
        .expect("memory takes what is written");
    key
}

/// Whom they are about: half of a SHA-256 of what kind he is of and who he is.
fn digest(who: &Who<'_>) -> u128 {
    let mut hash = Sha256::new();
    match who {
        Who::Principal(principal) => {
            hash.update(b"p");
            hash.update(principal);
        }
        Who::Owner(owner) => {
            hash.update(b"o");
            hash.update(owner);
        }
        Who::Network(None) => hash.update(b"n"),
        Who::Network(Some(Network::V4(address))) => {
            hash.update(b"4");
            hash.update(address.to_be_bytes());
        }
        Who::Network(Some(Network::V6(network))) => {
            hash.update(b"6");
            hash.update(network.to_be_bytes());
        }
    }
    let digest = <[u8; 32]>::from(hash.finalize());
    let half = digest.first_chunk().expect("half of them");
    u128::from_be_bytes(*half)
}

fn packed(counted: &Counted) -> PackedMeasure {
    let (quota, measure) = (&counted.quota, &counted.measure);
    let algorithm = match quota.algorithm() {
        Algorithm::SlidingWindow => 1_u8,
        Algorithm::Gcra => 2,
        Algorithm::FixedWindow => 3,
    };
    let fields: [&[u8]; 5] = [
        &[algorithm],
        &quota.limit().to_be_bytes(),
        &measure.window.to_be_bytes(),
        &measure.tick.to_be_bytes(),
        &measure.group.to_be_bytes(),
    ];
    fields.concat().try_into().expect("25 bytes in all")
}

fn not_an_answer() -> RedisError {
    (
        ErrorKind::UnexpectedReturnType,
        "not what the script answers",
    )
        .into()
}

/// Of the values that the script reads and writes. It changes with them, so that a version of the crate
/// never meets the values of another.
const FORMAT: u32 = 1;
/// Bytes of a quota's name.
const LONGEST_NAME: usize = 20;
