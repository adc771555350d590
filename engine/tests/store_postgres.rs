//! [`PgStore`] on a real PostgreSQL: the contract of every store, and what is its own.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use engine::{
    secrets::Vault,
    store::{
        Ask, NewProjectRow, Store, StoreError,
        claude::Claude,
        contract::Subject,
        postgres::{
            PgStore,
            installation::{self, InstallationError},
            migrate::{self, MigrationError},
            pool::pool,
            room::try_writing,
        },
        repositories::Repositories,
    },
};
use futures::StreamExt as _;
use jiff::Timestamp;
use model::{
    CauseCode, ProjectId, SandboxId, UserId,
    claude::ClaudeKind,
    repository::{CloneState, Repository},
    resources::{Preset, Resources, Sizes},
};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, PgPool};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use support::{aside, database, empty_database, vault};
use uuid::Uuid;

async fn user(pool: &PgPool) -> UserId {
    let id = Uuid::new_v4();
    sqlx::query("INSERT INTO users (id, name, created_at) VALUES ($1, 'Someone', now())").bind(id).execute(pool).await.unwrap();
    UserId(id)
}

async fn subject() -> Option<Subject> {
    let (options, pool) = database().await?;
    let owners = [user(&pool).await, user(&pool).await];
    let vault = vault();
    let store = Arc::new(PgStore::start(pool, vault.clone()).await.unwrap());
    let other = PgStore::start(self::pool(options, 8), vault).await.unwrap();
    let rows = other.clone();
    let sized = Box::new(move |sizes| Arc::new(rows.clone().with_sizes(sizes)) as Arc<dyn Store>);
    Some(Subject { store, other: Arc::new(other), sized, owners })
}

engine::store_contract!(subject);

fn new(owner: UserId, secret: &str) -> NewProjectRow {
    NewProjectRow {
        id: ProjectId(Uuid::new_v4()),
        owner,
        name: "A project".parse().unwrap(),
        preset: Preset::Medium,
        env: BTreeMap::from([("KEY".parse().unwrap(), SecretString::from(secret))]),
        database: None,
        sandbox: SandboxId(Uuid::new_v4()),
        random: rand::random(),
        agent_token: SecretString::from(secret),
        extra: None,
        env_revision: 1,
        key: None,
        most: usize::MAX,
        now: Timestamp::from_second(1_700_000_000).unwrap(),
    }
}

#[tokio::test]
async fn migrating_twice_and_at_once_is_migrating() {
    let Some(options) = empty_database().await else { return };
    let starts = (0..4).map(|_| {
        let pool = pool(options.clone(), 2);
        tokio::spawn(async move { migrate::migrate(&pool).await })
    });
    for start in futures::future::join_all(starts).await {
        start.unwrap().unwrap();
    }
    migrate::migrate(&pool(options, 2)).await.unwrap();
}

#[tokio::test]
async fn somebody_elses_database_is_refused_and_left_as_it_was() {
    let Some(options) = empty_database().await else { return };
    let aside = aside(&options).await;
    sqlx::raw_sql("CREATE SCHEMA app; CREATE TABLE app._sqlx_migrations (version bigint)").execute(&aside).await.unwrap();
    let error = migrate::migrate(&pool(options, 2)).await.unwrap_err();
    assert!(matches!(error, MigrationError::NotOurs { .. }), "{error:?}");
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'app')")
        .fetch_one(&aside)
        .await
        .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_newer_versions_database_is_refused() {
    let Some((options, pool)) = database().await else { return };
    sqlx::query(
        "INSERT INTO fullstack_agent_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', true, '', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let error = migrate::migrate(&self::pool(options.clone(), 2)).await.unwrap_err();
    assert!(matches!(error, MigrationError::Newer { found: 9999, .. }), "{error:?}");

    sqlx::query("DELETE FROM fullstack_agent_migrations WHERE version = 9999").execute(&pool).await.unwrap();
    sqlx::query("UPDATE fullstack_agent_migrations SET checksum = 'other' WHERE version = 1").execute(&pool).await.unwrap();
    let error = migrate::migrate(&self::pool(options, 2)).await.unwrap_err();
    assert!(matches!(error, MigrationError::Differs { version: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn a_command_leaves_the_tables_of_an_older_server_that_runs() {
    let Some((options, server)) = database().await else { return };
    migrate::migrate_unless_served(&pool(options.clone(), 2)).await.expect("of one version, beside a server that runs");
    let older = "DELETE FROM fullstack_agent_migrations WHERE version = (SELECT max(version) FROM fullstack_agent_migrations)";
    sqlx::query(older).execute(&server).await.unwrap();
    let error = migrate::migrate_unless_served(&pool(options.clone(), 2)).await.unwrap_err();
    assert!(matches!(error, MigrationError::Serving { .. }) && error.to_string().contains("Restart the server"), "{error:?}");
    server.close().await;
    let error = migrate::migrate_unless_served(&pool(options, 2)).await.unwrap_err();
    assert!(
        !matches!(error, MigrationError::Serving { .. }),
        "with no server it migrates (and finds the table there): {error:?}"
    );
}

#[tokio::test]
async fn a_refused_sign_in_and_a_missing_database_say_what_to_do() {
    let Some(server) = support::server() else { return };
    let missing = migrate::migrate(&pool(server.clone().database("nowhere_at_all"), 2)).await.unwrap_err();
    assert!(matches!(&missing, MigrationError::Missing { database, .. } if database == "nowhere_at_all"), "{missing:?}");
    assert!(missing.to_string().contains("createdb nowhere_at_all"), "{missing}");

    let nobody = format!("nobody_{}", Uuid::new_v4().simple());
    let unknown = migrate::migrate(&pool(server.clone().username(&nobody).password("wrong"), 2)).await.unwrap_err();
    assert!(matches!(&unknown, MigrationError::SignIn { user, .. } if *user == nobody), "{unknown:?}");
    assert!(unknown.to_string().contains("FSA_DATABASE_URL") && unknown.to_string().contains(&nobody), "{unknown}");

    // Where the server asks for passwords at all.
    let admin = aside(&server).await;
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE ROLE {nobody} LOGIN PASSWORD 'right'"))).execute(&admin).await.unwrap();
    let wrong = migrate::migrate(&pool(server.username(&nobody).password("wrong"), 2)).await.unwrap_err();
    assert!(
        matches!(wrong, MigrationError::SignIn { .. } | MigrationError::NotOurs { .. } | MigrationError::Failed(_)),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn another_servers_migration_is_waited_for_and_not_for_ever() {
    let Some(options) = empty_database().await else { return };
    let other = aside(&options).await;
    sqlx::query("SELECT pg_advisory_lock(6714209)").execute(&other).await.unwrap();
    let busy = migrate::migrate_within(&pool(options.clone(), 2), Duration::from_millis(250)).await.unwrap_err();
    assert!(matches!(busy, MigrationError::Busy(_)), "{busy:?}");

    let waiting = tokio::spawn(async move { migrate::migrate(&pool(options, 2)).await });
    let there = async || -> bool {
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%' AND datname = current_database() AND pid <> pg_backend_pid())")
            .fetch_one(&other)
            .await
            .unwrap()
    };
    let asked = async { while !there().await {} };
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("it asks for the lock");
    assert!(!waiting.is_finished());
    sqlx::query("SELECT pg_advisory_unlock(6714209)").execute(&other).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it goes on").unwrap().unwrap();
}

#[tokio::test]
async fn nobody_but_the_owner_enters_the_control_planes_database() {
    let Some((options, pool)) = database().await else { return };
    let role = format!("somebody_{}", Uuid::new_v4().simple());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE ROLE {role} LOGIN PASSWORD 'somebody'"))).execute(&pool).await.unwrap();
    let enter = async || {
        use sqlx::Connection as _;
        sqlx::PgConnection::connect_with(&options.clone().username(&role).password("somebody")).await
    };
    let refused = enter().await.unwrap_err();
    assert_eq!(refused.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{refused:?}");
    // An operator's own grant stays.
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&pool).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("GRANT CONNECT ON DATABASE {name} TO {role}"))).execute(&pool).await.unwrap();
    migrate::migrate(&pool).await.unwrap();
    enter().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_away() {
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass().socket("/nowhere").username("nobody");
    let error = migrate::migrate(&pool(options, 2)).await.unwrap_err();
    assert!(matches!(error, MigrationError::Away(_)), "{error:?}");
}

#[tokio::test]
async fn the_installation_is_made_once_and_needs_every_key() {
    let Some((_, pool)) = database().await else { return };
    let key = |digit: &str| digit.repeat(64);
    let vault = |keys: &[String]| Vault::from_text(&SecretString::from(keys.join(",")), "the test").unwrap();
    let (old, fresh) = (key("a"), key("b"));
    let now = Timestamp::now();
    let id = installation::open(&pool, &vault(std::slice::from_ref(&old)), now).await.unwrap();
    assert_eq!(installation::open(&pool, &vault(std::slice::from_ref(&old)), now).await.unwrap(), id);
    let lost = installation::open(&pool, &vault(std::slice::from_ref(&fresh)), now).await.unwrap_err();
    assert!(matches!(lost, InstallationError::UnknownKey(_)), "{lost:?}");

    let rotated = Arc::new(vault(&[fresh.clone(), old.clone()]));
    assert_eq!(installation::open(&pool, &rotated, now).await.unwrap(), id);
    let owner = user(&pool).await;
    PgStore::start(pool.clone(), rotated).await.unwrap().create(new(owner, "sealed with the new one")).await.unwrap();
    let lost = installation::open(&pool, &vault(std::slice::from_ref(&old)), now).await.unwrap_err();
    assert!(matches!(lost, InstallationError::UnknownKey(_)), "{lost:?}");

    // Of the newest key there is nothing but Claude credentials: an account's, and then a run's.
    let newest = Arc::new(vault(&[key("c"), fresh.clone(), old.clone()]));
    let claude = Claude { kind: ClaudeKind::ApiKey, secret: SecretString::from("secret"), base_url: None };
    assert!(PgStore::start(pool.clone(), newest).await.unwrap().set_claude(owner, Some(claude), now).await.unwrap());
    let without = vault(&[fresh, old]);
    let lost = installation::open(&pool, &without, now).await.unwrap_err();
    assert!(matches!(lost, InstallationError::UnknownKey(_)), "{lost:?}");
    sqlx::raw_sql("UPDATE sandboxes SET claude = (SELECT sealed FROM claude_credentials); DELETE FROM claude_credentials")
        .execute(&pool)
        .await
        .unwrap();
    let lost = installation::open(&pool, &without, now).await.unwrap_err();
    assert!(matches!(lost, InstallationError::UnknownKey(_)), "{lost:?}");
}

#[tokio::test]
async fn claude_credentials_that_cannot_be_opened_are_replaced_and_removed() {
    let Some((_, pool)) = database().await else { return };
    let owner = user(&pool).await;
    let store = PgStore::start(pool.clone(), vault()).await.unwrap();
    let claude = Claude { kind: ClaudeKind::ApiKey, secret: SecretString::from("secret"), base_url: None };
    let now = Timestamp::now();
    assert!(store.set_claude(owner, Some(claude.clone()), now).await.unwrap());
    for new in [Some(claude), None] {
        sqlx::raw_sql(r"UPDATE claude_credentials SET sealed = '\x00'").execute(&pool).await.unwrap();
        let unreadable = store.claude(owner).await;
        assert!(matches!(unreadable, Err(StoreError::Broken(_))), "{unreadable:?}");
        assert!(store.set_claude(owner, new.clone(), now).await.unwrap());
        assert_eq!(store.claude(owner).await.unwrap().map(|(claude, _)| claude), new);
    }
}

#[tokio::test]
async fn no_secret_is_readable_in_any_table() {
    let Some((options, pool)) = database().await else { return };
    let owner = user(&pool).await;
    let store = PgStore::start(pool, vault()).await.unwrap();
    let secret = "hunter2hunter2";
    let database = engine::store::DatabaseRow { role: "r".into(), database: "d".into(), password: SecretString::from(secret) };
    let claude = Claude { kind: ClaudeKind::ApiKey, secret: SecretString::from(secret), base_url: None };
    assert!(store.set_claude(owner, Some(claude), Timestamp::UNIX_EPOCH).await.unwrap());
    store.create(NewProjectRow { database: Some(database), ..new(owner, secret) }).await.unwrap();
    let aside = aside(&options).await;
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").fetch_all(&aside).await.unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    for table in tables {
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT t::text FROM {table} t"))).fetch_all(&aside).await.unwrap();
        for row in rows {
            assert!(!row.contains(secret) && !row.contains(&hex::encode(secret)), "{table}");
        }
    }
}

#[tokio::test]
async fn a_sealed_value_of_another_row_is_not_taken() {
    let Some((_, pool)) = database().await else { return };
    let owner = user(&pool).await;
    let store = PgStore::start(pool.clone(), vault()).await.unwrap();
    let first = store.create(new(owner, "first")).await.unwrap().0;
    store.create(new(owner, "second")).await.unwrap();
    sqlx::query("UPDATE sandboxes SET agent_token = (SELECT agent_token FROM sandboxes WHERE id <> $1) WHERE id = $1")
        .bind(first.sandbox.id.0)
        .execute(&pool)
        .await
        .unwrap();
    let read = store.project(owner, first.project.id).await;
    assert!(matches!(read, Err(StoreError::Broken(_))), "{read:?}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_no_other_from_being_reconciled() {
    const HOLD: Duration = Duration::from_secs(30);
    let Some((_, pool)) = database().await else { return };
    let owner = user(&pool).await;
    let store = PgStore::start(pool.clone(), vault()).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(store.create(new(owner, "secret")).await.unwrap().0.sandbox.id);
    }
    ids.sort();
    let [of_another_size, seen_otherwise, caused, plain] = ids[..] else { panic!("{ids:?}") };
    // As a newer server would write them, but for the second.
    sqlx::raw_sql("ALTER TABLE sandboxes DROP CONSTRAINT sandboxes_preset_check").execute(&pool).await.unwrap();
    let cause = r#"cause = '{"code":"of-a-newer-version","message":"The moon was full.","nextSteps":[]}'"#;
    for (id, change) in
        [(of_another_size, "preset = 'gigantic'"), (seen_otherwise, "observed = '{\"generation\": 1}'"), (caused, cause)]
    {
        let statement = format!("UPDATE sandboxes SET {change} WHERE id = $1");
        sqlx::query(AssertSqlSafe(statement)).bind(id.0).execute(&pool).await.unwrap();
    }
    let now = Timestamp::from_second(1_700_000_001).unwrap();
    // One at a time, so that what cannot be read would be all that ever comes.
    let mut due = Vec::new();
    for _ in 0..6 {
        due.extend(store.lease_due("a", now, HOLD, 1, &[]).await.unwrap());
    }
    let leased: Vec<SandboxId> = due.iter().map(|leased| leased.row.sandbox.id).collect();
    assert_eq!(leased, [caused, plain]);
    let told = due[0].row.sandbox.cause.as_ref().unwrap();
    assert_eq!((told.code, told.message.as_str()), (CauseCode::Unexpected, "The moon was full."));
    assert!(store.next_wake(&[]).await.unwrap() > Some(now), "nothing is looked for again and again");

    let all: Vec<SandboxId> = store.all().await.unwrap().iter().map(|row| row.sandbox.id).collect();
    assert_eq!(all, [caused, plain]);
    let mut left_out: Vec<SandboxId> = store.left_out().into_iter().map(|(_, sandbox)| sandbox).collect();
    left_out.sort();
    assert_eq!(left_out, [of_another_size, seen_otherwise], "what they left in the world is no orphan");
    assert!(store.lease(of_another_size, "a", now, HOLD).await.unwrap().is_none());
    let held: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sandboxes WHERE lease_holder IS NOT NULL").fetch_one(&pool).await.unwrap();
    assert_eq!(held, 2, "who can read them may lease them");

    sqlx::query("UPDATE sandboxes SET preset = 'small' WHERE id = $1").bind(of_another_size.0).execute(&pool).await.unwrap();
    assert_eq!(store.all().await.unwrap().len(), 3);
    assert_eq!(store.lease_due("a", now, HOLD, 9, &[]).await.unwrap().len(), 1, "it is read again");
    // Another process removed it.
    sqlx::query("DELETE FROM sandboxes WHERE id = $1").bind(seen_otherwise.0).execute(&pool).await.unwrap();
    assert_eq!(store.left_out().len(), 1, "until all are read");
    store.all().await.unwrap();
    assert!(store.left_out().is_empty(), "one that is gone is forgotten");
}

#[tokio::test]
async fn a_sandbox_whose_amounts_were_not_kept_has_those_that_its_size_had_then() {
    let Some((_, pool)) = database().await else { return };
    let owner = user(&pool).await;
    let amounts = Resources { limit_memory_bytes: 77 << 20, ..Preset::Medium.resources() };
    let store = PgStore::start(pool.clone(), vault()).await.unwrap().with_sizes(Sizes::default().with(Preset::Medium, amounts));
    let (row, _) = store.create(new(owner, "secret")).await.unwrap();
    assert_eq!(row.sandbox.resources, amounts);
    sqlx::query("UPDATE sandboxes SET resources = NULL").execute(&pool).await.unwrap();
    let id = row.project.id;
    let read = async || store.project(owner, id).await.unwrap().unwrap().sandbox.resources;
    let ask = async |ask| store.ask(owner, id, ask, None, Timestamp::from_second(1_700_000_001).unwrap()).await.unwrap();
    assert_eq!(read().await, Preset::Medium.resources());
    ask(Ask::Stop).await;
    assert_eq!(read().await, Preset::Medium.resources());
    ask(Ask::Start).await;
    assert_eq!(read().await, amounts);
    // As a server resizes that does not know of them.
    sqlx::query("UPDATE sandboxes SET preset = 'large'").execute(&pool).await.unwrap();
    assert_eq!(read().await, Preset::Large.resources());
}

#[tokio::test]
async fn a_lost_listener_listens_again_and_receivers_read_again() {
    let Some((options, pool)) = database().await else { return };
    let owner = user(&pool).await;
    let store = PgStore::start(pool, vault()).await.unwrap();
    let mut changes = store.changes();
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_one(&aside(&options).await)
    .await
    .unwrap();
    assert!(ended > 0);
    let end = tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap();
    assert_eq!(end, None, "a gap ends the stream");
    let mut changes = store.changes();
    let row = store.create(new(owner, "s")).await.unwrap().0;
    let next = tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap().unwrap();
    assert_eq!(next.sandbox, row.sandbox.id);
}

#[tokio::test]
async fn another_process_hears_of_a_clone_as_it_begins_and_ends() {
    let Some((options, pool)) = database().await else { return };
    let owner = user(&pool).await;
    let repositories = Repositories::new(pool.clone());
    let vault = vault();
    let store = PgStore::start(pool, vault.clone()).await.unwrap();
    let other = PgStore::start(self::pool(options, 2), vault).await.unwrap();
    let mut changes = other.changes();
    let made = new(owner, "s");
    let (project, now, hold) = (made.id, made.now, Duration::from_secs(30));
    let url = "https://git.example/a/boats".to_owned();
    let repository = Repository { url, branch: None, depth: None, checkout: None, folder: "boats".into() };
    repositories.add(project, &repository, now).await.unwrap();
    let row = store.create(made).await.unwrap().0;
    assert!(repositories.claim(project, "one", hold, now).await.unwrap());
    assert!(repositories.progress(project, "one", Some("half of it"), hold, now).await.unwrap());
    assert!(repositories.finish(project, "one", CloneState::Failed, None, now).await.unwrap());
    assert!(repositories.decide(project, CloneState::Waiting, now).await.unwrap());
    let last = store.create(new(owner, "s")).await.unwrap().0;
    let mut told = 0;
    loop {
        let change = tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap().unwrap();
        if change.sandbox == last.sandbox.id {
            assert!(!change.clone, "nothing is cloned into the last");
            break;
        }
        assert_eq!((change.owner, change.project, change.sandbox), (owner, project, row.sandbox.id));
        told += usize::from(change.clone);
    }
    assert_eq!(told, 4, "made with one, begun, failed, to be tried again; and not how far it was");
}

#[tokio::test]
async fn the_listener_ends_with_the_last_store() {
    let Some((options, pool)) = database().await else { return };
    let store = PgStore::start(pool.clone(), vault()).await.unwrap();
    let listeners = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
            .fetch_one(&aside(&options).await)
            .await
            .unwrap()
    };
    assert_eq!(listeners().await, 1);
    drop(store);
    tokio::time::timeout(Duration::from_secs(10), pool.close()).await.expect("nothing holds a connection");
    assert_eq!(listeners().await, 0);
}

#[tokio::test]
async fn a_full_disk_is_no_room_to_write_and_what_is_there_is_read() {
    let Some(disk) = support::SmallDisk::start() else { return };
    let (_, pool) = disk.database().await;
    let owner = user(&pool).await;
    let store = PgStore::start(pool.clone(), vault()).await.unwrap();
    let (row, _) = store.create(new(owner, "secret")).await.unwrap();
    let change = async || {
        // Sealed, so not compressed: more than is left in pages that are there.
        let large = BTreeMap::from([("LARGE".parse().unwrap(), SecretString::from("v".repeat(60_000)))]);
        store.change_env(owner, row.project.id, large, Vec::new(), Timestamp::now()).await
    };
    try_writing(&pool).await.unwrap();
    disk.fill().await;
    let full = change().await;
    assert!(matches!(full, Err(StoreError::NoRoom(_))), "{full:?}");
    let tried = try_writing(&pool).await;
    assert!(matches!(tried, Err(StoreError::NoRoom(_))), "{tried:?}");
    assert_eq!(store.projects(owner).await.unwrap().len(), 1);
    assert_eq!(store.env(owner, row.project.id).await.unwrap().unwrap().len(), 1, "nothing was half done");
    disk.empty();
    try_writing(&pool).await.unwrap();
    change().await.unwrap().unwrap().unwrap();
    let left: Option<String> =
        sqlx::query_scalar("SELECT relname::text FROM pg_class WHERE relname = 'fsa_room'").fetch_optional(&pool).await.unwrap();
    assert_eq!(left, None, "what was tried was taken back");
}

#[tokio::test]
async fn a_store_whose_server_refuses_more_is_away() {
    let Some((options, pool)) = database().await else { return };
    let owner = user(&pool).await;
    let store = PgStore::start(self::pool(options.clone(), 4), vault()).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&pool).await.unwrap();
    pool.close().await;
    let admin = aside(&support::server().unwrap()).await;
    sqlx::raw_sql(AssertSqlSafe(format!("ALTER DATABASE {name} RENAME TO {name}_away"))).execute(&admin).await.unwrap_err();
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(&name)
        .execute(&admin)
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"))).execute(&admin).await.unwrap();
    let error = store.projects(owner).await.unwrap_err();
    assert!(matches!(error, StoreError::Away(_)), "{error:?}");
    sqlx::raw_sql(AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"))).execute(&admin).await.unwrap();
    assert!(store.projects(owner).await.unwrap().is_empty(), "it is back by itself");
}
