//! The account: API tokens, appearance, sign-out.

use crate::{
    api, browser,
    clock::Clock,
    components::{
        code_field::CopyButton,
        dialog::{Confirm, Dialog},
        explanation::{Explanation, field_message},
        frame::{self, Frame},
        icon::icon,
        signed::Signed,
        toast::Toasts,
        when::Ago,
    },
    erased::{Item, Words, effect, list, on, typing},
    first::first,
    live::Live,
    load::{self, Load, Loaded, What},
    state::State,
    time, words,
};
use leptos::task::spawn_local;
use leptos::{ev, prelude::*};
use leptos_meta::Title;
use model::view::{NewToken, Scope, TokenView};

/// The page.
#[component]
pub fn Settings() -> impl IntoView {
    let tokens = load::load(Signal::stored(What::Tokens));
    html! { <Signed page=Callback::new(move |()| html! { <Page tokens/> })/> }
}

#[component]
fn Page(tokens: Load) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    let installation = live.installation();
    // Made by the browser's parser, with what they show first.
    let panel = |name: &str| format!("<fsa-{name} class=\"panel\" id=\"{name}\">{}</fsa-{name}>", first(&format!("/api/{name}")));
    let panels = panel("github") + &panel("claude");
    let sessions = format!("<fsa-sessions>{}</fsa-sessions>", first("/api/sessions"));
    html! {
        <Title text="Settings"/>
        <Frame here="Settings">
            <div class="settings-page">
                <nav class="settings-nav" aria-label="Settings">
                    <a href="#tokens">"API tokens"</a>
                    <a href="#github">"GitHub"</a>
                    <a href="#claude">"Claude Code"</a>
                    <a href="#appearance">"Appearance"</a>
                    <a href="#about">"About"</a>
                    <a href="#session">"Sessions"</a>
                    <a href="/docs/api" rel="external">"API"</a>
                    <a href="/doctor" rel="external" data-operator hidden>"Doctor"</a>
                </nav>
                <div class="stack">
                    <h1>"Settings"</h1>
                    <Suspense fallback=|| html! { <div class="panel panel-body loading"><span class="skeleton"></span></div> }>
                        {move || Suspend::new(async move {
                            match tokens.await {
                                Ok(Loaded::Tokens(tokens)) => html! { <Tokens tokens/> },
                                Ok(_) => ().into_any(),
                                Err(error) => html! {
                                    <Explanation tone="bad" title="The tokens could not be loaded" lead="" why=error.message steps=error.next_steps/>
                                },
                            }
                        })}
                    </Suspense>
                    <div class="contents" inner_html=panels></div>
                    <Appearance/>
                    <section class="panel" id="about" aria-labelledby="about-title">
                        <div class="panel-head"><h2 id="about-title">"About"</h2></div>
                        <div class="panel-body">
                            <dl class="facts">
                                <div><dt>"Version"</dt><dd>{installation.version}</dd></div>
                                <div><dt>"Sandboxes by"</dt><dd>{installation.orchestrator}</dd></div>
                                <div><dt>"Claude Code"</dt><dd>{if installation.claude { "Installed" } else { "Not installed" }}</dd></div>
                                <div><dt>"A new sign-in link"</dt><dd><code>{installation.sign_in_command}</code></dd></div>
                            </dl>
                        </div>
                    </section>
                    <section class="panel" id="session" aria-labelledby="session-title">
                        <div class="panel-head"><h2 id="session-title">"Sessions"</h2></div>
                        <div class="setting">
                            <div>
                                <h3>"Signed in as " <bdi>{live.viewer().map(|viewer| viewer.name)}</bdi></h3>
                                <p>"Signing out ends this browser’s terminals’ connections at once. What runs in them goes on."</p>
                            </div>
                            <button type="button" class="button" data-size="small" on:click=on(move |_| frame::sign_out(toasts))>{icon("signout")} "Sign out"</button>
                        </div>
                        <div inner_html=sessions></div>
                    </section>
                </div>
            </div>
        </Frame>
    }
}

#[component]
fn Tokens(tokens: Vec<TokenView>) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    let tokens = State::new(tokens);
    let made = State::new(None::<NewToken>);
    let making = State::new(false);
    let revoking = State::new(false);
    let chosen = State::new(None::<TokenView>);
    let ask = Callback::new(move |token: TokenView| {
        if live.offline().is_none() {
            chosen.set(Some(token));
            revoking.set(true);
        }
    });
    let revoke = Callback::new(move |()| {
        let Some(token) = chosen.get_untracked() else { return };
        browser::focus_next("#new-token");
        spawn_local(async move {
            match api::revoke_token(token.id).await {
                Ok(()) => {
                    tokens.update(|tokens| tokens.retain(|other| other.id != token.id));
                    toasts.done(format!("{} is revoked", token.name), "What used it is refused from now on.");
                }
                Err(error) => {
                    live.failed(&error);
                    toasts.refused("The token was not revoked", &error);
                }
            }
        });
    });
    let created = Callback::new(move |new: NewToken| {
        tokens.update(|tokens| tokens.insert(0, new.token.clone()));
        made.set(Some(new));
    });
    html! {
        <section class="panel" id="tokens" aria-labelledby="tokens-title">
            <div class="panel-head">
                <h2 id="tokens-title">"API tokens"</h2>
                <span class="count">{move || tokens.with(|tokens| words::count(tokens.len(), "token", "tokens"))}</span>
                <button type="button" class="button" id="new-token" data-size="small" on:click=on(move |_| making.set(true))>{icon("plus")} "New token"</button>
            </div>
            <div role="status">
                {move || made.get().map(|new| html! {
                    <div class="panel-body stack stack-tight made-token">
                        <div class="banner" data-tone="good">
                            {icon("check")}
                            <p>
                                <strong>"Token " <bdi>{new.token.name}</bdi> " was created."</strong>
                                " Copy it now: it is shown this one time and stored only as a hash."
                            </p>
                        </div>
                        <div class="code-field">
                            <code>{new.secret.clone()}</code> <CopyButton text=new.secret what="the token"/>
                        </div>
                        <div><button type="button" class="button" data-size="small" on:click=on(move |_| { made.set(None); browser::focus_next("#new-token") })>"I have stored it"</button></div>
                    </div>
                })}
            </div>
            {move || tokens.with(Vec::is_empty).then(|| html! {
                <div class="empty-state">
                    <h3>"No tokens"</h3>
                    <p>"Scripts, CI jobs and other agents use the REST API with a token."</p>
                </div>
            })}
            <table class="data-table" role="table" hidden=move || tokens.with(Vec::is_empty)>
                <caption class="visually-hidden">"API tokens"</caption>
                <thead role="rowgroup">
                    <tr role="row">
                        <th role="columnheader" scope="col">"Name"</th>
                        <th role="columnheader" scope="col">"Scope"</th>
                        <th role="columnheader" scope="col">"Last used"</th>
                        <th role="columnheader" scope="col">"Expires"</th>
                        <th role="columnheader" scope="col"><span class="visually-hidden">"Actions"</span></th>
                    </tr>
                </thead>
                <tbody role="rowgroup">
                    {list(move || tokens.get().into_iter().map(|token| Item::new(token.id, move || html! { <Row token revoke=ask/> })).collect())}
                </tbody>
            </table>
        </section>
        <NewTokenDialog open=making created/>
        <Confirm
            open=revoking
            title="revoke-title"
            heading=Words::new(move || chosen.with(|token| format!("Revoke {}?", token.as_ref().map_or("the token", |token| &token.name))))
            text="What uses it is refused from then on, and its terminals and streams end. It cannot be brought back.".into()
            keep="Keep the token"
            act="Revoke it"
            run=revoke
        />
    }
}

#[component]
fn Row(token: TokenView, revoke: Callback<TokenView>) -> impl IntoView {
    let clock = use_context::<Clock>().unwrap_or_default();
    let live = use_context::<Live>().unwrap_or_default();
    let (tone, scope) = match token.scope {
        Scope::Read => ("neutral", "read"),
        Scope::Write => ("warn", "read and write"),
    };
    let used = match token.last_used_at {
        Some(at) => html! { <Ago at=at/> },
        None => "Never used".into_any(),
    };
    let expires = token.expires_at;
    let expires = move || expires.map_or_else(|| "never".to_owned(), |at| time::ahead(at, clock.now()));
    let whole = token.clone();
    let begins = token.prefix.map(|prefix| html! { <code class="small quiet">{prefix} "…"</code> });
    html! {
        <tr role="row">
            <td role="cell"><b><bdi>{token.name.clone()}</bdi></b> " " {begins}</td>
            <td role="cell" data-label="Scope"><span><span class="tag" data-tone=tone>{scope}</span></span></td>
            <td role="cell" data-label="Last used"><span>{used}</span></td>
            <td role="cell" data-label="Expires"><span>{expires}</span></td>
            <td role="cell" class="actions">
                <div class="row">
                    <button
                        type="button"
                        class="button"
                        data-kind="danger"
                        data-size="small"
                        aria-label=format!("Revoke {}", token.name)
                        data-asks
                        aria-disabled=move || live.offline().is_some().then_some("true")
                        on:click=on(move |_| revoke.run(whole.clone()))
                    >
                        "Revoke…"
                    </button>
                </div>
            </td>
        </tr>
    }
}

#[component]
fn NewTokenDialog(open: State<bool>, created: Callback<NewToken>) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let name = State::new(String::new());
    let scope = State::new(Scope::Read);
    let days = State::new("90".to_owned());
    let wrong = State::new(None::<String>);
    let busy = State::new(false);
    effect(move || {
        if open.get() {
            name.set(String::new());
            wrong.set(None);
        }
    });
    let submit = move |event: ev::SubmitEvent| {
        event.prevent_default();
        let wished = name.get_untracked().trim().to_owned();
        if wished.is_empty() {
            return wrong.set(Some("A token needs a name, so that you know later what uses it.".to_owned()));
        }
        if busy.get_untracked() || live.offline().is_some() {
            return;
        }
        busy.set(true);
        spawn_local(async move {
            let answer = api::create_token(wished, scope.get_untracked(), days.get_untracked().parse().ok()).await;
            busy.set(false);
            match answer {
                Ok(new) => {
                    open.set(false);
                    created.run(new);
                }
                Err(error) => {
                    live.failed(&error);
                    wrong.set(Some(error.message));
                }
            }
        });
    };
    let choice = move |of: Scope, label: &'static str, text: &'static str| {
        html! {
            <label class="choice">
                <input type="radio" name="scope" prop:checked=move || scope.get() == of on:change=on(move |_| scope.set(of))/>
                <span class="choice-name">{label}</span>
                <small>{text}</small>
            </label>
        }
    };
    html! {
        <Dialog open title="token-title" heading="New API token">
            <form novalidate on:submit=on(submit)>
                <div class="dialog-body">
                    <div class="field">
                        <label class="field-label" for="token-name">"Name"</label>
                        <input
                            class="input"
                            id="token-name"
                            autocomplete="off"
                            autofocus
                            aria-describedby="token-wrong"
                            aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                            prop:value=move || name.get() on:input=typing(name)
                        />
                        {field_message("token-wrong", move || wrong.get())}
                    </div>
                    <fieldset class="stack stack-tight">
                        <legend class="field-label">"Scope"</legend>
                        <div class="choice-grid">
                            {choice(Scope::Read, "Read", "Looks at projects and events")}
                            {choice(Scope::Write, "Read and write", "Changes them; terminals, commands and files")}
                        </div>
                    </fieldset>
                    <div class="field">
                        <label class="field-label" for="token-days">"Expires"</label>
                        <span class="select">
                            <select class="input" id="token-days" on:change=on(move |event: ev::Event| days.set(event_target_value(&event))) prop:value=move || days.get()>
                                <option value="7">"In 7 days"</option>
                                <option value="30">"In 30 days"</option>
                                <option value="90">"In 90 days"</option>
                                <option value="365">"In a year"</option>
                                <option value="">"Never"</option>
                            </select>
                            {icon("down")}
                        </span>
                    </div>
                </div>
                <div class="dialog-foot">
                    <button type="button" class="button" on:click=on(move |_| open.set(false))>"Cancel"</button>
                    <button class="button" data-kind="primary" data-asks aria-busy=move || busy.get().then_some("true")>"Create token"</button>
                </div>
            </form>
        </Dialog>
    }
}

/// Kept in this browser: theme, motion, the terminal's size.
#[component]
fn Appearance() -> impl IntoView {
    let theme = State::new(String::new());
    let still = State::new(false);
    let reader = State::new(false);
    let keys = State::new(true);
    let font = State::new("13".to_owned());
    effect(move || {
        theme.set(frame::look("theme").unwrap_or_default());
        still.set(frame::look("motion").is_some());
        reader.set(browser::remembered("fsa.screen-reader").is_some());
        keys.set(browser::remembered("fsa.no-keys").is_none());
        if let Some(size) = browser::remembered("fsa.font-size") {
            font.set(size);
        }
    });
    let choice = move |of: &'static str, label: &'static str, glyph: Option<&'static str>| {
        let choose = move |_| {
            theme.set(of.to_owned());
            frame::set_theme((!of.is_empty()).then_some(of));
        };
        html! {
            <button type="button" aria-pressed=move || if theme.with(|theme| theme == of) { "true" } else { "false" } on:click=on(choose)>
                {glyph.map(icon)} {label}
            </button>
        }
    };
    let set_still = move |event: ev::Event| {
        still.set(event_target_checked(&event));
        frame::set_look("motion", still.get_untracked().then_some("reduced"));
    };
    let set_reader = move |event: ev::Event| {
        reader.set(event_target_checked(&event));
        browser::remember("fsa.screen-reader", reader.get_untracked().then_some("on"));
    };
    let set_keys = move |event: ev::Event| {
        keys.set(event_target_checked(&event));
        browser::remember("fsa.no-keys", (!keys.get_untracked()).then_some("off"));
    };
    let set_font = move |event: ev::Event| {
        font.set(event_target_value(&event));
        browser::remember("fsa.font-size", Some(&font.get_untracked()));
    };
    html! {
        <section class="panel" id="appearance" aria-labelledby="appearance-title">
            <div class="panel-head"><h2 id="appearance-title">"Appearance"</h2><span class="count">"in this browser"</span></div>
            <div class="setting">
                <div><h3 id="l-theme">"Theme"</h3><p>"System follows your computer."</p></div>
                <div class="segmented" role="group" aria-labelledby="l-theme">
                    {choice("", "System", None)} {choice("light", "Light", Some("sun"))} {choice("dark", "Dark", Some("moon"))}
                </div>
            </div>
            <div class="setting">
                <div><label for="motion"><h3>"Reduce motion"</h3></label><p>"Glyphs stand still."</p></div>
                <input class="switch" type="checkbox" role="switch" id="motion" prop:checked=move || still.get() on:change=on(set_still)/>
            </div>
            <div class="setting">
                <div><label for="keys"><h3>"Single-key shortcuts"</h3></label><p>"A question mark lists them. Keys with Ctrl or Alt stay."</p></div>
                <input class="switch" type="checkbox" role="switch" id="keys" prop:checked=move || keys.get() on:change=on(set_keys)/>
            </div>
            <div class="setting">
                <div><label for="reader"><h3>"Terminal for screen readers"</h3></label><p>"Output is announced as it comes. From the next terminal on."</p></div>
                <input class="switch" type="checkbox" role="switch" id="reader" prop:checked=move || reader.get() on:change=on(set_reader)/>
            </div>
            <div class="setting">
                <div><label for="font"><h3>"Terminal font size"</h3></label><p>"From the next terminal on."</p></div>
                <span class="select short">
                    <select class="input" id="font" prop:value=move || font.get() on:change=on(set_font)>
                        <option value="12">"12 px"</option>
                        <option value="13">"13 px"</option>
                        <option value="14">"14 px"</option>
                        <option value="16">"16 px"</option>
                        <option value="18">"18 px"</option>
                    </select>
                    {icon("down")}
                </span>
            </div>
        </section>
    }
}
