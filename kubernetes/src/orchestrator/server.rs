//! Where a given PostgreSQL server is, and the apiserver. NetworkPolicies know addresses and no names, so a host's name is
//! looked up, again and again: a PostgreSQL that moves takes the policies of the sandboxes that run with it.

use crate::{Settings, apiserver};
use engine::orchestrator::OrchestratorError;
use kube::Client;
use model::{Cause, CauseCode};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::lookup_host, time::timeout};
use tokio_util::sync::CancellationToken;

/// How often the name is looked up.
const AGAIN: Duration = Duration::from_secs(30);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// For how long an address counts that was not among the answers again. A name that stands for many is answered with
/// others each time, and what is connected stays so.
const KEPT: Duration = Duration::from_secs(3600);
/// How long what the apiserver said of itself is good: it is no name that is looked up elsewhere, and is not to be asked all the time.
const SAID: Duration = Duration::from_secs(1800);

/// What the host's name stands for.
pub struct Addresses {
    host: String,
    port: u16,
    /// When each was last among the answers.
    found: Mutex<BTreeMap<IpAddr, Instant>>,
    /// That it was looked up at least once, in vain or not.
    asked: AtomicBool,
    /// Of the apiserver alone: itself, which says where else it is.
    apiserver: Option<Client>,
    /// That the account may not see where its Service leads to.
    hidden: AtomicBool,
    /// When it last said where it is.
    said: Mutex<Option<Instant>>,
}

impl Addresses {
    /// Of the server that was given, if one was. Nothing is looked up yet.
    #[must_use]
    pub fn of(settings: &Settings) -> Option<Arc<Self>> {
        settings.database.server.as_ref().map(|server| Arc::new(Self::at(&server.host, server.port, None)))
    }

    /// Of the apiserver, where it is known: as it is reached, and as it says itself. Nothing is looked up yet.
    #[must_use]
    pub fn of_apiserver(settings: &Settings, client: &Client) -> Option<Arc<Self>> {
        settings.apiserver.as_ref().map(|server| Arc::new(Self::at(&server.host, server.port, Some(client.clone()))))
    }

    fn at(host: &str, port: u16, apiserver: Option<Client>) -> Self {
        let (asked, hidden) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { host: host.to_owned(), port, found: Mutex::default(), asked, apiserver, hidden, said: Mutex::default() }
    }

    /// Which port they are reached at.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Those that are known; the name is looked up where there are none.
    ///
    /// # Errors
    /// With a cause: the name stands for nothing.
    pub async fn known(&self) -> Result<Vec<IpAddr>, OrchestratorError> {
        if self.found().is_empty() {
            self.look().await?;
        }
        Ok(self.found().keys().copied().collect())
    }

    /// Those that are known, once it was looked up: a name that stands for nothing here is waited for once.
    pub async fn known_so_far(&self) -> Vec<IpAddr> {
        if !self.asked.load(Ordering::Relaxed) {
            return self.known().await.unwrap_or_default();
        }
        self.found().keys().copied().collect()
    }

    /// Looks it up until `stop`, and tells each time what is known.
    pub fn follow(self: &Arc<Self>, stop: &CancellationToken, told: impl Fn(&[IpAddr]) + Send + Sync + 'static) {
        let this = self.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                match this.look().await {
                    Ok(()) => {
                        let known: Vec<IpAddr> = this.found().keys().copied().collect();
                        told(&known);
                    }
                    Err(_) => tracing::debug!(host = this.host, "this name stands for nothing now"),
                }
                tokio::time::sleep(AGAIN).await;
            }
        }));
    }

    async fn look(&self) -> Result<(), OrchestratorError> {
        let (asked, beside) = tokio::join!(timeout(ANSWER, lookup_host((self.host.as_str(), self.port))), self.beside());
        let asked = match asked {
            Ok(Ok(answers)) => Ok(answers.map(|answer| answer.ip()).collect::<Vec<_>>()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("nobody answered in time".to_owned()),
        };
        self.asked.store(true, Ordering::Relaxed);
        if !beside.is_empty() {
            self.answered(&beside, Instant::now());
        }
        match asked {
            Ok(answers) if !answers.is_empty() => {
                self.answered(&answers, Instant::now());
                Ok(())
            }
            _ if !beside.is_empty() => Ok(()),
            asked => {
                let cause = Cause::new(
                    CauseCode::DatabaseUnreachable,
                    format!("The name `{}` of the given PostgreSQL server was not found.", self.host),
                    &["It is looked up again by itself.", "Check the host in FSA_DATABASE_SERVER_URL."],
                );
                Err(OrchestratorError::Caused(cause.with_detail(asked.err().unwrap_or_default())))
            }
        }
    }

    /// Where the apiserver is beside what its name stands for, as far as it tells this account.
    async fn beside(&self) -> Vec<IpAddr> {
        let Some(client) = &self.apiserver else { return Vec::new() };
        let said = *self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|at| at.elapsed() < SAID) {
            return Vec::new();
        }
        let behind = async {
            if self.hidden.load(Ordering::Relaxed) {
                return BTreeSet::new();
            }
            let found = apiserver::behind(client).await;
            if matches!(&found, Err(kube::Error::Api(status)) if status.is_forbidden()) {
                self.hidden.store(true, Ordering::Relaxed);
            }
            found.unwrap_or_default()
        };
        let (advertised, behind) = tokio::join!(apiserver::advertised(client), behind);
        let beside: Vec<IpAddr> = advertised.into_iter().chain(behind).collect();
        if !beside.is_empty() {
            *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        beside
    }

    fn answered(&self, answers: &[IpAddr], now: Instant) {
        let mut found = self.found();
        found.extend(answers.iter().map(|address| (*address, now)));
        found.retain(|_, at| now.saturating_duration_since(*at) < KEPT);
    }

    fn found(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Instant>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(host: &str) -> Addresses {
        Addresses::at(host, 5432, None)
    }

    #[tokio::test]
    async fn an_apiserver_is_also_where_it_says() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (client, asked) = apiserver::tests::apiserver("203.0.113.7:6443", None);
        let server = Addresses::at("10.43.0.1", 443, Some(client));
        assert_eq!(server.known_so_far().await, [ip("10.43.0.1"), ip("203.0.113.7")]);
        server.look().await.unwrap();
        assert_eq!(server.known_so_far().await, [ip("10.43.0.1"), ip("203.0.113.7")]);
        assert_eq!(asked.lock().unwrap().len(), 2, "it is asked once, and not by every look: {asked:?}");
        *server.said.lock().unwrap() = None;
        server.look().await.unwrap();
        let slices = asked.lock().unwrap().iter().filter(|path| path.ends_with("/endpointslices/kubernetes")).count();
        assert_eq!((slices, asked.lock().unwrap().len()), (1, 3), "what it may not see it asks for once: {asked:?}");

        let (client, _) = apiserver::tests::apiserver("203.0.113.7:6443", Some(&["203.0.113.7", "203.0.113.8"]));
        let server = Addresses::at("nobody.invalid", 443, Some(client));
        assert_eq!(server.known_so_far().await, [ip("203.0.113.7"), ip("203.0.113.8")]);
    }

    #[tokio::test]
    async fn an_address_is_its_own_and_a_name_that_stands_for_nothing_is_told() {
        for address in ["192.0.2.7", "2001:db8::7"] {
            assert_eq!(addresses(address).known().await.unwrap(), [address.parse::<IpAddr>().unwrap()]);
        }
        let error = addresses("nobody.invalid").known().await.unwrap_err();
        assert!(error.to_string().contains("`nobody.invalid`"), "{error}");
    }

    #[tokio::test]
    async fn what_was_answered_lately_counts() {
        let (name, now) = (addresses("db.example"), Instant::now());
        let [old, one, two] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| address.parse::<IpAddr>().unwrap());
        name.answered(&[old, one], now);
        name.answered(&[one], now + KEPT / 2);
        assert_eq!(name.known().await.unwrap(), [old, one], "others are answered each time");
        name.answered(&[two], now + KEPT + Duration::from_secs(1));
        assert_eq!(name.known().await.unwrap(), [one, two]);
    }
}
