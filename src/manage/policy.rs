//! Who may manage.

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

use crate::{
    denial::Denial,
    gate::Gate,
    grant::Grant,
    license_ledger::Module,
    module_map::{Modules, Requirement},
};

/// What a caller may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Everything but what only administrators may: see the rules of [`manage`](crate::manage).
    Manager,
    /// Everything.
    Administrator,
}

/// Who asks to manage: a caller whom the layer knows.
#[derive(Clone, Copy)]
pub struct Applicant<'a> {
    grant: &'a Grant,
    gate: &'a Gate,
}

impl<'a> Applicant<'a> {
    pub(super) fn new(grant: &'a Grant, gate: &'a Gate) -> Self {
        Self { grant, gate }
    }

    /// The caller.
    pub fn grant(&self) -> &'a Grant {
        self.grant
    }

    /// Whether the caller is assigned `module` and, where it needs a license, has a seat.
    ///
    /// # Errors
    ///
    /// The refusal that a route with this module would have given.
    pub async fn check_module(&self, module: &Module) -> Result<(), Denial> {
        let needs = Requirement::Modules {
            modules: Modules::One(module.clone()),
            scopes: Box::default(),
            cost: 0,
        };
        self.gate.check(self.grant, &needs).await
    }
}

impl fmt::Debug for Applicant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Applicant").field(self.grant).finish()
    }
}

/// Decides who may manage, and as what.
///
/// # Contract
///
/// 1. It is asked at each call, of callers whose credential the layer has checked.
/// 2. Who gets no role is refused, with what it answers.
/// 3. What gives a key its role is nothing that a manager may give: he sets names, scopes, tiers,
///    owners, and every module but [`rest_api_management`](MANAGEMENT_MODULE).
///
/// ```
/// use async_trait::async_trait;
/// use tower_api_key::{Denial, DenialCode};
/// use tower_api_key::manage::{Applicant, ByModule, ManagementPolicy, Role};
///
/// /// The tokens of our own people manage where they have a scope; keys as ever: who manages may
/// /// give a key any scope, and so must not make managers of keys by it.
/// struct OurPeople;
///
/// #[async_trait]
/// impl ManagementPolicy for OurPeople {
///     async fn role(&self, applicant: Applicant<'_>) -> Result<Role, Denial> {
///         let grant = applicant.grant();
///         match grant.key_id().is_none() && grant.has_scope("keys:manage") {
///             true => Ok(Role::Manager),
///             false => ByModule.role(applicant).await,
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait ManagementPolicy: Send + Sync + 'static {
    /// What the caller may do; the refusal where that is nothing.
    async fn role(&self, applicant: Applicant<'_>) -> Result<Role, Denial>;
}

/// The policy where no other is set: administrators, and who has the module
/// [`rest_api_management`](MANAGEMENT_MODULE) with its license, if it is mapped to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByModule;

#[async_trait]
impl ManagementPolicy for ByModule {
    async fn role(&self, applicant: Applicant<'_>) -> Result<Role, Denial> {
        if applicant.grant().is_administrator() {
            return Ok(Role::Administrator);
        }
        applicant.check_module(&management_module()).await?;
        Ok(Role::Manager)
    }
}

/// The module whose keys may manage.
pub const MANAGEMENT_MODULE: &str = "rest_api_management";

pub(super) fn management_module() -> Module {
    Module::new(MANAGEMENT_MODULE).expect("visible ASCII is a module")
}
