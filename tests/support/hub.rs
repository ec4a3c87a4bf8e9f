//! The example service `hub`, started by the newcomer's own command and called over TCP.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::Value;

pub const ENGINES: &str = "/api/rest/v1/engines";
/// What a test leaves behind carries its name: two tests may run at once.
const TEST: &str = env!("CARGO_CRATE_NAME");

/// A running hub; it is ended when this is dropped.
pub struct Hub {
    pub log: PathBuf,
    /// `cargo run` becomes the example, so this is the example.
    pub process: Child,
    output: BufReader<ChildStdout>,
    pub address: String,
    /// By the name that it printed, without `API Key-`.
    pub keys: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

/// `cargo run`, with the features that these tests are built with.
pub fn example(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--example", name]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    if cfg!(feature = "sqlite") {
        command.arg("--features=sqlite");
    }
    if cfg!(feature = "postgres") {
        command.arg("--features=postgres");
    }
    if cfg!(feature = "redis") {
        command.arg("--features=redis");
    }
    if cfg!(feature = "jwt") {
        command.arg("--features=jwt");
    }
    if cfg!(feature = "manage") {
        command.arg("--features=manage");
    }
    if cfg!(feature = "console") {
        command.arg("--features=console");
    }
    if cfg!(feature = "oauth") {
        command.arg("--features=oauth");
    }
    command.arg("--").args(arguments);
    command.env_remove("HUB_ADMIN_KEY").stdout(Stdio::piped());
    command
}

pub fn command(arguments: &[&str]) -> Command {
    example("hub", arguments)
}

/// A folder that is empty.
pub fn folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{TEST}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Left there by an earlier run, or not there at all.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A place for data that is empty, as an option has it.
pub fn fresh() -> String {
    match cfg!(feature = "sqlite") {
        true => format!("sqlite:{}", folder().join("hub.db").display()),
        false => "memory:".into(),
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).expect("a limit");
    stream
}

/// Sends one request with these header lines, and the body that they announce.
pub fn send(address: &str, request: &str, headers: &[&str], body: Option<&Value>) -> Answer {
    let mut stream = connect(address);
    let mut text = format!("{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    if !body.is_empty() {
        let length = body.len();
        text += &format!("content-type: application/json\r\ncontent-length: {length}\r\n");
    }
    let text = format!("{text}\r\n{body}");
    stream.write_all(text.as_bytes()).expect("sent");
    Answer::read(&mut stream)
}

impl Hub {
    pub fn start() -> Self {
        Self::at(&fresh())
    }

    /// Starts one with its data there.
    pub fn at(database: &str) -> Self {
        Self::run(&mut command(&[
            "--listen=127.0.0.1:0",
            "--database",
            database,
        ]))
    }

    pub fn run(command: &mut Command) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{TEST}-log-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        command.stderr(File::create(&log).expect("a file"));
        let mut process = command.spawn().expect("cargo");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
        let (mut address, mut keys, mut line) = (None, BTreeMap::new(), String::new());
        while line != "Ctrl-C stops it.\n" {
            line.clear();
            let read = output.read_line(&mut line).expect("text");
            assert_ne!(
                read,
                0,
                "it ended before it was ready, see {}",
                log.display()
            );
            if let Some((_, rest)) = line.split_once("serving http://") {
                address = rest.split_once(',').map(|(address, _)| address.to_owned());
            } else if let Some((name, text)) = line
                .strip_prefix("  API Key-")
                .and_then(|rest| rest.trim_end().rsplit_once("  "))
            {
                keys.insert(name.trim_end().to_owned(), text.to_owned());
            }
        }
        let address = address.expect("an address");
        Self {
            log,
            process,
            output,
            address,
            keys,
        }
    }

    pub fn key(&self, name: &str) -> &str {
        &self.keys[name]
    }

    pub fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    /// Sends one request with these header lines, and the body that they announce.
    pub fn send(&self, request: &str, headers: &[&str], body: Option<&Value>) -> Answer {
        send(&self.address, request, headers, body)
    }

    pub fn get(&self, path: &str, headers: &[&str]) -> Answer {
        self.send(&format!("GET {path}"), headers, None)
    }

    pub fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.process.id());
        let killed = Command::new("sh").args(["-c", &kill]).status();
        assert!(killed.expect("a shell").success());
    }

    /// Waits for its end; its last line is the answer too.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let mut output = String::new();
        self.output.read_to_string(&mut output).expect("text");
        (self.process.wait().expect("its end"), output)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether an answer is there to the length that it tells; not every server closes the connection.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let length = name.eq_ignore_ascii_case("content-length");
        length.then(|| value.trim().parse::<usize>().expect("a number"))
    });
    length.is_some_and(|length| bytes.len() >= head.len() + 4 + length)
}

impl Answer {
    pub fn read(stream: &mut TcpStream) -> Self {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 16_384]);
        while !is_whole(&bytes) {
            match stream.read(&mut buffer).expect("an answer") {
                0 => break,
                read => bytes.extend(&buffer[..read]),
            }
        }
        let text = String::from_utf8(bytes).expect("a text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers = lines.filter_map(|line| line.split_once(':'));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.trim().to_owned());
        Self {
            status: status.expect("a status").parse().expect("a number"),
            headers: headers.map(owned).collect(),
            body: serde_json::from_str(body).unwrap_or_default(),
        }
    }

    pub fn header(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    #[track_caller]
    pub fn granted(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.body
    }

    #[track_caller]
    pub fn refused(&self, status: u16, code: &str, detail: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.body["code"], code);
        assert_eq!(self.body["detail"], detail);
        assert_eq!(self.header("content-type"), ["application/problem+json"]);
        assert_eq!(self.header("cache-control"), ["no-store"]);
        let challenges = if status == 401 { 2 } else { 0 };
        assert_eq!(self.header("www-authenticate").len(), challenges);
    }
}

pub fn x_api_key(text: &str) -> String {
    format!("X-API-Key: {text}")
}

pub fn bearer(text: &str) -> String {
    format!("Authorization: Bearer {text}")
}
