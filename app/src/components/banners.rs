//! Banners: what is true of the whole page and lasts.

use super::{icon::icon, prose::prose};
use crate::{
    browser,
    clock::Clock,
    erased::on,
    live::{Link, Live},
    state::Derived,
    time, words,
};
use leptos::prelude::*;

/// A stream that is away for less says nothing.
const PATIENCE_MS: f64 = 2_000.0;

/// The installation's notices, and how the stream is.
#[component]
pub fn Banners() -> impl IntoView {
    html! {
        <Notices/>
        <div role="status" class="link-banner">
            <LinkBanner/>
        </div>
    }
}

/// The installation's notices, which every page says, whether it could be loaded or not: they are in
/// the document's head, so that the browser writes what the server wrote.
#[component]
pub fn Notices() -> impl IntoView {
    #[cfg(feature = "ssr")]
    let text = use_context::<crate::control::RequestContext>().map(|context| notices(&context)).unwrap_or_default();
    #[cfg(not(feature = "ssr"))]
    let text = browser::meta("fsa-notices");
    let strip = |notice: String| {
        html! {
            <div class="banner banner-strip" data-tone="warn" role="note">
                {icon("warning")} <p>{prose(&notice)}</p>
            </div>
        }
    };
    let live = use_context::<Live>().unwrap_or_default();
    move || live.notices().unwrap_or_else(|| text.lines().map(str::to_owned).collect()).into_iter().map(strip).collect_view()
}

/// As they stand in the head: one a line.
#[cfg(feature = "ssr")]
pub fn notices(context: &crate::control::RequestContext) -> String {
    context.control.notices(context.viewer.as_ref()).iter().map(|notice| notice.replace('\n', " ")).collect::<Vec<_>>().join("\n")
}

#[derive(Clone, PartialEq)]
enum Shown {
    Nothing,
    Lost,
    SignedOut,
    Back(String),
}

#[component]
fn LinkBanner() -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let clock = use_context::<Clock>().unwrap_or_default();
    let shown = Derived::new(move || match live.link() {
        Link::Lost { since, .. } => {
            // The tick of the clock, and the browser's own time: `since` is of the browser.
            clock.track();
            if browser::now() - since >= PATIENCE_MS { Shown::Lost } else { Shown::Nothing }
        }
        Link::SignedOut => Shown::SignedOut,
        Link::Connecting => Shown::Nothing,
        Link::Live => match live.returned() {
            Some(away) if away >= PATIENCE_MS => Shown::Back(time::span(away)),
            _ => Shown::Nothing,
        },
    });
    let as_of = move || match live.link() {
        Link::Lost { as_of, .. } => browser::time_of_day(as_of),
        _ => String::new(),
    };
    let tries = move || match live.link() {
        Link::Lost { tries, next_at, .. } => {
            clock.track();
            let tried = words::count(usize::try_from(tries).unwrap_or_default(), "try", "tries");
            match next_at {
                Some(at) => format!("{tried}, next in {}.", time::span((at - browser::now()).max(0.0) + 999.0)),
                None => "Trying now.".to_owned(),
            }
        }
        _ => String::new(),
    };
    move || match shown.get() {
        Shown::Nothing => ().into_any(),
        Shown::Lost => html! {
            <div class="banner banner-strip" data-tone="warn">
                {icon("offline")}
                <p>
                    <strong>"Reconnecting…"</strong> " Showing the state as of " <time>{as_of}</time> ". "
                    <span aria-live="off">{tries}</span> " Sandboxes and terminals keep running."
                </p>
                <button type="button" class="button" data-size="small" on:click=on(move |_| live.reconnect())>"Reconnect now"</button>
            </div>
        },
        Shown::SignedOut => html! {
            <div class="banner banner-strip" data-tone="bad">
                {icon("signout")}
                <p><strong>"You are signed out."</strong> " This page shows an old state, and nothing can be changed."</p>
                <a class="button" data-size="small" href="/sign-in" rel="external">"Sign in"</a>
            </div>
        },
        Shown::Back(away) => html! {
            <div class="banner banner-strip" data-tone="good">
                {icon("check")} <p><strong>"Reconnected"</strong> " after " {away} ". Nothing was missed."</p>
            </div>
        },
    }
}

/// In the top bar: "Live", or how old the state is.
#[component]
pub fn LinkNote() -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let (tone, glyph) = (
        move || match live.link() {
            Link::Connecting => "neutral",
            Link::Live => "good",
            Link::Lost { .. } | Link::SignedOut => "warn",
        },
        move || match live.link() {
            Link::Lost { .. } | Link::SignedOut => icon("offline"),
            Link::Connecting | Link::Live => icon("signal"),
        },
    );
    let text = move || match live.link() {
        Link::Connecting => "Connecting".to_owned(),
        Link::Live => "Live".to_owned(),
        Link::Lost { as_of, .. } => format!("As of {}", browser::time_of_day(as_of)),
        Link::SignedOut => "Signed out".to_owned(),
    };
    html! {
        <span class="state-note small hide-narrow link-note" data-tone=tone title="State arrives as it changes.">
            {glyph} {text}
        </span>
    }
}
