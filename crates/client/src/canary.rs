//! No secret is shown: not by `Debug` of anything public, not by an error, not by the log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokenry_core::Secret;
use tracing_subscriber::fmt::MakeWriter;

use crate::testing::{Server, answer, builder_of, pass};
use crate::{BearerLayer, Credentials, HttpTransport, Provider, StaticToken, TokenSource};

const CANARY: &str = "canary";

/// All that is logged while it listens.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Logs as loudly as possible, on this thread, until the guard is dropped.
pub(crate) fn listen(log: &Log) -> tracing::subscriber::DefaultGuard {
    // While there is only one subscriber, `tracing` asks the thread that logs first whether anybody listens, and keeps
    // its answer for all: another test's thread would silence this one's. Of two it asks both.
    static ANOTHER: std::sync::OnceLock<tracing::Dispatch> = std::sync::OnceLock::new();
    ANOTHER.get_or_init(|| tracing::Dispatch::new(tracing_subscriber::registry()));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_default(subscriber)
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Grants, refuses and breaks in turn, and repeats what it was sent wherever it can.
fn indiscreet() -> Server {
    Server::new(|asked, n| {
        let echo: String = asked.form.values().map(|value| format!("{value} ")).collect();
        Ok(match n % 5 {
            1 => answer(
                200,
                &format!(
                    r#"{{"access_token":"canary-access-{n}","refresh_token":"canary-refresh-{n}",
                        "id_token":"canary-id","token_type":"bearer","expires_in":300}}"#
                ),
            ),
            2 => answer(503, &echo),
            3 => {
                answer(400, &format!(r#"{{"error":"invalid_grant","error_description":"{echo}"}}"#))
            }
            4 => answer(401, &format!(r#"{{"error":"{echo}"}}"#)),
            _ => answer(200, &format!("not JSON {echo}")),
        })
    })
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_in_debug_errors_events_or_the_log() {
    let log = Log::default();
    let _guard = listen(&log);

    let mut shown = Vec::new();
    for (name, credentials) in [
        ("tuinly", Credentials::client("acme", Secret::new("canary-client-secret"))),
        ("simacan", Credentials::password("anna", Secret::new("canary-password"))),
    ] {
        shown.push(format!("{credentials:?}"));
        let provider = Provider::named(name).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let settings = builder_of(provider, credentials, &indiscreet())
            .refresh_token_file(directory.path().join("refresh_token"));
        shown.push(format!("{settings:?}"));
        let keeper = settings.patience(Duration::ZERO).build().unwrap();
        let mut events = keeper.events();
        for _ in 0..200 {
            match keeper.token().await {
                Ok(token) => {
                    assert!(token.access_token().expose().starts_with(CANARY));
                    shown.push(format!(
                        "{token:?} {:?} {:?}",
                        token.header(),
                        token.access_token()
                    ));
                    keeper.invalidate(&token);
                }
                Err(error) => shown.push(format!("{error:?} {error}")),
            }
            pass(Duration::from_secs(20)).await;
            while let Ok(event) = events.try_recv() {
                shown.push(format!("{event:?}"));
            }
        }
        shown.push(format!("{keeper:?} {:?}", BearerLayer::of_keeper(&keeper)));
    }
    let fixed = StaticToken::new(Secret::new("canary-static")).unwrap();
    let token = TokenSource::token(&fixed).await.unwrap();
    assert_eq!(token.header(), "Bearer canary-static");
    shown.push(format!("{fixed:?} {token:?} {:?}", HttpTransport::builder()));

    let log = log.text();
    assert!(log.contains("token obtained") && log.contains("invalid_grant"), "{log}");
    for text in shown.iter().chain([&log]) {
        assert!(!text.contains(CANARY), "{text}");
    }
}
