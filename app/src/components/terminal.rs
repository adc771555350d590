//! The door to `frontend/js/terminal.ts`: one terminal, mounted into an element.
//!
//! The module is loaded when the first terminal is shown. Plain values cross: no bindings are
//! generated, and WebAssembly knows no more of xterm.js than its host element.

use crate::browser;
use js_sys::{Function, Object, Promise};
use leptos::prelude::window;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::HtmlElement;

/// What a terminal says of its connection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    /// `connecting`, `live`, `reconnecting`, `ended`, `replaced`, `unavailable`.
    pub state: String,
    /// More to say than the state.
    pub message: Option<String>,
    /// Until the next try.
    pub retry_in_ms: Option<f64>,
    /// The last measured round trip.
    pub rtt_ms: Option<f64>,
    /// Why, as the server closed.
    pub code: Option<f64>,
}

impl Change {
    fn read(value: &JsValue) -> Self {
        let text = |name| browser::get(value, name).as_string();
        let number = |name| browser::get(value, name).as_f64();
        Self {
            state: text("state").unwrap_or_default(),
            message: text("message"),
            retry_in_ms: number("retryInMs"),
            rtt_ms: number("rttMs"),
            code: number("code"),
        }
    }
}

/// What a terminal tells its page.
pub struct Told {
    /// The connection changed.
    pub state: Box<dyn FnMut(Change)>,
    /// The program inside gave itself a title.
    pub title: Box<dyn FnMut(String)>,
    /// There is output while the terminal is hidden.
    pub output: Box<dyn FnMut()>,
    /// The focus is to leave.
    pub leave: Box<dyn FnMut()>,
    /// Matches of the search: which, of how many.
    pub found: Box<dyn FnMut(Option<u32>, u32)>,
    /// The on-screen Ctrl went up or down.
    pub ctrl: Box<dyn FnMut(bool)>,
}

/// A mounted terminal.
#[derive(Debug, Clone)]
pub struct Terminal(JsValue);

impl Terminal {
    /// Loads the module if need be and mounts a session into `host`.
    ///
    /// # Errors
    /// What the browser said, where the module could not be loaded.
    pub async fn mount(host: &HtmlElement, project: &str, session: &str, focus: bool, told: Told) -> Result<Self, String> {
        let said = |error: JsValue| browser::get(&error, "message").as_string().unwrap_or_else(|| "not loaded".to_owned());
        let load: Function = browser::global("fsaTerminal").dyn_into().map_err(|_| "the page has no terminal".to_owned())?;
        let module: Promise = load.call0(&window()).map_err(said)?.dyn_into().map_err(|_| "not loaded".to_owned())?;
        let module = JsFuture::from(module).await.map_err(said)?;

        let Told { mut state, mut title, mut output, mut leave, mut found, mut ctrl } = told;
        let options = Object::new();
        browser::set(&options, "projectId", project);
        browser::set(&options, "url", format!("/api/sandbox/{project}/terminal"));
        browser::set(&options, "session", session);
        browser::set(&options, "focus", focus);
        if let Some(size) = browser::remembered("fsa.font-size").and_then(|size| size.parse::<u32>().ok()) {
            browser::set(&options, "fontSize", size);
        }
        browser::set(&options, "screenReader", browser::remembered("fsa.screen-reader").is_some());
        browser::set(&options, "onState", browser::function(move |change| state(Change::read(&change))));
        browser::set(&options, "onTitle", browser::function(move |text| title(text.as_string().unwrap_or_default())));
        browser::set(&options, "onOutput", browser::function(move |_| output()));
        browser::set(&options, "onLeave", browser::function(move |_| leave()));
        browser::set(&options, "onCtrl", browser::function(move |held| ctrl(held.is_truthy())));
        let matches = move |result: JsValue| {
            let number = |name| browser::get(&result, name).as_f64().unwrap_or(-1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be small counts")]
            let count = |n: f64| (n >= 0.0).then_some(n as u32);
            found(count(number("index")), count(number("count")).unwrap_or(0));
        };
        browser::set(&options, "onSearch", browser::function(matches));
        let handle = browser::call(&module, "mount", &[host.into(), options.into()]);
        if handle.is_undefined() { Err("the terminal did not start".to_owned()) } else { Ok(Self(handle)) }
    }

    fn call(&self, name: &str, arguments: &[JsValue]) -> JsValue {
        browser::call(&self.0, name, arguments)
    }

    /// Takes the focus.
    pub fn focus(&self) {
        self.call("focus", &[]);
    }

    /// Lets go of the session, which lives on.
    pub fn dispose(&self) {
        self.call("dispose", &[]);
    }

    /// Whether it can be seen now.
    pub fn set_visible(&self, visible: bool) {
        self.call("setVisible", &[visible.into()]);
    }

    /// Tries to connect now.
    pub fn poke(&self) {
        self.call("poke", &[]);
    }

    /// A new shell where the last one ended.
    pub fn restart_ended(&self) {
        self.call("restartEnded", &[]);
    }

    /// Finds a text, forwards or backwards.
    pub fn search(&self, text: &str, backwards: bool) {
        let options = Object::new();
        browser::set(&options, if backwards { "prev" } else { "next" }, true);
        self.call("search", &[text.into(), options.into()]);
    }

    /// Ends the search.
    pub fn clear_search(&self) {
        self.call("clearSearch", &[]);
    }

    /// Types a key of the on-screen row.
    pub fn key(&self, name: &str) {
        self.call("key", &[name.into()]);
    }

    /// Holds Ctrl for the next character.
    pub fn set_ctrl(&self, held: bool) {
        self.call("setCtrl", &[held.into()]);
    }

    /// Types a text, as pasted.
    pub fn paste(&self, text: &str) {
        self.call("paste", &[text.into()]);
    }
}
