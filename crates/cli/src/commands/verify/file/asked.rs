//! What an issuer is asked beyond its keys: `[issuers.introspection]`, `[issuers.feed]` and `[issuers.status_lists]`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokenry_client::{ReadSecret as _, SecretSource, SecretSourceError};
use tokenry_verifier::{ClientSecret, WhenBehind};

use super::{is_url, texts, warn_if_exposed};
use crate::commands::verify::settings::{Feed, Introspection, StatusLists};
use crate::diagnostic::Diagnostic;
use crate::document::{Table, Value};
use crate::edge;

/// The longest time for which the word of an issuer may be believed: a token that it has ended is good for so long.
const MAX_TTL: Duration = Duration::from_secs(300);

/// What a feed may be silent for; the verifier allows no more and no less.
const SILENCE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(3600);

/// As whom the issuer is asked: identifier and secret of a client.
fn client(table: &Table<'_>, folder: &Path) -> Option<(String, ClientSecret)> {
    let id = table
        .required("client_id", |v| v.matching("the identifier of a client", |id| !id.is_empty()));
    let secret = table.required("client_secret", |v| secret(v, folder));
    Some((id.into_value()?, secret.into_value()?))
}

/// `"file:PATH"` or another place where a secret is kept ([`SecretSource`]), or `{ file = "PATH" }` or `{ env = "NAME" }`:
/// never the secret itself, since such files are passed around.
///
/// It is read whenever it is needed. A file is also read now, since a wrong path is a mistake in the settings.
fn secret(value: &Value<'_>, folder: &Path) -> Option<ClientSecret> {
    // The line may hold the secret itself.
    let wrong = |message: String| {
        value.notes.hidden_error(&value.span(), message);
        None
    };
    let source = match value.as_text().map(str::parse::<SecretSource>) {
        Some(Ok(source)) => source,
        Some(Err(error)) => return wrong(error.to_string()),
        None => match written_as_table(value) {
            Some(source) => source,
            None => return wrong(SecretSourceError::Unknown.to_string()),
        },
    };
    let source = match source {
        SecretSource::File(path) => SecretSource::File(folder.join(path)),
        other => other,
    };
    let read = match &source {
        SecretSource::File(path) => {
            warn_if_exposed(value, path);
            edge::read_secret(path, "the client's secret").map(drop)
        }
        SecretSource::Env(name) if std::env::var(name).is_ok_and(|text| !text.is_empty()) => Ok(()),
        SecretSource::Env(name) => {
            Err(Diagnostic::error(format!("the environment has no {name} that is a text")))
        }
        _ => Ok(()),
    };
    if let Err(error) = read {
        return wrong(error.message);
    }
    let source = Arc::new(source);
    Some(ClientSecret::read_by(move || {
        let source = Arc::clone(&source);
        Box::pin(async move { source.read().await })
    }))
}

fn written_as_table(value: &Value<'_>) -> Option<SecretSource> {
    if !value.is_table() {
        return None;
    }
    value.table(|table| {
        let text = |key| table.optional(key, |v| v.text_that("a text").map(str::to_owned));
        match (text("file").into_value(), text("env").into_value()) {
            (Some(path), None) => Some(SecretSource::File(path.into())),
            (None, Some(name)) => Some(SecretSource::Env(name)),
            _ => None,
        }
    })?
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

/// `[issuers.status_lists]`.
pub(super) fn status_lists(table: &Table<'_>) -> StatusLists {
    let must = "an https URL, without user, query and fragment";
    StatusLists { allow_uri_prefixes: texts(table, "allow_uri_prefixes", must, is_url) }
}
