//! `tokenry client`: registers, lists and removes clients at run time.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use tokenry_core::client::is_client_id;
use tokenry_core::grant::scope_by_default;
use tokenry_core::realm::Realm;
use tokenry_core::request::GrantType;
use tokenry_core::{Client, Particulars, Refusal, Scope};
use tokenry_server::is_fetchable;
use tokenry_store::Change;

use super::Outcome;
use crate::args::Global;
use crate::diagnostic::{Diagnostic, Diagnostics, did_you_mean, quoted};
use crate::edge;
use crate::installation::Installation;
use crate::output::{Output, table};
use crate::realm_file::FETCHABLE;

/// Registers a client. `tokenry client key add` then gives it a key, and `tokenry client secret add` a secret.
///
/// A client that is registered already is left alone: realm files change one. A client that belongs to what a realm
/// file declares is declared there too, or `tokenry apply --prune` removes it.
#[derive(Args, Debug)]
pub(crate) struct Add {
    /// The realm.
    realm: String,
    /// The client's identifier, `client_id` on the wire.
    id: String,
    /// A grant that it may use: client_credentials, password, refresh_token, jwt-bearer or token-exchange. May be repeated; one that is named
    /// takes the place of the default.
    #[arg(long = "grant", value_name = "GRANT", default_value = "client_credentials", value_parser = grant)]
    grants: Vec<GrantType>,
    /// A scope that it may have, one of the realm's. May be repeated; without it, it may have none.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// An audience of its access tokens, instead of the realm's. May be repeated.
    #[arg(long = "audience", value_name = "AUDIENCE")]
    audience: Vec<String>,
    /// An audience whose tokens it may introspect, for the client that an API is; `*` stands for all. May be repeated.
    #[arg(long = "introspects", value_name = "AUDIENCE")]
    introspects: Vec<String>,
    /// An https URL at which the client publishes its public keys as a JWK Set, to prove itself with (private_key_jwt).
    #[arg(long = "jwks-uri", value_name = "URL")]
    jwks_uri: Option<String>,
}

/// Lists clients.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those of this realm.
    realm: Option<String>,
}

/// Removes a client with its secrets. Its tokens are no longer good.
///
/// APIs that introspect, and those that follow the revocation feed, refuse its access tokens at once; elsewhere these live
/// out their life.
#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// The realm.
    realm: String,
    /// The client's identifier.
    id: String,
}

/// Keeps a client from getting tokens, until it is enabled again.
///
/// Its secrets and refresh tokens are refused meanwhile. The access tokens that it has are refused for good, and at once,
/// by APIs that introspect and those that follow the revocation feed; elsewhere they live out their life.
#[derive(Args, Debug)]
pub(crate) struct Disable {
    /// The realm.
    realm: String,
    /// The client's identifier.
    id: String,
}

/// Lets a client that was disabled have tokens again, also with the refresh tokens from before.
///
/// `tokenry client revoke` ends those.
#[derive(Args, Debug)]
pub(crate) struct Enable {
    /// The realm.
    realm: String,
    /// The client's identifier.
    id: String,
}

/// Ends every token that the client has been given until now.
///
/// Its refresh tokens are no longer good. APIs that introspect, and those that follow the revocation feed, refuse its access
/// tokens at once; elsewhere these live out their life. The client itself stays, and so do its secrets: with them it obtains
/// new tokens. `tokenry token revoke` ends a single one.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The realm.
    realm: String,
    /// The client's identifier.
    id: String,
}

fn grant(name: &str) -> Result<GrantType, String> {
    let known = GrantType::ALL.into_iter().find(|grant| grant.short_name() == name);
    known.or_else(|| GrantType::named(name)).ok_or_else(|| {
        let names = GrantType::ALL.map(GrantType::short_name);
        match did_you_mean(name, names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known are {}", names.join(", ")),
        }
    })
}

pub(crate) async fn add(arguments: &Add, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    let realm = installation.realm(&arguments.realm)?;
    let mut diagnostics = Diagnostics::default();
    let known = &installation.snapshot.clients;
    if known.iter().any(|client| client.realm == realm.name && client.id == arguments.id) {
        let message =
            format!("realm {} has a client {} already", quoted(&realm.name), quoted(&arguments.id));
        diagnostics
            .push(Diagnostic::error(message).help("change it in a realm file, or remove it first"));
    }
    let client = meant(arguments, realm, &mut diagnostics);
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    if let Err(refusal @ Refusal::NoScopeThere(_)) = scope_by_default(realm, &client) {
        let message = format!("client {} will get no tokens: {refusal}", quoted(&client.id));
        output.complain(
            &Diagnostic::warning(message)
                .help("`--scope` and `--audience` say which it has")
                .into(),
        );
    }
    installation.change_unchanged(vec![Change::PutClient(client)]).await?;
    let json = json!({ "realm": arguments.realm, "client": arguments.id });
    output.done(&json, || {
        format!("registered client {} in realm {}", arguments.id, arguments.realm)
    })?;
    // Who publishes keys needs no other.
    if arguments.jwks_uri.is_none() {
        for next in next(&arguments.realm, &arguments.id) {
            output.note(&next);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The commands that give the client something to authenticate with, in a form that a shell takes. The key comes first:
/// RFC 9700 §2.5 recommends asymmetric methods, where nobody but the client holds what could be stolen.
fn next(realm: &str, id: &str) -> [String; 2] {
    let plain = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && !text.starts_with('-')
    };
    let (file, names) = if plain(id) {
        (id, format!("{realm} {id}"))
    } else {
        let quoted = id.replace('\'', "'\\''");
        ("client", format!("-- {realm} '{quoted}'"))
    };
    [
        format!("next: tokenry client key add --generate-to {file}.pem {names}"),
        format!("or, if it cannot sign: tokenry client secret add --to {file}.secret {names}"),
    ]
}

/// The client that the arguments mean, and everything that is wrong with it in this realm.
fn meant(arguments: &Add, realm: &Realm, diagnostics: &mut Diagnostics) -> Client {
    if !is_client_id(&arguments.id) {
        let message = format!(
            "a client's identifier must be 1 to 200 visible ASCII characters without `:`, got {}",
            quoted(&arguments.id)
        );
        diagnostics.push(Diagnostic::error(message));
    }
    if arguments.jwks_uri.as_deref().is_some_and(|uri| !is_fetchable(uri)) {
        // Not repeated: it may have a password in it.
        diagnostics.push(Diagnostic::error(format!("--jwks-uri must be {FETCHABLE}")));
    }
    let mut scope = Vec::new();
    for text in &arguments.scopes {
        let Ok(parsed) = text.parse::<Scope>() else {
            let message =
                format!("a scope is visible ASCII without `\"` and `\\`, got {}", quoted(text));
            diagnostics.push(Diagnostic::error(message));
            continue;
        };
        if let Some(outside) = parsed.first_outside(&realm.scopes) {
            let message = format!("realm {} has no scope {}", quoted(&realm.name), quoted(outside));
            let help = match did_you_mean(outside, realm.scopes.tokens()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if realm.scopes.is_empty() => "it has no scopes at all".to_owned(),
                None => format!("it has {}", realm.scopes),
            };
            diagnostics.push(Diagnostic::error(message).help(help));
        }
        scope.extend(parsed.tokens().map(str::to_owned));
    }
    for grant in &arguments.grants {
        match grant {
            GrantType::Password if !realm.password_grant => {
                let message = format!("realm {} has no password grant", quoted(&realm.name));
                diagnostics.push(
                    Diagnostic::error(message)
                        .help("`password_grant = true` in its file turns it on"),
                );
            }
            GrantType::RefreshToken if realm.tokens.refresh.is_none() => {
                let message = format!("realm {} gives no refresh tokens", quoted(&realm.name));
                diagnostics.push(
                    Diagnostic::error(message).help("`refresh` in `[realm.tokens]` turns them on"),
                );
            }
            _ => {}
        }
    }
    let introspects = arguments.introspects.clone();
    let jwks_uri = arguments.jwks_uri.clone();
    let particulars = Particulars { introspects, jwks_uri, ..Particulars::default() }.boxed();
    Client {
        grants: arguments.grants.iter().copied().collect(),
        scope: scope.iter().map(String::as_str).collect(),
        audience: arguments.audience.clone(),
        particulars,
        ..Client::new(&realm.name, &arguments.id, edge::now())
    }
}

pub(crate) async fn list(arguments: &List, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    if let Some(realm) = &arguments.realm {
        installation.realm(realm)?;
    }
    let now = edge::now();
    let wanted =
        |client: &&Client| arguments.realm.as_ref().is_none_or(|realm| client.realm == *realm);
    let clients: Vec<&Client> = installation.snapshot.clients.iter().filter(wanted).collect();
    let live = |client: &Client| client.credentials.iter().filter(|c| c.is_live(now)).count();
    let json: Vec<Value> = clients
        .iter()
        .map(|c| {
            json!({
                "realm": c.realm,
                "client": c.id,
                "enabled": c.enabled,
                "grants": c.grants,
                "scope": c.scope,
                "jwks_uri": c.particulars().jwks_uri,
                "live_secrets": live(c),
            })
        })
        .collect();
    output.answer(&json!({ "clients": json }), || {
        let rows = clients.iter().map(|c| {
            let grants: Vec<&str> = c.grants.iter().map(|g| g.as_str()).collect();
            [
                c.realm.clone(),
                c.id.clone(),
                if c.enabled { "yes" } else { "no" }.to_owned(),
                grants.join(" "),
                c.scope.to_string(),
                live(c).to_string(),
            ]
        });
        table(["REALM", "CLIENT", "ENABLED", "GRANTS", "SCOPE", "LIVE SECRETS"], rows)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn remove(arguments: &Remove, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    let Remove { realm, id } = arguments;
    installation.client(realm, id)?;
    let change = Change::RemoveClient { realm: realm.clone(), client: id.clone() };
    installation.change_unchanged(vec![change]).await?;
    let json = json!({ "removed": { "realm": realm, "client": id } });
    output.done(&json, || format!("removed client {id} of realm {realm}"))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn disable(arguments: &Disable, global: &Global, output: Output) -> Outcome {
    enabled(&arguments.realm, &arguments.id, false, global, output).await
}

pub(crate) async fn enable(arguments: &Enable, global: &Global, output: Output) -> Outcome {
    enabled(&arguments.realm, &arguments.id, true, global, output).await
}

async fn enabled(realm: &str, id: &str, enabled: bool, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    let client = installation.client(realm, id)?;
    let changed = client.enabled != enabled;
    if changed {
        let client = Client { enabled, ..client.clone() };
        installation.change_unchanged(vec![Change::PutClient(client)]).await?;
    }
    let json = json!({ "realm": realm, "client": id, "enabled": enabled, "changed": changed });
    output.done(&json, || {
        let is = if changed { "is now" } else { "was already" };
        let state = if enabled { "enabled" } else { "disabled" };
        format!("client {id} of realm {realm} {is} {state}")
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn revoke(arguments: &Revoke, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    let Revoke { realm, id } = arguments;
    let client = installation.client(realm, id)?;
    let not_before = edge::now();
    let client = Client { not_before, ..client.clone() };
    installation.change_unchanged(vec![Change::PutClient(client)]).await?;
    let json = json!({ "realm": realm, "client": id, "not_before": edge::date(not_before) });
    output.done(&json, || {
        format!("tokens of client {id} of realm {realm} from before now are no longer good")
    })?;
    Ok(ExitCode::SUCCESS)
}
