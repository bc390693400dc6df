//! Refresh tokens that outlive the keeper.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokenry_core::Timestamp;

use super::*;
use crate::durable::RefreshTokenStore;
use crate::testing::{Asked, Server, answer, builder, grant, grant_alone, pass, refusal};

const SECOND: Duration = Duration::from_secs(1);

/// What happened, in order: what was stored, and what the server was asked.
pub(super) type Diary = Arc<Mutex<Vec<String>>>;

/// A store in memory that keeps a diary, and breaks when it is told to.
#[derive(Clone, Default)]
pub(super) struct Store {
    stored: Arc<Mutex<Option<StoredRefreshToken>>>,
    pub(super) diary: Diary,
    /// What the next calls of `save` and `clear` do; when it is empty they work.
    pub(super) breaks: Arc<Mutex<VecDeque<bool>>>,
}

impl Store {
    fn holding(token: &str, presented: bool) -> Self {
        Self::holding_presented(token, presented.then_some(Timestamp::from_secs(0)))
    }

    pub(super) fn holding_presented(token: &str, presented_at: Option<Timestamp>) -> Self {
        let store = Self::default();
        let token = Some(Secret::new(token));
        let stored = StoredRefreshToken { token, presented_at, ..Default::default() };
        *store.stored.lock().unwrap() = Some(stored);
        store
    }

    pub(super) fn stored(&self) -> Option<(String, bool)> {
        let stored = self.stored.lock().unwrap().clone()?;
        Some((stored.token?.expose().to_owned(), stored.presented_at.is_some()))
    }

    fn write(&self, what: String, token: Option<&StoredRefreshToken>) -> Result<(), StoreError> {
        if self.breaks.lock().unwrap().pop_front().unwrap_or(false) {
            self.diary.lock().unwrap().push(format!("{what}: no"));
            return Err(StoreError::Other("the disk is full".to_owned()));
        }
        self.diary.lock().unwrap().push(what);
        *self.stored.lock().unwrap() = token.cloned();
        Ok(())
    }

    pub(super) fn diary(&self) -> Vec<String> {
        self.diary.lock().unwrap().clone()
    }

    /// A server that writes into the same diary, and does as `Server::granting`.
    fn server(&self, expires_in: u64) -> Server {
        let diary = self.diary.clone();
        Server::new(move |asked, n| {
            diary.lock().unwrap().push(what(asked));
            Ok(grant(n, expires_in))
        })
    }
}

impl RefreshTokenStore for Store {
    fn load(&self) -> Result<Option<StoredRefreshToken>, StoreError> {
        self.diary.lock().unwrap().push("load".to_owned());
        Ok(self.stored.lock().unwrap().clone())
    }

    fn save(&self, token: &StoredRefreshToken) -> Result<(), StoreError> {
        let mut what = "save".to_owned();
        if let Some(token) = &token.token {
            what += &format!(" {}", token.expose());
        }
        if token.presented_at.is_some() {
            what += " presented";
        }
        for abandoned in &token.abandoned {
            what += &format!(" without {}", abandoned.expose());
        }
        self.write(what, Some(token))
    }

    fn clear(&self) -> Result<(), StoreError> {
        self.write("clear".to_owned(), None)
    }
}

/// How a request stands in the diary.
pub(super) fn what(asked: &Asked) -> String {
    match asked.form.get("token") {
        Some(token) => format!("revoke {token}"),
        None => format!("asked {}", asked.refresh_token().unwrap_or("credentials")),
    }
}

pub(super) async fn text(keeper: &Keeper) -> String {
    keeper.token().await.unwrap().access_token().expose().to_owned()
}

#[tokio::test(start_paused = true)]
async fn row_123_a_new_refresh_token_is_stored_before_the_old_one_is_forgotten() {
    let store = Store::default();
    let server = store.server(300);
    let keeper = builder("simacan", &server).refresh_token_store(store.clone()).build().unwrap();
    assert_eq!(text(&keeper).await, "a1");
    // Who has the token sees that what came with it is stored.
    assert_eq!(store.diary(), ["load", "asked credentials", "save r1"]);
    pass(226 * SECOND).await;
    assert_eq!(text(&keeper).await, "a2");
    assert_eq!(store.diary()[3..], ["save r1 presented", "asked r1", "save r2"]);
    assert_eq!(store.stored(), Some(("r2".to_owned(), false)));
}

#[tokio::test(start_paused = true)]
async fn row_123_a_lost_answer_leaves_the_token_presented() {
    let store = Store::default();
    let server = Server::new(|asked, n| match asked.refresh_token() {
        Some(_) => Err(crate::TransportError::Other("lost".to_owned())),
        None => Ok(grant(n, 300)),
    });
    let keeper = builder("simacan", &server).refresh_token_store(store.clone()).build().unwrap();
    text(&keeper).await;
    pass(225 * SECOND + SECOND / 20).await;
    assert_eq!(store.stored(), Some(("r1".to_owned(), true)));
}

#[tokio::test(start_paused = true)]
async fn row_275_the_next_keeper_goes_on_with_what_is_stored() {
    let store = Store::holding("r0", false);
    let server = store.server(300);
    let keeper = builder("simacan", &server).refresh_token_store(store.clone()).build().unwrap();
    let mut events = keeper.events();
    assert_eq!(text(&keeper).await, "a1");
    assert_eq!(store.diary(), ["load", "save r0 presented", "asked r0", "save r1"]);
    assert!(matches!(events.try_recv(), Ok(Event::RefreshTokenRestored)));
}

#[tokio::test(start_paused = true)]
async fn row_275_a_token_that_was_perhaps_used_up_is_not_presented_again() {
    let store = Store::holding("r0", true);
    let server = store.server(300);
    let keeper = builder("simacan", &server).refresh_token_store(store.clone()).build().unwrap();
    let mut events = keeper.events();
    assert_eq!(text(&keeper).await, "a1");
    assert_eq!(store.diary(), ["load", "asked credentials", "save r1"]);
    assert!(matches!(events.try_recv(), Ok(Event::RefreshTokenDoubtful)));
}

#[tokio::test(start_paused = true)]
async fn row_275_a_stored_token_that_is_dead_falls_back_to_credentials() {
    let store = Store::holding("r0", false);
    let server = Server::new(|asked, n| match asked.refresh_token() {
        Some("r0") => Ok(refusal(401, "invalid_grant")),
        _ => Ok(grant(n, 300)),
    });
    let keeper = builder("simacan", &server).refresh_token_store(store.clone()).build().unwrap();
    assert_eq!(text(&keeper).await, "a2");
    assert_eq!(store.stored(), Some(("r2".to_owned(), false)));
}

#[tokio::test(start_paused = true)]
async fn row_123_a_vendor_that_keeps_refresh_tokens_costs_one_write() {
    let store = Store::default();
    let server = Server::new(|asked, n| match asked.refresh_token() {
        None => Ok(grant(n, 3600)),
        Some(_) => Ok(grant_alone(n, 3600)),
    });
    let keeper = builder("tuinly", &server).refresh_token_store(store.clone()).build().unwrap();
    for _ in 0..3 {
        text(&keeper).await;
        pass(2701 * SECOND).await;
    }
    assert!(server.count() >= 3);
    assert_eq!(store.diary(), ["load", "save r1"]);
}

#[tokio::test(start_paused = true)]
async fn row_123_an_answer_without_a_refresh_token_says_that_the_old_one_is_good() {
    let store = Store::default();
    let server = Server::new(|asked, n| match asked.refresh_token() {
        None => Ok(grant(n, 300)),
        Some(_) => Ok(grant_alone(n, 300)),
    });
    let keeper = builder("truphone", &server).refresh_token_store(store.clone()).build().unwrap();
    text(&keeper).await;
    pass(226 * SECOND).await;
    assert_eq!(store.diary(), ["load", "save r1", "save r1 presented", "save r1"]);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_bring_no_refresh_token_leave_none_behind() {
    let store = Store::holding("r0", true);
    let server = Server::new(|_, n| Ok(grant_alone(n, 300)));
    let keeper = builder("truphone", &server).refresh_token_store(store.clone()).build().unwrap();
    text(&keeper).await;
    assert_eq!(store.stored(), None);
}

#[tokio::test(start_paused = true)]
async fn row_123_a_refresh_token_that_cannot_be_stored_is_not_used() {
    let store = Store::default();
    let server = store.server(300);
    let keeper = builder("truphone", &server).refresh_token_store(store.clone()).build().unwrap();
    let mut events = keeper.events();
    // The access token is as good as ever; the next one comes by credentials.
    store.breaks.lock().unwrap().push_back(true);
    assert_eq!(text(&keeper).await, "a1");
    assert!(matches!(events.try_recv(), Ok(Event::Obtained { .. })));
    assert!(matches!(events.try_recv(), Ok(Event::RefreshTokenNotStored { .. })));
    pass(226 * SECOND).await;
    assert_eq!(
        store.diary(),
        ["load", "asked credentials", "save r1: no", "asked credentials", "save r2"]
    );
    // One that cannot be marked is not sent.
    text(&keeper).await;
    store.breaks.lock().unwrap().push_back(true);
    pass(226 * SECOND).await;
    assert_eq!(store.diary()[5..], ["save r2 presented: no", "asked credentials", "save r3"]);
    // And one whose successor cannot be stored stays marked.
    text(&keeper).await;
    store.breaks.lock().unwrap().extend([false, true]);
    pass(226 * SECOND).await;
    assert_eq!(store.diary()[8..], ["save r3 presented", "asked r3", "save r4: no"]);
    assert_eq!(store.stored(), Some(("r3".to_owned(), true)));
    text(&keeper).await;
    pass(226 * SECOND).await;
    assert_eq!(store.diary()[11..], ["asked credentials", "save r5"]);
}

#[tokio::test(start_paused = true)]
async fn row_275_a_thousand_first_callers_are_one_look_at_the_store() {
    let store = Store::holding("r0", false);
    let server = store.server(300);
    let keeper = builder("truphone", &server).refresh_token_store(store.clone()).build().unwrap();
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let keeper = keeper.clone();
            tokio::spawn(async move { text(&keeper).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "a1");
    }
    assert_eq!(store.diary().iter().filter(|entry| *entry == "load").count(), 1);
    assert_eq!(server.count(), 1);
}

fn with_file(provider: &str, server: &Server, path: &Path) -> Keeper {
    builder(provider, server).refresh_token_file(path).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn row_275_a_file_is_found_again_by_the_keeper_that_it_is_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refresh_token");
    let server = Server::granting(300);
    text(&with_file("truphone", &server, &path)).await;
    text(&with_file("truphone", &server, &path)).await;
    let refreshes: Vec<_> =
        server.requests().iter().map(|asked| asked.refresh_token().map(str::to_owned)).collect();
    assert_eq!(refreshes, [None, Some("r1".to_owned())]);

    // Another resource is another keeper; its error names the file, and the file stays as it is.
    let before = std::fs::read(&path).unwrap();
    let other = builder("truphone", &server).resource("https://other.example");
    let other = other.refresh_token_file(&path).build().unwrap();
    let error = other.token().await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Foreign { .. })), "{error}");
    assert!(error.to_string().contains("refresh_token"), "{error}");
    assert_eq!(server.count(), 2);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn row_275_a_damaged_file_is_an_error_until_it_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refresh_token");
    std::fs::write(&path, "canary").unwrap();
    let server = Server::granting(300);
    let keeper = with_file("truphone", &server, &path);
    let error = keeper.token().await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Corrupt { .. })), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    assert_eq!(server.count(), 0);
    std::fs::remove_file(&path).unwrap();
    pass(5 * SECOND).await;
    assert_eq!(text(&keeper).await, "a1");
}

#[tokio::test(start_paused = true)]
async fn a_store_for_tokens_that_are_not_used_is_told_at_once() {
    let server = Server::new(|_, _| Ok(answer(500, "")));
    let provider = Provider::at("https://as.example/token").unwrap().without_refresh();
    let credentials = Credentials::client("a", Secret::new("b"));
    let keeper = crate::testing::builder_of(provider, credentials, &server);
    let error = keeper.refresh_token_file("never").build().unwrap_err();
    assert!(matches!(error, BuildError::NoRefresh { .. }), "{error}");
}
