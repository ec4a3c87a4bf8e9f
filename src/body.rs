//! The body of an answer: the inner service's, or a refusal's.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The response body of a guarded service: its own, or that of a refusal.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Refusal { text: Bytes },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self {
            kind: Kind::Inner { body },
        }
    }

    pub(crate) fn refusal(text: Bytes) -> Self {
        Self {
            kind: Kind::Refusal { text },
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body } => body.poll_frame(cx),
            KindProjection::Refusal { text } if text.is_empty() => Poll::Ready(None),
            KindProjection::Refusal { text } => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(text).into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Refusal { text } => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Refusal { text } => SizeHint::with_exact(text.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http::{HeaderMap, HeaderValue};
    use http_body_util::{BodyExt, Empty, Full, StreamBody};

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, Infallible>>;

    /// A body of unknown length, as a handler that streams has it.
    fn streaming(frames: Frames) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        ResponseBody::inner(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn frames_of_a_stream_pass_one_by_one() {
        let events = ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"];
        let frames = events.map(|event| Ok(Frame::data(event.into()))).into();
        let mut body = streaming(frames);
        for event in events {
            assert!(!body.is_end_stream());
            assert_eq!(body.size_hint().exact(), None, "nobody knows its length");
            let frame = body.frame().await.expect("one more").unwrap();
            assert_eq!(frame.into_data().expect("data"), event);
        }
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn trailers_of_the_inner_body_pass() {
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        let frames = vec![
            Ok(Frame::data(Bytes::from("message"))),
            Ok(Frame::trailers(trailers.clone())),
        ];
        let collected = streaming(frames).collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "message");
    }

    #[tokio::test]
    async fn error_of_the_inner_body_passes() {
        let frames = [Ok(Frame::data(Bytes::from("half"))), Err("cut off")];
        let mut body = ResponseBody::inner(StreamBody::new(stream::iter(frames)));
        assert!(body.frame().await.expect("data").is_ok());
        assert_eq!(
            body.frame().await.expect("an error").unwrap_err(),
            "cut off"
        );
    }

    #[tokio::test]
    async fn length_and_end_of_the_inner_body_are_its_own() {
        let mut full = ResponseBody::inner(Full::new(Bytes::from("four")));
        assert_eq!(full.size_hint().exact(), Some(4));
        assert!(!full.is_end_stream());
        full.frame().await.expect("data").unwrap();
        assert!(full.is_end_stream());
        let empty = ResponseBody::<Empty<Bytes>>::default();
        assert_eq!(empty.size_hint().exact(), Some(0));
        assert!(empty.is_end_stream());
    }

    #[tokio::test]
    async fn refusal_is_one_frame_of_known_length() {
        let mut refusal = ResponseBody::<Full<Bytes>>::refusal(Bytes::from("refused"));
        assert_eq!(refusal.size_hint().exact(), Some(7));
        assert!(!refusal.is_end_stream());
        let frame = refusal.frame().await.expect("data").unwrap();
        assert_eq!(frame.into_data().expect("data"), "refused");
        assert_eq!(refusal.size_hint().exact(), Some(0));
        assert!(refusal.is_end_stream());
        assert!(refusal.frame().await.is_none());
    }

    #[tokio::test]
    async fn refusal_without_text_has_ended_before_it_began() {
        // gRPC's trailers-only answers: HTTP/2 then ends the stream with the headers.
        let mut refusal = ResponseBody::<Full<Bytes>>::refusal(Bytes::new());
        assert_eq!(refusal.size_hint().exact(), Some(0));
        assert!(refusal.is_end_stream());
        assert!(refusal.frame().await.is_none());
    }
}
