//! `tokenry client certificate`: the certificates of a client, with which it needs no secret (RFC 8705 §2).

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokenry_core::certificate::{Certificate, CertificateName, WrittenNames};
use tokenry_core::client::{CREDENTIAL_ID_LEN, Credential, CredentialKind};
use tokenry_core::{Client, Timestamp};
use tokenry_store::Change;

use super::Outcome;
use super::credential::{Existing, Holder, Terms};
use crate::args::Global;
use crate::diagnostic::{Diagnostic, plain, quoted};
use crate::edge;
use crate::installation::Installation;
use crate::output::{Output, table};

/// The longest file of a certificate that is read: ten of usual size.
const MAX_FILE: u64 = 16 * 1024;

/// "To indicate that a certificate has no well-defined expiration date" (RFC 5280 §4.1.2.5): 9999-12-31T23:59:59Z.
const NEVER: Timestamp = Timestamp::from_secs(253_402_300_799);

/// What can be done with the certificates of a client.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Adds a certificate, or the name in certificates; what the client has besides stays good.
    ///
    /// Exactly one is given: a certificate of the client's own making, or the name that an authority of the realm
    /// (`[realm.certificates] authorities`) writes into its certificates. Who has such a certificate and its key, and
    /// sends `client_id`, is the client. The server has to ask for certificates: `client_certificates = true` in `[tls]`,
    /// or `client_certificate_header` behind a proxy.
    Add {
        #[command(flatten)]
        holder: Holder,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        terms: Terms,
    },
    /// Lists certificates and names.
    List(Holder),
    /// Removes a certificate or a name: no token is obtained with it any more.
    Remove(Existing),
}

/// One of six.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The certificate itself, in PEM, which nobody else has to vouch for.
    #[arg(long, value_name = "FILE")]
    self_signed: Option<PathBuf>,
    /// The subject, the most particular part first, such as `CN=billing,O=Example,C=DE`.
    ///
    /// `openssl x509 -noout -subject -nameopt RFC2253` shows it so.
    #[arg(long, value_name = "NAME")]
    subject_dn: Option<String>,
    /// A host name among the alternative names.
    #[arg(long, value_name = "HOST")]
    san_dns: Option<String>,
    /// A URI among them, such as a SPIFFE ID.
    #[arg(long, value_name = "URI")]
    san_uri: Option<String>,
    /// An IP address among them.
    #[arg(long, value_name = "ADDRESS")]
    san_ip: Option<String>,
    /// A mail address among them.
    #[arg(long, value_name = "ADDRESS")]
    san_email: Option<String>,
}

pub(crate) async fn run(command: &Command, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    match command {
        Command::Add { holder, which, terms } => {
            let client = holder.with_room(&installation, terms)?;
            let credential = which.credential(terms)?;
            is_new(client, &credential)?;
            warn_where_it_means_nothing(&installation, &client.realm, &credential, output);
            let json = described(&credential);
            let text = format!("added certificate {} of client {}", credential.id, client.id);
            let (realm, client) = (client.realm.clone(), client.id.clone());
            let json = json!({ "realm": realm, "client": client, "certificate": json });
            let change = Change::PutCredential { realm, client, credential };
            installation.change_unchanged(vec![change]).await?;
            output.done(&json, || text)?;
        }
        Command::List(holder) => list(holder.find(&installation)?, output)?,
        Command::Remove(existing) => existing.remove(&installation, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Which {
    fn credential(&self, terms: &Terms) -> Result<Credential, Diagnostic> {
        let now = edge::now();
        let expires_at = terms.expires_in.map(|duration| now + duration);
        let credential = |id: String, kind| Credential {
            id,
            label: terms.label.clone(),
            kind,
            not_before: Timestamp::EPOCH,
            expires_at,
            created_at: now,
        };
        let Some(path) = &self.self_signed else {
            let id = BASE64_URL_SAFE_NO_PAD.encode(edge::random::<6>()?);
            let name = Box::new(self.name()?);
            return Ok(credential(id, CredentialKind::CertificateName { name }));
        };
        let own = read(path)?;
        // The last second is part of its life, and not the first of the time after it.
        let end = (own.not_after < NEVER).then(|| own.not_after + Duration::from_secs(1));
        if end.is_some_and(|end| end <= now) {
            let message = format!("the certificate has expired on {}", edge::date(own.not_after));
            return Err(Diagnostic::error(message));
        }
        let thumbprint = own.thumbprint;
        let mut id = BASE64_URL_SAFE_NO_PAD.encode(thumbprint);
        id.truncate(CREDENTIAL_ID_LEN);
        let made = credential(id, CredentialKind::SelfSigned { thumbprint });
        let expires_at = [end, expires_at].into_iter().flatten().min();
        Ok(Credential { not_before: own.not_before, expires_at, ..made })
    }

    fn name(&self) -> Result<CertificateName, Diagnostic> {
        let written = WrittenNames {
            subject_dn: self.subject_dn.as_deref(),
            san_dns: self.san_dns.as_deref(),
            san_uri: self.san_uri.as_deref(),
            san_ip: self.san_ip.as_deref(),
            san_email: self.san_email.as_deref(),
        };
        CertificateName::registered(&written)
            .map_err(|bad| Diagnostic::error(format!("the name cannot be used: {bad}")))
    }
}

/// The one certificate in a file.
fn read(path: &Path) -> Result<Certificate, Diagnostic> {
    let name = path.display();
    let mut pem = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut pem)).map_err(
        |error| {
            let message = format!("the certificate cannot be read from {name}: {}", plain(&error));
            Diagnostic::error(message)
        },
    )?;
    let mut found = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let (first, second) = (found.next(), found.next());
    if second.is_some() {
        return Err(Diagnostic::error(format!("{name} holds several certificates"))
            .help("hand over the client's own alone"));
    }
    first
        .and_then(|der| tokenry_server::certificate::read(&der))
        .ok_or_else(|| Diagnostic::error(format!("{name} holds no certificate in PEM")))
}

fn is_new(client: &Client, credential: &Credential) -> Result<(), Diagnostic> {
    match client.credentials.iter().find(|own| own.kind == credential.kind) {
        None => Ok(()),
        Some(same) => {
            let client = quoted(&client.id);
            let message = format!("client {client} has this certificate already, as {}", same.id);
            Err(Diagnostic::error(message))
        }
    }
}

/// Nothing is wrong with what comes before its time; whoever forgets the rest should know.
fn warn_where_it_means_nothing(
    installation: &Installation,
    realm: &str,
    credential: &Credential,
    output: Output,
) {
    let declared = installation.snapshot.realms.iter().find(|declared| declared.name == realm);
    let policy = declared.and_then(|declared| declared.certificates.as_ref());
    let named = matches!(credential.kind, CredentialKind::CertificateName { .. });
    let (lacking, help) = match policy {
        None => ("takes no certificates", "`[realm.certificates]` in its file turns them on"),
        Some(policy) if named && policy.authorities.is_empty() => {
            ("has no authority that vouches for names", "`authorities` in `[realm.certificates]`")
        }
        Some(_) => return,
    };
    let message = format!("realm {} {lacking}", quoted(realm));
    output.complain(&Diagnostic::warning(message).help(help).into());
}

/// The certificates and names of a client.
fn certificates(client: &Client) -> impl Iterator<Item = &Credential> {
    client.credentials.iter().filter(|credential| what(&credential.kind).is_some())
}

/// What is compared: its name, and its value.
fn what(kind: &CredentialKind) -> Option<(&'static str, String)> {
    match kind {
        CredentialKind::CertificateName { name } => Some((name.parameter(), name.value())),
        CredentialKind::SelfSigned { thumbprint } => {
            Some(("x5t#S256", BASE64_URL_SAFE_NO_PAD.encode(thumbprint)))
        }
        _ => None,
    }
}

fn described(credential: &Credential) -> Value {
    let mut json = json!({
        "credential": credential.id,
        "label": credential.label,
        "live": credential.is_live(edge::now()),
        "created_at": edge::date(credential.created_at),
        "expires_at": credential.expires_at.map(edge::date),
    });
    if let Some((name, value)) = what(&credential.kind) {
        json[name] = json!(value);
    }
    json
}

fn list(client: &Client, output: Output) -> Result<(), Diagnostic> {
    let now = edge::now();
    let json: Vec<Value> = certificates(client).map(described).collect();
    let json = json!({ "realm": client.realm, "client": client.id, "certificates": json });
    output.answer(&json, || {
        let rows = certificates(client).map(|credential| {
            let (name, value) = what(&credential.kind).unwrap_or_default();
            [
                credential.id.clone(),
                credential.label.clone(),
                format!("{} {value}", name.trim_start_matches("tls_client_auth_")),
                if credential.is_live(now) { "live" } else { "expired" }.to_owned(),
                edge::date(credential.created_at),
                credential.expires_at.map_or_else(|| "never".to_owned(), edge::date),
            ]
        });
        table(["CERTIFICATE", "LABEL", "IS", "STATE", "CREATED", "EXPIRES"], rows)
    })
}
