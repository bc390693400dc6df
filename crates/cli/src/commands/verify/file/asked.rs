//! What an issuer is asked beyond its keys: `[issuers.introspection]` and `[issuers.feed]`.

use std::path::Path;
use std::time::Duration;

use tokenry_core::Secret;
use tokenry_verifier::WhenBehind;

use super::is_url;
use crate::commands::verify::settings::{Feed, Introspection};
use crate::document::{Table, Value};
use crate::edge;

/// The longest time for which the word of an issuer may be believed: a token that it has ended is good for so long.
const MAX_TTL: Duration = Duration::from_secs(300);

/// What a feed may be silent for; the verifier allows no more and no less.
const SILENCE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(3600);

/// As whom the issuer is asked: identifier and secret of a client.
fn client(table: &Table<'_>, folder: &Path) -> Option<(String, Secret)> {
    let id = table
        .required("client_id", |v| v.matching("the identifier of a client", |id| !id.is_empty()));
    let secret = table.required("client_secret", |v| secret(v, folder));
    Some((id.into_value()?, secret.into_value()?))
}

/// `{ file = "PATH" }` or `{ env = "NAME" }`: never the secret itself, since such files are passed around.
fn secret(value: &Value<'_>, folder: &Path) -> Option<Secret> {
    let read = value.table(|table| {
        let text = |key| table.optional(key, |v| v.text_that("a text").map(str::to_owned));
        match (text("file").into_value(), text("env").into_value()) {
            (Some(path), None) => edge::read_secret(&folder.join(path), "the client's secret")
                .map_err(|error| error.message),
            (None, Some(name)) => std::env::var(&name)
                .map(Secret::new)
                .map_err(|_| format!("the environment has no {name} that is a text")),
            _ => Err("must be { file = \"PATH\" } or { env = \"NAME\" }".to_owned()),
        }
    })?;
    let read = read.and_then(|secret| match secret.expose().trim() {
        "" => Err("the client's secret is empty".to_owned()),
        text => Ok(Secret::new(text)),
    });
    read.map_err(|message| value.notes.error(&value.span(), message, None)).ok()
}

/// `[issuers.introspection]`.
pub(super) fn introspection(table: &Table<'_>, folder: &Path) -> Option<Introspection> {
    let client = client(table, folder);
    let endpoint = table.optional("endpoint", |v| v.matching("an https URL", is_url)).into_value();
    let yes = |key| table.optional(key, |v| v.boolean()).into_value().unwrap_or(false);
    let (always, without_audience) = (yes("always"), yes("accept_without_audience"));
    let ttl = table.optional("ttl", |v| v.duration(Duration::ZERO..=MAX_TTL)).into_value();
    let prefix = table.optional("opaque_prefix", |v| v.matching("a text", |it| !it.is_empty()));
    let opaque_prefix = prefix.into_value();
    let (client_id, client_secret) = client?;
    Some(Introspection {
        client_id,
        client_secret,
        endpoint,
        always,
        ttl,
        opaque_prefix,
        without_audience,
    })
}

/// `[issuers.feed]`.
pub(super) fn feed(table: &Table<'_>, folder: &Path) -> Option<Feed> {
    let client = client(table, folder);
    let endpoint = table.optional("endpoint", |v| v.matching("an https URL", is_url)).into_value();
    let when_behind = table.optional("when_behind", |v| {
        let must = "`trust`, `refuse` or `introspect`";
        match v.text_that(must)? {
            "trust" => Some(WhenBehind::Trust),
            "refuse" => Some(WhenBehind::Refuse),
            "introspect" => Some(WhenBehind::Introspect),
            _ => v.must(must, None),
        }
    });
    let max_silence = table.optional("max_silence", |v| v.duration(SILENCE)).into_value();
    let (client_id, client_secret) = client?;
    let when_behind = when_behind.into_value().unwrap_or_default();
    Some(Feed { client_id, client_secret, endpoint, when_behind, max_silence })
}
