//! What a keeper has done, in numbers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokenry_core::Timestamp;

use crate::feed::{FeedMetrics, FeedState};
use crate::machine::{Grant, Phase};

/// What a keeper has done since it was made, and how it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeeperMetrics {
    /// Where its state machine stands.
    pub phase: Phase,
    /// For how long its token is good. `None` if it has none.
    pub good_for: Option<Duration>,
    /// Callers that wait for a token now.
    pub waiting: u64,
    /// Tokens obtained with credentials.
    pub obtained: u64,
    /// Tokens obtained with a refresh token.
    pub refreshed: u64,
    /// Requests with credentials that brought none.
    pub obtain_failures: u64,
    /// Requests with a refresh token that brought none.
    pub refresh_failures: u64,
    /// How often a caller was told that an API had answered 401.
    pub unauthorized: u64,
    /// Tokens that were withdrawn for it.
    pub withdrawn: u64,
    /// Callers that got a good token although the last request had brought none.
    pub served_while_failing: u64,
    /// How it stands with the issuer's revocation feed, if it is to follow it.
    pub feed: Option<FeedMetrics>,
}

/// The counters behind [`KeeperMetrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) waiting: AtomicU64,
    pub(crate) served_while_failing: AtomicU64,
    obtained: AtomicU64,
    refreshed: AtomicU64,
    obtain_failures: AtomicU64,
    refresh_failures: AtomicU64,
    unauthorized: AtomicU64,
    withdrawn: AtomicU64,
}

impl Counters {
    pub(crate) fn granted(&self, grant: Grant) {
        count(match grant {
            Grant::Credentials => &self.obtained,
            Grant::Refresh => &self.refreshed,
        });
    }

    pub(crate) fn failed(&self, grant: Grant) {
        count(match grant {
            Grant::Credentials => &self.obtain_failures,
            Grant::Refresh => &self.refresh_failures,
        });
    }

    pub(crate) fn unauthorized(&self, withdrawn: bool) {
        count(&self.unauthorized);
        if withdrawn {
            count(&self.withdrawn);
        }
    }

    /// Counts a caller for as long as it waits, or has not given up.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        count(&self.waiting);
        Waiting(self)
    }

    pub(crate) fn read(&self, phase: Phase, good_for: Option<Duration>) -> KeeperMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KeeperMetrics {
            phase,
            good_for,
            waiting: read(&self.waiting),
            obtained: read(&self.obtained),
            refreshed: read(&self.refreshed),
            obtain_failures: read(&self.obtain_failures),
            refresh_failures: read(&self.refresh_failures),
            unauthorized: read(&self.unauthorized),
            withdrawn: read(&self.withdrawn),
            served_while_failing: read(&self.served_while_failing),
            feed: None,
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A caller that waits.
pub(crate) struct Waiting<'a>(&'a Counters);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl KeeperMetrics {
    /// The metrics of several keepers, each under its name, as OpenMetrics text.
    ///
    /// | metric | labels | means |
    /// | --- | --- | --- |
    /// | `tokenry_keeper_token_seconds` | `keeper` | for how long the token is good, 0 without one |
    /// | `tokenry_keeper_waiting` | `keeper` | callers that wait |
    /// | `tokenry_keeper_requests_total` | `keeper`, `grant`, `outcome` | token requests by what came of them |
    /// | `tokenry_keeper_unauthorized_total` | `keeper`, `withdrawn` | answers 401 of APIs, and whether the token was withdrawn |
    /// | `tokenry_keeper_served_while_failing_total` | `keeper` | callers served while the server was not |
    ///
    /// And of those that follow their issuer's revocation feed:
    ///
    /// | metric | labels | means |
    /// | --- | --- | --- |
    /// | `tokenry_keeper_feed_following` | `keeper` | 1 while the keeper knows all that was revoked |
    /// | `tokenry_keeper_feed_behind_seconds` | `keeper` | for how long it may not, while its token is used |
    /// | `tokenry_keeper_feed_current_timestamp_seconds` | `keeper` | until when it did, 0 before the first time |
    /// | `tokenry_keeper_feed_reconnects_total` | `keeper` | how often the feed was asked for again |
    /// | `tokenry_keeper_feed_received_total` | `keeper` | revocations that were received |
    /// | `tokenry_keeper_revoked_total` | `keeper` | tokens that were ended by them |
    pub fn openmetrics(keepers: impl IntoIterator<Item = (String, Self)>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Keepers(keepers.into_iter().collect())));
        let mut out = String::new();
        // A text takes whatever is written to it.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

#[derive(Debug)]
struct Keepers(Vec<(String, KeeperMetrics)>);

impl Collector for Keepers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.gauge(&mut encoder, "token_seconds", "For how long the token is good.", |metrics| {
            Some(metrics.good_for.unwrap_or_default().as_secs())
        })?;
        self.gauge(&mut encoder, "waiting", "Callers that wait for a token.", |m| Some(m.waiting))?;
        self.counters(&mut encoder, "requests", "Token requests.", |m| {
            vec![
                ([("grant", "credentials"), ("outcome", "token")], m.obtained),
                ([("grant", "credentials"), ("outcome", "none")], m.obtain_failures),
                ([("grant", "refresh"), ("outcome", "token")], m.refreshed),
                ([("grant", "refresh"), ("outcome", "none")], m.refresh_failures),
            ]
        })?;
        self.counters(&mut encoder, "unauthorized", "Answers 401 of APIs.", |m| {
            vec![
                ([("withdrawn", "yes")], m.withdrawn),
                ([("withdrawn", "no")], m.unauthorized.saturating_sub(m.withdrawn)),
            ]
        })?;
        let help = "Callers that got a good token although the last request had brought none.";
        self.counters(&mut encoder, "served_while_failing", help, |m| {
            vec![([], m.served_while_failing)]
        })?;
        self.feeds(&mut encoder)
    }
}

/// With each metric's name.
const PREFIX: &str = "tokenry_keeper_";

impl Keepers {
    /// Nothing, where no keeper follows a feed.
    fn feeds(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.0.iter().all(|(_, metrics)| metrics.feed.is_none()) {
            return Ok(());
        }
        let help = "Whether all that was revoked is known.";
        self.gauge(encoder, "feed_following", help, |m| {
            m.feed.map(|feed| u64::from(feed.state == FeedState::Following))
        })?;
        let help = "For how long something may have been missed, while the token is used.";
        self.gauge(encoder, "feed_behind_seconds", help, |m| {
            m.feed.map(|feed| feed.behind_for.unwrap_or_default().as_secs())
        })?;
        let help = "Until when all that was revoked was known.";
        self.gauge(encoder, "feed_current_timestamp_seconds", help, |m| {
            m.feed.map(|feed| feed.current_at.map_or(0, Timestamp::as_secs))
        })?;
        let counted = |m: &KeeperMetrics, read: fn(&FeedMetrics) -> u64| {
            m.feed.iter().map(|feed| ([], read(feed))).collect()
        };
        let help = "How often the revocation feed was asked for again.";
        self.counters(encoder, "feed_reconnects", help, |m| counted(m, |feed| feed.reconnects))?;
        let help = "Revocations received.";
        self.counters(encoder, "feed_received", help, |m| counted(m, |feed| feed.received))?;
        let help = "Tokens that were ended by the revocation feed.";
        self.counters(encoder, "revoked", help, |m| counted(m, |feed| feed.revoked))
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        read: impl Fn(&KeeperMetrics) -> Option<u64>,
    ) -> fmt::Result {
        let name = format!("{PREFIX}{name}");
        let kind = ConstGauge::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
        for (keeper, metrics) in &self.0 {
            let labels = [("keeper", keeper.as_str())];
            if let Some(value) = read(metrics) {
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn counters<const N: usize>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        read: impl Fn(&KeeperMetrics) -> Vec<([(&'static str, &'static str); N], u64)>,
    ) -> fmt::Result {
        let name = format!("{PREFIX}{name}");
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
        for (keeper, metrics) in &self.0 {
            for (labels, value) in read(metrics) {
                let mut all = vec![("keeper", keeper.as_str())];
                all.extend(labels);
                ConstCounter::new(value).encode(family.encode_family(&all)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepers_are_told_apart_by_their_names() {
        let counters = Counters::default();
        counters.granted(Grant::Refresh);
        counters.failed(Grant::Credentials);
        counters.unauthorized(true);
        counters.unauthorized(false);
        let waiting = counters.wait();
        let one = counters.read(Phase::Good, Some(Duration::from_secs(90)));
        drop(waiting);
        let two = counters.read(Phase::Empty, None);
        let text = KeeperMetrics::openmetrics([("one".to_owned(), one), ("t\"o".to_owned(), two)]);
        for line in [
            r#"tokenry_keeper_token_seconds{keeper="one"} 90"#,
            r#"tokenry_keeper_token_seconds{keeper="t\"o"} 0"#,
            r#"tokenry_keeper_waiting{keeper="one"} 1"#,
            r#"tokenry_keeper_waiting{keeper="t\"o"} 0"#,
            r#"tokenry_keeper_requests_total{keeper="one",grant="refresh",outcome="token"} 1"#,
            r#"tokenry_keeper_requests_total{keeper="one",grant="credentials",outcome="none"} 1"#,
            r#"tokenry_keeper_unauthorized_total{keeper="one",withdrawn="yes"} 1"#,
            r#"tokenry_keeper_unauthorized_total{keeper="one",withdrawn="no"} 1"#,
            r#"tokenry_keeper_served_while_failing_total{keeper="one"} 0"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        assert!(!text.contains("feed") && !text.contains("revoked"), "{text}");
    }

    #[test]
    fn how_it_stands_with_the_feed_is_told_of_those_who_follow() {
        let counters = Counters::default();
        let one = counters.read(Phase::Good, None);
        let feed = FeedMetrics {
            state: FeedState::Behind,
            behind_for: Some(Duration::from_secs(7)),
            current_at: Some(Timestamp::from_secs(1_000_000)),
            reconnects: 3,
            received: 4,
            revoked: 5,
        };
        let two = KeeperMetrics { feed: Some(feed), ..one };
        let state = FeedState::Following;
        let feed = FeedMetrics { state, behind_for: None, current_at: None, ..feed };
        let three = KeeperMetrics { feed: Some(feed), ..one };
        let all = [("one", one), ("two", two), ("three", three)];
        let text = KeeperMetrics::openmetrics(all.map(|(name, one)| (name.to_owned(), one)));
        let told: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("tokenry_keeper_feed") || line.contains("_revoked"))
            .collect();
        assert!(!told.iter().any(|line| line.contains("\"one\"")), "{text}");
        for line in [
            r#"tokenry_keeper_feed_following{keeper="two"} 0"#,
            r#"tokenry_keeper_feed_following{keeper="three"} 1"#,
            r#"tokenry_keeper_feed_behind_seconds{keeper="two"} 7"#,
            r#"tokenry_keeper_feed_behind_seconds{keeper="three"} 0"#,
            r#"tokenry_keeper_feed_current_timestamp_seconds{keeper="two"} 1000000"#,
            r#"tokenry_keeper_feed_current_timestamp_seconds{keeper="three"} 0"#,
            r#"tokenry_keeper_feed_reconnects_total{keeper="two"} 3"#,
            r#"tokenry_keeper_feed_received_total{keeper="two"} 4"#,
            r#"tokenry_keeper_revoked_total{keeper="two"} 5"#,
        ] {
            assert!(told.contains(&line), "{line}\n{text}");
        }
    }
}
