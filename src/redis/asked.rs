//! A request that is under way to the server, whoever waits for it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;

use super::link::Link;

/// What has been asked. Where it is dropped before the answer has come, a task of the link's waits
/// on, until the timeout at most: else a server that hangs would be found out by nobody where all who
/// ask have less patience than the limiter.
pub(super) struct Asked<T: Send + 'static> {
    link: Arc<Link>,
    answer: Option<BoxFuture<'static, T>>,
    is_sent: bool,
}

impl<T: Send + 'static> Asked<T> {
    /// A request that is sent when it is first polled.
    pub(super) fn new(link: Arc<Link>, answer: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            link,
            answer: Some(Box::pin(answer)),
            is_sent: false,
        }
    }
}

impl<T: Send + 'static> Future for Asked<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.is_sent = true;
        let answer = self.answer.as_mut();
        let answer = answer
            .expect("nobody polls what has been answered")
            .as_mut();
        let answer = ready!(answer.poll(context));
        self.answer = None;
        Poll::Ready(answer)
    }
}

impl<T: Send + 'static> Drop for Asked<T> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take().filter(|_| self.is_sent) {
            self.link.finish(answer);
        }
    }
}
