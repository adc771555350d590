//! What a test's server logs: a warning or error that the test does not expect fails it.
//!
//! Tests run on runtimes of one thread, so a thread's subscriber hears its own test alone.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc, LazyLock, Mutex, Once,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

static PANICS: LazyLock<Mutex<HashMap<ThreadId, usize>>> = LazyLock::new(Mutex::default);

thread_local! {
    static HEARD: RefCell<Option<tracing::subscriber::DefaultGuard>> = const { RefCell::new(None) };
}

pub struct Log {
    threads: Arc<Mutex<Vec<ThreadId>>>,
    expected_panics: AtomicUsize,
    lines: Arc<Mutex<Vec<String>>>,
    allowed: Mutex<Vec<&'static str>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub fn begin() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                *PANICS.lock().unwrap().entry(thread::current().id()).or_default() += 1;
                usual(panic);
            }));
        });
        PANICS.lock().unwrap().remove(&thread::current().id());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let guard = tracing::subscriber::set_default(Loud(lines.clone()));
        let threads = Arc::new(Mutex::new(vec![thread::current().id()]));
        Self { threads, expected_panics: AtomicUsize::new(0), lines, allowed: Mutex::default(), _guard: guard }
    }

    /// A line with this in it is expected.
    pub fn allow(&self, text: &'static str) {
        self.allowed.lock().unwrap().push(text);
    }

    /// Hears a runtime's threads too: to be called as each begins.
    pub fn hook(&self) -> impl Fn() + Send + Sync + 'static {
        let (lines, threads) = (self.lines.clone(), self.threads.clone());
        move || {
            threads.lock().unwrap().push(thread::current().id());
            HEARD.with(|heard| *heard.borrow_mut() = Some(tracing::subscriber::set_default(Loud(lines.clone()))));
        }
    }

    /// So many panics are expected.
    pub fn expect_panics(&self, count: usize) {
        self.expected_panics.store(count, Ordering::Relaxed);
    }

    /// How many panics there were on this test's threads.
    pub fn panics(&self) -> usize {
        let panics = PANICS.lock().unwrap();
        self.threads.lock().unwrap().iter().filter_map(|thread| panics.get(thread)).sum()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let allowed = self.allowed.lock().unwrap();
        let lines = self.lines.lock().unwrap();
        // That a statement or a connection took seconds says how busy the machine is, where many tests run at once.
        let slow = ["WARN sqlx::query message=slow statement", "WARN sqlx::pool::acquire message=acquired connection, but"];
        let lines = lines.iter().filter(|line| !slow.iter().any(|text| line.starts_with(text)));
        let loud: Vec<_> = lines.filter(|line| !allowed.iter().any(|text| line.contains(text))).collect();
        assert!(loud.is_empty(), "the server's log has warnings or errors: {loud:#?}");
        assert_eq!(self.panics(), self.expected_panics.load(Ordering::Relaxed), "something panicked");
    }
}

struct Loud(Arc<Mutex<Vec<String>>>);

impl Subscriber for Loud {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // A cookie that is over is "suspicious activity" to it; the product's log has it turned down too.
        *metadata.level() <= Level::WARN && metadata.target() != "tower_sessions_core::session"
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = format!("{} {}", event.metadata().level(), event.metadata().target());
        event.record(&mut Fields(&mut line));
        self.0.lock().unwrap().push(line);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
