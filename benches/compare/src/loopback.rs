//! Requests over loopback: a server process on one core, and a client that keeps it busy.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use axum::{Router, body::Body};
use tower::{Layer, ServiceExt};

use crate::{
    peers,
    support::{self, Keys, PATH, World},
};

/// What the server has in front of its router.
pub const SERVERS: [&str; 5] = [
    "bare",
    "tower-api-key, wrapped",
    "tower-api-key, layered",
    "by hand",
    "by hand + tower_governor",
];

const KEYS: usize = 1_000;
const CONNECTIONS: usize = 16;

/// The server process: prints its port, then its keys, and serves until it is killed.
pub fn serve(server: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        println!("{}", listener.local_addr().expect("an address").port());
        let world = World::cold(KEYS, |builder| builder);
        print_keys(&world.keys);
        let router = match server {
            "tower-api-key, wrapped" => {
                let guarded = world.layer.layer(support::router());
                let service =
                    ServiceExt::<axum::extract::Request>::map_response(guarded, |answer| {
                        answer.map(Body::new)
                    });
                let service = tower::make::Shared::new(service);
                return axum::serve(listener, service).await.expect("serves");
            }
            "tower-api-key, layered" => support::router().layer(world.layer.clone()),
            "by hand" => peers::by_hand(&world.keys),
            "by hand + tower_governor" => peers::by_hand_with_quota(&world.keys),
            _ => support::router(),
        };
        axum::serve::<_, Router, _>(listener, router)
            .await
            .expect("serves");
    });
}

fn print_keys(keys: &Keys) {
    for number in 0..keys.count() {
        println!("{}", String::from_utf8_lossy(keys.text(number)));
    }
}

/// A server process and connections to it.
pub struct Server {
    pub name: &'static str,
    process: Child,
    connections: Vec<TcpStream>,
    requests: Vec<Vec<u8>>,
    next: usize,
}

impl Server {
    /// Starts it on the first core, if `taskset` is there.
    pub fn start(name: &'static str) -> Self {
        let itself = env::current_exe().expect("the path of this program");
        let mut command = match Command::new("taskset").arg("-V").output() {
            Ok(_) => {
                let mut command = Command::new("taskset");
                command.args(["-c", "0"]).arg(itself);
                command
            }
            Err(_) => Command::new(itself),
        };
        let mut process = command
            .args(["serve", name])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let output = process.stdout.take().expect("piped");
        let mut lines = BufReader::new(output)
            .lines()
            .map(|line| line.expect("a line"));
        let port: u16 = lines.next().expect("a port").parse().expect("a number");
        let requests = lines.take(KEYS).map(|key| wire(&key)).collect();
        let connect = |_| {
            let connection = TcpStream::connect(("127.0.0.1", port)).expect("connects");
            connection.set_nodelay(true).expect("a setting");
            connection
        };
        Self {
            name,
            process,
            connections: (0..CONNECTIONS).map(connect).collect(),
            requests,
            next: 0,
        }
    }

    /// Requests in a second of the server's core, one at a time on each of the connections: what
    /// others do with that core meanwhile does not count.
    pub fn rate(&mut self, requests: usize) -> f64 {
        let mut answer = [0; 4_096];
        let before = self.time_on_core();
        for _ in 0..requests / CONNECTIONS {
            for connection in &mut self.connections {
                let request = &self.requests[self.next % KEYS];
                connection.write_all(request).expect("sends");
                self.next += 7;
            }
            for connection in &mut self.connections {
                let mut read = 0;
                while !answer[..read].ends_with(b"\r\n\r\n") {
                    read += match connection.read(&mut answer[read..]).expect("reads") {
                        0 => panic!("{} closed the connection", self.name),
                        more => more,
                    };
                }
                assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", self.name);
            }
        }
        requests as f64 / (self.time_on_core() - before)
    }

    /// Seconds, with those that the kernel spent for it.
    fn time_on_core(&self) -> f64 {
        let path = format!("/proc/{}/schedstat", self.process.id());
        let status = fs::read_to_string(path).expect("Linux");
        let nanos = status
            .split(' ')
            .next()
            .and_then(|nanos| nanos.parse::<f64>().ok());
        nanos.expect("a number") / 1e9
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wire(key: &str) -> Vec<u8> {
    let request = support::request(PATH, key.as_bytes());
    let mut wire = format!("GET {PATH} HTTP/1.1\r\n").into_bytes();
    for (name, value) in request.headers() {
        wire.extend_from_slice(format!("{name}: ").as_bytes());
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    wire
}
