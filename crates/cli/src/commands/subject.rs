//! `tokenry client subject`: what other issuers call a client, so that it needs neither secret nor key of its own.

use std::process::ExitCode;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::Subcommand;
use serde_json::{Value, json};
use tokenry_core::client::{Credential, CredentialKind};
use tokenry_core::realm::Realm;
use tokenry_core::{Client, Timestamp};
use tokenry_store::Change;

use super::Outcome;
use super::credential::{Existing, Holder, Terms};
use crate::args::Global;
use crate::diagnostic::{Diagnostic, did_you_mean, quoted};
use crate::edge;
use crate::installation::Installation;
use crate::output::{Output, table};

/// What can be done with the subjects of a client.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Adds a subject; what the client has besides stays good.
    ///
    /// The client then authenticates with a token of that issuer as its client assertion: a Kubernetes service account,
    /// a CI job, a SPIFFE workload. The realm file has to trust the issuer, in `[[realm.trusts]]`.
    Add {
        #[command(flatten)]
        holder: Holder,
        /// The trusted issuer, by its name in the realm file.
        #[arg(long, value_name = "NAME")]
        trust: String,
        /// The `sub` of its tokens, exactly: `system:serviceaccount:shop:billing`, `repo:acme/shop:ref:refs/heads/main`,
        /// `spiffe://prod.example/shop/billing`.
        #[arg(long, value_name = "SUB")]
        subject: String,
        #[command(flatten)]
        terms: Terms,
    },
    /// Lists subjects.
    List(Holder),
    /// Removes a subject: no token is obtained with it any more.
    Remove(Existing),
}

pub(crate) async fn run(command: &Command, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    match command {
        Command::Add { holder, trust, subject, terms } => {
            let issuer = issuer(installation.realm(&holder.realm)?, trust)?;
            let client = holder.with_room(&installation, terms)?;
            let credential = credential(client, &issuer, subject, terms)?;
            let json = json!({
                "realm": client.realm, "client": client.id, "credential": credential.id, "issuer": issuer,
                "subject": subject, "label": terms.label,
                "expires_at": credential.expires_at.map(edge::date),
            });
            let text = format!("client {} is known as {subject} of {issuer}", client.id);
            let change = Change::PutCredential {
                realm: client.realm.clone(),
                client: client.id.clone(),
                credential,
            };
            installation.change_unchanged(vec![change]).await?;
            output.done(&json, || text)?;
        }
        Command::List(holder) => list(holder.find(&installation)?, output)?,
        Command::Remove(existing) => existing.remove(&installation, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn issuer(realm: &Realm, name: &str) -> Result<String, Diagnostic> {
    let known = || realm.trusts.iter().map(|trust| trust.name.as_str());
    let found = realm.trusts.iter().find(|trust| trust.name == name);
    found.map(|trust| trust.issuer.clone()).ok_or_else(|| {
        let message = format!("realm {} trusts no issuer {}", quoted(&realm.name), quoted(name));
        Diagnostic::error(message).help(match did_you_mean(name, known()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`[[realm.trusts]]` in its file names those that it trusts".to_owned(),
        })
    })
}

fn credential(
    client: &Client,
    issuer: &str,
    subject: &str,
    terms: &Terms,
) -> Result<Credential, Diagnostic> {
    if !(1..=1000).contains(&subject.len()) {
        return Err(Diagnostic::error("a subject has 1 to 1000 bytes"));
    }
    if subjects(client).any(|(_, own)| own == (issuer, subject)) {
        let message = format!("client {} has this subject already", quoted(&client.id));
        return Err(Diagnostic::error(message));
    }
    let now = edge::now();
    // Six bytes are the eight characters of an identifier.
    let id = BASE64_URL_SAFE_NO_PAD.encode(edge::random::<6>()?);
    Ok(Credential {
        id,
        label: terms.label.clone(),
        kind: CredentialKind::Federated { issuer: issuer.into(), subject: subject.into() },
        not_before: Timestamp::EPOCH,
        expires_at: terms.expires_in.map(|duration| now + duration),
        created_at: now,
    })
}

/// The subjects of a client, with their issuers.
fn subjects(client: &Client) -> impl Iterator<Item = (&Credential, (&str, &str))> {
    client.credentials.iter().filter_map(|credential| match &credential.kind {
        CredentialKind::Federated { issuer, subject } => {
            Some((credential, (&**issuer, &**subject)))
        }
        _ => None,
    })
}

fn list(client: &Client, output: Output) -> Result<(), Diagnostic> {
    let now = edge::now();
    let state = |credential: &Credential| if credential.is_live(now) { "live" } else { "expired" };
    let json: Vec<Value> = subjects(client)
        .map(|(credential, (issuer, subject))| {
            json!({
                "credential": credential.id,
                "label": credential.label,
                "live": credential.is_live(now),
                "issuer": issuer,
                "subject": subject,
                "created_at": edge::date(credential.created_at),
                "expires_at": credential.expires_at.map(edge::date),
            })
        })
        .collect();
    output.answer(&json!({ "realm": client.realm, "client": client.id, "subjects": json }), || {
        let rows = subjects(client).map(|(credential, (issuer, subject))| {
            [
                credential.id.clone(),
                credential.label.clone(),
                issuer.to_owned(),
                subject.to_owned(),
                state(credential).to_owned(),
                credential.expires_at.map_or_else(|| "never".to_owned(), edge::date),
            ]
        });
        table(["ID", "LABEL", "ISSUER", "SUBJECT", "STATE", "EXPIRES"], rows)
    })
}
