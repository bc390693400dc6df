//! `tokenry client secret`: the secrets of a client, any number at a time.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};
use tokenry_core::client::{Credential, CredentialKind, generate_secret, is_high_entropy};
use tokenry_core::{Client, Secret, Timestamp};
use tokenry_store::Change;

use super::Outcome;
use super::credential::{Existing, Holder, Terms};
use crate::args::Global;
use crate::diagnostic::{Diagnostic, quoted};
use crate::edge;
use crate::installation::Installation;
use crate::output::{Output, table};

/// What can be done with the secrets of a client.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Adds a secret. A generated one is printed, this once; the others of the client stay good.
    Add {
        #[command(flatten)]
        holder: Holder,
        #[command(flatten)]
        terms: Terms,
        /// Take a secret that exists already from a file, or from standard input if it is `-`.
        #[arg(long, value_name = "FILE")]
        import_from: Option<PathBuf>,
        /// Write the generated secret to a new file that only you can read, instead of printing it.
        #[arg(long, value_name = "FILE", conflicts_with = "import_from")]
        to: Option<PathBuf>,
    },
    /// Lists secrets, without what is secret about them.
    List(Holder),
    /// Removes a secret: no token is obtained with it any more.
    ///
    /// Nothing else of the client changes. Refresh tokens that were given to whoever knew the secret stay good for
    /// whoever has another secret of the client (or none, where the realm lets refreshes go without): `tokenry client
    /// revoke` ends those, and access tokens where APIs introspect or follow the revocation feed; elsewhere these live out
    /// their life.
    Remove(Existing),
}

pub(crate) async fn run(command: &Command, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    match command {
        Command::Add { holder, terms, import_from, to } => {
            let client = holder.with_room(&installation, terms)?;
            let origin = match import_from {
                Some(path) => Origin::Imported(edge::read_secret(path, "the secret")?),
                None => Origin::Generated { to: to.as_deref() },
            };
            add(&installation, client, terms, origin, output).await?;
        }
        Command::List(holder) => list(holder.find(&installation)?, output)?,
        Command::Remove(existing) => existing.remove(&installation, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a new secret comes from.
enum Origin<'a> {
    /// It exists already.
    Imported(Secret),
    /// It is made here, and handed over in a file or on standard output.
    Generated { to: Option<&'a Path> },
}

async fn add(
    installation: &Installation,
    client: &Client,
    terms: &Terms,
    origin: Origin<'_>,
    output: Output,
) -> Result<(), Diagnostic> {
    let (id, generated) = generate_secret(&edge::random()?);
    let secret = match &origin {
        Origin::Imported(secret) => secret,
        Origin::Generated { .. } => &generated,
    };
    let kind = digested(installation, client, secret)?;
    let now = edge::now();
    let expires_at = terms.expires_in.map(|duration| now + duration);
    let credential = Credential {
        id: id.clone(),
        label: terms.label.clone(),
        kind,
        not_before: Timestamp::EPOCH,
        expires_at,
        created_at: now,
    };
    // Before it counts, so that a secret that could not be written never does.
    if let Origin::Generated { to: Some(path) } = &origin {
        edge::hand_over(path, &generated, "the secret")?;
    }
    let (realm, client) = (client.realm.clone(), client.id.clone());
    let mut json = json!({
        "realm": realm, "client": client, "credential": id, "label": terms.label, "expires_at": expires_at.map(edge::date),
    });
    let change = Change::PutCredential { realm: realm.clone(), client: client.clone(), credential };
    let stored = installation.change_unchanged(vec![change]).await;
    match origin {
        Origin::Imported(_) => {
            stored?;
            output.done(&json, || format!("imported a secret of client {client} as {id}"))
        }
        Origin::Generated { to: Some(path) } => {
            stored.map_err(|error| edge::take_back(path, error))?;
            json["file"] = json!(path);
            output.done(&json, || {
                format!("wrote secret {id} of client {client} to {}", path.display())
            })
        }
        Origin::Generated { to: None } => {
            stored?;
            json["secret"] = json!(generated.expose());
            output.note(&format!("secret {id} of client {client}; it is not shown again:"));
            match output.reveal(&json, || generated.expose().to_owned()) {
                Ok(()) => Ok(()),
                Err(unseen) => {
                    let undo = Change::RemoveCredential { realm, client, credential: id.clone() };
                    Err(installation.undo(undo, None, unseen, &format!("secret {id}")).await)
                }
            }
        }
    }
}

/// The secret as it is stored, if it is good enough for that and new.
fn digested(
    installation: &Installation,
    client: &Client,
    secret: &Secret,
) -> Result<CredentialKind, Diagnostic> {
    if !is_high_entropy(secret.expose()) {
        return Err(Diagnostic::error("the secret is too short or too simple to be imported")
            .help("at least 22 characters, 8 different ones; leave --import-from out to get a generated one"));
    }
    let digest = installation.master.pepper().digest(secret.expose());
    let kind = CredentialKind::Secret { digest };
    match client.credentials.iter().find(|c| c.kind == kind) {
        None => Ok(kind),
        Some(same) => {
            let message =
                format!("client {} has this secret already, as {}", quoted(&client.id), same.id);
            Err(Diagnostic::error(message))
        }
    }
}

fn list(client: &Client, output: Output) -> Result<(), Diagnostic> {
    let now = edge::now();
    let secrets = || {
        let is_secret = |c: &&Credential| matches!(c.kind, CredentialKind::Secret { .. });
        client.credentials.iter().filter(is_secret)
    };
    let json: Vec<Value> = secrets()
        .map(|c| {
            json!({
                "credential": c.id,
                "label": c.label,
                "live": c.is_live(now),
                "created_at": edge::date(c.created_at),
                "expires_at": c.expires_at.map(edge::date),
            })
        })
        .collect();
    output.answer(&json!({ "realm": client.realm, "client": client.id, "secrets": json }), || {
        let rows = secrets().map(|c| {
            [
                c.id.clone(),
                c.label.clone(),
                if c.is_live(now) { "live" } else { "expired" }.to_owned(),
                edge::date(c.created_at),
                c.expires_at.map_or_else(|| "never".to_owned(), edge::date),
            ]
        });
        table(["SECRET", "LABEL", "STATE", "CREATED", "EXPIRES"], rows)
    })
}
