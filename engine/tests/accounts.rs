//! [`Accounts`] on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use engine::{
    secrets::Vault,
    store::{
        Ask, NewProjectRow, Store as _,
        accounts::{
            Accounts, CodeUse, SIGN_IN_CODE_LIFE, ShutOut,
            keys::{KeyUse, Made},
            previews::{Opener, PREVIEW_CODE_LIFE, PREVIEW_SESSION_LIFE, PreviewVisitor},
            sessions::SessionRow,
            shares::{Audience, LinkUse, MadeShare, NewShare, Share},
            tokens::fresh,
        },
        postgres::PgStore,
    },
};
use jiff::Timestamp;
use model::{Desired, ProjectId, ResourceName, SandboxId, TokenId, UserId, resources::Preset, view::Scope};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};
use uuid::Uuid;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn plus(life: Duration) -> Timestamp {
    at(0).checked_add(life).unwrap()
}

async fn subject() -> Option<(Accounts, UserId, PgPool)> {
    let (_, pool) = support::database().await?;
    let accounts = Accounts::new(pool.clone());
    let owner = accounts.ensure_owner(at(0)).await.unwrap().id;
    Some((accounts, owner, pool))
}

/// One for all: what a test made, it reads.
fn vault() -> Arc<Vault> {
    static VAULT: LazyLock<Arc<Vault>> = LazyLock::new(support::vault);
    VAULT.clone()
}

async fn stranger(pool: &PgPool) -> UserId {
    let id = Uuid::new_v4();
    sqlx::query("INSERT INTO users (id, name, created_at) VALUES ($1, 'Stranger', now())").bind(id).execute(pool).await.unwrap();
    UserId(id)
}

async fn sandbox(pool: &PgPool, owner: UserId) -> (SandboxId, ResourceName) {
    let new = NewProjectRow {
        id: ProjectId(Uuid::new_v4()),
        owner,
        name: "A project".parse().unwrap(),
        preset: Preset::Medium,
        env: BTreeMap::new(),
        database: None,
        sandbox: SandboxId(Uuid::new_v4()),
        random: rand::random(),
        agent_token: SecretString::from("token"),
        extra: None,
        env_revision: 1,
        key: None,
        most: usize::MAX,
        now: at(0),
    };
    let store = PgStore::start(pool.clone(), vault()).await.unwrap();
    let sandbox = store.create(new).await.unwrap().0.sandbox;
    (sandbox.id, sandbox.name)
}

fn session(id: i128, user: Option<UserId>) -> SessionRow {
    SessionRow { id, user, data: b"data".to_vec(), expires_at: at(1000) }
}

#[tokio::test]
async fn there_is_one_owner_however_often_and_at_once_they_are_made() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let made = futures::future::join_all((0..8).map(|n| {
        let accounts = accounts.clone();
        async move { accounts.ensure_owner(at(n)).await.unwrap().id }
    }))
    .await;
    assert!(made.iter().all(|id| *id == owner));
    assert_eq!(accounts.user(owner).await.unwrap().unwrap().name, "Owner");
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&pool).await.unwrap();
    assert_eq!(users, 1);
    assert!(accounts.user(UserId(Uuid::new_v4())).await.unwrap().is_none());
}

#[tokio::test]
async fn a_sign_in_code_works_once_and_in_time() {
    let Some((accounts, owner, _)) = subject().await else { return };
    let code = accounts.make_sign_in_code(owner, at(0)).await.unwrap();
    let code = code.expose_secret();
    assert_eq!(code.len(), 43);
    assert_eq!(accounts.use_sign_in_code(code, at(1)).await.unwrap(), CodeUse::Accepted(owner));
    assert_eq!(accounts.use_sign_in_code(code, at(2)).await.unwrap(), CodeUse::Used);
    assert_eq!(accounts.use_sign_in_code("forged", at(2)).await.unwrap(), CodeUse::Unknown);
    assert_eq!(accounts.use_sign_in_code("", at(2)).await.unwrap(), CodeUse::Unknown);

    let late = accounts.make_sign_in_code(owner, at(0)).await.unwrap();
    assert_eq!(accounts.use_sign_in_code(late.expose_secret(), plus(SIGN_IN_CODE_LIFE)).await.unwrap(), CodeUse::Expired);
    accounts.sweep(plus(SIGN_IN_CODE_LIFE)).await.unwrap();
    assert_eq!(accounts.use_sign_in_code(code, at(2)).await.unwrap(), CodeUse::Used, "it is still told apart");
    accounts.sweep(at(30 * 24 * 60 * 60)).await.unwrap();
    assert_eq!(accounts.use_sign_in_code(code, at(2)).await.unwrap(), CodeUse::Unknown);
}

#[tokio::test]
async fn of_many_who_use_a_code_at_once_one_enters() {
    let Some((accounts, owner, _)) = subject().await else { return };
    let code = accounts.make_sign_in_code(owner, at(0)).await.unwrap();
    let uses = futures::future::join_all((0..8).map(|_| accounts.use_sign_in_code(code.expose_secret(), at(1)))).await;
    let accepted = uses.into_iter().filter(|outcome| *outcome.as_ref().unwrap() == CodeUse::Accepted(owner)).count();
    assert_eq!(accepted, 1);
}

#[tokio::test]
async fn a_session_lasts_until_it_is_over_or_ended() {
    let Some((accounts, owner, _)) = subject().await else { return };
    let id = i128::MIN + 7;
    assert!(accounts.create_session(&session(id, None)).await.unwrap());
    assert!(!accounts.create_session(&session(id, Some(owner))).await.unwrap(), "the id is taken");
    assert_eq!(accounts.session(id, at(1)).await.unwrap(), Some(session(id, None)));
    let signed_in = SessionRow { data: b"more".to_vec(), ..session(id, Some(owner)) };
    assert!(accounts.save_session(&signed_in).await.unwrap());
    assert_eq!(accounts.session(id, at(999)).await.unwrap(), Some(signed_in.clone()));
    assert_eq!(accounts.session(id, at(1000)).await.unwrap(), None);
    assert_eq!(accounts.session(8, at(1)).await.unwrap(), None);

    accounts.end_session(id).await.unwrap();
    assert!(!accounts.save_session(&signed_in).await.unwrap(), "a sign-out is not undone");
    assert_eq!(accounts.session(id, at(1)).await.unwrap(), None);
}

#[tokio::test]
async fn all_sessions_of_a_user_end_and_nobody_elses() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let other = stranger(&pool).await;
    for (id, user) in [(1, Some(owner)), (2, Some(owner)), (3, Some(other)), (4, None)] {
        accounts.create_session(&session(id, user)).await.unwrap();
    }
    assert_eq!(accounts.end_sessions_of(owner).await.unwrap(), 2);
    for (id, there) in [(1, false), (2, false), (3, true), (4, true)] {
        assert_eq!(accounts.session(id, at(1)).await.unwrap().is_some(), there, "{id}");
    }
    accounts.sweep(at(1000)).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions").fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_token_works_until_it_expires_or_is_revoked() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let made = accounts.make_token(owner, "CI", Scope::Read, Some(at(100)), at(0)).await.unwrap();
    assert!(made.secret.starts_with("fsa_") && made.secret.len() == 47, "{}", made.secret.len());
    let holder = accounts.verify_token(&made.secret, at(1)).await.unwrap().unwrap();
    assert_eq!((holder.token, holder.user, holder.scope), (made.token.id, owner, Scope::Read));
    assert!(accounts.verify_token(&made.secret, at(100)).await.unwrap().is_none());
    assert!(!accounts.token_works(made.token.id, at(100)).await.unwrap());
    for wrong in ["", "fsa_", "fsa_wrong", &made.secret[4..], &made.secret.to_uppercase()] {
        assert!(accounts.verify_token(wrong, at(1)).await.unwrap().is_none(), "{wrong}");
    }

    let lasting = accounts.make_token(owner, "Agent", Scope::Write, None, at(1)).await.unwrap();
    assert_eq!(accounts.verify_token(&lasting.secret, Timestamp::MAX).await.unwrap().unwrap().scope, Scope::Write);
    let names: Vec<_> = accounts.tokens(owner).await.unwrap().into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["Agent", "CI"]);

    let other = stranger(&pool).await;
    assert!(!accounts.revoke_token(other, lasting.token.id, at(2)).await.unwrap(), "not theirs");
    assert!(accounts.tokens(other).await.unwrap().is_empty());
    assert!(accounts.revoke_token(owner, lasting.token.id, at(2)).await.unwrap());
    assert!(!accounts.revoke_token(owner, lasting.token.id, at(3)).await.unwrap());
    assert!(!accounts.revoke_token(owner, TokenId(Uuid::new_v4()), at(3)).await.unwrap());
    assert!(accounts.verify_token(&lasting.secret, at(3)).await.unwrap().is_none());
    assert!(!accounts.token_works(lasting.token.id, at(3)).await.unwrap());
    assert_eq!(accounts.tokens(owner).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_that_a_token_made_may_no_more_lasts_no_longer_and_goes_with_it() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let made = async |expires| accounts.make_token(owner, "Maker", Scope::Write, expires, at(0)).await.unwrap().token.id;
    let (ends, lasts) = (made(Some(at(100))).await, made(None).await);
    let child = async |maker, expires| {
        let child = accounts.make_token_by(maker, owner, "Child", Scope::Write, expires, at(1)).await.unwrap().unwrap();
        assert_eq!((child.token.made_by, child.token.scope), (Some(maker), Scope::Write));
        child
    };
    for (maker, asked, expires) in [
        (ends, None, Some(100)),
        (ends, Some(200), Some(100)),
        (ends, Some(50), Some(50)),
        (lasts, None, None),
        (lasts, Some(200), Some(200)),
    ] {
        let child = child(maker, asked.map(at)).await;
        assert_eq!(child.token.expires_at, expires.map(at), "{asked:?}");
        assert_eq!(accounts.tokens(owner).await.unwrap()[0], child.token, "as it is listed");
    }
    let reader = accounts.make_token(owner, "Reader", Scope::Read, None, at(0)).await.unwrap().token.id;
    let least = accounts.make_token_by(reader, owner, "Child", Scope::Write, None, at(1)).await.unwrap().unwrap();
    assert_eq!(least.token.scope, Scope::Read);

    let nobody = stranger(&pool).await;
    for (maker, user, now) in [(ends, owner, at(100)), (lasts, nobody, at(1)), (TokenId(Uuid::new_v4()), owner, at(1))] {
        assert!(accounts.make_token_by(maker, user, "x", Scope::Read, None, now).await.unwrap().is_none());
    }

    let one = child(lasts, None).await;
    let grandchild = child(one.token.id, None).await;
    let beside = child(ends, None).await;
    assert!(accounts.revoke_token(owner, lasts, at(2)).await.unwrap());
    for (token, works) in [(&one, false), (&grandchild, false), (&beside, true), (&least, true)] {
        assert_eq!(accounts.verify_token(&token.secret, at(2)).await.unwrap().is_some(), works, "{:?}", token.token);
    }
    assert!(accounts.make_token_by(lasts, owner, "late", Scope::Read, None, at(2)).await.unwrap().is_none());
    assert!(accounts.revoke_token(owner, beside.token.id, at(3)).await.unwrap());
    assert!(accounts.token_works(ends, at(3)).await.unwrap(), "a maker outlives what it made");
}

#[tokio::test]
async fn what_a_token_makes_while_it_is_revoked_is_not_left_over() {
    let Some((accounts, owner, _)) = subject().await else { return };
    for round in 0..20 {
        let maker = accounts.make_token(owner, "Maker", Scope::Write, None, at(0)).await.unwrap().token.id;
        let one = accounts.make_token_by(maker, owner, "One", Scope::Write, None, at(1)).await.unwrap().unwrap().token.id;
        let (revoked, by_maker, by_child) = tokio::join!(
            accounts.revoke_token(owner, maker, at(2)),
            accounts.make_token_by(maker, owner, "Two", Scope::Write, None, at(2)),
            accounts.make_token_by(one, owner, "Three", Scope::Write, None, at(2)),
        );
        assert!(revoked.unwrap());
        for made in [by_maker, by_child].into_iter().filter_map(Result::unwrap) {
            assert!(!accounts.token_works(made.token.id, at(3)).await.unwrap(), "round {round}");
        }
    }
}

async fn project_of(pool: &PgPool, sandbox: SandboxId) -> ProjectId {
    let project = "SELECT project_id FROM sandboxes WHERE id = $1";
    ProjectId(sqlx::query_scalar(project).bind(sandbox.0).fetch_one(pool).await.unwrap())
}

/// What was shared, and the secret of a link; `None` if nothing was.
fn shared(made: MadeShare) -> Option<(Share, String)> {
    let MadeShare::Now(share, secret) = made else { return None };
    Some((share, secret.map(|secret| secret.expose_secret().to_owned()).unwrap_or_default()))
}

#[tokio::test]
async fn a_share_that_a_token_made_lasts_no_longer_than_the_token() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let (id, name) = sandbox(&pool, owner).await;
    let project = project_of(&pool, id).await;
    let token = async |expires| accounts.make_token(owner, "CI", Scope::Write, expires, at(0)).await.unwrap().token.id;
    let (ends, lasts) = (token(Some(at(100))).await, token(None).await);
    for (made_by, audience, asked, expires) in [
        (Some(ends), Audience::Users, None, Some(100)),
        (Some(ends), Audience::Users, Some(200), Some(100)),
        (Some(ends), Audience::Link, Some(50), Some(50)),
        (Some(lasts), Audience::Users, None, None),
        (Some(lasts), Audience::Link, Some(200), Some(200)),
        (None, Audience::Users, None, None),
        (Some(ends), Audience::Link, Some(200), Some(100)),
    ] {
        let new = NewShare { audience, expires_at: asked.map(at), made_by };
        let (share, secret) = shared(accounts.make_share(owner, project, 3000, new, at(1)).await.unwrap()).unwrap();
        assert_eq!(share, Share { audience, created_at: at(1), expires_at: expires.map(at) }, "{new:?}");
        assert_eq!(accounts.share(owner, project, 3000, at(2)).await.unwrap(), Some(share), "as it is told");
        assert_eq!(secret.is_empty(), audience == Audience::Users);
        if audience == Audience::Link {
            let end = expires.unwrap();
            let link = async |second| accounts.link(&secret, &name, 3000, at(second)).await.unwrap();
            assert_eq!(link(end - 1).await, LinkUse::Open { sandbox: id, expires_at: at(end) });
            assert_eq!(link(end).await, LinkUse::Expired);
        }
    }
    assert!(accounts.shares(owner, project, at(100)).await.unwrap().is_empty(), "the token expired");

    let stranger = stranger(&pool).await;
    let foreign = accounts.make_token(stranger, "x", Scope::Write, None, at(0)).await.unwrap().token.id;
    for (maker, now) in [(ends, 100), (foreign, 101), (TokenId(Uuid::new_v4()), 101)] {
        let new = NewShare { audience: Audience::Users, expires_at: None, made_by: Some(maker) };
        let made = accounts.make_share(owner, project, 3000, new, at(now)).await.unwrap();
        assert!(matches!(made, MadeShare::MakerGone), "{made:?}");
    }
    let new = NewShare { audience: Audience::Users, expires_at: None, made_by: None };
    assert!(shared(accounts.make_share(owner, project, 3000, new, at(101)).await.unwrap()).is_some());
}

#[tokio::test]
async fn a_share_that_a_token_made_is_revoked_with_it_for_all_who_came_by_it() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let (id, name) = sandbox(&pool, owner).await;
    let project = project_of(&pool, id).await;
    let token = async || accounts.make_token(owner, "CI", Scope::Write, None, at(0)).await.unwrap().token.id;
    let (maker, beside) = (token().await, token().await);
    let child = accounts.make_token_by(maker, owner, "Child", Scope::Write, None, at(0)).await.unwrap().unwrap().token.id;
    let share = async |port, made_by, link: bool, now| {
        let audience = if link { Audience::Link } else { Audience::Users };
        let new = NewShare { audience, expires_at: link.then(|| at(1_000_000)), made_by };
        shared(accounts.make_share(owner, project, port, new, at(now)).await.unwrap()).unwrap().1
    };
    let secret = share(3000, Some(maker), true, 1).await;
    share(3001, Some(child), false, 1).await;
    share(3002, None, false, 1).await;
    let other_secret = share(3003, Some(beside), true, 1).await;
    share(3004, Some(maker), false, 1).await;
    share(3004, None, false, 1).await;
    let ports = async |now| {
        let shares = accounts.shares(owner, project, at(now)).await.unwrap();
        shares.into_iter().map(|(port, _)| port).collect::<Vec<_>>()
    };
    assert_eq!(ports(2).await, [3000, 3001, 3002, 3003, 3004]);

    let code = async |now| accounts.make_guest_code(&secret, &name, 3000, at(now)).await.unwrap();
    let enter = async |code: &SecretString, now| {
        accounts.use_guest_code(code.expose_secret(), &name, 3000, at(now)).await.unwrap().map(|(cookie, _)| cookie)
    };
    let guest = enter(&code(2).await.unwrap(), 2).await.unwrap();
    let unused = code(2).await.unwrap();
    let is_guest = async |now| accounts.is_guest(guest.expose_secret(), &name, 3000, at(now)).await.unwrap();
    let stranger = stranger(&pool).await;
    accounts.create_session(&session(1, Some(stranger))).await.unwrap();
    let opener = Opener::Session(1);
    let way = accounts.make_preview_code(stranger, opener, id, 3001, at(2)).await.unwrap().unwrap();
    let cookie = accounts.use_preview_code(way.expose_secret(), &name, 3001, at(2)).await.unwrap().unwrap();
    let visits = async |now| accounts.preview_visitor(cookie.expose_secret(), &name, 3001, at(now)).await.unwrap().is_some();
    assert!(is_guest(2).await && visits(2).await);

    assert!(accounts.revoke_token(owner, maker, at(3)).await.unwrap());
    let link = async |secret: &str, port, now| accounts.link(secret, &name, port, at(now)).await.unwrap();
    assert_eq!(link(&secret, 3000, 3).await, LinkUse::Revoked);
    assert!(!is_guest(3).await && !visits(3).await, "who is inside is out");
    assert!(code(3).await.is_none() && enter(&unused, 3).await.is_none());
    assert!(accounts.shared_with_users(Some(project), None, 3001, at(3)).await.unwrap().is_none());
    assert!(accounts.make_preview_code(stranger, opener, id, 3001, at(3)).await.unwrap().is_none());
    assert_eq!(ports(3).await, [3002, 3003, 3004], "those of others, and what took its place, stay");
    assert!(matches!(link(&other_secret, 3003, 3).await, LinkUse::Open { .. }));
    let told: Vec<(String, i32)> = sqlx::query_as(
        "SELECT title, (data->>'port')::integer FROM activity
        WHERE detail = 'The token that shared it was revoked' AND project_id = $1 ORDER BY 2",
    )
    .bind(project.0)
    .fetch_all(&pool)
    .await
    .unwrap();
    let title = |port| (format!("Made the preview of port {port} private"), port);
    assert_eq!(told, [title(3000), title(3001)]);

    for (port, made_by) in [(3000, None), (3001, Some(beside))] {
        share(port, made_by, false, 4).await;
    }
    assert_eq!(ports(4).await, [3000, 3001, 3002, 3003, 3004], "what is over is in nobody's way");

    const DAY: i64 = 24 * 60 * 60;
    accounts.sweep(at(29 * DAY)).await.unwrap();
    assert_eq!(link(&secret, 3000, 29 * DAY).await, LinkUse::Revoked, "it says what became of it as long as any does");
    accounts.sweep(at(31 * DAY)).await.unwrap();
    assert_eq!(link(&secret, 3000, 31 * DAY).await, LinkUse::Unknown);
    assert_eq!(ports(31 * DAY).await, [3000, 3001, 3002, 3004]);
}

#[tokio::test]
async fn what_a_token_shares_while_it_is_revoked_is_not_left_over() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let project = project_of(&pool, sandbox(&pool, owner).await.0).await;
    for round in 0..20 {
        let maker = accounts.make_token(owner, "Maker", Scope::Write, None, at(0)).await.unwrap().token.id;
        let child = accounts.make_token_by(maker, owner, "Child", Scope::Write, None, at(1)).await.unwrap().unwrap().token.id;
        let new = |made_by| NewShare { audience: Audience::Users, expires_at: None, made_by: Some(made_by) };
        let (revoked, by_maker, by_child) = tokio::join!(
            accounts.revoke_token(owner, maker, at(2)),
            accounts.make_share(owner, project, 3000, new(maker), at(2)),
            accounts.make_share(owner, project, 3001, new(child), at(2)),
        );
        assert!(revoked.unwrap());
        for made in [by_maker, by_child] {
            assert!(matches!(made.unwrap(), MadeShare::Now(..) | MadeShare::MakerGone), "round {round}");
        }
        assert!(accounts.shares(owner, project, at(3)).await.unwrap().is_empty(), "round {round}");
    }
}

#[tokio::test]
async fn what_who_is_shut_out_shared_and_runs_ends() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let project = project_of(&pool, sandbox(&pool, owner).await.0).await;
    let beside = stranger(&pool).await;
    let [asked, untouched] = [sandbox(&pool, beside).await.0, sandbox(&pool, beside).await.0];
    let [asked, untouched] = [project_of(&pool, asked).await, project_of(&pool, untouched).await];
    let users = NewShare { audience: Audience::Users, expires_at: None, made_by: None };
    assert!(shared(accounts.make_share(beside, untouched, 3000, users, at(1)).await.unwrap()).is_some());
    let token = accounts.make_token(owner, "CI", Scope::Write, None, at(0)).await.unwrap().token.id;
    for (port, made_by) in [(3000, Some(token)), (3001, None)] {
        let new = NewShare { audience: Audience::Users, expires_at: None, made_by };
        assert!(shared(accounts.make_share(owner, project, port, new, at(1)).await.unwrap()).is_some());
    }
    assert!(accounts.shut_out(owner, "octocat", ShutOut::NotAllowed, at(2)).await.unwrap());
    assert!(!accounts.token_works(token, at(2)).await.unwrap());
    assert!(accounts.shares(owner, project, at(2)).await.unwrap().is_empty(), "also what no token made");
    assert_eq!(accounts.shares(beside, untouched, at(2)).await.unwrap().len(), 1, "another's");

    // As if they had asked for it.
    let store = PgStore::start(pool.clone(), vault()).await.unwrap();
    store.ask(beside, asked, Ask::Stop, None, at(2)).await.unwrap().unwrap();
    let intent = async |user, project| {
        let sandbox = store.project(user, project).await.unwrap().unwrap().sandbox;
        let at = (sandbox.asked_at, sandbox.wake_at, sandbox.changed_at);
        (sandbox.desired, sandbox.generation, sandbox.restart_count, sandbox.version, at)
    };
    assert_eq!(intent(owner, project).await, intent(beside, asked).await);
    assert_eq!(intent(owner, project).await.0, Desired::Stopped);
    assert_eq!(intent(beside, untouched).await.0, Desired::Running, "another's");

    let why = "Its owner may not sign in here any more";
    let told: Vec<String> = sqlx::query_scalar("SELECT title FROM activity WHERE detail = $1 AND project_id = $2 ORDER BY title")
        .bind(why)
        .bind(project.0)
        .fetch_all(&pool)
        .await
        .unwrap();
    let private = |port| format!("Made the preview of port {port} private");
    assert_eq!(told, [private(3000), private(3001), "Stopped the sandbox".to_owned()]);
    assert!(!accounts.shut_out(owner, "octocat", ShutOut::NotAllowed, at(3)).await.unwrap(), "nothing of theirs is left");
}

#[tokio::test]
async fn who_is_shut_out_without_a_session_or_token_has_nothing_that_runs() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let running = sandbox(&pool, owner).await.0;
    assert!(accounts.shut_out(owner, "octocat", ShutOut::NotAllowed, at(1)).await.unwrap(), "a sandbox");
    let desired: String =
        sqlx::query_scalar("SELECT desired FROM sandboxes WHERE id = $1").bind(running.0).fetch_one(&pool).await.unwrap();
    assert_eq!(desired, "stopped");
    assert!(!accounts.shut_out(owner, "octocat", ShutOut::NotAllowed, at(2)).await.unwrap());
}

#[tokio::test]
async fn who_is_shut_out_unconfirmed_keeps_what_they_shared_themselves_and_what_runs() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let running = sandbox(&pool, owner).await.0;
    let project = project_of(&pool, running).await;
    let token = accounts.make_token(owner, "CI", Scope::Write, None, at(0)).await.unwrap().token.id;
    for (port, made_by) in [(3000, Some(token)), (3001, None)] {
        let new = NewShare { audience: Audience::Users, expires_at: None, made_by };
        assert!(shared(accounts.make_share(owner, project, port, new, at(1)).await.unwrap()).is_some());
    }
    assert!(accounts.shut_out(owner, "octocat", ShutOut::Unconfirmed, at(2)).await.unwrap(), "a token");
    assert!(!accounts.token_works(token, at(2)).await.unwrap());
    let left = accounts.shares(owner, project, at(2)).await.unwrap();
    assert_eq!(left.into_iter().map(|(port, _)| port).collect::<Vec<_>>(), [3001], "the token's ends with it");
    let desired: String =
        sqlx::query_scalar("SELECT desired FROM sandboxes WHERE id = $1").bind(running.0).fetch_one(&pool).await.unwrap();
    assert_eq!(desired, "running");
    assert!(!accounts.shut_out(owner, "octocat", ShutOut::Unconfirmed, at(3)).await.unwrap(), "nothing more ends");
}

#[tokio::test]
async fn a_key_is_of_one_ask_of_one_user_for_a_day() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let other = stranger(&pool).await;
    let take = async |user, ask: &str, second| accounts.take_key(user, ask, "k", at(second)).await.unwrap();
    assert_eq!(take(owner, "push", 0).await, KeyUse::First);
    assert_eq!(take(owner, "push", 1).await, KeyUse::UnderWay);
    assert_eq!(take(owner, "commit", 1).await, KeyUse::First, "of another ask");
    assert_eq!(take(other, "push", 1).await, KeyUse::First, "of another user");
    accounts.key_is_done(owner, "push", "k", at(2)).await.unwrap();
    assert_eq!(take(owner, "push", 3).await, KeyUse::Done(None));
    let forget = async |ask: &str, taken| accounts.forget_key(owner, ask, "k", at(taken)).await.unwrap();
    assert!(!forget("commit", 0).await, "another ask's by that key");
    assert_eq!(take(owner, "commit", 2).await, KeyUse::UnderWay);
    assert!(!forget("push", 0).await, "it is done");
    assert!(forget("commit", 1).await);
    assert_eq!(take(owner, "commit", 3).await, KeyUse::First);

    let token =
        async |second| accounts.make_token_once(owner, fresh("CI", Scope::Read, None, None, at(second)), "k").await.unwrap();
    let Made::Now(made) = token(4).await else { panic!("it is new") };
    let Made::Before(Some(id)) = token(5).await else { panic!("it was made before") };
    assert_eq!((id, accounts.tokens(owner).await.unwrap().len()), (made.token.id, 1));

    const DAY: i64 = 24 * 60 * 60;
    accounts.sweep(at(DAY - 1)).await.unwrap();
    assert_eq!(take(owner, "push", DAY - 1).await, KeyUse::Done(None));
    assert_eq!(take(owner, "push", DAY).await, KeyUse::First);
    accounts.sweep(at(3 * DAY)).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM asked_keys").fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_tokens_last_use_is_kept_to_the_minute() {
    let Some((accounts, owner, _)) = subject().await else { return };
    let token = accounts.make_token(owner, "CI", Scope::Read, None, at(0)).await.unwrap();
    let last_used = async || accounts.tokens(owner).await.unwrap()[0].last_used_at;
    assert_eq!(last_used().await, None);
    // 1 700 000 000 is 20 seconds past a minute.
    for (second, minute) in [(5, -20), (39, -20), (40, 40), (99, 40)] {
        accounts.verify_token(&token.secret, at(second)).await.unwrap().unwrap();
        assert_eq!(last_used().await, Some(at(minute)), "{second}");
    }
}

#[tokio::test]
async fn a_preview_code_opens_one_preview_once() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let ((id, sandbox), (_, other)) = (sandbox(&pool, owner).await, sandbox(&pool, owner).await);
    let token = Opener::Token(accounts.make_token(owner, "CI", Scope::Write, None, at(0)).await.unwrap().token.id);
    let code = accounts.make_preview_code(owner, token, id, 3000, at(0)).await.unwrap().unwrap();
    let code = code.expose_secret();
    assert!(accounts.use_preview_code(code, &sandbox, 3001, at(1)).await.unwrap().is_none(), "another port's");
    assert!(accounts.use_preview_code(code, &other, 3000, at(1)).await.unwrap().is_none(), "another sandbox's");
    let cookie = accounts.use_preview_code(code, &sandbox, 3000, at(1)).await.unwrap().unwrap();
    assert!(accounts.use_preview_code(code, &sandbox, 3000, at(1)).await.unwrap().is_none(), "used");

    let visitor = async |cookie: &str, sandbox, port, now| accounts.preview_visitor(cookie, sandbox, port, now).await.unwrap();
    let cookie = cookie.expose_secret();
    assert_eq!(visitor(cookie, &sandbox, 3000, at(2)).await, Some(PreviewVisitor { user: owner, sandbox: id }));
    assert_eq!(visitor(cookie, &sandbox, 3001, at(2)).await, None);
    assert_eq!(visitor(cookie, &other, 3000, at(2)).await, None);
    assert_eq!(visitor(code, &sandbox, 3000, at(2)).await, None, "a code is no cookie");
    let end = at(1).checked_add(PREVIEW_SESSION_LIFE).unwrap();
    assert_eq!(visitor(cookie, &sandbox, 3000, end).await, None);

    let late = accounts.make_preview_code(owner, token, id, 3000, at(0)).await.unwrap().unwrap();
    assert!(accounts.use_preview_code(late.expose_secret(), &sandbox, 3000, plus(PREVIEW_CODE_LIFE)).await.unwrap().is_none());
    let stranger = stranger(&pool).await;
    assert!(accounts.make_preview_code(stranger, token, id, 3000, at(0)).await.unwrap().is_none(), "not theirs");
    let nothing = Opener::Token(TokenId(Uuid::new_v4()));
    assert!(accounts.make_preview_code(owner, nothing, id, 3000, at(0)).await.unwrap().is_none(), "no such token");
}

#[tokio::test]
async fn who_comes_by_an_account_elsewhere_is_kept_out_where_nobody_may_and_loses_nothing() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let [linked, other] = [stranger(&pool).await, stranger(&pool).await];
    for user in [owner, linked] {
        sqlx::query(
            "INSERT INTO linked_accounts (id, user_id, provider, provider_id, login, created_at, updated_at)
            VALUES (gen_random_uuid(), $1, 'github.com', gen_random_uuid()::text, 'octocat', now(), now())",
        )
        .bind(user.0)
        .execute(&pool)
        .await
        .unwrap();
    }
    accounts.create_session(&session(1, Some(linked))).await.unwrap();
    let (id, sandbox) = sandbox(&pool, linked).await;
    let code = accounts.make_preview_code(linked, Opener::Session(1), id, 3000, at(0)).await.unwrap().unwrap();
    let cookie = accounts.use_preview_code(code.expose_secret(), &sandbox, 3000, at(1)).await.unwrap().unwrap();
    for they_may in [false, true] {
        let accounts = accounts.clone().by_providers(they_may);
        let kept_out = async |user| accounts.user(user).await.unwrap().unwrap().kept_out;
        assert_eq!(kept_out(linked).await, !they_may);
        assert!(!kept_out(owner).await && !kept_out(other).await, "they come otherwise");
        let visitor = accounts.preview_visitor(cookie.expose_secret(), &sandbox, 3000, at(2)).await.unwrap();
        assert_eq!(visitor.is_some(), they_may);
        assert!(accounts.session(1, at(2)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_preview_ends_with_the_session_or_token_that_opened_it() {
    let Some((accounts, owner, pool)) = subject().await else { return };
    let (id, sandbox) = sandbox(&pool, owner).await;
    let code = async |opener| accounts.make_preview_code(owner, opener, id, 3000, at(0)).await.unwrap();
    let enter =
        async |code: &SecretString, now| accounts.use_preview_code(code.expose_secret(), &sandbox, 3000, now).await.unwrap();
    let open = async |opener| enter(&code(opener).await?, at(1)).await;
    let opens = async |cookie: &SecretString, now| {
        accounts.preview_visitor(cookie.expose_secret(), &sandbox, 3000, now).await.unwrap().is_some()
    };
    for id in [1, 2] {
        accounts.create_session(&session(id, Some(owner))).await.unwrap();
    }
    let token = async |expires| accounts.make_token(owner, "CI", Scope::Write, expires, at(0)).await.unwrap().token.id;
    let (lasting, revoked, expiring) = (token(None).await, token(None).await, token(Some(at(50))).await);
    let sessions = [open(Opener::Session(1)).await.unwrap(), open(Opener::Session(2)).await.unwrap()];
    let mut cookies = Vec::new();
    for id in [lasting, revoked, expiring] {
        cookies.push(open(Opener::Token(id)).await.unwrap());
    }
    let waiting = [code(Opener::Token(revoked)).await.unwrap(), code(Opener::Token(expiring)).await.unwrap()];
    for cookie in sessions.iter().chain(&cookies) {
        assert!(opens(cookie, at(2)).await);
    }

    accounts.revoke_token(owner, revoked, at(3)).await.unwrap();
    accounts.end_session(1).await.unwrap();
    assert_eq!([opens(&sessions[0], at(4)).await, opens(&sessions[1], at(4)).await], [false, true]);
    assert_eq!(
        [opens(&cookies[0], at(4)).await, opens(&cookies[1], at(4)).await, opens(&cookies[2], at(4)).await],
        [true, false, true]
    );
    assert!(enter(&waiting[0], at(4)).await.is_none(), "a code of a revoked token opens nothing");
    assert!(enter(&waiting[1], at(50)).await.is_none(), "nor does one of an expired token");
    assert!(!opens(&cookies[2], at(50)).await, "the token expired");
    assert!(opens(&cookies[0], at(50)).await);
    // The session is over by the clock, and not swept yet.
    assert!(opens(&sessions[1], at(999)).await && !opens(&sessions[1], at(1000)).await);
    assert!(open(Opener::Session(1)).await.is_none(), "the session is over");

    let session = open(Opener::Session(2)).await.unwrap();
    accounts.end_sessions_of(owner).await.unwrap();
    assert_eq!([opens(&session, at(5)).await, opens(&cookies[0], at(5)).await], [false, false]);
}
