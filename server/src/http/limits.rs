//! How often something may be done: a bucket of tokens a key, refilled at a steady rate.

use super::errors::Refusal;
use app::error::ErrorKind;
use http::header;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Buckets by key. Full ones are forgotten.
#[derive(Debug)]
pub struct Limit<K> {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<K, (f64, Instant)>>,
}

/// How many buckets there may be before full ones are looked for.
const SWEEP_AT: usize = 1024;

impl<K: Hash + Eq> Limit<K> {
    /// `burst` at once, then one every `every`.
    #[must_use]
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst: f64::from(burst), per_second: 1.0 / every.as_secs_f64(), buckets: Mutex::default() }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub fn take(&self, key: K) -> Result<(), Duration> {
        self.take_at(key, Instant::now(), 1.0)
    }

    /// Whether one could be taken; takes none.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub fn peek(&self, key: K) -> Result<(), Duration> {
        self.take_at(key, Instant::now(), 0.0)
    }

    fn take_at(&self, key: K, now: Instant, count: f64) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= SWEEP_AT {
            buckets.retain(|_, (left, at)| *left + now.duration_since(*at).as_secs_f64() * self.per_second < self.burst);
        }
        let (left, at) = buckets.entry(key).or_insert((self.burst, now));
        *left = (*left + now.duration_since(*at).as_secs_f64() * self.per_second).min(self.burst);
        *at = now;
        if *left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - *left) / self.per_second));
        }
        *left -= count;
        Ok(())
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
        assert!(limit.take_at("a", start, 1.0).is_ok());
        assert!(limit.take_at("a", start, 1.0).is_ok());
        assert!(limit.take_at("a", start, 1.0).is_err());
        assert!(limit.take_at("b", start, 1.0).is_ok(), "another key has a bucket of its own");
        let later = start + Duration::from_millis(1100);
        assert!(limit.take_at("a", later, 0.0).is_ok() && limit.take_at("a", later, 1.0).is_ok());
        assert!(limit.take_at("a", later, 1.0).is_err());
    }
}
