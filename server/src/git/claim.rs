//! The claim that a process has on a clone or a publication: how long it holds, and what its holder says meanwhile.

use crate::http::patience::patient;
use engine::store::StoreError;
use std::time::Duration;

/// How long a claim holds without a word of its holder.
pub(crate) const HOLD: Duration = Duration::from_secs(30);
/// How often the holder says how far it is.
pub(crate) const SAY: Duration = Duration::from_millis(500);
/// How often it says that it is there, where git says nothing.
pub(crate) const BEAT: Duration = Duration::from_secs(5);
/// How often what waits is looked at again: a claim that ended with its holder, a change that was missed.
pub(crate) const LOOK: Duration = Duration::from_secs(15);
/// How often what became of the work is noted anew where the store is away.
const AGAIN: u32 = 20;

/// Who holds a claim. One each: a claim that ended while the database was away is another's, also where that is this process.
pub(crate) fn holder() -> String {
    hex::encode(rand::random::<[u8; 8]>())
}

/// Says that its holder is there, by a `word` that is `false` where the claim is not its any more: until then. git, GitHub and an
/// agent may be silent for long.
pub(crate) async fn hold<F: Future<Output = Result<bool, StoreError>>>(word: impl Fn() -> F) {
    hold_each(BEAT, word).await;
}

async fn hold_each<F: Future<Output = Result<bool, StoreError>>>(beat: Duration, word: impl Fn() -> F) {
    loop {
        tokio::time::sleep(beat).await;
        if matches!(patient(word()).await, Ok(false)) {
            return;
        }
    }
}

/// Has the store note what became of the work, again and again while it is away. The answer is the store's: `false` where it
/// is not the holder's any more.
///
/// # Errors
/// The store is away for long. Then the claim ends by itself.
pub(crate) async fn noted<F: Future<Output = Result<bool, StoreError>>>(finish: impl Fn() -> F) -> Result<bool, StoreError> {
    for _ in 0..AGAIN {
        if let Ok(noted) = patient(finish()).await {
            return Ok(noted);
        }
        tokio::time::sleep(SAY).await;
    }
    patient(finish()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_claim_is_held_while_the_store_is_away_and_left_where_it_is_anothers() {
        assert_ne!(holder(), holder(), "one each");
        let words = AtomicU32::new(0);
        let word = || {
            let said = words.fetch_add(1, Ordering::Relaxed);
            async move {
                match said {
                    0 | 2 => Ok(true),
                    1 => Err(StoreError::Away(anyhow::anyhow!("it starts"))),
                    _ => Ok(false),
                }
            }
        };
        hold_each(Duration::from_millis(1), word).await;
        assert_eq!(words.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn what_became_of_the_work_is_noted_once_the_store_is_back() {
        let asked = AtomicU32::new(0);
        let finish = || {
            let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            async move { if first { Err(StoreError::Away(anyhow::anyhow!("it starts"))) } else { Ok(true) } }
        };
        assert!(noted(finish).await.unwrap());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
