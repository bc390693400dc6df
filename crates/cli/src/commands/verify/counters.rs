//! What is counted, and told as metrics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokenry_verifier::{IssuerMetrics, VerifierMetrics};

use super::answer::Door;
use crate::commands::figures::{Count, counters};

/// The statuses that are answered; what is none of them counts as the last but one, which nobody wants to see.
const STATUSES: [&str; 6] = ["200", "400", "401", "403", "500", "503"];

/// How many requests were answered, by status.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; STATUSES.len()]);

impl Counters {
    pub(super) fn count(&self, status: StatusCode) {
        let [ok, malformed, unauthorized, forbidden, misconfigured, unavailable] = &self.0;
        let counter = match status {
            StatusCode::OK => ok,
            StatusCode::BAD_REQUEST => malformed,
            StatusCode::UNAUTHORIZED => unauthorized,
            StatusCode::FORBIDDEN => forbidden,
            StatusCode::SERVICE_UNAVAILABLE => unavailable,
            _ => misconfigured,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

const REQUESTS: [Count<u64>; 1] =
    [("verify_requests", "Requests that were answered, by status", |count| *count)];

const TOKENS: [Count<VerifierMetrics>; 4] = [
    ("verify_tokens_accepted", "Tokens that were good", |m| m.accepted),
    ("verify_tokens_refused", "Tokens that were not", |m| m.refused),
    ("verify_tokens_unavailable", "Tokens of which nothing could be said", |m| m.unavailable),
    ("verify_cache_hits", "Good tokens that were known from before", |m| m.cache_hits),
];

const OF_ISSUERS: [Count<IssuerMetrics>; 8] = [
    ("verify_introspections", "Questions about tokens", |m| {
        m.introspection.as_ref().map_or(0, |it| it.asked)
    }),
    ("verify_introspections_failed", "Questions about tokens without a usable answer", |m| {
        m.introspection.as_ref().map_or(0, |it| it.failed)
    }),
    ("verify_feed_reconnects", "How often a revocation feed was asked for again", |m| {
        m.feed.as_ref().map_or(0, |it| it.reconnects)
    }),
    ("verify_status_list_fetches", "Fetches of status lists that have ended", |m| {
        m.status_lists.as_ref().map_or(0, |it| it.fetches)
    }),
    ("verify_status_list_fetches_failed", "Fetches of status lists that brought nothing", |m| {
        m.status_lists.as_ref().map_or(0, |it| it.failed)
    }),
    ("verify_status_list_refusals", "How often a token was refused for its status", |m| {
        m.status_lists.as_ref().map_or(0, |it| it.refused)
    }),
    ("verify_key_fetches", "Fetches of keys that have ended", |m| m.key_fetches),
    ("verify_key_fetches_failed", "Fetches of keys that brought nothing", |m| m.key_fetches_failed),
];

/// The metrics of a door.
#[derive(Debug)]
pub(super) struct Metrics(pub(super) Arc<Door>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counted = STATUSES.iter().zip(&self.0.counters.0);
        let answers: Vec<_> =
            counted.map(|(status, counter)| ([("status", *status)], read(counter))).collect();
        counters(&mut encoder, &REQUESTS, &answers)?;
        let metrics = self.0.metrics();
        for (name, help, read) in &TOKENS {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(read(&metrics)).encode(counter)?;
        }
        let issuers: Vec<_> = metrics
            .issuers
            .iter()
            .map(|it| ([("issuer", it.issuer.as_str())], it.clone()))
            .collect();
        counters(&mut encoder, &OF_ISSUERS, &issuers)?;
        let (keys, revocations) = ("Keys to verify with", "Revocations that are held");
        gauge(&mut encoder, "verify_keys", keys, &issuers, |m| m.keys)?;
        gauge(&mut encoder, "verify_revocations", revocations, &issuers, |m| m.revocations)?;
        let lists = "Status lists that are held";
        gauge(&mut encoder, "verify_status_lists", lists, &issuers, |m| {
            m.status_lists.as_ref().map_or(0, |it| it.held)
        })?;
        let followed: Vec<_> =
            issuers.iter().filter(|(_, it)| it.feed.is_some()).cloned().collect();
        let (following, behind) =
            ("Whether the revocation feed is followed", "Seconds behind the revocation feed");
        gauge(&mut encoder, "verify_feed_following", following, &followed, |m| {
            usize::from(m.feed.as_ref().is_some_and(|it| it.following))
        })?;
        gauge(&mut encoder, "verify_feed_behind_seconds", behind, &followed, |m| {
            let behind = m.feed.as_ref().and_then(|it| it.behind_for).unwrap_or_default();
            usize::try_from(behind.as_secs()).unwrap_or(usize::MAX)
        })?;
        let help = "Whether tokens of any issuer can be checked";
        let ready = encoder.encode_descriptor("verify_ready", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(self.0.is_ready())).encode(ready)
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    of: &[([(&str, &str); 1], IssuerMetrics)],
    read: fn(&IssuerMetrics) -> usize,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, metrics) in of {
        let value = i64::try_from(read(metrics)).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}
