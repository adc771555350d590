//! The project's database: how it is reached from inside the sandbox.

use crate::{
    components::{
        code_field::CodeField,
        explanation::Explanation,
        frame::{ProjectFrame, Tab},
        icon::icon,
        project::{Project, page_title},
    },
    load::{self, Load, Loaded, What},
    state::Derived,
};
use leptos::prelude::*;
use leptos_meta::Title;
use model::{Stage, StageState, view::DatabaseView};

/// The page.
#[component]
pub fn Database() -> impl IntoView {
    let id = super::project_id();
    let what = Signal::derive(move || id.get().map_or(What::Nothing, What::Database));
    let database = load::load(what);
    super::of_project(Callback::new(move |project| html! { <Page project database/> }))
}

#[component]
fn Page(project: Project, database: Load) -> impl IntoView {
    html! {
        <Title text=page_title(project, "Database")/>
        <ProjectFrame project tab=Tab::Database>
            <div class="page page-narrow">
                <div class="page-head"><div><h1>"Database"</h1><p>"PostgreSQL next to the sandbox, kept when it stops or is terminated."</p></div></div>
                <Suspense fallback=|| html! { <div class="panel panel-body loading"><span class="skeleton"></span></div> }>
                    {move || Suspend::new(async move {
                        match database.await {
                            Ok(Loaded::Database(Some(database))) => found(project, database),
                            Ok(_) => html! {
                                <div class="panel">
                                    <div class="empty-state">
                                        <span class="empty-glyph">{icon("database")}</span>
                                        <h2>"This project has no database"</h2>
                                        <p>"It was created without one. A database is chosen when a project is made."</p>
                                        <a class="button" href="/projects/new">"New project"</a>
                                    </div>
                                </div>
                            },
                            Err(error) => html! {
                                <Explanation tone="bad" title="The database could not be looked up" lead="" why=error.message steps=error.next_steps/>
                            },
                        }
                    })}
                </Suspense>
            </div>
        </ProjectFrame>
    }
}

/// Whether it is ready, by what was looked up and by the stage of the start that has come since.
fn is_ready(looked_up: bool, stage: Option<StageState>) -> bool {
    match stage {
        Some(StageState::Done) => true,
        Some(StageState::Running | StageState::Late | StageState::Failed) => false,
        Some(StageState::Waiting | StageState::Skipped) | None => looked_up,
    }
}

fn found(project: Project, database: DatabaseView) -> AnyView {
    let looked_up = database.ready;
    let ready = Derived::new(move || {
        let stage = project.stages.with(|all| all.iter().find(|s| s.stage == Stage::DatabaseCreation).map(|s| s.state));
        is_ready(looked_up, stage)
    });
    let state = move || {
        let (tone, glyph, word) = if ready.get() { ("good", "check", "Ready") } else { ("warn", "warning", "Not ready yet") };
        html! { <span class="state-note" data-tone=tone role="status">{icon(glyph)} {word}</span> }
    };
    html! {
        <div class="split-page narrow-aside">
            <div class="stack">
                <section class="panel" aria-labelledby="connect">
                    <div class="panel-head"><h2 id="connect">"Connect"</h2></div>
                    <div class="panel-body stack">
                        <div class="stack stack-tight">
                            <h3>"In the terminal"</h3>
                            <CodeField text=database.psql what="the psql line"/>
                            <p class="field-hint">"Plain " <code>"psql"</code> " works as well: the variables below are set. The line works inside this sandbox only."</p>
                        </div>
                        <div class="stack stack-tight">
                            <h3>"In your app"</h3>
                            <dl class="facts">
                                <div><dt>"Prisma, node-postgres"</dt><dd><code>"DATABASE_URL"</code></dd></div>
                                <div><dt>"psycopg, libpq and others"</dt><dd><code>"POSTGRES_URL"</code></dd></div>
                                <div><dt>"Separate parts"</dt><dd><code>"PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE"</code></dd></div>
                            </dl>
                        </div>
                    </div>
                </section>
            </div>
            <aside class="panel" aria-label="About this database">
                <div class="panel-head"><h2>"PostgreSQL"</h2></div>
                <div class="panel-body">
                    <dl class="facts">
                        <div><dt>"State"</dt><dd>{state}</dd></div>
                        <div><dt>"Host"</dt><dd><code>{database.host}</code></dd></div>
                        <div><dt>"Port"</dt><dd><code>{database.port}</code></dd></div>
                        <div><dt>"User"</dt><dd><code>{database.user}</code></dd></div>
                        <div><dt>"Database"</dt><dd><code>{database.database}</code></dd></div>
                    </dl>
                </div>
            </aside>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_gets_ready_while_the_page_is_open_is_ready() {
        assert!(is_ready(false, Some(StageState::Done)));
        assert!(!is_ready(true, Some(StageState::Failed)));
        assert!(is_ready(true, None) && !is_ready(false, Some(StageState::Waiting)));
    }
}
