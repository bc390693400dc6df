//! What becomes of refresh tokens that are given up.

use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// A store in memory.
#[derive(Clone, Default)]
struct Memory(Arc<std::sync::Mutex<Option<StoredRefreshToken>>>);

impl RefreshTokenStore for Memory {
    fn load(&self) -> Result<Option<StoredRefreshToken>, StoreError> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn save(&self, token: &StoredRefreshToken) -> Result<(), StoreError> {
        *self.0.lock().unwrap() = Some(token.clone());
        Ok(())
    }

    fn clear(&self) -> Result<(), StoreError> {
        *self.0.lock().unwrap() = None;
        Ok(())
    }
}

fn secret(number: usize) -> Secret {
    Secret::new(format!("r{number}"))
}

async fn abandoned(ledger: &Ledger) -> Vec<String> {
    ledger.abandoned().await.iter().map(|token| token.expose().to_owned()).collect()
}

#[tokio::test]
async fn of_many_abandoned_tokens_the_oldest_is_let_go() {
    let ledger = Ledger::new(None, true);
    for number in 1..=6 {
        ledger.succeed(&secret(number)).await.unwrap();
        ledger.abandon(NOW).await;
    }
    assert_eq!(abandoned(&ledger).await, ["r3", "r4", "r5", "r6"]);
    // Given up once more, it is revoked once all the same.
    ledger.succeed(&secret(4)).await.unwrap();
    ledger.abandon(NOW).await;
    assert_eq!(abandoned(&ledger).await, ["r3", "r4", "r5", "r6"]);
    ledger.settle(&secret(4)).await.unwrap();
    assert_eq!(abandoned(&ledger).await, ["r3", "r5", "r6"]);
}

#[tokio::test]
async fn a_token_that_has_expired_is_not_kept_to_be_revoked() {
    for (noted, later, expected) in [
        (1, 59, &["r1"][..]),
        (1, 60, &[]),
        // What another one's answer said is not about this one.
        (2, 60, &["r1"]),
    ] {
        let ledger = Ledger::new(None, true);
        ledger.succeed(&secret(1)).await.unwrap();
        ledger.note_expiry(&secret(noted), NOW + Duration::from_secs(60));
        ledger.abandon(NOW + Duration::from_secs(later)).await;
        assert_eq!(abandoned(&ledger).await, expected, "r{noted} {later}");
    }
}

#[tokio::test]
async fn row_275_what_is_to_be_revoked_is_stored_without_a_token_in_use() {
    let memory = Memory::default();
    let ledger = Ledger::new(Some(Arc::new(memory.clone())), true);
    ledger.succeed(&secret(1)).await.unwrap();
    ledger.abandon(NOW).await;
    // Credentials have brought no other.
    ledger.begin(None).await.unwrap();
    let stored = StoredRefreshToken { abandoned: vec![secret(1)], ..Default::default() };
    assert_eq!(memory.load(), Ok(Some(stored)));
    ledger.settle(&secret(1)).await.unwrap();
    assert_eq!(memory.load(), Ok(None));
}
