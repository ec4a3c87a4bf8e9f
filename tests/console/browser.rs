//! A window of Debian's chromium, driven over WebDriver and ended with the test.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use thirtyfour::{
    By, Capabilities, Key, TypingData, WebDriver, WebElement,
    error::{WebDriverError, WebDriverErrorInner, WebDriverResult},
    session::http::{Body, HttpClient},
};

use crate::hub::{Answer, send};

/// How long anything may take on a machine that has much else to do.
pub(crate) const LIMIT: Duration = Duration::from_secs(15);

/// What every script of the tests may use.
const PRELUDE: &str = r#"
const $ = (selector) => document.querySelector(selector);
const $$ = (selector) => [...document.querySelectorAll(selector)];
const shown = (element) => Boolean(element?.checkVisibility({ visibilityProperty: true }));
const text = (found) => ((typeof found === "string" ? $(found) : found)?.innerText ?? "").trim();
const row = (kind, words) => $$(`[data-test=${kind}]`).find((element) => text(element).includes(words));
"#;

/// A browser with a profile of its own, and one page.
pub(crate) struct Window {
    driver: WebDriver,
    process: Process,
    session: String,
}

/// A running chromedriver; it and its browsers are ended when this is dropped.
struct Process {
    child: Child,
    // Its output goes on being read: a full pipe would stop it.
    _output: thread::JoinHandle<()>,
    address: String,
    profile: PathBuf,
}

impl Process {
    fn start() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("profile-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // Left there by an earlier run, or not there at all.
        let _ = fs::remove_dir_all(&profile);
        fs::create_dir_all(&profile).expect("a folder");
        // The port that one took for IPv4 may be in use for IPv6: then it ends, and another takes another.
        let (child, output, port) = (0..10).find_map(|_| launch()).expect("a free port");
        Self {
            child,
            _output: thread::spawn(move || {
                let mut output = output;
                let _ = std::io::copy(&mut output, &mut std::io::sink());
            }),
            address: format!("127.0.0.1:{port}"),
            profile,
        }
    }

    /// One call, of which a failure panics elsewhere: this is done while a test unwinds too.
    fn call(&self, request: &str, body: Option<&Value>) -> thread::Result<Answer> {
        let call = || send(&self.address, request, &[], body);
        thread::scope(|scope| scope.spawn(call).join())
    }
}

/// Starts chromedriver on a port that is free, and reads which:
/// `ChromeDriver was started successfully on port 40123.`
fn launch() -> Option<(Child, BufReader<ChildStdout>, u16)> {
    let mut command = Command::new("chromedriver");
    command
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command
        .spawn()
        .expect("a chromedriver: scripts/setup installs it");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while output.read_line(&mut line).expect("text") > 0 {
        if let Some((_, port)) = line.split_once("successfully on port ") {
            let port = port.trim_end().trim_end_matches('.').parse();
            return Some((child, output, port.expect("a port")));
        }
        line.clear();
    }
    let _ = child.wait();
    None
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ends the browsers too, as a signal would not.
        let _ = self.call("GET /shutdown", None);
        let started = Instant::now();
        while started.elapsed() < LIMIT && !matches!(self.child.try_wait(), Ok(Some(_))) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

impl Window {
    /// Opens one of 1280 by 800.
    pub(crate) async fn open() -> Self {
        let process = Process::start();
        let profile = format!("--user-data-dir={}", process.profile.display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1280,800",
            &profile,
        ];
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 60_000, "pageLoad": 30_000 },
        });
        let Value::Object(wanted) = wanted else {
            unreachable!("it is written as one");
        };
        let builder = WebDriver::builder(
            format!("http://{}", process.address),
            Capabilities::from(wanted),
        );
        let driver = builder.client(HttpCalls::new()).connect().await;
        let driver = driver.expect("a browser");
        // The process ends the browser, whatever becomes of the runtime.
        driver.clone().leak().expect("it has not quit");
        Self {
            session: driver.session_id().to_string(),
            driver,
            process,
        }
    }

    pub(crate) async fn goto(&self, address: &str) {
        self.driver.goto(address).await.expect("it goes there");
    }

    /// Opens another tab of the same browser, and goes there.
    pub(crate) async fn tab(&self) {
        let tab = self.driver.new_tab().await.expect("a tab");
        self.driver
            .switch_to_window(tab)
            .await
            .expect("it is there");
    }

    /// Goes to the tab that was opened as the first, the second …: from 0.
    pub(crate) async fn to_tab(&self, number: usize) {
        let tabs = self.driver.windows().await.expect("a list");
        let tab = tabs[number].clone();
        self.driver
            .switch_to_window(tab)
            .await
            .expect("it is there");
    }

    /// What the page finds when it is hidden, or seen again. A browser without a screen hides none.
    pub(crate) async fn hide(&self, is_hidden: bool) {
        let hide = format!(
            "(() => {{
               Object.defineProperty(document, 'hidden', {{ configurable: true, value: {is_hidden} }});
               document.dispatchEvent(new Event('visibilitychange'));
             }})()"
        );
        self.js(&hide).await;
    }

    /// Holds the answers to the page's calls back whose address ends with `end`, until `held.shift()()`
    /// lets the first of them go.
    pub(crate) async fn hold_back(&self, end: &str) {
        let end = Value::from(end);
        let hold = format!(
            "(() => {{
               const send = window.fetch;
               window.held = [];
               window.fetch = (path, options) => {{
                 const answer = send(path, options);
                 if (!path.endsWith({end})) return answer;
                 return new Promise((done) => held.push(() => done(answer)));
               }};
             }})()"
        );
        self.js(&hold).await;
    }

    /// Answers the page's calls whose address ends with `end` with this, so many times.
    pub(crate) async fn answer(&self, end: &str, answer: &str, times: u32) {
        let end = Value::from(end);
        let answers = format!(
            "(() => {{
               const send = window.fetch;
               let left = {times};
               window.fetch = (path, options) =>
                 path.endsWith({end}) && left-- > 0 ? Promise.resolve({answer}) : send(path, options);
             }})()"
        );
        self.js(&answers).await;
    }

    pub(crate) async fn reload(&self) {
        self.driver.refresh().await.expect("it loads it again");
    }

    /// What an expression of JavaScript says of the page. `$`, `$$`, `text`, `shown` and `row` help it.
    pub(crate) async fn js(&self, expression: &str) -> Value {
        let script = format!("{PRELUDE} return (\n{expression}\n);");
        let answer = self.driver.execute(script, Vec::new()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{expression}: {error}"));
        answer.json().clone()
    }

    /// What a promise comes to.
    pub(crate) async fn promised(&self, expression: &str) -> Value {
        let script = format!(
            "{PRELUDE} const done = arguments[arguments.length - 1];
             Promise.resolve({expression}).then(done, (error) => done(`failed: ${{error}}`));"
        );
        let answer = self.driver.execute_async(script, Vec::new()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{expression}: {error}"));
        answer.json().clone()
    }

    /// Waits until an expression of JavaScript is true, and answers with what it is then.
    pub(crate) async fn until(&self, expression: &str) -> Value {
        self.until_within(LIMIT, expression).await
    }

    /// The same, with a limit that is part of what is tested.
    pub(crate) async fn until_within(&self, limit: Duration, expression: &str) -> Value {
        let started = Instant::now();
        loop {
            let left = limit.saturating_sub(started.elapsed()).as_millis();
            // It looks in the page itself: no change is missed between two calls.
            let script = format!(
                "{PRELUDE} const done = arguments[arguments.length - 1];
                 const end = performance.now() + {left};
                 const look = () => {{
                   let found = null;
                   try {{ found = ({expression}); }} catch {{ /* Not there yet. */ }}
                   if (found) done(found);
                   else if (performance.now() > end) done(null);
                   else setTimeout(look, 15);
                 }};
                 look();"
            );
            match self.driver.execute_async(script, Vec::new()).await {
                Ok(answer) if !answer.json().is_null() => return answer.json().clone(),
                // The page went away under it.
                Err(_) if left > 0 => {}
                answer => {
                    let page = self.js("text(document.body)").await;
                    let answer = answer.map(|_| ());
                    panic!(
                        "not within {limit:?}: {expression} ({answer:?}); the page says {}",
                        page.as_str().unwrap_or_default()
                    );
                }
            }
        }
    }

    /// Waits for words in what is shown.
    pub(crate) async fn says(&self, words: &str) {
        let words = Value::from(words);
        self.until(&format!("text(document.body).includes({words})"))
            .await;
    }

    /// Clicks as a person would: what is covered or off cannot be clicked.
    pub(crate) async fn click(&self, target: impl Into<Target>) {
        let target = target.into();
        self.act(&target, |element| async move {
            if !element.is_enabled().await? {
                return Err(not_yet("it is disabled"));
            }
            element.click().await
        })
        .await;
    }

    /// Types over what stands in an input.
    pub(crate) async fn fill(&self, target: impl Into<Target>, value: &str) {
        let target = target.into();
        self.act(&target, |element| async move {
            element.clear().await?;
            element.send_keys(value).await
        })
        .await;
    }

    /// Chooses an option of a select by its value.
    pub(crate) async fn choose(&self, target: impl Into<Target>, value: &str) {
        let target = target.into();
        let option = By::Css(format!("option[value=\"{value}\"]"));
        self.act(&target, |element| {
            let option = option.clone();
            async move { element.find(option).await?.click().await }
        })
        .await;
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn press(&self, keys: impl Into<TypingData>) {
        let chain = self.driver.action_chain().send_keys(keys);
        chain.perform().await.expect("keys are pressed");
    }

    /// Goes on with the Tab key until the focus is on what `expression` says of `focus`.
    pub(crate) async fn tab_to(&self, expression: &str) {
        let there = format!("((focus) => {expression})(document.activeElement)");
        for _ in 0..60 {
            if self.js(&there).await == true {
                return;
            }
            self.press(Key::Tab).await;
        }
        panic!("the Tab key leads nowhere where {expression}");
    }

    /// One command of the browser's own protocol.
    pub(crate) async fn cdp(&self, method: &str, parameters: Value) -> Value {
        let answer = self.driver.cdp().send_raw(method, parameters).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Makes the page so wide and high, in the look that the system would have.
    pub(crate) async fn show(&self, width: u32, height: u32, look: &str) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.cdp("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": look},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.cdp("Emulation.setEmulatedMedia", features).await;
    }

    async fn act<F: Future<Output = WebDriverResult<()>>>(
        &self,
        target: &Target,
        act: impl Fn(WebElement) -> F,
    ) {
        let started = Instant::now();
        loop {
            let done = match self.driver.find(target.0.clone()).await {
                Ok(element) => act(element).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => return,
                Err(error) if started.elapsed() > LIMIT => {
                    let page = self.js("text(document.body)").await;
                    panic!(
                        "{:?}: {error}; the page says {}",
                        target.0,
                        page.as_str().unwrap_or_default()
                    );
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(15)).await,
            }
        }
    }

    /// What the console of the page was told, and what it was refused by its own policy. That a
    /// request was answered with an error is no fault of the page.
    fn faults(&self) -> Vec<String> {
        let path = format!("POST /session/{}/se/log", self.session);
        let answer = self.process.call(&path, Some(&json!({"type": "browser"})));
        let Ok(Some(entries)) = answer.map(|answer| answer.body["value"].as_array().cloned())
        else {
            return vec!["it could not be read".into()];
        };
        let is_fault = |entry: &&Value| {
            let level = entry["level"].as_str().unwrap_or_default();
            entry["source"] != "network" && matches!(level, "SEVERE" | "WARNING")
        };
        let faults = entries.iter().filter(is_fault);
        faults.map(Value::to_string).collect()
    }
}

impl Drop for Window {
    #[expect(clippy::print_stderr, reason = "it stands with the test that failed")]
    fn drop(&mut self) {
        let faults = self.faults();
        if thread::panicking() {
            eprintln!("the page's console: {faults:#?}");
        } else {
            assert!(faults.is_empty(), "the page's console: {faults:#?}");
        }
    }
}

/// What is clicked or typed into: a selector of CSS, or a name as people read it.
pub(crate) struct Target(By);

impl From<&str> for Target {
    fn from(selector: &str) -> Self {
        selector.to_owned().into()
    }
}

impl From<String> for Target {
    fn from(selector: String) -> Self {
        Self(By::Css(selector))
    }
}

/// The button, link or label of this name.
pub(crate) fn named(name: &str) -> Target {
    Target(By::XPath(format!(
        "//*[self::button or self::a or self::label or self::summary]\
         [normalize-space()=\"{name}\" or @aria-label=\"{name}\"]"
    )))
}

fn not_yet(why: &str) -> WebDriverError {
    WebDriverError::from_inner(WebDriverErrorInner::RequestFailed(why.to_owned()))
}

/// The calls to chromedriver.
struct HttpCalls(Client<HttpConnector, Full<Bytes>>);

impl HttpCalls {
    fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

#[async_trait::async_trait]
impl HttpClient for HttpCalls {
    async fn send(&self, request: Request<Body<'_>>) -> WebDriverResult<Response<Bytes>> {
        let failed = |error: &dyn std::error::Error| not_yet(&error.to_string());
        let request = request.map(|body| match body {
            Body::Empty => Full::default(),
            Body::Json(value) => Full::from(value.to_string()),
        });
        let answer = self.0.request(request).await;
        let (head, body) = answer.map_err(|error| failed(&error))?.into_parts();
        let body = body.collect().await.map_err(|error| failed(&error))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn new(&self) -> Arc<dyn HttpClient> {
        Arc::new(Self::new())
    }
}
