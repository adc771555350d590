//! What pages ask of the browser beyond the DOM. Called from effects and event handlers only: on the
//! server these compile and are never reached.

use js_sys::{Array, Function, Promise, Reflect};
use leptos::prelude::{document, window};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Element, HtmlElement};

/// A property, or `undefined`.
#[must_use]
pub fn get(of: &JsValue, name: &str) -> JsValue {
    Reflect::get(of, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED)
}

/// Sets a property.
pub fn set(of: &JsValue, name: &str, value: impl Into<JsValue>) {
    drop(Reflect::set(of, &JsValue::from_str(name), &value.into()));
}

/// Calls a method; `undefined` where there is none, or where it throws.
pub fn call(of: &JsValue, name: &str, arguments: &[JsValue]) -> JsValue {
    match get(of, name).dyn_into::<Function>() {
        Ok(method) => method.apply(of, &arguments.iter().collect::<Array>()).unwrap_or(JsValue::UNDEFINED),
        Err(_) => JsValue::UNDEFINED,
    }
}

/// A function of one argument that lives as long as the page.
#[must_use]
pub fn function(f: impl FnMut(JsValue) + 'static) -> JsValue {
    Closure::<dyn FnMut(JsValue)>::new(f).into_js_value()
}

/// A global, such as `navigator`.
#[must_use]
pub fn global(name: &str) -> JsValue {
    get(&window(), name)
}

/// Milliseconds since the epoch, by the browser's clock.
#[must_use]
pub fn now() -> f64 {
    js_sys::Date::now()
}

/// "12:04:05" in the viewer's own time zone.
#[must_use]
pub fn time_of_day(ms: f64) -> String {
    let date = js_sys::Date::new(&JsValue::from_f64(ms));
    format!("{:02}:{:02}:{:02}", date.get_hours(), date.get_minutes(), date.get_seconds())
}

/// A promise that is kept after `ms`.
pub fn timer(ms: i32) -> Promise {
    Promise::new(&mut |resolve, _| {
        drop(window().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, ms));
    })
}

/// Waits.
pub async fn sleep(ms: i32) {
    drop(JsFuture::from(timer(ms)).await);
}

/// What was remembered under a name in this browser.
#[must_use]
pub fn remembered(name: &str) -> Option<String> {
    call(&global("localStorage"), "getItem", &[name.into()]).as_string()
}

/// Remembers, or forgets.
pub fn remember(name: &str, value: Option<&str>) {
    let storage = global("localStorage");
    match value {
        Some(value) => call(&storage, "setItem", &[name.into(), value.into()]),
        None => call(&storage, "removeItem", &[name.into()]),
    };
}

/// Puts text into the clipboard; says whether that worked.
pub async fn copy(text: &str) -> bool {
    let clipboard = get(&global("navigator"), "clipboard");
    match call(&clipboard, "writeText", &[text.into()]).dyn_into::<Promise>() {
        Ok(promise) => JsFuture::from(promise).await.is_ok(),
        Err(_) => false,
    }
}

/// Goes to an address by a full load.
pub fn go(address: &str) {
    drop(window().location().replace(address));
}

/// The first element below `of` that a selector finds.
#[must_use]
pub fn find(of: &Element, selector: &str) -> Option<HtmlElement> {
    of.query_selector(selector).ok().flatten()?.dyn_into().ok()
}

/// The element that has the focus.
#[must_use]
pub fn focused() -> Option<Element> {
    document().active_element()
}

/// Whether the focus is where single keys are typed: a field, a terminal, a dialog.
#[must_use]
pub fn typing() -> bool {
    focused().is_some_and(|element| {
        element.closest("input, textarea, select, [contenteditable], .terminal-host, dialog, iframe").ok().flatten().is_some()
    })
}

/// Moves the focus among the elements of a selector by arrow keys, Home and End. Says whether the
/// key was one of these.
pub fn roam(within: &Element, selector: &str, key: &str) -> bool {
    let items: Vec<HtmlElement> = Array::from(&call(within, "querySelectorAll", &[selector.into()]))
        .iter()
        .filter_map(|item| item.dyn_into().ok())
        .collect();
    let at = focused().and_then(|focused| items.iter().position(|item| item.is_same_node(Some(&focused))));
    let Some(last) = items.len().checked_sub(1) else { return false };
    let next = match (key, at) {
        ("Home", _) | ("ArrowDown" | "ArrowRight", None) => 0,
        ("End", _) | ("ArrowUp" | "ArrowLeft", None) => last,
        ("ArrowDown" | "ArrowRight", Some(at)) => (at + 1) % items.len(),
        ("ArrowUp" | "ArrowLeft", Some(at)) => at.checked_sub(1).unwrap_or(last),
        _ => return false,
    };
    drop(items[next].focus());
    true
}

/// Where an element is on the screen: left edge and width.
#[must_use]
pub fn extent(of: &Element) -> (f64, f64) {
    let rect = call(of, "getBoundingClientRect", &[]);
    (get(&rect, "left").as_f64().unwrap_or(0.0), get(&rect, "width").as_f64().unwrap_or(0.0))
}
