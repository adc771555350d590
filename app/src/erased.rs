//! Generic parts of Leptos with their types taken away, so that each is compiled once and not once a
//! use. Together with `html!` and `--cfg erase_components` (.cargo/config.toml) this is why the
//! WebAssembly fits its budget, and the crate compiles in seconds.

use leptos::prelude::*;
use std::sync::Arc;

/// An effect.
pub fn effect(f: impl FnMut() + 'static) {
    let mut f: Box<dyn FnMut()> = Box::new(f);
    Effect::new(move |_: Option<()>| f());
}

/// An event handler.
pub fn on<E: 'static>(f: impl FnMut(E) + 'static) -> Box<dyn FnMut(E)> {
    Box::new(f)
}

/// One row of a [`list`].
pub struct Item {
    key: String,
    view: Box<dyn FnOnce() -> AnyView + Send>,
}

impl Item {
    /// A row that stays as it is for as long as its key does.
    pub fn new(key: impl ToString, view: impl FnOnce() -> AnyView + Send + 'static) -> Self {
        Self { key: key.to_string(), view: Box::new(view) }
    }
}

/// Rows by key: those whose key stays are moved, never made anew.
pub fn list(items: impl Fn() -> Vec<Item> + Send + Sync + 'static) -> AnyView {
    let items: Arc<dyn Fn() -> Vec<Item> + Send + Sync> = Arc::new(items);
    html! { <For each=move || items() key=|item| item.key.clone() let:item>{(item.view)()}</For> }
}
