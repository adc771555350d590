//! The pane with the preview of one port. It loads by itself when something listens, and never
//! switches to another port by itself once it has shown one.

use super::{dialog::Dialog, explanation::field_message, icon::icon, menu::Menu, project::Project, toast::Toasts};
use crate::{
    api,
    erased::{Item, Words, effect, later, list, on, typing},
    error::ControlError,
    live::Live,
    state::{Derived, State},
};
use leptos::task::spawn_local;
use leptos::{ev, prelude::*};
use model::{
    Phase,
    port::{APPLICATION, OpenPort, PreviewPort, USUAL},
};
use wasm_bindgen::JsCast;

/// The name of the frame, which forms are posted into.
const FRAME: &str = "preview";
/// What a page in the preview may do: everything but to take the place of this page.
const SANDBOX: &str = "allow-scripts allow-same-origin allow-forms allow-popups allow-modals allow-downloads";

/// What it does beside showing a port. Named here: a literal would be written into the page as an attribute.
const ELEMENT: &str = "<fsa-preview></fsa-preview>";

/// The pane.
#[component]
pub fn PreviewPane(
    /// Whose ports.
    project: Project,
    /// The port that is shown.
    port: State<u16>,
    /// Whether a port was shown or chosen: from then on only the user changes it.
    settled: State<bool>,
) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    // The port that the frame shows, or was last asked to.
    let loaded = State::new(None::<u16>);
    // Where that is: some previews' addresses are known only when they are opened.
    let at = State::new(String::new());
    let refused = State::new(None::<ControlError>);
    let another = State::new(false);
    let running = Derived::new(move || matches!(project.phase.get(), Phase::Running | Phase::Updating));
    // The shown port, while something listens on it.
    let ready = Derived::new(move || {
        let port = port.get();
        (running.get() && project.ports.with(|ports| ports.iter().any(|open| open.port == port))).then_some(port)
    });
    let listening = Derived::new(move || ready.get().is_some());

    let load = move || {
        let wanted = port.get_untracked();
        spawn_local(async move {
            let answer = api::open_preview(project.id, wanted).await;
            // Meanwhile another one was chosen, or the page was left.
            if port.try_get_untracked() != Some(wanted) {
                return;
            }
            match answer {
                Ok(code) => {
                    refused.set(None);
                    at.set(code.url);
                    loaded.set(Some(wanted));
                    post(&code.action, &code.code, FRAME);
                }
                Err(error) => {
                    live.failed(&error);
                    refused.set(Some(error));
                }
            }
        });
    };
    // The first port that opens is shown, unless the user has chosen.
    effect(move || {
        if !settled.get()
            && running.get()
            && let Some(first) = project.ports.with(|ports| first_port(ports, port.get_untracked()))
        {
            settled.set(true);
            port.set(first);
        }
    });
    effect(move || {
        if ready.get().is_some() {
            load();
        }
    });
    // What was said and shown of one run says nothing of the next.
    effect(move || {
        if !running.get() {
            refused.set(None);
            loaded.set(None);
        }
    });
    let reload = move |_| {
        if listening.get_untracked() {
            load();
        }
    };
    let in_tab = move |_| {
        let wanted = port.get_untracked();
        spawn_local(async move {
            match api::open_preview(project.id, wanted).await {
                Ok(code) => post(&code.action, &code.code, "_blank"),
                Err(error) => {
                    live.failed(&error);
                    toasts.refused("The preview was not opened", &error);
                }
            }
        });
    };
    let address = Derived::new(move || {
        if loaded.get() == Some(port.get()) {
            return at.get();
        }
        project
            .urls
            .with(|urls| urls.preview.as_ref().map(|url| url.replace("{port}", &port.get().to_string())))
            .unwrap_or_default()
    });
    let shows = move || running.get() && loaded.get() == Some(port.get());
    let choose = move |chosen: u16| {
        settled.set(true);
        if port.get_untracked() != chosen {
            loaded.set(None);
            refused.set(None);
            port.set(chosen);
        }
    };
    let announced = State::new(String::new());
    let known = StoredValue::new(project.ports.get_untracked());
    later(
        move || project.ports.with(|_| ()),
        move || {
            let now = project.ports.get();
            let new = now.iter().find(|open| known.with_value(|known| !known.iter().any(|k| k.port == open.port)));
            if let Some(new) = new {
                announced.set(format!("Port {} is open.", new.port));
            }
            known.set_value(now);
        },
    );

    let button = html! { {move || format!(":{}", port.get())} {icon("down")} };
    let tool = move |label: &'static str, glyph: &'static str, act: Callback<()>, off: Derived<bool>| {
        html! {
            <button
                type="button"
                class="button"
                data-shape="icon"
                data-kind="quiet"
                data-size="small"
                aria-label=label
                title=label
                aria-disabled=move || off.get().then_some("true")
                on:click=on(move |_| if !off.get_untracked() { act.run(()) })
            >
                {icon(glyph)}
            </button>
        }
    };
    let silent = Derived::new(move || !listening.get());
    html! {
        <section class="pane preview-pane" aria-label="Preview" id="preview">
            <div class="pane-bar">
                {tool("Reload preview", "reload", Callback::new(move |()| reload(())), silent)}
                <div class="address">
                    <Menu
                        name="Ports"
                        label=Words::new(move || format!("Port {}, choose another", port.get()))
                        bare=true
                        start=true
                        button
                    >
                        <p class="menu-title">"Ports of this sandbox"</p>
                        {list(move || project.ports.with(|ports| offered(ports, port.get())).into_iter().map(move |item| {
                            let key = format!("{item:?}");
                            Item::new(key, move || html! { <PortItem item chosen=port choose=Callback::new(choose)/> })
                        }).collect())}
                        <hr role="separator"/>
                        <button type="button" role="menuitem" tabindex="-1" on:click=on(move |_| another.set(true))>
                            {icon("plus")} "Another port…"
                        </button>
                    </Menu>
                    <input aria-label="Preview address" data-port=move || port.get().to_string() spellcheck="false" autocomplete="off" value=move || address.get()/>
                </div>
                <div class="menu-anchor" inner_html=format!("<fsa-share project=\"{}\"></fsa-share>", project.id)></div>
                <div inner_html=ELEMENT></div>
                {tool("Open preview in a new tab", "external", Callback::new(move |()| in_tab(())), silent)}
            </div>
            <p class="visually-hidden" role="status">{move || announced.get()}</p>
            <iframe
                class="preview-frame"
                name=FRAME
                sandbox=SANDBOX
                allow="clipboard-read; clipboard-write; fullscreen"
                title=move || format!("Preview of port {}", port.get())
                hidden=move || !shows()
            ></iframe>
            {move || (shows() && !listening.get()).then(|| html! {
                <div class="banner banner-strip preview-note" data-tone="warn" role="note">
                    {icon("preview")}
                    <p>{move || format!("Nothing listens on port {} any more. The preview loads again when something does.", port.get())}</p>
                </div>
            })}
            {move || (!shows()).then(|| html! { <Empty project port running listening refused/> })}
            <AnotherPort open=another choose=Callback::new(choose)/>
        </section>
    }
}

/// Why there is no preview, and what brings it.
#[component]
fn Empty(
    project: Project,
    port: State<u16>,
    running: Derived<bool>,
    listening: Derived<bool>,
    refused: State<Option<ControlError>>,
) -> impl IntoView {
    let text = move || match (refused.get(), running.get(), listening.get()) {
        (Some(error), _, _) => {
            ("The preview was refused".to_owned(), format!("{} {}", error.message, error.next_steps.join(" ")))
        }
        (None, true, true) => (format!("Opening port {}", port.get()), "The page of your app is on its way.".to_owned()),
        (None, true, false) => (
            format!("Nothing listens on port {} yet", port.get()),
            "The preview opens by itself when your app does. Apps on 127.0.0.1, 0.0.0.0 and ::1 are all found.".to_owned(),
        ),
        (None, false, _) => (
            "Preview is asleep".to_owned(),
            format!(
                "{} The preview opens when it runs and something listens on port {}.",
                match project.phase.get() {
                    Phase::Error => "The sandbox is not as it should be.".to_owned(),
                    phase => format!("The sandbox is {}.", phase.label().to_lowercase()),
                },
                port.get()
            ),
        ),
    };
    html! {
        <div class="empty-state fill">
            <span class="empty-glyph">{icon("preview")}</span>
            <h2>{move || text().0}</h2>
            <p>{move || text().1}</p>
            {move || (running.get() && !listening.get()).then(|| html! {
                <p class="quiet small">"Watching every port. Port 5432 is the database and is not shown."</p>
            })}
        </div>
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PortChoice {
    port: u16,
    process: Option<String>,
    open: bool,
}

#[component]
fn PortItem(item: PortChoice, chosen: State<u16>, choose: Callback<u16>) -> impl IntoView {
    let port = item.port;
    let checked = move || chosen.get() == port;
    let note = if item.open { item.process.unwrap_or_else(|| "open".to_owned()) } else { "nothing listens".to_owned() };
    html! {
        <button
            type="button"
            role="menuitemradio"
            tabindex="-1"
            aria-checked=move || if checked() { "true" } else { "false" }
            on:click=on(move |_| choose.run(port))
        >
            <span class="menu-mark">{move || checked().then(|| icon("check"))}</span>
            <span class="mono">{port}</span> <span class="menu-note">{note}</span>
        </button>
    }
}

/// Asks for a port by its number.
#[component]
fn AnotherPort(open: State<bool>, choose: Callback<u16>) -> impl IntoView {
    let typed = State::new(String::new());
    let wrong = State::new(None::<String>);
    effect(move || {
        if open.get() {
            typed.set(String::new());
            wrong.set(None);
        }
    });
    let submit = move |event: ev::SubmitEvent| {
        event.prevent_default();
        match typed.with_untracked(|typed| typed.trim().parse::<PreviewPort>()) {
            Ok(port) => {
                wrong.set(None);
                open.set(false);
                choose.run(port.get());
            }
            Err(error) => wrong.set(Some(error.to_string())),
        }
    };
    html! {
        <Dialog open title="another-port-title" heading="Preview another port">
            <form novalidate on:submit=on(submit)>
                <div class="dialog-body">
                    <div class="field">
                        <label class="field-label" for="another-port">"Port"</label>
                        <input
                            class="input mono"
                            id="another-port"
                            inputmode="numeric"
                            autocomplete="off"
                            autofocus
                            aria-describedby="another-port-hint another-port-wrong"
                            aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                            prop:value=move || typed.get() on:input=typing(typed)
                        />
                        <p class="field-hint" id="another-port-hint">"What your app listens on, 1 to 65535."</p>
                        {field_message("another-port-wrong", move || wrong.get())}
                    </div>
                </div>
                <div class="dialog-foot">
                    <button type="button" class="button" on:click=on(move |_| open.set(false))>"Cancel"</button>
                    <button class="button" data-kind="primary">"Show it"</button>
                </div>
            </form>
        </Dialog>
    }
}

/// The port to begin with: the wished one if it is open, else the application's, a usual one, or any.
fn first_port(open: &[OpenPort], wished: u16) -> Option<u16> {
    let is_open = |port: &u16| open.iter().any(|o| o.port == *port);
    std::iter::once(wished).chain(USUAL).find(is_open).or_else(|| open.first().map(|o| o.port))
}

/// What the picker lists: what is open, the usual ones, and the shown one, by number.
fn offered(open: &[OpenPort], shown: u16) -> Vec<PortChoice> {
    let mut choices: Vec<PortChoice> =
        open.iter().map(|o| PortChoice { port: o.port, process: o.process.clone(), open: true }).collect();
    for port in USUAL.into_iter().chain([shown]) {
        if !choices.iter().any(|choice| choice.port == port) {
            let at = choices.iter().position(|choice| choice.port > port).unwrap_or(choices.len());
            choices.insert(at, PortChoice { port, process: None, open: false });
        }
    }
    choices
}

/// Posts a single-use code, from this page, into a frame or a new tab: to the path that `<fsa-preview>` notes in the
/// field of the address.
fn post(action: &str, code: &str, target: &str) {
    let next = document().query_selector("[data-next]").ok().flatten();
    let next = next.and_then(|field| field.get_attribute("data-next")).unwrap_or_default();
    let Ok(form) = document().create_element("form") else { return };
    for (name, value) in [("method", "post"), ("action", action), ("target", target), ("hidden", "")] {
        drop(form.set_attribute(name, value));
    }
    if target == "_blank" {
        drop(form.set_attribute("rel", "noopener"));
    }
    for (name, value) in [("code", code), ("next", &next)] {
        let Ok(field) = document().create_element("input") else { return };
        for (of, is) in [("type", "hidden"), ("name", name), ("value", value)] {
            drop(field.set_attribute(of, is));
        }
        drop(form.append_child(&field));
    }
    if let Some(body) = document().body() {
        drop(body.append_child(&form));
        if let Some(form) = form.dyn_ref::<web_sys::HtmlFormElement>() {
            drop(form.submit());
        }
        form.remove();
    }
}

/// The port that a preview begins with.
#[must_use]
pub fn beginning() -> u16 {
    APPLICATION
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(ports: &[u16]) -> Vec<OpenPort> {
        ports.iter().map(|port| OpenPort { port: *port, process: None }).collect()
    }

    #[test]
    fn the_application_comes_first() {
        assert_eq!(first_port(&open(&[]), 3000), None);
        assert_eq!(first_port(&open(&[4321, 5000]), 3000), Some(5000));
        assert_eq!(first_port(&open(&[4321]), 3000), Some(4321));
        assert_eq!(first_port(&open(&[3000, 8080]), 8080), Some(8080));
    }

    #[test]
    fn the_picker_keeps_the_usual_ports_and_the_shown_one() {
        let ports: Vec<_> = offered(&open(&[3000, 9999]), 7000).into_iter().map(|c| (c.port, c.open)).collect();
        assert_eq!(ports, [(3000, true), (5000, false), (7000, false), (8080, false), (9999, true)]);
    }
}
