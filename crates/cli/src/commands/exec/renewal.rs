//! What keeps the token in the file fresh.

use std::future::pending;
use std::time::Duration;

use tokenry_client::{Event, Token};
use tokenry_core::Timestamp;
use tokio::sync::broadcast;

use super::TokenFile;
use crate::commands::source::Supply;
use crate::diagnostic::{Diagnostic, plain};
use crate::edge;
use crate::output::Output;

/// A keeper that nobody asks for a lifetime falls idle: it is asked when this part (1/n) of what is left has passed.
const ASK_PART: u32 = 4;
/// It is asked at least so often, for sources that do not tell of new tokens by themselves.
const ASK_AT_LEAST: Duration = Duration::from_secs(60);
/// It is asked no more often than this; asking costs next to nothing, and nobody waits for it.
const ASK_AT_MOST: Duration = Duration::from_secs(1);

/// A token in a file, and where the next one comes from.
pub(super) struct Renewal<'a> {
    supply: &'a Supply<'a>,
    events: Option<broadcast::Receiver<Event>>,
    token: Token,
    file: TokenFile,
    output: Output,
    /// How much of what is wrong has been told.
    told: Told,
}

/// What standard error has said of an outage. Once each is enough: it may last for hours.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Told {
    Nothing,
    /// There is no new token, and the old one is good.
    Late,
    /// There is no good token.
    Expired,
}

impl<'a> Renewal<'a> {
    pub(super) fn of(
        supply: &'a Supply<'a>,
        token: Token,
        file: TokenFile,
        output: Output,
    ) -> Self {
        let events = supply.events();
        Self { supply, events, token, file, output, told: Told::Nothing }
    }

    /// Waits until another token stands in the file. May be dropped at any point, and asked again.
    pub(super) async fn next(&mut self) {
        loop {
            let event = async {
                match &mut self.events {
                    Some(events) => events.recv().await.ok(),
                    None => pending().await,
                }
            };
            let failed = tokio::select! {
                event = event => match event {
                    Some(Event::RefreshFailed { error, .. } | Event::ObtainFailed { error, .. }) => Some(error.to_string()),
                    _ => None,
                },
                () = tokio::time::sleep(pause(&self.token, edge::now())) => None,
            };
            if let Some(error) = failed {
                self.tell(&error);
            }
            match self.supply.token(None).await {
                Ok(token) => {
                    if self.put(token) {
                        return;
                    }
                }
                // The old one stays: perhaps the command's API is not as strict as its clock.
                Err(error) => self.tell(&error.message),
            }
        }
    }

    /// Puts a token into the file, if it is another. Says whether it is.
    fn put(&mut self, token: Token) -> bool {
        let same = token.access_token() == self.token.access_token();
        if !same && let Err(error) = self.file.write(token.access_token()) {
            self.tell(&format!("{}: {}", self.file.path().display(), plain(&error)));
            return false;
        }
        self.token = token;
        if same {
            return false;
        }
        if self.told != Told::Nothing {
            self.told = Told::Nothing;
            self.output.note("the token was renewed again");
        }
        true
    }

    fn tell(&mut self, error: &str) {
        let now = edge::now();
        let (what, text) = match self.token.expires_at() {
            Some(at) if at <= now => {
                (Told::Expired, format!("the token has expired, and there is no other: {error}"))
            }
            at => {
                let until =
                    at.map_or_else(String::new, |at| format!(" is good until {}", edge::date(at)));
                (
                    Told::Late,
                    format!("the token was not renewed; the old one stays and{until}: {error}"),
                )
            }
        };
        if what > self.told {
            self.told = what;
            self.output.complain(&Diagnostic::warning(text).into());
        }
    }
}

/// How long to wait before the source is asked again.
fn pause(token: &Token, now: Timestamp) -> Duration {
    let left = token.expires_at().map_or(ASK_AT_LEAST, |at| at.since(now));
    (left / ASK_PART).clamp(ASK_AT_MOST, ASK_AT_LEAST)
}
