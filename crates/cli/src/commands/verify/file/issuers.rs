//! The issuers of the file: `[[issuers]]`.

use std::path::Path;
use std::time::Duration;

use tokenry_core::jose::Algorithm;
use tokenry_verifier::WhenBehind;

use super::{asked, is_url};
use crate::commands::verify::settings::{Issuer, authorities, connect_to, not_https};
use crate::diagnostic::quoted;
use crate::document::{At, Field, Table, Value};

/// As many issuers as anybody may configure: each has keys that are kept fresh.
const MAX_ISSUERS: usize = 64;

/// The verifier allows no more.
const MAX_LEEWAY: Duration = Duration::from_secs(120);

/// Reads all of them; `None` where one is not good, which has been noted.
pub(super) fn issuers(value: &Value<'_>, folder: &Path) -> Option<Vec<Issuer>> {
    let all = value.list(|item| item.table(|table| (issuer(table, folder), table.span.clone())))?;
    if all.is_empty() || all.len() > MAX_ISSUERS {
        return value.must(&format!("a list of 1 to {MAX_ISSUERS}"), None);
    }
    let mut read: Vec<Issuer> = Vec::new();
    for At { value: (issuer, span), .. } in all {
        let issuer = issuer?;
        if read.iter().any(|other| other.issuer == issuer.issuer) {
            let message = format!("the issuer {} stands here twice", quoted(&issuer.issuer));
            value.notes.error(&span, message, None);
        }
        if let Some(other) = read.iter().find(|other| !can_tell_apart(other, &issuer)) {
            let (a, b) = (quoted(&other.issuer), quoted(&issuer.issuer));
            let message =
                format!("it cannot be told whose an opaque token is: that of {a}, or of {b}");
            value.notes.error(&span, message, Some(APART.to_owned()));
        }
        read.push(issuer);
    }
    Some(read)
}

/// What to do where two issuers are asked about tokens.
const APART: &str = "a token may be shown to nobody but its issuer: give both `[issuers.introspection]` an `opaque_prefix`, with which its opaque tokens begin, and neither of which begins with the other (docs/forward-auth.md)";

/// Whether it can be told whose an opaque token is, if both are asked about such.
fn can_tell_apart(one: &Issuer, other: &Issuer) -> bool {
    let (Some(one), Some(other)) = (&one.introspection, &other.introspection) else { return true };
    match (&one.opaque_prefix, &other.opaque_prefix) {
        (Some(a), Some(b)) => !a.starts_with(&**b) && !b.starts_with(&**a),
        _ => false,
    }
}

/// That nothing is to be fetched without TLS where nobody has allowed it. Without `jwks_uri` the keys are found through
/// what the issuer itself publishes.
fn check_scheme(table: &Table<'_>, name: &Field<String>, jwks_uri: &Field<String>, allow: bool) {
    let (key, url) = match jwks_uri {
        Field::Given(uri) => ("jwks_uri", uri),
        _ => match name.given() {
            Some(name) => ("issuer", name),
            None => return,
        },
    };
    if let Some(why) = not_https(&url.value, allow) {
        let help = "`allow_plain_http = true` allows it, for an issuer on this machine";
        table.notes.error(&url.span, format!("{key} {why}"), Some(help.to_owned()));
    }
}

fn issuer(table: &Table<'_>, folder: &Path) -> Option<Issuer> {
    let name = table.required("issuer", |v| v.matching("a URL, exactly as in `iss`", is_url));
    let audiences = table.required("audiences", |v| {
        let must = "a text in quotation marks";
        let list = v.list(|item| item.matching(must, |text| !text.is_empty()))?;
        if list.is_empty() { v.must("a list of one at least", None) } else { Some(list) }
    });
    let algorithms = table.optional("algorithms", |v| v.list(algorithm));
    let leeway = table.optional("leeway", |v| v.duration(Duration::ZERO..=MAX_LEEWAY));
    let yes = |key| table.optional(key, |v| v.boolean()).into_value().unwrap_or(false);
    let (legacy_typ, allow_plain_http) = (yes("legacy_typ"), yes("allow_plain_http"));
    let jwks_uri = table.optional("jwks_uri", |v| v.matching("an https URL", is_url));
    check_scheme(table, &name, &jwks_uri, allow_plain_http);
    let cacert = table.optional("cacert", |v| file(v, folder));
    let connect_to = table.optional("connect_to", |v| {
        let must = "HOST:PORT:ADDR:PORT2, where ADDR is an address";
        v.list(|item| connect_to(item.text_that(must)?).or_else(|| item.must(must, None)))
    });
    let introspection = table.table("introspection", |it| asked::introspection(it, folder));
    let feed = table.table("feed", |it| asked::feed(it, folder));
    let status_lists = table.table("status_lists", asked::status_lists);
    let audiences = audiences.into_value()?.into_iter().map(|text| text.value).collect();
    let mut issuer = Issuer::new(name.into_value()?, audiences);
    issuer.algorithms =
        algorithms.into_value().map(|list| list.into_iter().map(|it| it.value).collect());
    issuer.leeway = leeway.into_value().unwrap_or(issuer.leeway);
    issuer.legacy_typ = legacy_typ;
    issuer.allow_plain_http = allow_plain_http;
    issuer.jwks_uri = jwks_uri.into_value();
    issuer.cacert = cacert.into_value();
    issuer.connect_to =
        connect_to.into_value().unwrap_or_default().into_iter().map(|it| it.value).collect();
    issuer.introspection = introspection.into_value().flatten();
    issuer.feed = feed.into_value().flatten();
    issuer.status_lists = status_lists.into_value();
    if let Some(feed) = &issuer.feed
        && feed.when_behind == WhenBehind::Introspect
        && issuer.introspection.is_none()
    {
        let message = "`when_behind = \"introspect\"` needs `[issuers.introspection]`";
        table.notes.error(&table.span, message, None);
    }
    Some(issuer)
}

fn algorithm(value: &Value<'_>) -> Option<Algorithm> {
    let must = "an algorithm such as `ES256`";
    value.text_that(must)?.parse().ok().or_else(|| value.must(must, None))
}

fn file(value: &Value<'_>, folder: &Path) -> Option<Vec<u8>> {
    let read = authorities(&folder.join(value.text_that("a path")?));
    read.map_err(|message| value.notes.error(&value.span(), message, None)).ok()
}
