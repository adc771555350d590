//! The frame of pages: top bar, side navigation, banners, and the page itself.

use super::{
    banners::{Banners, LinkNote, Notices},
    icon::{brand_mark, icon},
    menu::Menu,
    phase_pill::PhasePill,
    project::{CauseNote, Project, TerminateDialog, VerbButton, VerbItem},
    toast::Toasts,
    when,
};
use crate::{
    browser,
    clock::Clock,
    erased::{Words, effect, on},
    error::{ControlError, ErrorKind},
    live::Live,
    pages::part::{DATABASE, FILES, LOGS},
    state::{Derived, State},
    words::{self, Verb},
};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::hooks::use_location;
use model::{Phase, view::Viewer};

/// A page of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    /// Terminal and preview.
    Workspace,
    /// Variables.
    Environment,
    /// What happened.
    Activity,
    /// One that an element of its own fills, by its place among them.
    Part(usize),
    /// Name, size, danger zone.
    Settings,
}

/// The frame alone, while a page loads or cannot be shown.
#[component]
pub fn Blank(#[prop(optional)] children: Option<Children>) -> impl IntoView {
    html! {
        <div class="app">
            <header class="top-bar">{brand("FullStack Agent")}</header>
            <main id="main" tabindex="-1" class="wide"><Notices/>{children.map(|children| children())}</main>
        </div>
    }
}

/// The frame of a page that belongs to no project.
#[component]
pub fn Frame(
    /// Where the page is.
    here: &'static str,
    children: Children,
) -> impl IntoView {
    html! {
        <div class="app">
            <header class="top-bar">
                {brand("FullStack Agent")}
                <nav class="breadcrumb" aria-label="Breadcrumb">
                    <span class="breadcrumb-slash" aria-hidden="true">"/"</span>
                    {(here != "Projects").then(|| html! {
                        <a class="breadcrumb-root" href="/">"Projects"</a>
                        <span class="breadcrumb-slash breadcrumb-root" aria-hidden="true">"/"</span>
                    })}
                    <span class="breadcrumb-here" aria-current="page">{here}</span>
                </nav>
                <div class="top-bar-end"><LinkNote/>{palette_button()}<AccountMenu/></div>
            </header>
            <main id="main" tabindex="-1" class="wide"><Banners/>{children()}</main>
        </div>
    }
}

/// The frame of a page of a project.
#[component]
pub fn ProjectFrame(
    /// Which.
    project: Project,
    /// Which of its pages.
    tab: Tab,
    children: Children,
) -> impl IntoView {
    let workspace = tab == Tab::Workspace;
    let name = move || html! { <bdi>{move || project.name.get()}</bdi> };
    let heading = if workspace {
        html! { <h1><span>{name}</span></h1> }
    } else {
        html! { <a class="breadcrumb-here" href=project.address("")><span>{name}</span></a> }
    };
    let sandboxes = format!("<fsa-sandboxes project=\"{}\"></fsa-sandboxes>", project.id);
    let main = if workspace { "workspace-main" } else { "" };
    html! {
        <div class="app" class:workspace-app=workspace>
            <header class="top-bar">
                {brand("")}
                <nav class="breadcrumb breadcrumb-root" aria-label="Breadcrumb">
                    <span class="breadcrumb-slash" aria-hidden="true">"/"</span>
                    <a href="/">"Projects"</a>
                    <span class="breadcrumb-slash" aria-hidden="true">"/"</span>
                </nav>
                <div class="breadcrumb">{heading}<div class="menu-anchor" inner_html=sandboxes></div><span role="status"><PhasePill phase=project.phase/></span></div>
                <div class="top-bar-end"><LinkNote/>{palette_button()}<SandboxMenu project/><AccountMenu/></div>
            </header>
            <SideNav project tab/>
            <main id="main" tabindex="-1" class=main><Banners/><CauseNote project starts=workspace/>{children()}</main>
            {workspace.then(|| html! { <super::status_bar::StatusBar project/> })}
        </div>
        <super::delete_dialog::DeleteDialog project/>
        <TerminateDialog project/>
    }
}

/// Opens the command palette, which is `frontend/js/palette.ts`, as everything with `data-opens`.
fn palette_button() -> AnyView {
    html! {
        <button
            type="button"
            class="button hide-narrow"
            data-size="small"
            data-opens="palette"
            aria-label="Search and commands, Ctrl K"
            aria-keyshortcuts="Control+K Meta+K"
        >
            {icon("search")} <kbd class="kbd">"Ctrl K"</kbd>
        </button>
    }
}

fn brand(name: &'static str) -> AnyView {
    html! {
        <a class="brand" href="/" aria-label="FullStack Agent, all projects">
            {brand_mark()} {(!name.is_empty()).then(|| html! { <span class="brand-name">{name}</span> })}
        </a>
    }
}

/// Whether the address names the preview: where one pane is shown, that one. From an effect on, as no
/// server sees this part of an address. Who leaves the page changes the address too, and what still
/// asks then is told `false`: the page is gone, and a panic would end all others with it.
pub fn at_preview() -> impl Fn() -> bool + Copy + Send + Sync + 'static {
    let hash = use_location().hash;
    let at = State::new(false);
    effect(move || at.set(hash.get() == "#preview"));
    move || at.try_get().unwrap_or_default()
}

#[component]
fn SideNav(project: Project, tab: Tab) -> impl IntoView {
    let preview = at_preview();
    let link = move |page: &'static str, of: Tab, icon_name: &str, label: &'static str| {
        let current = move || (of == tab && (of != Tab::Workspace || preview() == (page == "#preview"))).then_some("page");
        let href = if page.starts_with('#') { format!("{}{page}", project.address("")) } else { project.address(page) };
        let hint = (of == Tab::Environment).then(|| {
            html! {
                <span class="nav-hint" data-tone="warn" hidden=move || !project.restart_pending.get()>
                    <span class="visually-hidden">"Changes wait for a restart"</span>
                </span>
            }
        });
        html! {
            <a href=href aria-current=current>
                {icon(icon_name)} <span class="nav-label">{label}</span> {hint}
            </a>
        }
    };
    html! {
        <nav class="side-nav" data-rail=(tab == Tab::Workspace).then_some("") aria-label="Project">
            {link("", Tab::Workspace, "terminal", "Terminal")}
            {link("#preview", Tab::Workspace, "preview", "Preview")}
            {link("database", Tab::Part(DATABASE), "database", "Database")}
            {link("environment", Tab::Environment, "environment", "Environment")}
            {link("files", Tab::Part(FILES), "files", "Files")}
            {link("activity", Tab::Activity, "activity", "Activity")}
            {link("logs", Tab::Part(LOGS), "log", "Logs")}
            {link("settings", Tab::Settings, "settings", "Settings")}
        </nav>
    }
}

/// Start, stop and the rest: one button that shows the likeliest, and all of them in a menu.
#[component]
fn SandboxMenu(project: Project) -> impl IntoView {
    let local = use_context::<Live>().unwrap_or_default().local();
    let clock = use_context::<Clock>().unwrap_or_default();
    let lasting = move || {
        project.view.with(|view| {
            view.sandbox.since.map_or_else(
                || view.sandbox.phase.label().to_owned(),
                |since| format!("{} for {}", view.sandbox.phase.label(), when::lasting(since, clock)),
            )
        })
    };
    let first = Derived::new(move || match project.phase.get() {
        Phase::Stopped | Phase::Terminated => Some((Verb::Start, "Start", Some("primary"))),
        Phase::Creating | Phase::Starting => Some((Verb::Stop, "Cancel start", None)),
        _ => None,
    });
    let button = html! {
        {icon("more")} <span class="hide-narrow">"Actions"</span> {icon("down")}
    };
    html! {
        {move || first.get().map(|(verb, text, kind)| match kind {
            Some(kind) => html! { <VerbButton project verb text kind size="small"/> },
            None => html! { <VerbButton project verb text size="small"/> },
        })}
        <Menu name="Sandbox actions" label="Sandbox actions" button>
            <p class="menu-title">{lasting}</p>
            <VerbItem project verb=Verb::Start note=words::soon(local)/>
            <VerbItem project verb=Verb::Stop note="keeps files"/>
            <VerbItem project verb=Verb::Restart note="ends what runs"/>
            <hr role="separator"/>
            <a role="menuitem" tabindex="-1" href=project.address("environment")>
                {icon("environment")} "Environment"
                <span class="menu-note">{move || project.restart_pending.get().then_some("changes wait")}</span>
            </a>
            <VerbItem project verb=Verb::Terminate note=if project.view.with_untracked(|view| view.database) { "keeps files and database" } else { "keeps files" }/>
            <button type="button" role="menuitem" tabindex="-1" data-kind="danger" on:click=on(move |_| project.deleting.set(true))>
                {icon("trash")} {project.removal()}
            </button>
        </Menu>
    }
}

/// Who is signed in, and what is theirs.
#[component]
fn AccountMenu() -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    let name = Derived::new(move || live.viewer().map(|Viewer { name, .. }| name).unwrap_or_default());
    let button = html! { <span class="avatar" aria-hidden="true" data-initials=move || words::initials(&name.get())></span> };
    html! {
        <Menu
            name="Account"
            label=Words::new(move || format!("Account: {}", name.get()))
            kind="quiet"
            shape="icon"
            button
        >
            <p class="menu-title">"Signed in as " <bdi>{move || name.get()}</bdi></p>
            <a role="menuitem" tabindex="-1" href="/settings">{icon("settings")} "Account settings"</a>
            <a role="menuitem" tabindex="-1" href="/activity">{icon("activity")} "All activity"</a>
            <button type="button" role="menuitem" tabindex="-1" data-opens="palette">{icon("search")} "Commands"</button>
            <button type="button" role="menuitem" tabindex="-1" data-opens="shortcuts">{icon("keyboard")} "Keyboard shortcuts"</button>
            <button type="button" role="menuitem" tabindex="-1" on:click=on(move |_| switch_theme())>
                {icon("moon")} "Switch theme"
            </button>
            <hr role="separator"/>
            <button type="button" role="menuitem" tabindex="-1" on:click=on(move |_| sign_out(toasts))>{icon("signout")} "Sign out"</button>
        </Menu>
    }
}

/// Ends the session and goes to the sign-in page; says so where that failed.
pub fn sign_out(toasts: Toasts) {
    spawn_local(async move {
        let init = web_sys::RequestInit::new();
        init.set_method("POST");
        let sent = wasm_bindgen_futures::JsFuture::from(window().fetch_with_str_and_init("/api/sign-out", &init)).await;
        // A session that is no more is signed out as well.
        let out = sent.is_ok_and(|answer| {
            browser::get(&answer, "ok").is_truthy() || browser::get(&answer, "status").as_f64() == Some(401.0)
        });
        if out {
            browser::go("/sign-in");
        } else {
            let why = "The server did not answer, or could not end the session.";
            toasts.refused(
                "You are still signed in",
                &ControlError::new(ErrorKind::Unavailable, "unreachable", why, "Try again in a moment."),
            );
        }
    });
}

/// The theme of this browser: `None` follows the system.
pub fn set_theme(theme: Option<&str>) {
    set_look("theme", theme);
}

/// Chooses a look for this browser, or lets the system choose.
pub fn set_look(name: &str, value: Option<&str>) {
    let Some(root) = document().document_element() else { return };
    let attribute = format!("data-{name}");
    drop(match value {
        Some(value) => root.set_attribute(&attribute, value),
        None => root.remove_attribute(&attribute),
    });
    browser::set_cookie(name, value);
}

/// The look that was chosen in this browser.
#[must_use]
pub fn look(name: &str) -> Option<String> {
    document().document_element()?.get_attribute(&format!("data-{name}"))
}

/// From light to dark or back.
pub fn switch_theme() {
    let dark = look("theme").map_or_else(
        || {
            let query = browser::call(&window(), "matchMedia", &["(prefers-color-scheme: dark)".into()]);
            browser::get(&query, "matches").is_truthy()
        },
        |theme| theme == "dark",
    );
    set_theme(Some(if dark { "light" } else { "dark" }));
}
