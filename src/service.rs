//! The service around another one.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Extensions, HeaderValue, Request, Response, Uri};
use tower_service::Service;

use crate::{
    answers::{self, RefusedRequest},
    body::ResponseBody,
    credential::Presented,
    future::{Asking, ResponseFuture},
    gate::{Decision, Incoming, Step},
    grant::{Grant, Nobody},
    host,
    layer::Shared,
    rate_headers::RateFields,
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
        let shared = &*self.shared;
        let (gate, now) = (&shared.gate, shared.gate.lookup.clock.now());
        let mut presented = Presented::Nothing;
        let step = match &self.guard {
            Some(guard) => gate.decide_at_route(guard, request.extensions(), now),
            None => match gate.locate(Incoming::of(&request), now) {
                Ok(needs) => {
                    presented = shared.take_credential(&mut request);
                    gate.decide_now(needs, &presented, Incoming::of(&request), now)
                }
                Err(decision) => decision.into(),
            },
        };
        match step {
            Step::Decided(decision) => match self.shared.admit(decision, presented, &mut request) {
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
                ResponseFuture::asking(Asking {
                    decision: Box::pin(decision),
                    shared: Arc::clone(&self.shared),
                    ready,
                    request,
                    presented,
                })
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
    pub(crate) rate: Option<RateFields>,
}

/// Whether a request goes on to the inner service.
pub(crate) enum Admission {
    Passes(After),
    Ends(Response<Bytes>),
}

impl Shared {
    /// Makes the request what the inner service is to see, or answers it.
    pub(crate) fn admit<B>(
        &self,
        decision: Decision,
        presented: Presented,
        request: &mut Request<B>,
    ) -> Admission {
        match decision {
            Decision::Granted(grant, rate) => {
                self.hide_credential(request, presented);
                request.extensions_mut().insert(grant);
                Admission::Passes(self.after(true, rate))
            }
            Decision::Anonymous(rate) => {
                self.mark_nobody(request.extensions_mut());
                Admission::Passes(self.after(false, rate))
            }
            Decision::Public => {
                self.gate.carriers.leave(request.headers_mut(), presented);
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
                self.gate.carriers.leave(request.headers_mut(), presented);
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
                    self.after(private, None)
                })
            }
            Decision::Refused(denial) => {
                let request = RefusedRequest::new(request, &presented);
                Admission::Ends(self.answers.answer(denial, request))
            }
            Decision::NotGated => Admission::Ends(answers::not_gated(request.headers())),
        }
    }

    /// What the service does, for who is none: the request as its handler is to see it, or the answer
    /// to it. `session` is what a cookie held.
    #[cfg(feature = "manage")]
    pub(crate) async fn judge<B>(
        &self,
        mut request: Request<B>,
        session: Option<&str>,
    ) -> Result<(Request<B>, After), Response<Bytes>> {
        let now = self.gate.lookup.clock.now();
        let mut presented = Presented::Nothing;
        let step = match self.gate.locate(Incoming::of(&request), now) {
            Ok(needs) => {
                presented = self.take_credential(&mut request);
                if let Some(session) = session {
                    presented = presented.with_session(session);
                }
                let incoming = Incoming::of(&request);
                self.gate.decide_now(needs, &presented, incoming, now)
            }
            Err(decision) => decision.into(),
        };
        let decision = match step {
            Step::Decided(decision) => decision,
            Step::Ask(question) => self.gate.decide(question).await,
        };
        match self.admit(decision, presented, &mut request) {
            Admission::Passes(after) => Ok((request, after)),
            Admission::Ends(answer) => Err(answer),
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

    /// What keeps the answer out of caches for others, and what it says of the caller's quotas.
    fn after(&self, private: bool, rate: Option<RateFields>) -> After {
        After {
            vary: self.vary.clone().filter(|_| self.cache_headers),
            private: private && self.cache_headers,
            rate,
        }
    }

    fn take_credential<B>(&self, request: &mut Request<B>) -> Presented {
        let carriers = &self.gate.carriers;
        // A cheap copy, and only where a query string can hold a credential.
        let uri = carriers.query.is_some().then(|| request.uri().clone());
        let query = uri.as_ref().and_then(Uri::query);
        carriers.take(request.headers_mut(), query)
    }

    /// Takes what is left of the credential out of headers, query string and the original URI, or
    /// puts it back for a service that wants to see it.
    fn hide_credential<B>(&self, request: &mut Request<B>, presented: Presented) {
        let carriers = &self.gate.carriers;
        if self.keeps_credential {
            return carriers.leave(request.headers_mut(), presented);
        }
        carriers.strip(request.headers_mut(), presented);
        if let Some(uri) = carriers.strip_uri(request.uri()) {
            *request.uri_mut() = uri;
        }
        let original = host::original_uri(request.extensions());
        if let Some(uri) = original.and_then(|uri| carriers.strip_uri(uri)) {
            host::replace_original_uri(request.extensions_mut(), uri);
        }
    }
}
