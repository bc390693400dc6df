//! Whether anything can be let in now, and how it stands with each issuer: what `/ready` tells.

use serde_json::{Value, json};
use tokenry_verifier::IssuerMetrics;

use super::answer::Door;
use crate::commands::figures::Readiness;

impl Door {
    /// Whether tokens of any issuer can be let in: one that is down must not close the door to the others.
    pub(super) fn is_ready(&self) -> bool {
        self.metrics().issuers.iter().any(|issuer| issuer.ready)
    }

    /// How it stands with each issuer.
    pub(super) fn readiness(&self) -> Readiness {
        let issuers = self.metrics().issuers;
        let is_ready = issuers.iter().any(|issuer| issuer.ready);
        let issuers: Vec<Value> = issuers.iter().map(standing).collect();
        Readiness { is_ready, body: json!({ "ready": is_ready, "issuers": issuers }) }
    }
}

/// How it stands with an issuer. What is not set is left out.
fn standing(issuer: &IssuerMetrics) -> Value {
    let mut told = json!({ "issuer": issuer.issuer, "ready": issuer.ready, "keys": issuer.keys });
    if let Some(feed) = &issuer.feed {
        told["feed"] = match (feed.following, feed.overdue) {
            (true, _) => json!("followed"),
            (false, false) => json!("interrupted"),
            (false, true) => json!("lost"),
        };
        if let Some(error) = feed.last_error.as_ref().filter(|_| !feed.following) {
            told["feed_error"] = json!(error);
        }
    }
    if let Some(asked) = &issuer.introspection {
        told["introspection"] = if asked.failing { json!("failing") } else { json!("ok") };
    }
    told
}
