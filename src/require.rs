//! Guards at single routes, for those who like to say there what the route needs.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{
    key_store::Scope,
    layer::{ApiKeyLayer, Shared},
    license_ledger::Module,
    module_map::{Modules, Requirement},
    name::InvalidName,
    service::ApiKeyService,
};

/// What a single route asks for, beyond what the module map says of it.
pub(crate) type Guard = Arc<Requirement>;

/// Asks for a module, with its license, at a single route.
///
/// It reads the [`Grant`](crate::Grant), so an [`ApiKeyLayer`] must run before it: where none did,
/// the answer is 500. It runs after the layer, and so after the quota was counted.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_api_key::{
///     ApiKeyLayer, MemoryKeyStore, MemoryLedger, RequireModule, RouteModules, Rule,
/// };
///
/// let map = RouteModules::builder().prefix("/", Rule::authenticated()).build()?;
/// let layer = ApiKeyLayer::builder(MemoryKeyStore::new(), map, MemoryLedger::new()).build()?;
/// let guarded = ServiceBuilder::new()
///     .layer(layer.clone())
///     .layer(RequireModule::new(&layer, "playout")?)
///     .service(tower::service_fn(async |_: http::Request<String>| {
///         Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
///     }));
/// # drop(guarded);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RequireModule {
    shared: Arc<Shared>,
    guard: Guard,
}

/// Asks for scopes, all of them, at a single route.
///
/// As with [`RequireModule`], an [`ApiKeyLayer`] must run before it.
#[derive(Clone)]
pub struct RequireScopes {
    shared: Arc<Shared>,
    guard: Guard,
}

impl RequireModule {
    /// A guard that asks for `module`, with the settings of `layer`.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] where `module` is no module.
    pub fn new(layer: &ApiKeyLayer, module: impl AsRef<str>) -> Result<Self, InvalidName> {
        let modules = Modules::One(Module::new(module)?);
        let guard = Arc::new(Requirement::Modules {
            modules,
            scopes: Box::default(),
            // The layer has counted it.
            cost: 0,
        });
        Ok(Self {
            shared: Arc::clone(layer.shared()),
            guard,
        })
    }
}

impl RequireScopes {
    /// A guard that asks for all of `scopes`, with the settings of `layer`.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] where one is no scope.
    pub fn new<T: AsRef<str>>(
        layer: &ApiKeyLayer,
        scopes: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidName> {
        let scopes = scopes
            .into_iter()
            .map(Scope::new)
            .collect::<Result<_, _>>()?;
        let guard = Arc::new(Requirement::Authenticated { scopes, cost: 0 });
        Ok(Self {
            shared: Arc::clone(layer.shared()),
            guard,
        })
    }
}

impl<S> Layer<S> for RequireModule {
    type Service = ApiKeyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ApiKeyService::at_route(inner, Arc::clone(&self.shared), Arc::clone(&self.guard))
    }
}

impl<S> Layer<S> for RequireScopes {
    type Service = ApiKeyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ApiKeyService::at_route(inner, Arc::clone(&self.shared), Arc::clone(&self.guard))
    }
}

impl fmt::Debug for RequireModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequireModule").field(&self.guard).finish()
    }
}

impl fmt::Debug for RequireScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequireScopes").field(&self.guard).finish()
    }
}
