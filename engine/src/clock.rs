//! The time, as the reconciler sees it.

use jiff::Timestamp;
use std::time::Duration;

/// Wall-clock time and waiting. The simulator has its own.
#[async_trait::async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now, UTC. Microseconds at most, since that is what PostgreSQL keeps.
    fn now(&self) -> Timestamp;
    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait::async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
