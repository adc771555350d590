//! A bell that is rung where nobody waits for an answer and the store had no room to write.

use super::StoreError;
use std::sync::Arc;
use tokio::sync::Notify;

/// Clones are the same bell. It is heard by one, later too where nobody listens yet.
#[derive(Debug, Clone, Default)]
pub struct FullBell(Arc<Notify>);

impl FullBell {
    /// Rings, if that is what went wrong.
    pub fn hear(&self, error: &StoreError) {
        if matches!(error, StoreError::NoRoom(_)) {
            self.0.notify_one();
        }
    }

    /// Until it rings.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn it_rings_for_want_of_room_alone() {
        let bell = FullBell::default();
        bell.hear(&StoreError::Away(anyhow::anyhow!("away")));
        bell.hear(&StoreError::Full(3));
        assert!(bell.rung().now_or_never().is_none());
        bell.clone().hear(&StoreError::NoRoom(anyhow::anyhow!("full")));
        assert!(bell.rung().now_or_never().is_some());
        assert!(bell.rung().now_or_never().is_none(), "once");
    }
}
