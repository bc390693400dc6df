//! The proxy's metrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokenry_client::proxy::{Counts, Proxy};
use tokenry_client::{FeedMetrics, FeedState, Keeper, KeeperMetrics};

use crate::commands::figures::{Count, counters};

/// What is told.
#[derive(Debug)]
pub(super) struct Figures {
    /// By the names of their upstreams.
    pub(super) proxies: Vec<(String, Proxy)>,
    /// By the names of their tokens.
    pub(super) keepers: Vec<(String, Keeper)>,
}

const OF_PROXIES: [Count<Counts>; 8] = [
    ("proxy_requests", "Requests that began", |c| c.requests),
    ("proxy_requests_refused", "Requests refused: malformed, misdirected, from web pages", |c| {
        c.refused
    }),
    ("proxy_requests_without_token", "Requests not sent, for want of a token", |c| c.without_token),
    ("proxy_requests_unanswered", "Requests that the upstream did not answer", |c| c.unanswered),
    ("proxy_requests_repeated", "Requests sent once more, after a 401 or for a nonce", |c| {
        c.repeated
    }),
    ("proxy_answers_unauthorized", "Answers that say 401, as programs got them", |c| {
        c.unauthorized
    }),
    ("proxy_connections_opened", "Connections to upstreams that were opened", |c| c.dialled),
    ("proxy_tunnels", "Connections that became something else than HTTP", |c| c.tunnels),
];

const OF_KEEPERS: [Count<KeeperMetrics>; 6] = [
    ("keeper_tokens_obtained", "Tokens obtained with credentials", |m| m.obtained),
    ("keeper_tokens_refreshed", "Tokens obtained with a refresh token", |m| m.refreshed),
    ("keeper_obtain_failures", "Requests with credentials that brought no token", |m| {
        m.obtain_failures
    }),
    ("keeper_refresh_failures", "Requests with a refresh token that brought none", |m| {
        m.refresh_failures
    }),
    ("keeper_tokens_withdrawn", "Tokens withdrawn after a 401", |m| m.withdrawn),
    ("keeper_served_while_failing", "Callers served although the last request failed", |m| {
        m.served_while_failing
    }),
];

const OF_FEEDS: [Count<FeedMetrics>; 3] = [
    ("keeper_feed_reconnects", "How often the revocation feed was asked for again", |f| {
        f.reconnects
    }),
    ("keeper_feed_received", "Revocations received", |f| f.received),
    ("keeper_tokens_revoked", "Tokens ended by the revocation feed", |f| f.revoked),
];

/// Of the keepers that follow the revocation feed of their issuer.
fn feeds(
    encoder: &mut DescriptorEncoder<'_>,
    keepers: &[([(&str, &str); 1], KeeperMetrics)],
) -> Result<(), fmt::Error> {
    let following = keepers.iter().filter_map(|(labels, metrics)| Some((*labels, metrics.feed?)));
    let feeds: Vec<_> = following.collect();
    if feeds.is_empty() {
        return Ok(());
    }
    counters(encoder, &OF_FEEDS, &feeds)?;
    let help = "Whether all that was revoked is known";
    gauge(encoder, "keeper_feed_following", help, &feeds, |feed| {
        f64::from(u8::from(feed.state == FeedState::Following))
    })?;
    let help = "For how long something may have been missed, while the token is used";
    gauge(encoder, "keeper_feed_behind_seconds", help, &feeds, |feed| {
        feed.behind_for.unwrap_or_default().as_secs_f64()
    })
}

fn gauge<T>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    of: &[([(&str, &str); 1], T)],
    read: impl Fn(&T) -> f64,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in of {
        ConstGauge::new(read(value)).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let proxies: Vec<_> = self
            .proxies
            .iter()
            .map(|(name, proxy)| ([("upstream", name.as_str())], proxy.counts()))
            .collect();
        let keepers: Vec<_> = self
            .keepers
            .iter()
            .map(|(name, keeper)| ([("token", name.as_str())], keeper.metrics()))
            .collect();
        counters(&mut encoder, &OF_PROXIES, &proxies)?;
        counters(&mut encoder, &OF_KEEPERS, &keepers)?;
        let help = "For how long the token is good, 0 if there is none";
        let name = "keeper_token_good_for_seconds";
        gauge(&mut encoder, name, help, &keepers, |metrics| {
            metrics.good_for.unwrap_or_default().as_secs_f64()
        })?;
        feeds(&mut encoder, &keepers)
    }
}
