//! The HTML document around [`App`]: assets, the first scripts, the content security policy's nonce.

use crate::{App, control::RequestContext};
use leptos::{nonce::Nonce, prelude::*};
use leptos_meta::MetaTags;
use std::sync::Arc;

/// Before the first paint: the looks that were chosen in this browser, and how wide its preview is.
pub const THEME: &str = "for(const m of document.cookie.matchAll(/(?:^|; )(theme|motion)=(light|dark|reduced)/g))document.documentElement.dataset[m[1]]=m[2];{const m=/(?:^|; )share=(\\d{3})/.exec(document.cookie);if(m)document.documentElement.style.setProperty('--preview-share',m[1]/10+'%')}";

/// Until the page is alive: what is clicked is kept and done then, and no form is sent as the browser
/// would send it. A button that the server wrote into an element has one of the same words in its place by then. Where the page
/// does not come alive (`fsaDead`), its buttons can be clicked again, and what was kept is forgotten.
const EARLY: &str = "(()=>{let kept,host;const said=b=>b.textContent+'|'+b.getAttribute('aria-label'),click=e=>{const t=e.target.closest('button,[role^=menuitem]');if(t){e.preventDefault();e.stopPropagation();kept=t;for(host=t;host&&!host.localName.startsWith('fsa-');)host=host.parentElement}},submit=e=>e.preventDefault();addEventListener('click',click,true);addEventListener('submit',submit,true);window.fsaReady=()=>{removeEventListener('click',click,true);removeEventListener('submit',submit,true);document.documentElement.dataset.ready='';if(kept&&!kept.isConnected)kept=host&&[...host.querySelectorAll('button')].find(b=>said(b)===said(kept));kept?.click()};window.fsaDead=()=>{removeEventListener('click',click,true);kept=undefined}})()";

/// How every part of a page is loaded, and what is said where one does not come.
pub const LOAD: &str = include_str!("load.js");

/// The sign-in page needs no WebAssembly: this is all of it.
const SIGN_IN: &str = include_str!("sign_in.js");

/// The icon of the browser's tab.
pub const FAVICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 20 20'%3E%3Crect width='20' height='20' rx='5' fill='%2317191e'/%3E%3Cpath d='M5 6.25h10M5 10h7M5 13.75h4' stroke='%23fff' stroke-width='1.8' stroke-linecap='round'/%3E%3Crect x='11.2' y='12.25' width='3.8' height='3' rx='.7' fill='%236f9bff'/%3E%3C/svg%3E";

/// The whole document for one request. To be called as the app function of the rendering, under the
/// request's own owner. Erased here, so that whoever serves it compiles none of the page.
pub fn shell(context: &RequestContext) -> AnyView {
    // Leptos writes scripts of its own, with this nonce.
    provide_context(Nonce::from_value(context.nonce.as_str()));
    let nonce: Arc<str> = context.nonce.as_str().into();
    let assets = context.assets.clone();
    let signing_in = use_context::<axum::http::request::Parts>().is_some_and(|parts| parts.uri.path() == "/sign-in");
    let first = if signing_in { THEME.to_owned() } else { format!("{THEME};{EARLY};{LOAD}") };
    let alive = (!signing_in).then(|| {
        // The keys of the page and the elements in it are there before it counts as alive.
        let start = format!(
            "fsaLasting('This page did not come alive.','body',()=>Promise.all([fsaLoad('{js}',m=>fsaLoad('{wasm}',()=>m,()=>m.default({{module_or_path:'{wasm}'}}))),fsaLoad('{elements}'),fsaLoad('{log}',m=>customElements.define('fsa-log',m.Log)),fsaLoad('{github}',m=>m.define()),fsaLoad('{activity}',m=>customElements.define('fsa-activity',m.Activity))]).catch(e=>{{fsaDead();throw e}}))().then(([m])=>m.hydrate()).catch(e=>{{console.error(e);fsaDead();fsaMissing('This page did not come alive.','body')}});window.fsaTerminal=fsaLasting('The terminal could not be loaded.','.terminals>.terminal:not([hidden])',()=>fsaLoad('{terminal}'))",
            js = assets.frontend_js,
            wasm = assets.frontend_wasm,
            elements = assets.elements_js,
            log = assets.log_js,
            github = assets.github_js,
            activity = assets.activity_js,
            terminal = assets.terminal_js,
        );
        html! {
            <link rel="modulepreload" href=assets.frontend_js.clone()/>
            <link rel="modulepreload" href=assets.elements_js.clone()/>
            <link rel="preload" href=assets.frontend_wasm.clone() r#as="fetch" r#type="application/wasm" crossorigin=""/>
            <link rel="stylesheet" href=assets.terminal_css.clone()/>
            <script type="module" nonce=nonce.clone() inner_html=start></script>
        }
    });
    // What is about GitHub has its place before it has asked.
    let github = context.control.has_github().then_some("");
    let sign_in = signing_in.then(|| html! { <script nonce=nonce.clone() inner_html=SIGN_IN></script> });
    html! {
        <!DOCTYPE html>
        <html lang="en" data-github=github>
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                <meta name="fsa-icons" content=assets.icons_svg.clone()/>
                <meta name="fsa-notices" content=crate::components::banners::notices(context)/>
                <script nonce=nonce.clone() inner_html=first></script>
                <link rel="icon" href=FAVICON/>
                <link rel="stylesheet" href=assets.main_css.clone()/>
                {alive}
                <MetaTags/>
            </head>
            <body>
                <App/>
                {sign_in}
            </body>
        </html>
    }
}
