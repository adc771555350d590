//! The apiserver: what it is asked, and what is said and done where it is away, hangs, refuses or forgets.

use crate::{or_skip, support::*};
use engine::orchestrator::{Orchestrator as _, Removed};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, api::DeleteParams};
use kubernetes::{index::health::Health, settings::IngressSettings};
use model::{CauseCode, InstallationId};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_create_asks_little_and_an_unchanged_pass_nothing() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.ingress = Some(IngressSettings {
            auth_url: Some("http://control.plane:4000".to_owned()),
            ..IngressSettings::new("sandboxes.example.com")
        });
    })
    .await;
    let spec = world.spec();
    world.asked.take();
    let began = Instant::now();
    world.up(&spec).await;
    let took = began.elapsed();
    let calls = world.asked.take_calls();
    println!("first create, volume included: {took:?}, {} requests", calls.len());
    assert!(calls.len() <= 15, "{calls:#?}");
    for _ in 0..3 {
        world.orchestrator.ensure(&spec).await.unwrap();
        world.orchestrator.observe(spec.id).await.unwrap();
    }
    assert_eq!(world.asked.take_calls(), [], "an unchanged pass asks nothing");
    let mut restarted = spec.clone();
    restarted.restart_count += 1;
    let began = Instant::now();
    world.up(&restarted).await;
    let mut calls = world.asked.take_calls();
    println!("restart to a shell: {:?}, {} requests", began.elapsed(), calls.len());
    let began = Instant::now();
    world.down(&restarted).await;
    println!("stop: {:?}, {} requests", began.elapsed(), world.asked.take_calls().len());
    let mut again = restarted.clone();
    again.restart_count += 1;
    let began = Instant::now();
    world.up(&again).await;
    println!("start of a stopped one to a shell: {:?}, {} requests", began.elapsed(), world.asked.take_calls().len());
    let began = Instant::now();
    while world.orchestrator.remove(spec.id).await.unwrap() != Removed::Gone {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = world.asked.take_calls();
    println!("terminate to nothing left: {:?}, {} requests", began.elapsed(), last.len());
    calls.extend(last);
    // Of two: the kubelet may have been as quick once.
    let buried = calls.iter().any(|(method, path)| method == "DELETE" && path.contains("/pods/"));
    assert!(buried, "a pod whose containers have ended is not waited for: {calls:#?}");
    world.remove(&spec).await;
    let watches = world.asked.watches();
    assert!(watches.values().all(|most| *most == 1), "one watch a kind: {watches:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_is_the_installations_own() {
    or_skip!(skip());
    let world = World::new().await;
    let installation = world.settings.installation.to_string();
    // What has none of our labels: the namespace's, and the whole cluster's.
    let others = ["events", "nodes", "ingressclasses"];
    let own = [
        "deployments",
        "ingresses",
        "networkpolicies",
        "persistentvolumeclaims",
        "pods",
        "secrets",
        "serviceaccounts",
        "services",
    ];
    let (mut watched, began) = (BTreeSet::new(), Instant::now());
    while watched.len() < own.len() + others.len() {
        assert!(began.elapsed() < PATIENCE, "watched: {watched:?}");
        for (method, path) in world.asked.take().into_iter().filter(|(method, _)| method == "GET") {
            let (folder, query) = path.split_once('?').unwrap_or((path.as_str(), ""));
            let kind = folder.rsplit('/').next().unwrap().to_owned();
            if own.contains(&kind.as_str()) {
                assert!(query.contains("labelSelector=") && query.contains(&installation), "{method} {path}");
            }
            if query.contains("watch=true") {
                assert!(own.contains(&kind.as_str()) || others.contains(&kind.as_str()), "{path}");
                watched.insert(kind);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One watch a kind, however many sandboxes there are.
#[tokio::test(flavor = "multi_thread")]
async fn three_sandboxes_are_watched_as_none_is() {
    or_skip!(skip());
    let world = World::new().await;
    // The last of them begins a moment after all is listed.
    let began = Instant::now();
    while world.asked.watches().len() < 11 {
        assert!(began.elapsed() < PATIENCE, "{:#?}", world.asked.watches());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = world.asked.watches();
    assert!(before.values().all(|most| *most == 1), "{before:#?}");
    let specs = [world.spec(), world.spec(), world.spec()];
    for spec in &specs {
        world.up(spec).await;
    }
    assert_eq!(world.asked.watches(), before);
    for spec in &specs {
        world.remove(spec).await;
    }
    assert_eq!(world.asked.watches(), before);
}

/// Between us and the apiserver, until it is told to hang up on everybody.
struct Proxy {
    address: std::net::SocketAddr,
    up: tokio::sync::watch::Sender<bool>,
    /// Passes nothing on, and hangs up on nobody.
    stalled: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    async fn to(host: String, port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (up, is_up) = tokio::sync::watch::channel(true);
        let (stalled, is_stalled) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (host, mut is_up, is_stalled) = (host.clone(), is_up.clone(), is_stalled.clone());
                tokio::spawn(async move {
                    if !*is_up.borrow() {
                        return;
                    }
                    let _ = is_stalled.clone().wait_for(|stalled| !*stalled).await;
                    let Ok(mut server) = tokio::net::TcpStream::connect((host.as_str(), port)).await else { return };
                    let mut hung = is_stalled.clone();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                        _ = is_up.wait_for(|up| !*up) => return,
                        _ = hung.wait_for(|stalled| *stalled) => {}
                    }
                    let _ = hung.wait_for(|stalled| !*stalled).await;
                });
            }
        });
        Self { address, up, stalled }
    }

    /// One, and a world that reaches its cluster through it.
    async fn before_a_world() -> (Self, World) {
        let mut config = config().await;
        let url = config.cluster_url.clone();
        let proxy = Self::to(url.host().unwrap().to_owned(), url.port_u16().unwrap_or(443)).await;
        config.tls_server_name = Some(url.host().unwrap().to_owned());
        config.cluster_url = format!("https://{}", proxy.address).parse().unwrap();
        let world = World::of(InstallationId(Uuid::new_v4()), config, |_| {}).await;
        (proxy, world)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_goes_away_is_said_to_and_is_followed_when_it_is_back() {
    or_skip!(skip());
    let (proxy, world) = Proxy::before_a_world().await;
    let direct = World::of(world.settings.installation, config().await, |_| {}).await;
    let spec = world.spec();
    world.up(&spec).await;
    let mut health = world.orchestrator.health();
    assert!(health.borrow_and_update().is_fresh());

    proxy.up.send(false).unwrap();
    let stale = tokio::time::timeout(PATIENCE, health.wait_for(|health| !health.is_fresh())).await.unwrap().unwrap().clone();
    let Health::Stale { cause, .. } = stale else { panic!("fresh") };
    assert_eq!(cause.code, CauseCode::OrchestratorUnreachable, "{cause:?}");
    let mut other = world.spec();
    other.name = spec.name.clone();
    let refused = world.orchestrator.remove(other.id).await;
    assert!(refused.is_err(), "what cannot be seen is not said to be gone: {refused:?}");

    // What happens meanwhile is seen afterwards: a stop by another replica.
    direct.down(&spec).await;
    let unseen = world.orchestrator.observe(spec.id).await.unwrap_err();
    let engine::orchestrator::OrchestratorError::Caused(said) = unseen else { panic!("{unseen}") };
    assert_eq!(said.code, CauseCode::OrchestratorUnreachable, "it cannot know, and says so: {said:?}");
    proxy.up.send(true).unwrap();
    tokio::time::timeout(PATIENCE, health.wait_for(Health::is_fresh)).await.unwrap().unwrap();
    world.until(&spec, "what happened meanwhile", |seen| !seen.present).await;
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_hangs_is_said_to() {
    or_skip!(skip());
    let (proxy, world) = Proxy::before_a_world().await;
    let spec = world.spec();
    world.up(&spec).await;
    let mut health = world.orchestrator.health();
    proxy.stalled.send(true).unwrap();
    let mut restarted = spec.clone();
    restarted.restart_count += 1;
    let refused = world.orchestrator.ensure(&restarted).await.unwrap_err();
    let engine::orchestrator::OrchestratorError::Caused(cause) = refused else { panic!("{refused}") };
    assert_eq!(cause.code, CauseCode::OrchestratorUnreachable, "{cause:?}");
    tokio::time::timeout(PATIENCE, health.wait_for(|health| !health.is_fresh())).await.unwrap().unwrap();
    proxy.stalled.send(false).unwrap();
    tokio::time::timeout(PATIENCE, health.wait_for(Health::is_fresh)).await.unwrap().unwrap();
    world.up(&restarted).await;
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apiserver_in_trouble_is_told_of_and_asked_again() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    let busy = CauseCode::OrchestratorBusy;
    for (code, reason, expected) in [
        (429, "TooManyRequests", busy),
        (500, "InternalError", busy),
        (503, "ServiceUnavailable", busy),
        (409, "Conflict", busy),
        (403, "Forbidden", CauseCode::PermissionMissing),
    ] {
        world.asked.refuse_the_next_write(code, reason);
        let refused = world.orchestrator.ensure(&spec).await.unwrap_err();
        let engine::orchestrator::OrchestratorError::Caused(cause) = refused else { panic!("{code}: {refused}") };
        assert_eq!(cause.code, expected, "{code}: {cause:?}");
        assert!(!cause.message.is_empty() && !cause.next_steps.is_empty(), "{code}: {cause:?}");
        println!("{code}: {}", cause.message);
    }
    world.up(&spec).await;
    world.asked.refuse_the_next_write(500, "InternalError");
    let refused = world.orchestrator.remove(spec.id).await.unwrap_err();
    assert!(matches!(&refused, engine::orchestrator::OrchestratorError::Caused(cause) if cause.code == busy), "{refused}");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_the_apiserver_has_forgotten_begins_with_a_list() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    world.up(&spec).await;
    let services: Api<Service> = Api::namespaced(client(config().await).0, &namespace());
    for within in [false, true] {
        let refused = world.asked.refuse_the_next_watch("services", 410, within);
        tokio::time::timeout(PATIENCE, refused.asked).await.expect("the watch is begun again").unwrap();
        services.delete(spec.name.as_str(), &DeleteParams::default()).await.unwrap();
        assert!(world.orchestrator.observe(spec.id).await.unwrap().network, "it cannot know");
        world.asked.take();
        refused.answer.send(()).unwrap();
        world.until(&spec, "the missing Service", |seen| !seen.network).await;
        let calls = world.asked.take_calls();
        let listed = |(method, path): &(String, String)| method == "GET" && path.contains("/services?");
        assert!(calls.iter().any(listed), "within the watch: {within}: {calls:#?}");
        assert!(world.orchestrator.health().borrow().is_fresh(), "{:?}", *world.orchestrator.health().borrow());
        world.up(&spec).await;
    }
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_broken_off_or_put_off_misses_nothing() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    world.up(&spec).await;
    let services: Api<Service> = Api::namespaced(client(config().await).0, &namespace());
    for code in [429, 500, 503] {
        for within in [false, true] {
            let refused = world.asked.refuse_the_next_watch("services", code, within);
            tokio::time::timeout(PATIENCE, refused.asked).await.expect("the watch is begun again").unwrap();
            services.delete(spec.name.as_str(), &DeleteParams::default()).await.unwrap();
            refused.answer.send(()).unwrap();
            world
                .until(&spec, &format!("the missing Service after {code}, within the watch: {within}"), |seen| !seen.network)
                .await;
            world.up(&spec).await;
        }
    }
    let mut health = world.orchestrator.health();
    tokio::time::timeout(PATIENCE, health.wait_for(Health::is_fresh)).await.unwrap().unwrap();
    world.remove(&spec).await;
}
