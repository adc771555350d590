//! Time and chance that a schedule has in its hand.

use crate::{clock::Clock, random::Random};
use jiff::Timestamp;
use model::stage::after;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};
use uuid::Uuid;

/// Time that moves only when it is told to, who sleeps, and how far what the clock shows was set back: nobody sleeps longer for it.
pub(super) struct SimClock(pub(super) Mutex<(Timestamp, Vec<Waker>, Duration)>);

impl SimClock {
    pub(super) fn advance(&self, by: Duration) {
        let mut state = self.0.lock().unwrap();
        state.0 = after(state.0, by);
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn set_back(&self, by: Duration) {
        self.0.lock().unwrap().2 += by;
    }
}

#[async_trait::async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let state = self.0.lock().unwrap();
        state.0.checked_sub(state.2).unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        let until = after(self.0.lock().unwrap().0, duration);
        std::future::poll_fn(|context| {
            let mut state = self.0.lock().unwrap();
            if state.0 >= until {
                return Poll::Ready(());
            }
            if !context.waker().will_wake(Waker::noop()) {
                state.1.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// SplitMix64: the same numbers for the same seed, on every machine.
pub(super) struct SimRandom(pub(super) AtomicU64);

impl SimRandom {
    pub(super) fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }
}

impl Random for SimRandom {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.next().to_le_bytes()[0];
        }
    }
}
