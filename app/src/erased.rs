//! Generic parts of Leptos with their types taken away, so that each is compiled once and not once a
//! use. Together with `html!` and `--cfg erase_components` (.cargo/config.toml) this is why the
//! WebAssembly fits its budget, and the crate compiles in seconds.

use crate::{browser, state::State};
use leptos::{ev, prelude::*};
use std::sync::Arc;

/// An effect.
pub fn effect(f: impl FnMut() + 'static) {
    // A closure is generic over what the function around it is: hence the inner ones here.
    fn inner(mut f: Box<dyn FnMut()>) {
        Effect::new(move |_: Option<()>| f());
    }
    inner(Box::new(f));
}

/// An effect that does not run at first, but each time that what `when` reads changes.
pub fn later(when: impl Fn() + 'static, f: impl FnMut() + 'static) {
    fn inner(when: Box<dyn Fn()>, mut f: Box<dyn FnMut()>) {
        let mut first = true;
        Effect::new(move |_: Option<()>| {
            when();
            if first {
                first = false;
            } else {
                untrack(&mut f);
            }
        });
    }
    inner(Box::new(when), Box::new(f));
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
    fn inner(items: Arc<dyn Fn() -> Vec<Item> + Send + Sync>) -> AnyView {
        html! { <For each=move || items() key=|item| item.key.clone() let:item>{(item.view)()}</For> }
    }
    inner(Arc::new(items))
}

/// Text that may change.
#[derive(Clone)]
pub struct Words(Arc<dyn Fn() -> String + Send + Sync>);

impl Words {
    /// What `text` says each time.
    pub fn new(text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(text))
    }

    /// The text now.
    #[must_use]
    pub fn get(&self) -> String {
        (self.0)()
    }
}

impl From<&'static str> for Words {
    fn from(text: &'static str) -> Self {
        Self::new(move || text.to_owned())
    }
}

/// Takes over what was typed into a field before the page was alive. For a field whose value is not set
/// by the page: setting it would wipe that out.
pub fn typed_before(id: &'static str, into: State<String>) {
    effect(move || {
        let value = document().get_element_by_id(id).and_then(|field| browser::get(&field, "value").as_string());
        if let Some(value) = value.filter(|value| into.with_untracked(|known| known != value)) {
            into.set(value);
        }
    });
}

/// The handler of a field that is typed into.
pub fn typing(into: State<String>) -> Box<dyn FnMut(ev::Event)> {
    on(move |event| into.set(event_target_value(&event)))
}
