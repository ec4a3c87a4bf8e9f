//! Serving with time limits: nobody holds a connection by sending half a request.

use std::{convert::Infallible, future::Future, io, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONNECTION};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{net::TcpListener, time};
use tower::{Service, ServiceExt};
use tower_api_key::{BoxError, PeerAddress};

/// Answers requests until `stopped`, and then those that have begun.
pub(crate) async fn serve<S, B>(listener: TcpListener, app: S, stopped: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Default + Send + 'static,
{
    let mut server = http1::Builder::new();
    // The time runs from the end of the last answer too, so it closes idle connections as well.
    server
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD);
    let running = GracefulShutdown::new();
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => break,
        };
        let Ok((stream, peer)) = accepted else {
            // No file descriptor is left, most likely: some connection has to end first.
            time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let app = app.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddress::from(peer));
            let answer = app.clone().oneshot(request);
            async {
                let in_time = time::timeout(LONGEST_REQUEST, answer).await;
                in_time.unwrap_or_else(|_| Ok(too_late()))
            }
        });
        let connection = server.serve_connection(TokioIo::new(stream), service);
        // What goes wrong on a connection is its client's to notice.
        tokio::spawn(running.watch(connection));
    }
    drop(listener);
    // The limits above end every request before this; a client that does not read is left behind.
    let _ = time::timeout(LONGEST_HEAD + LONGEST_REQUEST, running.shutdown()).await;
}

/// Comes true on Ctrl-C, and where there is one on SIGTERM.
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate())?
    };
    Ok(async move {
        #[cfg(unix)]
        let terminated = terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<Option<()>>();
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
        }
    })
}

fn too_late<B: Default>() -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
    let close = http::HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// How long the head of a request may take, and the one before it be over.
const LONGEST_HEAD: Duration = Duration::from_secs(5);
/// How long a request may take from the end of its head, its body included.
const LONGEST_REQUEST: Duration = Duration::from_secs(4);
