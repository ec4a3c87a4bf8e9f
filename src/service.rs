//! The service around another one.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Extensions, HeaderValue, Request, Response};
use tower_service::Service;

use crate::{
    answers::{self, RefusedRequest},
    body::ResponseBody,
    future::ResponseFuture,
    gate::{Decision, Incoming, Step},
    grant::{Grant, Nobody},
    host,
    layer::Shared,
    require::Guard,
};

/// Lets only those requests through to the inner service whose caller may make them: made by an
/// [`ApiKeyLayer`](crate::ApiKeyLayer), or, at a single route, by a
/// [`RequireModule`](crate::RequireModule) or [`RequireScopes`](crate::RequireScopes).
#[derive(Clone)]
pub struct ApiKeyService<S> {
    inner: S,
    shared: Arc<Shared>,
    /// What a single route asks for; nothing: the whole gate.
    guard: Option<Guard>,
}

impl<S> ApiKeyService<S> {
    pub(crate) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self {
            inner,
            shared,
            guard: None,
        }
    }

    pub(crate) fn at_route(inner: S, shared: Arc<Shared>, guard: Guard) -> Self {
        Self {
            inner,
            shared,
            guard: Some(guard),
        }
    }
}

impl<S, RequestBody, Body> Service<Request<RequestBody>> for ApiKeyService<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>> + Clone,
{
    type Response = Response<ResponseBody<Body>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, RequestBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let now = self.shared.gate.lookup.clock.now();
        let incoming = Incoming {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        };
        let step = match &self.guard {
            None => self.shared.gate.decide_now(incoming, now),
            Some(guard) => self.shared.gate.decide_at_route(guard, incoming, now),
        };
        match step {
            Step::Decided(decision) => match self.shared.admit(decision, &mut request) {
                Admission::Passes(after) => ResponseFuture::going(self.inner.call(request), after),
                Admission::Ends(answer) => ResponseFuture::refused(answer),
            },
            Step::Ask(question) => {
                self.shared.start_maintenance();
                let shared = Arc::clone(&self.shared);
                let decision = async move { shared.gate.decide(question).await };
                // The one that was polled ready goes with the request; its clone takes its place.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::asking(Box::pin(decision), Arc::clone(&self.shared), ready, request)
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for ApiKeyService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyService")
            .field("inner", &self.inner)
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

/// What the answer to an admitted request gets.
#[derive(Debug, Default)]
pub(crate) struct After {
    pub(crate) vary: Option<HeaderValue>,
    pub(crate) private: bool,
}

/// Whether a request goes on to the inner service.
pub(crate) enum Admission {
    Passes(After),
    Ends(Response<Bytes>),
}

impl Shared {
    /// Makes the request what the inner service is to see, or answers it.
    pub(crate) fn admit<B>(&self, decision: Decision, request: &mut Request<B>) -> Admission {
        match decision {
            Decision::Granted(grant) => {
                self.hide_credential(request);
                request.extensions_mut().insert(grant);
                Admission::Passes(self.after(true))
            }
            Decision::Anonymous => {
                self.mark_nobody(request.extensions_mut());
                Admission::Passes(self.after(false))
            }
            Decision::Public => {
                self.gate.carriers.mark_sensitive(request.headers_mut());
                self.mark_nobody(request.extensions_mut());
                Admission::Passes(After::default())
            }
            Decision::Cleared(grant) => {
                request.extensions_mut().insert(grant);
                Admission::Passes(After::default())
            }
            Decision::Shadowed {
                denial,
                grant,
                at_route,
            } => {
                self.gate.carriers.mark_sensitive(request.headers_mut());
                request.extensions_mut().insert(denial);
                let private = grant.is_some();
                match grant {
                    Some(grant) => drop(request.extensions_mut().insert(grant)),
                    None => self.mark_nobody(request.extensions_mut()),
                }
                // Around the guard of a single route the layer itself sees to the answer.
                Admission::Passes(if at_route {
                    After::default()
                } else {
                    self.after(private)
                })
            }
            Decision::Refused(denial) => {
                Admission::Ends(self.answers.answer(denial, RefusedRequest::new(request)))
            }
            Decision::NotGated => Admission::Ends(answers::not_gated(request.headers())),
        }
    }

    /// Says that this layer let the request pass without a caller, whatever another one said before.
    fn mark_nobody(&self, extensions: &mut Extensions) {
        extensions.remove::<Grant>();
        let answers = Arc::clone(&self.answers);
        extensions.insert(Nobody {
            gate: self.gate.id,
            answers,
        });
    }

    /// What keeps the answer out of caches for others.
    fn after(&self, private: bool) -> After {
        let on = self.cache_headers;
        After {
            vary: self.vary.clone().filter(|_| on),
            private: private && on,
        }
    }

    /// Takes the credential out of headers, query string and the original URI.
    fn hide_credential<B>(&self, request: &mut Request<B>) {
        let carriers = &self.gate.carriers;
        if self.keeps_credential {
            carriers.mark_sensitive(request.headers_mut());
            return;
        }
        carriers.strip(request.headers_mut());
        if let Some(uri) = carriers.strip_uri(request.uri()) {
            *request.uri_mut() = uri;
        }
        let original = host::original_uri(request.extensions());
        if let Some(uri) = original.and_then(|uri| carriers.strip_uri(uri)) {
            host::replace_original_uri(request.extensions_mut(), uri);
        }
    }
}
