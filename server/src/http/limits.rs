//! How often something may be done: a bucket of tokens a key, refilled at a steady rate.
//!
//! Not by `governor`, which every call takes from: here a look takes nothing (only sign-ins that did not
//! work count), and there are never more than [`MOST`] buckets, however many addresses somebody has.

use super::errors::Refusal;
use app::error::ErrorKind;
use http::header;
use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
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

    /// Whether one could be taken; takes none, and remembers nothing.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub fn peek(&self, key: &K) -> Result<(), Duration> {
        self.peek_at(key, Instant::now())
    }

    fn peek_at(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.by_key.get(key).map_or(Ok(()), |bucket| self.enough(self.left(*bucket, now)))
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

/// `429 Too Many Requests`, with `Retry-After`.
#[must_use]
pub fn too_many(what: &str, wait: Duration) -> Refusal {
    let seconds = wait.as_secs() + 1;
    Refusal::new(ErrorKind::TooMany, "too-many", format!("Too many {what} in a short time."), &format!("Wait {seconds} s."))
        .with_header(header::RETRY_AFTER, seconds.to_string())
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
        assert!(limit.take_at("a", start).is_err() && limit.peek_at(&"a", start).is_err());
        assert!(limit.take_at("b", start).is_ok(), "another key has a bucket of its own");
        let later = start + Duration::from_millis(1100);
        assert!(limit.peek_at(&"a", later).is_ok() && limit.take_at("a", later).is_ok(), "a look takes nothing");
        assert!(limit.take_at("a", later).is_err());
    }

    #[test]
    fn a_look_remembers_nothing_and_buckets_have_an_end() {
        let limit = Limit::new(2, Duration::from_secs(1000));
        let start = Instant::now();
        for key in 0..5000_u32 {
            assert!(limit.peek_at(&key, start).is_ok());
        }
        assert_eq!(limit.buckets.lock().unwrap().by_key.len(), 0);
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
    fn an_ipv6_address_counts_with_its_network() {
        let same = |a: &str, b: &str| neighbourhood(a.parse().unwrap()) == neighbourhood(b.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
    }
}
