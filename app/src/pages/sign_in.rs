//! Sign-in by the one-time link, or by GitHub. Server-rendered whole: the browser's code has none of it.
//! `sign_in.js` posts the code and says, by `data-sign-in` on `<html>`, which of the notices is shown.

#[cfg(not(feature = "ssr"))]
use leptos::prelude::*;

/// The page. In the browser's code it is only met by going back in the history, and loaded then.
#[cfg(not(feature = "ssr"))]
#[component]
pub fn SignIn() -> impl IntoView {
    crate::erased::effect(|| crate::browser::go("/sign-in"));
}

#[cfg(feature = "ssr")]
pub use whole::SignIn;

#[cfg(feature = "ssr")]
mod whole {
    use crate::{
        components::{
            banners::Notices,
            icon::{brand_mark, icon},
        },
        control::RequestContext,
        load::Loaded,
        root::FirstLoad,
    };
    use leptos::prelude::*;
    use leptos_meta::Title;

    /// What the page says of the installation.
    #[derive(Clone, Default)]
    struct Place {
        github: bool,
        cluster: bool,
        public: String,
    }

    /// The page.
    #[component]
    pub fn SignIn() -> impl IntoView {
        let opening = use_context::<FirstLoad>();
        let place = use_context::<RequestContext>().map(|context| Place {
            github: context.control.github_signs_in(),
            cluster: context.control.installation().orchestrator == "kubernetes",
            public: context.public,
        });
        let place = place.unwrap_or_default();
        html! {
            <Title text="Sign in"/>
            <Suspense>
                {move || {
                    let place = place.clone();
                    Suspend::new(async move {
                        let Some(FirstLoad(opening)) = opening else { return ().into_any() };
                        let opening = match opening.await {
                            Ok(Loaded::Opening(opening)) => Some(opening),
                            _ => None,
                        };
                        let command = opening.as_ref().map(|o| o.installation.sign_in_command.clone()).unwrap_or_default();
                        let command = if command.is_empty() { "fullstack-agent sign-in-link".to_owned() } else { command };
                        let viewer = opening.and_then(|o| o.viewer).map(|viewer| viewer.name);
                        page(&command, viewer, place)
                    })
                }}
            </Suspense>
        }
    }

    fn page(command: &str, viewer: Option<String>, Place { github, cluster, public }: Place) -> AnyView {
        let code = || html! { <code>{command.to_owned()}</code> };
        let again = || match cluster {
            true => html! { "Ask who runs this installation for a new link: " {code()} " prints one." },
            false => html! { "Run " {code()} " where the server runs, and open the new link here." },
        };
        let signed_in = viewer.map(|name| {
            html! {
                <div class="banner" data-tone="good" role="note">
                    {icon("check")} <p>"You are signed in as " <bdi>{name}</bdi> "."</p>
                    <a class="button" data-size="small" href="/">"Open projects"</a>
                </div>
            }
        });
        let by_github = github.then(|| {
        html! {
            <div class="stack stack-tight">
                <button type="button" class="button" data-kind="primary" data-size="large" id="github">{icon("github")} "Continue with GitHub"</button>
                <p class="quiet small">"Reads who you are, and the repositories that you start projects from."</p>
            </div>
        }
    });
        let title = match (github, cluster) {
            (true, _) => "Or by a one-time link",
            (false, true) => "By a one-time link",
            (false, false) => "This is single-machine mode",
        };
        let lead = match (github, cluster) {
            (_, true) => "Ask who runs this installation for a link.",
            (true, false) => "The server’s owner signs in by the link that was printed where it was started.",
            (false, false) => "Open the one-time link that was printed where the server was started.",
        };
        let (looks, link) = match cluster {
            true => ("What a link looks like", format!("{public}/sign-in#…")),
            false => ("What the server printed", format!("Sign in: {public}/sign-in#…")),
        };
        let lost = match cluster {
            true => html! { {code()} " prints a new one." },
            false => html! { "Lost it? Run " {code()} " on that machine to print a new one." },
        };
        html! {
            <div class="sign-in-app">
                <Notices/>
                <main class="sign-in" id="main" tabindex="-1">
                    <div class="sign-in-card">
                        <div class="stack stack-tight">
                            {brand_mark()} <h1>"Sign in to FullStack Agent"</h1>
                            <p class="soft">"A sandbox with Claude Code, a PostgreSQL database and preview URLs, ready in seconds. "</p>
                        </div>
                        {signed_in}
                        <p class="state-note sign-in-working" role="status">{icon("phase-starting")} "Signing in…"</p>
                        <div role="alert" class="stack">
                            {notice("used", "This link was already used", "One-time links sign in one browser, once.", again())}
                            {notice("expired", "This link has expired", "A link is good for 15 minutes.", again())}
                            {notice("forged", "This link is not valid", "It was not printed by this server, or only part of it was copied.", again())}
                            {notice("github", "GitHub could not be asked", "The server did not begin a sign-in there.", "Try again in a minute, or sign in by link.".into_any())}
                            {notice("many", "Too many tries", "Many links from your address were wrong.", "Open the newest link: a right one works at once. Or wait a minute.".into_any())}
                            {notice("away", "The server did not answer", "Nothing was used up: the link still works.", "Check that the server runs, then open the link again.".into_any())}
                        </div>
                        // Filled by the script with the server's own words, for those who look.
                        <p id="sign-in-why" class="visually-hidden">" "</p>
                        <div class="stack sign-in-how">
                            {by_github}
                            <div class="banner" data-tone="info" role="note">
                                {icon("terminal")}
                                <div><strong>{title}</strong> <p class="soft">{lead}</p></div>
                            </div>
                            <pre class="code-block" role="group" aria-label=looks><code>{link}</code></pre>
                            <form class="stack" method="post">
                                <div class="field">
                                    <label class="field-label" for="code">"Or paste the link or its code"</label>
                                    <div class="row nowrap">
                                        <input
                                            class="input mono"
                                            id="code"
                                            name="code"
                                            autocomplete="one-time-code"
                                            spellcheck="false"
                                            required
                                            aria-describedby="code-hint"
                                        />
                                        <button class="button" data-kind="primary">"Sign in"</button>
                                    </div>
                                    <p class="field-hint" id="code-hint">{lost}</p>
                                </div>
                            </form>
                            <noscript>
                                <p class="field-message" data-tone="warn">"FullStack Agent needs JavaScript: its terminals and its live state are made of it."</p>
                            </noscript>
                        </div>
                    </div>
                    <footer class="sign-in-foot"><span>"FullStack Agent "{env!("CARGO_PKG_VERSION")}</span></footer>
                </main>
            </div>
        }
    }

    fn notice(state: &'static str, title: &'static str, lead: &'static str, todo: AnyView) -> AnyView {
        html! {
            <div class="explanation sign-in-notice" data-tone="warn" data-of=state>
                <div class="explanation-head">{icon("warning")}<div><h2>{title}</h2><p>{lead}</p></div></div>
                <dl><dt>"What to do"</dt><dd>{todo}</dd></dl>
            </div>
        }
    }
}
