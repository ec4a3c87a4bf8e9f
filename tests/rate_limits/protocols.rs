//! gRPC, WebSocket and event streams.

use http::Request;

use super::{
    HOUR,
    answers::{lines, outspoken},
    header, left, limited, per_hour, standard,
    support::get,
};

#[tokio::test]
async fn grpc_caller_is_out_of_resources() {
    let world = outspoken(1).await;
    let key = world.key(&["launcher"]).await;
    let call = || {
        Request::post("/helloworld.Greeter/SayHello")
            .header("content-type", "application/grpc+proto")
            .header("x-api-key", key.text.expose())
    };
    let answer = world.send(call()).await;
    answer.granted();
    let fields = ["\"hour\";r=0;t=3600", "1767229200"];
    assert_eq!(header(&answer, "ratelimit"), Some(fields[0]));
    assert_eq!(header(&answer, "x-ratelimit-reset"), Some(fields[1]));
    let answer = world.send(call()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.is_empty() && answer.seen.is_none());
    assert_eq!(
        lines(&answer),
        [
            "cache-control: no-store",
            "content-type: application/grpc+proto",
            "error-code: rate_limited",
            "grpc-message: Too many requests for tier standard, quota hour.",
            "grpc-status: 8",
            "ratelimit-policy: \"hour\";q=1;w=3600",
            "ratelimit: \"hour\";r=0;t=3600",
            "retry-after: 3600",
            "x-ratelimit-limit: 1",
            "x-ratelimit-remaining: 0",
            "x-ratelimit-reset: 1767229200",
        ]
    );
    world.clock.advance(HOUR);
    world.send(call()).await.granted();
}

#[tokio::test]
async fn websocket_upgrade_and_event_stream_count_as_one_get() {
    let world = limited(standard([per_hour(2)])).await;
    let key = world.key(&[]).await;
    let me = || get("/me").header("x-api-key", key.text.expose());
    let upgrade = me()
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    left(&world.send(upgrade).await, "\"hour\";r=1;t=3600");
    let stream = me().header("accept", "text/event-stream");
    left(&world.send(stream).await, "\"hour\";r=0;t=3600");
    assert_eq!(world.send(me()).await.status, 429);
}

/// Over a socket, as a browser would: the upgrade itself is counted, and what is said in it is not.
#[cfg(feature = "axum")]
#[tokio::test]
async fn websocket_is_counted_once() {
    use axum::{Router, extract::ws::WebSocketUpgrade, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };
    use tower::Layer;

    let world = limited(standard([per_hour(2)])).await;
    let key = world.key(&[]).await;
    let echo = async |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async |mut socket| {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        })
    };
    let app = Router::new().route("/me", get(echo));
    let app = Router::new().fallback_service(world.layer.layer(app));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let open = async || {
        let mut stream = TcpStream::connect(address).await.expect("listens");
        let request = format!(
            "GET /me HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             x-api-key: {}\r\n\r\n",
            key.text.expose()
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        (stream, String::from_utf8(head).expect("ASCII"))
    };
    let (mut stream, head) = open().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.contains("\r\nratelimit: \"hour\";r=1;t=3600\r\n"),
        "{head}"
    );
    for _ in 0..5 {
        // RFC 6455 §5.2: a text of two bytes, masked with nothing; it comes back without a mask.
        stream.write_all(b"\x81\x82\0\0\0\0hi").await.expect("sent");
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.expect("an echo");
        assert_eq!(&echo, b"\x81\x02hi");
    }
    let (_, head) = open().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (_, head) = open().await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    assert!(head.contains("\r\nretry-after: 3600\r\n"), "{head}");
    server.abort();
}
