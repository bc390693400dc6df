//! `tokenry doctor`: obtains a token, looks at everything about it, and says what is wrong.

mod api;
mod challenge;
pub(super) mod issuer;
pub(super) mod jwt;
pub(super) mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{ArgGroup, Args};
use http::{Method, Uri};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use tokenry_client::provider::ClientAuthentication;
use tokenry_client::{HttpTransport, KeeperConfig, Provider, StaticToken, Token, TokenSource as _};
use tokenry_core::duration;
use tokenry_core::jose::Jwk;

use self::api::Visit;
use self::jwt::{Decoded, Expected, examine};
use self::report::{Finding, Report};
use super::Outcome;
use super::source::{Source, Supply, no_keeper};
use crate::diagnostic::{Diagnostic, Diagnostics, quoted};
use crate::edge;
use crate::output::Output;

/// Obtains an access token, and says step by step what is wrong with it, if anything is.
///
/// It looks at where the token comes from, at the issuer's metadata, keys and clock, at what the token says of itself, and
/// with --url at what an API says to it: why a 401, why a 403. Neither the token nor its signature is shown. The exit
/// code is 1 if something is wrong.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("from").required(true).multiple(true).args(Source::ORIGINS).arg("token_file")))]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Look at the token in this file instead (`-`: standard input). --issuer says whose it should be.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Send one GET request with the token to this URL of an API, and explain the answer.
    #[arg(long, value_name = "URL")]
    url: Option<Uri>,
    /// What the API calls itself: what the token's `aud` must hold. Without it: --resource.
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
}

/// A token to look at.
struct Patient {
    token: Token,
    /// Whose it should be, as far as that is known without asking the token.
    issuer: Option<String>,
}

pub(crate) async fn run(arguments: &Arguments, output: Output) -> Outcome {
    let mut report = Report::default();
    look(arguments, &mut report).await?;
    output.answer(&report.json(), || report.text())?;
    Ok(if report.is_bad() { ExitCode::from(super::ERROR) } else { ExitCode::SUCCESS })
}

async fn look(arguments: &Arguments, report: &mut Report) -> Result<(), Diagnostics> {
    let source = &arguments.source;
    let config = source.config()?;
    let transport = config.transport().await.map_err(|error| no_keeper(&error, source))?;
    let patient = match &arguments.token_file {
        Some(path) => {
            let token = StaticToken::new(edge::read_secret(path, "the token")?);
            let unsendable =
                || Diagnostic::error("the token has a character that no header can carry");
            // It has one, always and at once.
            let token = token.ok_or_else(unsendable)?.token().await.map_err(|_| unsendable())?;
            let issuer = config.issuer.clone();
            if let Some(url) = &arguments.url {
                check_host(&config, url)?;
            }
            Some(Patient { token, issuer })
        }
        None => obtain(arguments, config, report).await?,
    };
    let Some(Patient { token, issuer }) = patient else { return Ok(()) };
    let decoded = Decoded::of(token.access_token().expose());
    check_token(arguments, &token, decoded.as_ref(), issuer.as_deref(), report)?;
    check_issuer(&transport, &token, decoded.as_ref(), issuer.as_deref(), report).await;
    if let Some(url) = &arguments.url {
        let said = decoded.as_ref().and_then(|decoded| decoded.text("iss"));
        let visit = Visit {
            transport: &transport,
            token: &token,
            decoded: decoded.as_ref(),
            issuer: issuer.as_deref().or(said),
            url,
            resource: source.resource(),
        };
        visit.pay(report).await;
    }
    if let Some(Decoded { header, claims }) = decoded {
        report.token = Some((header, claims));
    }
    Ok(())
}

/// Obtains a token as every other command would, and says how. `None` if there is none, which the report explains.
async fn obtain(
    arguments: &Arguments,
    config: KeeperConfig,
    report: &mut Report,
) -> Result<Option<Patient>, Diagnostics> {
    let source = &arguments.source;
    let supply = match source.name() {
        Some(name) => Supply::named(source, name).await,
        // Of what the agent holds somebody else may have asked for: here everything is to be seen from its beginning.
        None => Supply::of(source, config.clone(), Duration::ZERO).await,
    };
    let supply = match supply {
        Ok(supply) => supply,
        Err(error) => {
            report.add(Finding::of("source", &error));
            return Ok(None);
        }
    };
    if let Some(forbidden) = arguments.url.as_ref().and_then(|url| supply.forbids(url)) {
        return Err(forbidden.into());
    }
    let provider = supply.provider();
    report.add(Finding::ok(
        "source",
        match provider {
            None => supply.place().to_owned(),
            Some(provider) => {
                let how = proved_by(&config, provider.client_authentication());
                format!("{}, asked at {} with {how}", provider.title(), supply.place())
            }
        },
    ));
    let token = match supply.token(None).await {
        Ok(token) => token,
        Err(error) => {
            report.add(Finding::of("token", &error));
            return Ok(None);
        }
    };
    report.findings.extend(provider.map(|provider| connection(provider.token_url(), &config)));
    let lives = token.expires_at().map(|at| at.since(edge::now()).as_millis().div_ceil(1000));
    let lives = lives.and_then(|secs| u64::try_from(secs).ok()).map(Duration::from_secs);
    let lives = lives.map_or_else(|| "nobody knows how long".to_owned(), duration::write);
    report.add(Finding::ok("token", format!("{}, lives {lives}", token.token_type())));
    let issuer = provider.and_then(Provider::issuer).map(str::to_owned);
    Ok(Some(Patient { token, issuer }))
}

/// How the client has shown who it is.
fn proved_by(config: &KeeperConfig, method: ClientAuthentication) -> String {
    let client = if config.private_key.is_some() {
        Some("private_key_jwt")
    } else if config.assertion.is_some() {
        Some("a token of the platform (RFC 7523)")
    } else if !config.client_secret.is_empty() {
        match method {
            ClientAuthentication::Post => Some("client_secret_post"),
            ClientAuthentication::None => None,
            _ => Some("client_secret_basic"),
        }
    } else {
        config.client_certificate.as_ref().map(|_| "tls_client_auth")
    };
    let user = config.username.as_ref().map(|_| "a user's password");
    client.into_iter().chain(user).collect::<Vec<_>>().join(" and ")
}

fn connection(url: &Uri, config: &KeeperConfig) -> Finding {
    const WHAT: &str = "connection";
    if url.scheme_str() != Some("https") {
        let help = "outside of this machine https is needed, and plain HTTP is refused";
        return Finding::warning(WHAT, "plain HTTP, within this machine", help);
    }
    Finding::ok(
        WHAT,
        match &config.cacert {
            Some(path) => {
                format!("TLS; the certificate is from an authority in {}", path.display())
            }
            None => "TLS; the certificate is from an authority that this machine trusts".to_owned(),
        },
    )
}

/// What a token that nobody keeps may be sent to: what was said to be its place, or anything that is safe on the way.
fn check_host(config: &KeeperConfig, url: &Uri) -> Result<(), Diagnostic> {
    let hosts = tokenry_client::AllowedHosts::new(&config.api_hosts);
    if hosts.is_empty() || hosts.allows(url) {
        return Ok(());
    }
    Err(Diagnostic::error(format!("the token does not go to {}", quoted(&url.to_string())))
        .help("--api-host says where it does"))
}

fn check_token(
    arguments: &Arguments,
    token: &Token,
    decoded: Option<&Decoded>,
    issuer: Option<&str>,
    report: &mut Report,
) -> Result<(), Diagnostic> {
    let Some(decoded) = decoded else {
        report.add(Finding::ok(
            "type",
            "opaque: it says nothing, and its APIs ask the issuer about it (RFC 7662)",
        ));
        return Ok(());
    };
    let source = &arguments.source;
    let expected = Expected {
        issuer,
        audience: arguments.audience.as_deref().or_else(|| source.resource()),
        scope: source.scope(),
        key: proof_key(token),
        certificate: source.client_certificate().map(certificate).transpose()?,
        now: edge::now(),
    };
    report.findings.extend(examine(decoded, &expected));
    Ok(())
}

/// The thumbprint of the key that signs proofs for a token: each proof has the key in it.
fn proof_key(token: &Token) -> Option<[u8; 32]> {
    let proof = token.dpop_proof(&Method::GET, &Uri::from_static("https://localhost/")).ok()??;
    let header = BASE64_URL_SAFE_NO_PAD.decode(proof.to_str().ok()?.split('.').next()?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    Some(Jwk::from_value(&header["jwk"]).ok()?.thumbprint_bytes())
}

/// The digest of a certificate that a token may be bound to (RFC 8705 §3.1).
fn certificate(path: &std::path::Path) -> Result<[u8; 32], Diagnostic> {
    let wrong = || Diagnostic::error(format!("{} holds no PEM certificate", path.display()));
    let der = CertificateDer::from_pem_file(path).map_err(|_| wrong())?;
    digest(&SHA256, &der).as_ref().try_into().map_err(|_| wrong())
}

async fn check_issuer(
    transport: &HttpTransport,
    token: &Token,
    decoded: Option<&Decoded>,
    issuer: Option<&str>,
    report: &mut Report,
) {
    // Nobody has vouched for what the token says; it is asked for its keys alone, over https.
    let Some(issuer) = issuer.or_else(|| decoded?.text("iss")) else {
        return report.add(Finding::warning(
            "metadata",
            "the issuer is not known, so neither its keys nor its clock were looked at",
            "--issuer names it",
        ));
    };
    let Some(metadata) = issuer::metadata(transport, issuer, report).await else { return };
    if decoded.is_some() {
        let text = token.access_token().expose();
        report.add(issuer::signature(transport, &metadata, text).await);
    }
}
