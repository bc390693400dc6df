//! A certificate that is replaced while the server runs: on SIGHUP, and when its files have changed.

use std::time::{Duration, SystemTime};

use tokenry_server::Tls;

use crate::certificate::{self, Loaded};
use crate::config::Config;
use crate::diagnostic::{Diagnostic, Severity};
use crate::edge;

/// How often the files are looked at: a certificate is renewed days before the old one ends.
const EVERY: Duration = Duration::from_secs(60);

/// How many looks pass between two warnings about a certificate that ends: a day.
const LOOKS_PER_WARNING: u32 = 24 * 60;

/// When the files were changed last.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Stamp([Option<SystemTime>; 2]);

impl Stamp {
    /// As of now: taken before the files are read, so that a change while they are is seen next time.
    pub(super) fn of(config: &Config) -> Self {
        config.tls.as_ref().map_or_else(Self::default, |files| {
            Self([&files.certificate, &files.key].map(|at| {
                std::fs::metadata(&at.value).and_then(|metadata| metadata.modified()).ok()
            }))
        })
    }
}

/// Keeps the certificate of the listener what its files hold.
#[derive(Debug)]
pub(super) struct Watch {
    config: Config,
    loaded: Option<Loaded>,
    stamp: Stamp,
}

impl Watch {
    /// Of what was loaded from files of that stamp.
    pub(super) const fn new(config: Config, loaded: Option<Loaded>, stamp: Stamp) -> Self {
        Self { config, loaded, stamp }
    }

    /// What the listener shakes hands with, which this watch replaces.
    pub(super) fn tls(&self) -> Option<Tls> {
        self.loaded.as_ref().map(|loaded| loaded.tls.clone())
    }

    /// Watches until it is dropped.
    pub(super) async fn run(mut self, mut hangups: Hangups) {
        let tls = self.tls();
        let mut looks = 0;
        loop {
            let asked = tokio::select! {
                () = hangups.next() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            let Some(tls) = &tls else {
                if asked {
                    tracing::info!("SIGHUP: there are no TLS files to read again");
                }
                continue;
            };
            looks += u32::from(!asked);
            let stamp = Stamp::of(&self.config);
            let replaced = (asked || stamp != self.stamp) && self.read_again(tls);
            self.stamp = stamp;
            if replaced || looks >= LOOKS_PER_WARNING {
                looks = 0;
                self.warn_of_its_end();
            }
        }
    }

    /// Takes over what the files hold now; gives whether it could.
    fn read_again(&mut self, tls: &Tls) -> bool {
        match certificate::load(&self.config) {
            Ok(Some(new)) => {
                tls.replace(&new.tls);
                self.loaded = Some(new);
                tracing::info!("the certificate was read again");
                true
            }
            Ok(None) => false,
            Err(bad) => {
                for error in bad.0.iter().filter(|d| d.severity == Severity::Error) {
                    tracing::error!("the old certificate stays: {}", error.message);
                }
                false
            }
        }
    }

    fn warn_of_its_end(&self) {
        let aging = self.loaded.as_ref().and_then(|l| l.aging(&self.config, edge::now()));
        if let Some(Diagnostic { message, .. }) = aging {
            tracing::warn!("{message}");
        }
    }
}

/// SIGHUP, where there is such a thing.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Hangups(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangups {
    pub(super) fn new() -> Result<Self, Diagnostic> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup())
            .map(Self)
            .map_err(|error| Diagnostic::error(format!("signals cannot be received: {error}")))
    }

    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
#[derive(Debug)]
pub(super) struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    pub(super) const fn new() -> Result<Self, Diagnostic> {
        Ok(Self)
    }

    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}
