//! The WebAssembly entry: `hydrate()`, nothing else.

use wasm_bindgen::prelude::wasm_bindgen;

/// Makes the page that the server rendered alive.
#[wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    leptos::mount::hydrate_body(app::App);
}
