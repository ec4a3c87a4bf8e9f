//! What is told and counted, kept for a test to read.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder,
    SharedString, Unit,
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

pub type Texts = BTreeMap<String, String>;

/// Whatever is counted and told on this thread while its guards live.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    counters: BTreeMap<(String, Texts), u64>,
    events: Vec<Told>,
}

#[derive(Debug, Clone)]
pub struct Told {
    pub level: Level,
    pub target: String,
    pub message: String,
    pub fields: Texts,
}

impl Watch {
    pub fn begin(&self) -> (LocalRecorderGuard<'_>, DefaultGuard) {
        (
            metrics::set_default_local_recorder(self),
            tracing::subscriber::set_default(self.clone()),
        )
    }

    pub fn events(&self) -> Vec<Told> {
        self.0.lock().expect("not poisoned").events.clone()
    }

    pub fn counters(&self) -> BTreeMap<(String, Texts), u64> {
        self.0.lock().expect("not poisoned").counters.clone()
    }

    /// What a counter stands at, by the value of its label.
    pub fn counter(&self, name: &str) -> BTreeMap<String, u64> {
        let counters = self.counters().into_iter();
        let named = counters.filter(|((counter, _), _)| counter == name);
        named
            .map(|((_, labels), count)| (labels.into_values().collect(), count))
            .collect()
    }

    /// Forgets what was seen so far and tells the events among it.
    pub fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.0.lock().expect("not poisoned")).events
    }
}

struct Counting(Watch, (String, Texts));

impl CounterFn for Counting {
    fn increment(&self, by: u64) {
        let mut seen = self.0.0.lock().expect("not poisoned");
        *seen.counters.entry(self.1.clone()).or_default() += by;
    }

    fn absolute(&self, _: u64) {
        panic!("counters are only ever raised");
    }
}

impl Recorder for Watch {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels();
        let labels = labels.map(|label| (label.key().to_owned(), label.value().to_owned()));
        let key = (key.name().to_owned(), labels.collect());
        Counter::from_arc(Arc::new(Counting(self.clone(), key)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("{} is in no table", key.name());
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("{} is in no table", key.name());
    }
}

impl Subscriber for Watch {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let target = span.metadata().target();
        assert!(
            !target.starts_with("tower_api_key"),
            "no span is in a table"
        );
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if !metadata.target().starts_with("tower_api_key") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let told = Told {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: fields.0.remove("message").expect("every event has one"),
            fields: fields.0,
        };
        self.0.lock().expect("not poisoned").events.push(told);
    }
}

#[derive(Default)]
struct Fields(Texts);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

pub fn texts<const N: usize>(pairs: [(&str, &str); N]) -> Texts {
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pairs.into()
}

pub fn counts<const N: usize>(pairs: [(&str, u64); N]) -> BTreeMap<String, u64> {
    pairs
        .map(|(outcome, count)| (outcome.to_owned(), count))
        .into()
}

/// It was told once, like this.
#[track_caller]
pub fn told(events: &[Told], level: Level, message: &str, fields: Texts) {
    let alike: Vec<_> = events.iter().filter(|e| e.message == message).collect();
    assert_eq!(alike.len(), 1, "{message}: {events:?}");
    assert_eq!(alike[0].level, level, "{message}");
    assert_eq!(alike[0].fields, fields, "{message}");
    assert_eq!(alike[0].target, "tower_api_key", "{message}");
}
