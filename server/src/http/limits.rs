//! How often something may be done: a bucket of tokens a key, refilled at a steady rate.
//!
//! Not by `governor`: here there are never more than [`MOST`] buckets, however many addresses somebody has.
//!
//! Credentials that are wrong are counted when they were looked up ([`Wrong`]), and not before: whoever comes with a right one
//! from the same address, as from behind one router, is let in however many wrong ones came.

use super::{errors::Refusal, security::ClientAddress};
use app::error::ControlError;
use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Buckets by key. Full ones are forgotten.
#[derive(Debug)]
pub struct Limit<K> {
    burst: f64,
    per_second: f64,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    by_key: HashMap<K, (f64, Instant)>,
    /// How many new keys there may be before full ones are looked for again: as many as were left the
    /// last time, so that looking costs each new key a constant.
    until_sweep: usize,
}

/// How many new keys there are at least before full buckets are looked for.
const SWEEP_AT: usize = 1024;
/// How many buckets there may be at all, some megabytes. Past it any other is forgotten for a new one:
/// who has so many addresses gains tries at a code of 256 bits, and locks nobody out.
const MOST: usize = 32 * 1024;

impl<K: Hash + Eq + Clone> Limit<K> {
    /// `burst` at once, then one every `every`.
    #[must_use]
    pub fn new(burst: u32, every: Duration) -> Self {
        let buckets = Buckets { by_key: HashMap::new(), until_sweep: SWEEP_AT };
        Self { burst: f64::from(burst), per_second: 1.0 / every.as_secs_f64(), buckets: Mutex::new(buckets) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub fn take(&self, key: K) -> Result<(), Duration> {
        self.take_at(key, Instant::now())
    }

    fn take_at(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let left = buckets.by_key.get(&key).map_or(self.burst, |bucket| self.left(*bucket, now));
        self.enough(left)?;
        if buckets.by_key.insert(key, (left - 1.0, now)).is_none() {
            self.make_room(&mut buckets, now);
        }
        Ok(())
    }

    fn make_room(&self, buckets: &mut Buckets<K>, now: Instant) {
        buckets.until_sweep = buckets.until_sweep.saturating_sub(1);
        if buckets.until_sweep == 0 {
            buckets.by_key.retain(|_, bucket| self.left(*bucket, now) < self.burst);
            buckets.until_sweep = SWEEP_AT.max(buckets.by_key.len());
        }
        if buckets.by_key.len() > MOST
            && let Some(any) = buckets.by_key.keys().next().cloned()
        {
            buckets.by_key.remove(&any);
        }
    }

    fn left(&self, (left, at): (f64, Instant), now: Instant) -> f64 {
        (left + now.duration_since(at).as_secs_f64() * self.per_second).min(self.burst)
    }

    fn enough(&self, left: f64) -> Result<(), Duration> {
        if left < 1.0 { Err(Duration::from_secs_f64((1.0 - left) / self.per_second)) } else { Ok(()) }
    }
}

/// Whom an address is counted as: an IPv4 address for itself, an IPv6 address with all of its /64, which
/// one customer has for themselves.
#[must_use]
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// The neighbourhood of a request; of one without an address, as in tests of a part alone, this machine.
#[must_use]
pub fn neighbourhood_of(from: Option<&ClientAddress>) -> IpAddr {
    neighbourhood(from.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |from| from.0))
}

/// Credentials that were wrong, by neighbourhood: some at once, then one every six seconds.
#[derive(Debug)]
pub struct Wrong {
    what: &'static str,
    tries: Limit<IpAddr>,
}

impl Wrong {
    /// `what`: as it stands after "Too many".
    #[must_use]
    pub fn new(what: &'static str, at_once: u32) -> Self {
        Self { what, tries: Limit::new(at_once, Duration::from_secs(6)) }
    }

    /// Counts one that was looked up and is wrong.
    ///
    /// # Errors
    /// `429 Too Many Requests`, in place of what is said of a wrong one.
    pub fn count(&self, from: IpAddr) -> Result<(), Refusal> {
        self.tries.take(neighbourhood(from)).map_err(|wait| {
            let message = format!("Too many {} came from this address in a short time.", self.what);
            let mut error = ControlError::too_many("too-many", message, wait);
            error.next_steps.push("A right one is let in at once: look which one is used.".to_owned());
            error.into()
        })
    }
}

/// `429 Too Many Requests`, with `Retry-After`.
#[must_use]
pub fn too_many(what: &str, wait: Duration) -> Refusal {
    ControlError::too_many("too-many", format!("Too many {what} in a short time."), wait).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_rate() {
        let limit = Limit::new(2, Duration::from_secs(1));
        let start = Instant::now();
        assert!(limit.take_at("a", start).is_ok());
        assert!(limit.take_at("a", start).is_ok());
        assert!(limit.take_at("a", start).is_err());
        assert!(limit.take_at("b", start).is_ok(), "another key has a bucket of its own");
        let later = start + Duration::from_millis(1100);
        assert!(limit.take_at("a", later).is_ok());
        assert!(limit.take_at("a", later).is_err());
    }

    #[test]
    fn buckets_have_an_end() {
        let limit = Limit::new(2, Duration::from_secs(1000));
        let start = Instant::now();
        for key in 0..100_000_u32 {
            assert!(limit.take_at(key, start).is_ok());
        }
        assert_eq!(limit.buckets.lock().unwrap().by_key.len(), MOST);
        let much_later = start + Duration::from_secs(100_000);
        for key in 200_000..300_000_u32 {
            assert!(limit.take_at(key, much_later).is_ok(), "nobody is locked out by others");
        }
        assert!(limit.buckets.lock().unwrap().by_key.keys().all(|key| *key >= 200_000), "full ones are forgotten");
    }

    #[test]
    fn wrong_ones_are_counted_by_neighbourhood_and_have_to_wait() {
        let wrong = Wrong::new("wrong tokens", 20);
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..20 {
            assert!(wrong.count(at("2001:db8:1:2::1")).is_ok());
        }
        let refused = wrong.count(at("2001:db8:1:2:ffff::9")).unwrap_err();
        assert_eq!(refused.status(), 429);
        assert!(refused.error().kind.wait().is_some_and(|wait| (1..=6).contains(&wait.secs())));
        assert!(refused.error().message.contains("wrong tokens"));
        assert!(wrong.count(at("2001:db8:1:3::1")).is_ok(), "another network");
        assert!(wrong.count(at("192.0.2.1")).is_ok());
    }

    #[test]
    fn an_ipv6_address_counts_with_its_network() {
        let same = |a: &str, b: &str| neighbourhood(a.parse().unwrap()) == neighbourhood(b.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
    }
}
