//! `tokenry realm`: which realms there are, and the end of their tokens and of themselves. They begin and change with `tokenry apply`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};
use tokenry_core::Realm;
use tokenry_store::Change;

use super::Outcome;
use crate::args::Global;
use crate::diagnostic::{Diagnostic, quoted};
use crate::edge;
use crate::installation::Installation;
use crate::output::{Output, table};

/// What can be done with realms.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists realms.
    List,
    /// Ends every token that the realm has issued until now.
    ///
    /// Its refresh tokens are no longer good. APIs that introspect, and those that follow the revocation feed, refuse its access
    /// tokens at once; elsewhere these live out their life. Clients, users and keys stay as they are; all get new tokens at once. For a signing key that has leaked this is not
    /// enough: whoever has it makes new tokens.
    Revoke {
        /// Its name.
        realm: String,
    },
    /// Removes a realm with its clients, users and keys. Its tokens are no longer good.
    ///
    /// APIs that follow the revocation feed refuse its access tokens at once, those that introspect are answered no more, and
    /// others stop accepting them once they look for its keys again.
    Remove {
        /// Its name.
        realm: String,
        /// Also if it still has clients or users.
        #[arg(long)]
        force: bool,
    },
}

pub(crate) async fn run(command: &Command, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    match command {
        Command::List => list(&installation, output)?,
        Command::Revoke { realm } => revoke(&installation, realm, output).await?,
        Command::Remove { realm, force } => remove(&installation, realm, *force, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(installation: &Installation, output: Output) -> Result<(), Diagnostic> {
    let snapshot = &installation.snapshot;
    let clients = |name: &str| snapshot.clients.iter().filter(|c| c.realm == name).count();
    let users = |name: &str| snapshot.users.iter().filter(|u| u.realm == name).count();
    let realms: Vec<Value> = snapshot
        .realms
        .iter()
        .map(|r| {
            json!({ "name": r.name, "issuer": r.issuer, "clients": clients(&r.name), "users": users(&r.name) })
        })
        .collect();
    output.answer(&json!({ "realms": realms }), || {
        let rows = snapshot.realms.iter().map(|r| {
            [
                r.name.clone(),
                r.issuer.to_string(),
                clients(&r.name).to_string(),
                users(&r.name).to_string(),
            ]
        });
        table(["REALM", "ISSUER", "CLIENTS", "USERS"], rows)
    })
}

async fn revoke(installation: &Installation, name: &str, output: Output) -> Result<(), Diagnostic> {
    let realm = installation.realm(name)?;
    let not_before = realm.not_before.max(edge::now());
    let changed = Realm { not_before, ..realm.clone() };
    installation.change_unchanged(vec![Change::PutRealm(changed)]).await?;
    let json = json!({ "realm": name, "not_before": edge::date(not_before) });
    output.done(&json, || format!("tokens of realm {name} from before now are no longer good"))
}

async fn remove(
    installation: &Installation,
    name: &str,
    force: bool,
    output: Output,
) -> Result<(), Diagnostic> {
    installation.realm(name)?;
    let snapshot = &installation.snapshot;
    let clients = snapshot.clients.iter().filter(|c| c.realm == name).count();
    let users = snapshot.users.iter().filter(|u| u.realm == name).count();
    if clients + users > 0 && !force {
        let message =
            format!("realm {} still has {clients} clients and {users} users", quoted(name));
        return Err(Diagnostic::error(message).help("--force removes it with all of them"));
    }
    installation.change_unchanged(vec![Change::RemoveRealm { realm: name.to_owned() }]).await?;
    output.done(&json!({ "removed": { "realm": name } }), || format!("removed realm {name}"))
}
