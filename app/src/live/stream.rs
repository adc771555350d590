//! The stream of events. One tab holds it, all tabs of the browser see it.
//!
//! ```text
//!   Web Locks elect ──▶ the leader ──fetch──▶ /api/events
//!                           │ BroadcastChannel "fsa-live-USER"
//!                           └──▶ the other tabs
//! ```
//!
//! The election is `frontend/js/leader.ts`: it also has a tab that is looked at take over from one that is suspended, which then steps down.
//!
//! Lock and channel are the user's own: what was told to one is never shown to the next. Who is signed
//! out leads no more; a tab that hears a later sign-in's events stands for election again.
//!
//! Over HTTP/1.1 a browser has six connections a host: ten tabs with a stream each would leave none.
//! `fetch` and not `EventSource`: the comments that keep the stream alive are seen, so silence is
//! noticed, and a 401 is told from a server that is away.

use super::{Link, Live, event, sse};
use crate::{browser, clock::Clock, erased::later, time};
use js_sys::{Function, Promise, Uint8Array};
use leptos::prelude::*;
use leptos::task::spawn_local;
use model::UserId;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::{AbortController, MessageEvent, ReadableStreamDefaultReader, RequestInit, Response};

const ADDRESS: &str = "/api/events";
const NAME: &str = "fsa-live";
/// The server sends something at least every 8 s; two that stay away could be chance.
const SILENCE_MS: f64 = 20_000.0;
const FIRST_RETRY_MS: f64 = 500.0;
const LAST_RETRY_MS: f64 = 10_000.0;
/// How long "Reconnected after 6 s" is shown.
const RETURNED_MS: i32 = 4_000;

/// What a tab knows about the stream.
#[derive(Clone, Copy)]
struct Tab {
    live: Live,
    clock: Clock,
    heard_at: StoredValue<f64>,
    leads: StoredValue<bool>,
    channel: StoredValue<JsValue, LocalStorage>,
    /// Ends the pause that the leader is in.
    resume: StoredValue<JsValue, LocalStorage>,
    /// What the leader was told, for tabs that come later.
    said: StoredValue<event::Said>,
}

/// Joins the user's other tabs, and leads if no other does.
pub fn run(live: Live, clock: Clock, user: UserId) {
    let channel = browser::call(&window(), "fsaJoin", &[format!("{NAME}-{user}").into()]);
    let tab = Tab {
        live,
        clock,
        heard_at: StoredValue::new(browser::now()),
        leads: StoredValue::new(false),
        channel: StoredValue::new_local(channel.clone()),
        resume: StoredValue::new_local(JsValue::UNDEFINED),
        said: StoredValue::new(event::Said::default()),
    };
    let listen = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        if let Some(text) = event.data().as_string() {
            tab.told(&text);
        }
    });
    browser::set(&channel, "onmessage", listen.into_js_value());
    tab.tell("hello");
    later(
        move || live.wake.with(|_| ()),
        move || {
            tab.tell("wake");
            tab.resume();
        },
    );
    browser::set(&window(), "ononline", browser::function(move |_| tab.resume()));
    set_interval(move || tab.watch(), std::time::Duration::from_secs(1));
    tab.elect();
}

impl Tab {
    /// Leads as soon as no other tab does.
    fn elect(self) {
        // Called each time that this tab is to lead, and open for as long as it does: until it is signed out, or another took over.
        let lead = Closure::<dyn FnMut() -> Promise>::new(move || -> Promise {
            future_to_promise(async move {
                self.lead().await;
                Ok(JsValue::UNDEFINED)
            })
        });
        browser::call(&window(), "fsaLead", &[self.channel.get_value(), lead.into_js_value()]);
    }

    fn tell(self, text: &str) {
        self.channel.with_value(|channel| {
            browser::call(channel, "postMessage", &[text.into()]);
        });
    }

    /// A word from another tab.
    fn told(self, text: &str) {
        let leads = self.leads.get_value();
        match text.split_once('\n').unwrap_or((text, "")) {
            ("event", data) if !leads => {
                // The same user signed in again, in another tab: its cookie is this tab's as well.
                if self.live.link.get_untracked() == Link::SignedOut {
                    self.live.link.set(Link::Connecting);
                    self.elect();
                }
                self.heard();
                self.take(data);
            }
            ("beat", _) if !leads => self.heard(),
            ("lost", data) if !leads => {
                let numbers: Vec<f64> = data.split('\n').filter_map(|n| n.parse::<i64>().ok()).map(|n| n as f64).collect();
                if let [as_of, since, tries, next_at] = numbers[..] {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
                    let tries = tries as u32;
                    self.live.link.set(Link::Lost { as_of, since, tries, next_at: (next_at > 0.0).then_some(next_at) });
                }
            }
            ("signed-out", _) => self.live.link.set(Link::SignedOut),
            ("hello", _) if leads => {
                self.said.with_value(|said| said.all().for_each(|data| self.tell(&format!("event\n{data}"))));
                self.pass_on();
            }
            ("wake", _) if leads => self.resume(),
            // Another tab took over. Told by this one itself.
            ("stop", _) if leads => {
                self.leads.set_value(false);
                self.resume();
            }
            _ => {}
        }
    }

    /// The server was heard: directly, or through the leader.
    fn heard(self) {
        self.heard_at.set_value(browser::now());
        let was = self.live.link.get_untracked();
        if was == Link::Live || was == Link::SignedOut {
            return;
        }
        self.live.link.set(Link::Live);
        if let Link::Lost { as_of, .. } = was {
            self.live.returned.set(Some(browser::now() - as_of));
            spawn_local(async move {
                browser::sleep(RETURNED_MS).await;
                self.live.returned.set(None);
            });
        }
    }

    fn take(self, data: &str) {
        let Some(event) = event::read(data) else {
            leptos::logging::warn!("an event could not be read");
            return;
        };
        if self.leads.get_value() {
            self.said.update_value(|said| said.note(&event, data));
        }
        self.live.apply(event);
    }

    /// Notices that nothing was heard for too long.
    fn watch(self) {
        let quiet = browser::now() - self.heard_at.get_value() > SILENCE_MS;
        if quiet && matches!(self.live.link.get_untracked(), Link::Live | Link::Connecting) && !self.leads.get_value() {
            self.lost(0, None);
        }
    }

    fn lost(self, tries: u32, next_at: Option<f64>) {
        let since = match self.live.link.get_untracked() {
            Link::Lost { since, .. } => since,
            Link::SignedOut => return,
            Link::Connecting | Link::Live => browser::now(),
        };
        self.live.link.set(Link::Lost { as_of: self.heard_at.get_value(), since, tries, next_at });
        self.pass_on();
    }

    /// Tells the other tabs how the stream is.
    fn pass_on(self) {
        match self.live.link.get_untracked() {
            _ if !self.leads.get_value() => {}
            Link::Live => self.tell("beat"),
            Link::Lost { as_of, since, tries, next_at } => {
                let times = [as_of, since, f64::from(tries), next_at.unwrap_or(0.0)].map(|n| time::whole(n).to_string());
                self.tell(&format!("lost\n{}", times.join("\n")));
            }
            Link::SignedOut => self.tell("signed-out"),
            Link::Connecting => {}
        }
    }

    /// Holds the stream for as long as someone is signed in and no other tab took over.
    async fn lead(self) {
        self.leads.set_value(true);
        let mut tries = 0;
        while self.leads.get_value() {
            let before = self.heard_at.get_value();
            if self.hold().await == Ended::SignedOut {
                self.live.link.set(Link::SignedOut);
                self.pass_on();
                self.leads.set_value(false);
            } else if self.leads.get_value() {
                // A stream that was heard counts the tries anew.
                tries = if self.heard_at.get_value() > before { 1 } else { tries + 1 };
                let wait = backoff(tries, js_sys::Math::random());
                self.lost(tries, Some(browser::now() + wait));
                #[expect(clippy::cast_possible_truncation, reason = "at most 12 s")]
                self.pause(wait as i32).await;
                self.lost(tries, None);
            }
        }
        // A tab that comes after the next sign-in is told nothing of this one.
        self.said.set_value(event::Said::default());
    }

    /// Waits, but no longer than until someone asks or the browser is online again. By a promise: the
    /// timers of a hidden tab are held back, a message is not.
    async fn pause(self, ms: i32) {
        let woken = Promise::new(&mut |resolve, _| self.resume.set_value(resolve.into()));
        drop(JsFuture::from(Promise::race(&js_sys::Array::of2(&woken, &browser::timer(ms)))).await);
    }

    /// Ends [`Self::pause`].
    fn resume(self) {
        self.resume.with_value(|resume| {
            if let Some(resume) = resume.dyn_ref::<Function>() {
                drop(resume.call0(&JsValue::UNDEFINED));
            }
        });
    }

    /// Opens the stream and reads it to its end.
    async fn hold(self) -> Ended {
        let Ok(abort) = AbortController::new() else { return Ended::Lost };
        let ended = self.read(&abort).await.unwrap_or(Ended::Lost);
        abort.abort();
        ended
    }

    async fn read(self, abort: &AbortController) -> Result<Ended, JsValue> {
        let headers = js_sys::Object::new();
        browser::set(&headers, "accept", "text/event-stream");
        let init = RequestInit::new();
        browser::set(&init, "headers", headers);
        browser::set(&init, "cache", "no-store");
        browser::set(&init, "signal", abort.signal());
        let Some(response) = within(window().fetch_with_str_and_init(ADDRESS, &init)).await? else { return Ok(Ended::Lost) };
        let response: Response = response.dyn_into()?;
        if response.status() == 401 {
            return Ok(Ended::SignedOut);
        }
        if let Ok(Some(date)) = response.headers().get("date") {
            let server = js_sys::Date::parse(&date);
            if server.is_finite() {
                self.clock.correct(server);
            }
        }
        if !response.ok() {
            return Ok(Ended::Lost);
        }
        let reader: ReadableStreamDefaultReader = browser::call(&browser::get(&response, "body"), "getReader", &[]).dyn_into()?;
        let mut parser = sse::Parser::default();
        while let Some(chunk) = within(reader.read()).await? {
            if browser::get(&chunk, "done").is_truthy() || !self.leads.get_value() {
                break;
            }
            self.heard();
            self.tell("beat");
            let bytes = Uint8Array::new(&browser::get(&chunk, "value")).to_vec();
            for data in parser.feed(&bytes) {
                self.take(&data);
                self.tell(&format!("event\n{data}"));
            }
        }
        Ok(Ended::Lost)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Lost,
    SignedOut,
}

/// What a promise brings, or `None` if that takes longer than the server is ever silent.
async fn within(promise: Promise) -> Result<Option<JsValue>, JsValue> {
    #[expect(clippy::cast_possible_truncation, reason = "20,000")]
    let timer = browser::timer(SILENCE_MS as i32);
    let first = JsFuture::from(Promise::race(&js_sys::Array::of2(&promise, &timer))).await?;
    Ok((!first.is_undefined()).then_some(first))
}

/// The wait before a try, with `random` in 0..1 as jitter: half a second, doubled up to ten seconds.
fn backoff(tries: u32, random: f64) -> f64 {
    let base = (FIRST_RETRY_MS * 2f64.powi(i32::try_from(tries.saturating_sub(1)).unwrap_or(10).min(10))).min(LAST_RETRY_MS);
    base * (0.8 + 0.4 * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_ten_seconds() {
        assert!((backoff(1, 0.5) - 500.0).abs() < 1.0);
        assert!((backoff(3, 0.5) - 2_000.0).abs() < 1.0);
        assert!((backoff(60, 0.5) - 10_000.0).abs() < 1.0);
        assert!(backoff(60, 0.99) < 12_001.0);
    }
}
