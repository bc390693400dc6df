//! What is counted (OpenMetrics), with names and labels that stay.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokenry_core::refusal::ErrorCode;
use tokenry_core::request::GrantType;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Realm {
    realm: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Granted {
    realm: String,
    grant: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Refused {
    realm: String,
    error: &'static str,
}

/// The server's metrics. Labels are bounded: realms, grants and error codes, never clients.
pub(crate) struct Metrics {
    registry: Registry,
    issued: Family<Granted, Counter>,
    refused: Family<Refused, Counter>,
    unavailable: Family<Realm, Counter>,
    reused: Family<Realm, Counter>,
    introspected: Family<Realm, Counter>,
    revoked: Family<Realm, Counter>,
    throttled: Family<Realm, Counter>,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// Requests turned away since too many were under way.
    pub(crate) shed: Counter,
    /// Whether the store answered when it was asked last.
    pub(crate) store_up: Gauge,
    /// Clients that there are.
    pub(crate) clients: Gauge,
    /// Clients held in memory.
    pub(crate) clients_held: Gauge,
    pub(crate) feed: FeedMetrics,
}

/// What is counted of the revocation feed.
#[derive(Clone, Debug, Default)]
pub(crate) struct FeedMetrics {
    /// Who follows.
    pub(crate) followers: Gauge,
    /// Revocations told, each to each follower.
    pub(crate) told: Counter,
    /// Followers that were told everything from the beginning.
    pub(crate) replays: Counter,
}

impl FeedMetrics {
    fn register(&self, registry: &mut Registry) {
        let Self { followers, told, replays } = self.clone();
        registry.register("feed_followers", "Followers of the revocation feed", followers);
        registry.register("feed_revocations_told", "Revocations told, each to each follower", told);
        registry.register("feed_replays", "Followers told everything from the beginning", replays);
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("tokenry");
        let (issued, refused) = (Family::default(), Family::default());
        let (unavailable, reused) = (Family::default(), Family::default());
        let (introspected, revoked) = (Family::default(), Family::default());
        let throttled = Family::<Realm, Counter>::default();
        let (connections, store_up) = (Gauge::default(), Gauge::default());
        let (clients, clients_held) = (Gauge::default(), Gauge::default());
        let shed = Counter::default();
        registry.register("tokens_issued", "Access tokens issued", issued.clone());
        registry.register("token_requests_refused", "Token requests refused", refused.clone());
        registry.register(
            "token_requests_unavailable",
            "Token requests answered 503",
            unavailable.clone(),
        );
        registry.register(
            "refresh_tokens_reused",
            "Families revoked since a used token came back",
            reused.clone(),
        );
        registry.register(
            "tokens_introspected",
            "Introspections answered, whether the token was good or not",
            introspected.clone(),
        );
        registry.register(
            "tokens_revoked",
            "Tokens and families revoked by their clients",
            revoked.clone(),
        );
        registry.register(
            "requests_throttled",
            "Requests answered 429 since too much was guessed",
            throttled.clone(),
        );
        registry.register("connections", "Connections that are open", connections.clone());
        registry.register("requests_shed", "Requests turned away under overload", shed.clone());
        registry.register(
            "store_up",
            "Whether the store answered when it was asked last",
            store_up.clone(),
        );
        registry.register("clients", "Clients that there are", clients.clone());
        registry.register("clients_held", "Clients held in memory", clients_held.clone());
        let feed = FeedMetrics::default();
        feed.register(&mut registry);
        Self {
            registry,
            issued,
            refused,
            unavailable,
            reused,
            introspected,
            revoked,
            throttled,
            connections,
            shed,
            store_up,
            clients,
            clients_held,
            feed,
        }
    }

    /// The handles of a realm, made once so that counting costs an addition.
    pub(crate) fn of_realm(&self, realm: &str) -> RealmMetrics {
        let label = || Realm { realm: realm.to_owned() };
        let issued = |grant: GrantType| {
            let labels = Granted { realm: realm.to_owned(), grant: grant.as_str() };
            self.issued.get_or_create(&labels).clone()
        };
        let refused = |code: ErrorCode| {
            let labels = Refused { realm: realm.to_owned(), error: code.as_str() };
            self.refused.get_or_create(&labels).clone()
        };
        RealmMetrics {
            issued: GrantType::ALL.map(|grant| (grant, issued(grant))),
            refused: ErrorCode::ALL.map(|code| (code, refused(code))),
            unavailable: self.unavailable.get_or_create(&label()).clone(),
            reused: self.reused.get_or_create(&label()).clone(),
            introspected: self.introspected.get_or_create(&label()).clone(),
            revoked: self.revoked.get_or_create(&label()).clone(),
            throttled: self.throttled.get_or_create(&label()).clone(),
        }
    }

    /// All of them as OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// What is counted for one realm.
#[derive(Debug)]
pub(crate) struct RealmMetrics {
    issued: [(GrantType, Counter); GrantType::ALL.len()],
    refused: [(ErrorCode, Counter); ErrorCode::ALL.len()],
    /// Token requests answered 503.
    pub(crate) unavailable: Counter,
    /// Families revoked since a used token came back.
    pub(crate) reused: Counter,
    /// Introspections answered.
    pub(crate) introspected: Counter,
    /// Tokens and families revoked by their clients.
    pub(crate) revoked: Counter,
    /// Requests answered 429.
    pub(crate) throttled: Counter,
}

impl RealmMetrics {
    pub(crate) fn issued(&self, grant: GrantType) {
        self.issued.iter().filter(|(own, _)| *own == grant).for_each(|(_, counter)| {
            counter.inc();
        });
    }

    pub(crate) fn refused(&self, code: ErrorCode) {
        self.refused.iter().filter(|(own, _)| *own == code).for_each(|(_, counter)| {
            counter.inc();
        });
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}
