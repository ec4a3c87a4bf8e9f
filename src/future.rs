//! The answer on its way.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    HeaderValue, Request, Response,
    header::{CACHE_CONTROL, VARY},
};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    body::ResponseBody,
    credential::Presented,
    gate::Decision,
    layer::Shared,
    service::{Admission, After},
};

pin_project! {
    /// The future of an [`ApiKeyService`](crate::ApiKeyService): the inner one as it is where
    /// memory decided, a box only where a backend had to be asked.
    pub struct ResponseFuture<S, RequestBody>
    where
        S: Service<Request<RequestBody>>,
    {
        #[pin]
        state: State<S::Future, S, RequestBody>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, S, RequestBody> {
        Going { #[pin] future: F, after: After },
        Refused { answer: Option<Response<Bytes>> },
        Asking { asking: Option<Box<Asking<S, RequestBody>>> },
    }
}

/// A request that waits for its decision, with the service that was ready for it.
pub(crate) struct Asking<S, RequestBody> {
    pub(crate) decision: BoxFuture<'static, Decision>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ready: S,
    pub(crate) request: Request<RequestBody>,
    /// What was taken out of the request.
    pub(crate) presented: Presented,
}

impl<S, RequestBody> ResponseFuture<S, RequestBody>
where
    S: Service<Request<RequestBody>>,
{
    pub(crate) fn going(future: S::Future, after: After) -> Self {
        Self {
            state: State::Going { future, after },
        }
    }

    pub(crate) fn refused(answer: Response<Bytes>) -> Self {
        Self {
            state: State::Refused {
                answer: Some(answer),
            },
        }
    }

    pub(crate) fn asking(asking: Asking<S, RequestBody>) -> Self {
        Self {
            state: State::Asking {
                asking: Some(Box::new(asking)),
            },
        }
    }
}

impl<S, RequestBody, Body> Future for ResponseFuture<S, RequestBody>
where
    S: Service<Request<RequestBody>, Response = Response<Body>>,
{
    type Output = Result<Response<ResponseBody<Body>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Going { future, after } => {
                    let mut response = ready!(future.poll(cx))?;
                    finish(&mut response, after);
                    return Poll::Ready(Ok(response.map(ResponseBody::inner)));
                }
                StateProjection::Refused { answer } => {
                    let answer = answer.take().expect("polled again after it was ready");
                    return Poll::Ready(Ok(answer.map(ResponseBody::refusal)));
                }
                StateProjection::Asking { asking: slot } => {
                    let asking = slot.as_mut().expect("left when it is ready");
                    let decision = ready!(asking.decision.as_mut().poll(cx));
                    let Asking {
                        shared,
                        mut ready,
                        mut request,
                        presented,
                        decision: _,
                    } = *slot.take().expect("it was just polled");
                    match shared.admit(decision, presented, &mut request) {
                        Admission::Passes(after) => State::Going {
                            future: ready.call(request),
                            after,
                        },
                        Admission::Ends(answer) => State::Refused {
                            answer: Some(answer),
                        },
                    }
                }
            };
            state.set(next);
        }
    }
}

impl<S, RequestBody> fmt::Debug for ResponseFuture<S, RequestBody>
where
    S: Service<Request<RequestBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Keeps answers to credentials out of shared caches (RFC 9111 §3.5 does so for `Authorization` only).
pub(crate) fn finish<B>(response: &mut Response<B>, after: &mut After) {
    let headers = response.headers_mut();
    if let Some(vary) = after.vary.take() {
        headers.append(VARY, vary);
    }
    if after.private && !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
    if let Some(fields) = &after.rate {
        fields.write(headers);
    }
}
