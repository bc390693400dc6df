//! `tokenry client key`: the public keys of a client, with which it needs no secret (`private_key_jwt`).

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Subcommand;
use serde_json::{Value, json};
use tokenry_core::client::{CREDENTIAL_ID_LEN, Credential, CredentialKind};
use tokenry_core::jose::{Algorithm, Jwk, Pkcs8, SigningKey, generate};
use tokenry_core::{Client, Secret, Timestamp};
use tokenry_store::Change;

use super::Outcome;
use super::credential::{Existing, Holder, Terms};
use crate::args::Global;
use crate::diagnostic::{Diagnostic, quoted};
use crate::edge;
use crate::installation::Installation;
use crate::output::{Output, table};

/// What can be done with the keys of a client.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Adds a public key; what the client has besides stays good.
    ///
    /// The client signs an assertion with the private half for each token request, and nobody else ever sees that.
    Add {
        #[command(flatten)]
        holder: Holder,
        /// The public key as a JWK with `alg`, in a file, or on standard input if it is `-`.
        #[arg(long, value_name = "FILE", required_unless_present = "generate_to")]
        jwk: Option<PathBuf>,
        /// Make a key pair: the private key is written to a new file (PKCS#8, PEM) that only you can read.
        #[arg(long, value_name = "FILE", conflicts_with = "jwk")]
        generate_to: Option<PathBuf>,
        /// What the generated key signs with.
        #[arg(long, value_name = "ALG", default_value = "ES256", value_parser = algorithm)]
        algorithm: Algorithm,
        #[command(flatten)]
        terms: Terms,
    },
    /// Lists keys.
    List(Holder),
    /// Removes a key: no token is obtained with it any more.
    Remove(Existing),
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    text.parse().map_err(|_| {
        let known: Vec<_> = Algorithm::all_names().collect();
        format!("it is one of {}", known.join(", "))
    })
}

pub(crate) async fn run(command: &Command, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    match command {
        Command::Add { holder, jwk, generate_to, algorithm, terms } => {
            let client = holder.with_room(&installation, terms)?;
            let (jwk, private) = match (jwk, generate_to) {
                (Some(path), _) => (read(path)?, None),
                (None, Some(path)) => {
                    let (jwk, private) = make(*algorithm)?;
                    (jwk, Some((path, private)))
                }
                (None, None) => return Err(Diagnostic::error("a key is needed").into()),
            };
            let credential = credential(client, &jwk, terms)?;
            if let Some((path, private)) = &private {
                edge::hand_over(path, private, "the private key")?;
            }
            let json = json!({
                "realm": client.realm, "client": client.id, "credential": credential.id, "kid": jwk.kid(),
                "algorithm": jwk.algorithm().as_str(), "label": terms.label,
                "expires_at": credential.expires_at.map(edge::date),
                "file": private.as_ref().map(|(path, _)| path),
            });
            let text = format!("added key {} of client {}", credential.id, client.id);
            let change = Change::PutCredential {
                realm: client.realm.clone(),
                client: client.id.clone(),
                credential,
            };
            let stored = installation.change_unchanged(vec![change]).await;
            stored.map_err(|error| match &private {
                Some((path, _)) => edge::take_back(path, error),
                None => error,
            })?;
            output.done(&json, || match &private {
                Some((path, _)) => format!("{text}; its private half is in {}", path.display()),
                None => text,
            })?;
        }
        Command::List(holder) => list(holder.find(&installation)?, output)?,
        Command::Remove(existing) => existing.remove(&installation, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A public key that somebody else has made.
fn read(path: &std::path::Path) -> Result<Jwk, Diagnostic> {
    let text = edge::read_secret(path, "the key")?;
    let value: Value = serde_json::from_str(text.expose())
        .map_err(|_| Diagnostic::error("the key is not JSON").help("a public key is a JWK"))?;
    // Not only refused: whoever hands it over should know that it is no secret any more.
    if ["d", "p", "q", "k", "priv"].iter().any(|private| value.get(private).is_some()) {
        return Err(Diagnostic::error("the key is a private one")
            .help("hand over the public half alone; a private key that others have seen is to be replaced"));
    }
    let jwk = Jwk::from_value(&value)
        .map_err(|error| Diagnostic::error(format!("the key cannot be used: {error}")))?;
    let kid = jwk.kid().map_or_else(|| jwk.thumbprint(), str::to_owned);
    Ok(jwk.with_kid(kid))
}

/// A new key pair: the public half, and the private one as PEM.
fn make(algorithm: Algorithm) -> Result<(Jwk, Secret), Diagnostic> {
    let failed = || Diagnostic::error("the key could not be made");
    let private = generate(algorithm).map_err(|_| failed())?;
    let key = SigningKey::from_pkcs8(algorithm, private.as_bytes()).map_err(|_| failed())?;
    Ok((key.public_jwk().clone(), pem(&private)))
}

/// RFC 7468 §10.
fn pem(key: &Pkcs8) -> Secret {
    let text = Secret::new(BASE64_STANDARD.encode(key.as_bytes()));
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in text.expose().as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----");
    Secret::new(pem)
}

fn credential(client: &Client, jwk: &Jwk, terms: &Terms) -> Result<Credential, Diagnostic> {
    let thumbprint = jwk.thumbprint();
    let keys = || keys(client).map(|(_, jwk)| jwk);
    if keys().any(|own| own.thumbprint() == thumbprint || own.kid() == jwk.kid()) {
        let message = format!("client {} has this key already", quoted(&client.id));
        return Err(Diagnostic::error(message));
    }
    let now = edge::now();
    Ok(Credential {
        id: thumbprint.chars().take(CREDENTIAL_ID_LEN).collect(),
        label: terms.label.clone(),
        kind: CredentialKind::PublicKey { jwk: jwk.to_json().into() },
        not_before: Timestamp::EPOCH,
        expires_at: terms.expires_in.map(|duration| now + duration),
        created_at: now,
    })
}

/// The keys of a client.
fn keys(client: &Client) -> impl Iterator<Item = (&Credential, Jwk)> {
    client.credentials.iter().filter_map(|credential| match &credential.kind {
        CredentialKind::PublicKey { jwk } => Some((credential, Jwk::parse(jwk).ok()?)),
        _ => None,
    })
}

fn list(client: &Client, output: Output) -> Result<(), Diagnostic> {
    let now = edge::now();
    let state = |credential: &Credential| if credential.is_live(now) { "live" } else { "expired" };
    let json: Vec<Value> = keys(client)
        .map(|(credential, jwk)| {
            json!({
                "credential": credential.id,
                "label": credential.label,
                "live": credential.is_live(now),
                "kid": jwk.kid(),
                "algorithm": jwk.algorithm().as_str(),
                "created_at": edge::date(credential.created_at),
                "expires_at": credential.expires_at.map(edge::date),
            })
        })
        .collect();
    output.answer(&json!({ "realm": client.realm, "client": client.id, "keys": json }), || {
        let rows = keys(client).map(|(credential, jwk)| {
            [
                credential.id.clone(),
                credential.label.clone(),
                jwk.algorithm().to_string(),
                state(credential).to_owned(),
                edge::date(credential.created_at),
                credential.expires_at.map_or_else(|| "never".to_owned(), edge::date),
            ]
        });
        table(["KEY", "LABEL", "ALGORITHM", "STATE", "CREATED", "EXPIRES"], rows)
    })
}
