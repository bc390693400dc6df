//! The places that this node gives to tokens: a list at a time is taken from the store, all else happens in memory.

use std::sync::atomic::{AtomicU64, Ordering};

use tokenry_core::status_list::{PLACES, Place};
use tokenry_store::{Store, StoreError};

/// What this node has of the lists of a realm: one, until all its places are given away.
#[derive(Debug)]
pub(crate) struct Places {
    /// The number of the list, and how many of its places are given away, in 32 bits each.
    next: AtomicU64,
    /// Held while a list is taken, so that of many who wait one takes it.
    taking: tokio::sync::Mutex<()>,
}

impl Default for Places {
    /// None yet: a realm that gives no tokens takes no list.
    fn default() -> Self {
        Self { next: AtomicU64::new(PLACES as u64), taking: tokio::sync::Mutex::default() }
    }
}

impl Places {
    /// A place that nobody else has, if one is left.
    pub(crate) fn next(&self) -> Option<Place> {
        let left = |next: u64| ((next as u32 as usize) < PLACES).then_some(next + 1);
        let next = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).ok()?;
        Some(Place { list: (next >> 32) as u32, index: next as u16 })
    }

    /// The same, where none may be left: takes a list if nobody else does.
    pub(crate) async fn take(&self, store: &dyn Store, realm: &str) -> Result<Place, StoreError> {
        let _alone = self.taking.lock().await;
        if let Some(place) = self.next() {
            return Ok(place);
        }
        let list = store.take_status_list(realm).await?;
        tracing::debug!(realm, list, "status list taken");
        // The first place is the caller's.
        self.next.store(u64::from(list) << 32 | 1, Ordering::Relaxed);
        Ok(Place { list, index: 0 })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::time::Duration;

    use tokenry_core::Realm;
    use tokenry_core::realm::TokenPolicy;
    use tokenry_store::{Change, Memory};

    use super::*;

    async fn store() -> Arc<Memory> {
        let store = Arc::new(Memory::new());
        let tokens = TokenPolicy::new(Duration::from_secs(300));
        let realm = Realm::new("r", "https://auth.example".parse().unwrap(), tokens);
        store
            .change(vec![Change::PutRealm(realm)], None, tokenry_core::Timestamp::EPOCH)
            .await
            .unwrap();
        store
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn row_193_two_nodes_never_give_a_place_twice_and_write_once_for_65536() {
        const EACH: usize = PLACES * 3 / 4;
        let store = store().await;
        let nodes = [Arc::new(Places::default()), Arc::new(Places::default())];
        let tasks: Vec<_> = nodes
            .iter()
            .flat_map(|node| [Arc::clone(node), Arc::clone(node)])
            .map(|node| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let mut given = Vec::with_capacity(EACH);
                    for _ in 0..EACH {
                        given.push(match node.next() {
                            Some(place) => place,
                            None => node.take(&*store, "r").await.unwrap(),
                        });
                    }
                    given
                })
            })
            .collect();
        let mut seen = HashSet::new();
        for task in tasks {
            assert!(task.await.unwrap().into_iter().all(|place| seen.insert(place)));
        }
        // Each of two nodes gave a list and a half.
        assert_eq!(seen.len(), 4 * EACH);
        assert_eq!(store.status_lists("r").await.unwrap(), 4);
    }
}
