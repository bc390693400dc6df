//! `tokenry token inspect`: what a token says, and whether it is good.

mod given;
mod oddities;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tokenry_client::{HttpTransport, KeeperConfig};
use tokenry_core::jose::jws::Compact;
use tokenry_core::jose::{Algorithm, JwkSet, VerifyingKey};
use tokenry_core::{Secret, Timestamp};
use tokenry_verifier::{Policy, Rejection};

use self::oddities::more;
use crate::args::Format;
use crate::commands::doctor::issuer;
use crate::commands::doctor::jwt::{Decoded, Expected, examine};
use crate::commands::doctor::report::{Finding, Report};
use crate::commands::{ERROR, Outcome, USAGE};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::edge;
use crate::output::Output;

/// Texts of this length are no names or words.
const TOKEN_LEN: usize = 24;

/// Prints what a token says and what is odd about it; with --issuer, whether it is good and why not.
///
/// The token is read from standard input, a file or an environment variable, and never from the command line, which every
/// user of this machine can read. `Authorization: Bearer` before it does not matter. It is not printed, and sent to nobody:
/// so nobody is asked whether it was revoked.
///
/// Exit codes: 0 nothing is wrong with it; 1 something is, or it cannot be read; 2 the command line is wrong.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Where a token would stand, were it to be given so.
    #[arg(hide = true, allow_hyphen_values = true)]
    stray: Vec<String>,
    /// The file with the token (`-`: standard input, as without it).
    #[arg(long, value_name = "FILE", conflicts_with = "token_env")]
    token_file: Option<PathBuf>,
    /// The environment variable with the token.
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    /// Whose it should be: its signature is checked with this issuer's keys, and its claims as an API does.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// What the API calls itself: what the token's `aud` must hold.
    #[arg(long, value_name = "NAME", requires = "issuer")]
    audience: Option<String>,
    /// Accept `typ: JWT` besides `at+jwt`, for issuers from before RFC 9068 such as Keycloak.
    #[arg(long, requires = "issuer")]
    legacy_typ: bool,
    /// Trust the certificates in this PEM file, and no others.
    #[arg(long, value_name = "FILE", requires = "issuer")]
    cacert: Option<PathBuf>,
    /// Connect to ADDR:PORT2 instead of HOST, as curl does. May be repeated.
    #[arg(long, value_name = "HOST:PORT:ADDR:PORT2", requires = "issuer")]
    connect_to: Vec<String>,
    /// What the answer looks like. `tokenry token` has more forms, which are for tokens.
    #[arg(long, env = "TOKENRY_OUTPUT", default_value = "text", value_name = "FORMAT")]
    output: Format,
}

pub(super) async fn run(arguments: &Arguments, output: Output) -> Outcome {
    if let Some(stray) = arguments.stray.first() {
        output.complain(&misplaced(stray).into());
        return Ok(ExitCode::from(USAGE));
    }
    let token = arguments.read(output)?;
    let now = edge::now();
    let mut report = Report::default();
    match given::read(token.expose(), arguments.issuer.is_some()) {
        Ok(decoded) => {
            let expected = Expected {
                issuer: arguments.issuer.as_deref(),
                audience: arguments.audience.as_deref(),
                now,
                ..Expected::default()
            };
            // What it is bound to is told here; whether that is at hand, nobody asked.
            let known = examine(&decoded, &expected).into_iter();
            report.findings.extend(known.filter(|finding| finding.what != "binding"));
            report.findings.extend(more(&decoded, now));
            if let Some(issuer) = &arguments.issuer {
                arguments.verify(issuer, &token, &decoded, now, &mut report).await?;
            }
            report.token = Some((decoded.header, decoded.claims));
        }
        Err(finding) => report.add(finding),
    }
    output.answer(&report.json(), || report.text())?;
    Ok(if report.is_bad() { ExitCode::from(ERROR) } else { ExitCode::SUCCESS })
}

/// An argument that has no place. It is not repeated: it may be a token.
fn misplaced(stray: &str) -> Diagnostic {
    let is_token = stray.len() >= TOKEN_LEN || stray.starts_with("eyJ") || stray.contains('.');
    let message = if is_token {
        "a token is not given on the command line: every user of this machine can read it there, and the shell keeps it"
    } else {
        "the token is read from standard input, a file or an environment variable"
    };
    let help = "`tokenry token inspect < FILE`, --token-file or --token-env; the one that was given here should be revoked if it is still good";
    let help =
        if is_token { help } else { "`tokenry token inspect < FILE`, --token-file or --token-env" };
    Diagnostic::error(message).help(help)
}

impl Arguments {
    fn read(&self, output: Output) -> Result<Secret, Diagnostic> {
        let Some(name) = &self.token_env else {
            let path = self.token_file.as_deref().unwrap_or_else(|| Path::new("-"));
            if path == Path::new("-") && std::io::stdin().is_terminal() {
                output.note("paste the token here, then press Enter and Ctrl-D");
            }
            return edge::read_secret(path, "the token").map(given::alone);
        };
        let unset = || {
            // Not repeated: somebody may have written `--token-env $TOKEN`.
            Diagnostic::error("the environment variable that --token-env names is not set")
                .help("it takes the name of a variable, such as ACCESS_TOKEN")
        };
        let text = std::env::var(name).map_err(|_| unset())?;
        Ok(given::alone(Secret::new(text)))
    }

    /// Says whether an API that trusts the issuer lets the token in.
    async fn verify(
        &self,
        issuer: &str,
        token: &Secret,
        decoded: &Decoded,
        now: Timestamp,
        report: &mut Report,
    ) -> Result<(), Diagnostics> {
        let transport = self.transport().await?;
        let Some(metadata) = issuer::metadata(&transport, issuer, report).await else {
            return Ok(());
        };
        let keys = match issuer::keys(&transport, &metadata).await {
            Ok(keys) => keys,
            Err(finding) => {
                report.add(finding);
                report.add(Finding::wrong("verdict", "its signature was not checked", UNCHECKED));
                return Ok(());
            }
        };
        report.add(issuer::check(&keys, token.expose()));
        let audiences = match &self.audience {
            Some(audience) => vec![audience.clone()],
            // Whom it is for was not asked.
            None => decoded.audiences().into_iter().map(str::to_owned).collect(),
        };
        let policy = Policy {
            issuer: issuer.to_owned(),
            audiences,
            algorithms: Algorithm::ALL.to_vec(),
            leeway: Policy::DEFAULT_LEEWAY,
            legacy_typ: self.legacy_typ,
        };
        let compared = self.audience.is_some();
        report.add(verdict(token.expose(), &keys, &policy, compared, now));
        Ok(())
    }

    async fn transport(&self) -> Result<HttpTransport, Diagnostic> {
        let config = KeeperConfig {
            cacert: self.cacert.clone(),
            connect_to: self.connect_to.clone(),
            ..KeeperConfig::default()
        };
        config.transport().await.map_err(|error| Diagnostic::error(error.to_string()))
    }
}

const UNCHECKED: &str = "it cannot be said whether it is good";

/// What an API that trusts this issuer does with the token. `is_compared`: whether it is known what the API calls itself.
fn verdict(
    token: &str,
    keys: &JwkSet,
    policy: &Policy,
    is_compared: bool,
    now: Timestamp,
) -> Finding {
    const WHAT: &str = "verdict";
    let good = |bound: &str| {
        let audience = match is_compared {
            true => "",
            false => ", and the audience was not compared (--audience)",
        };
        let text = "good by its signature and its claims";
        Finding::ok(WHAT, format!("{text}{bound}; whether it was revoked was not asked{audience}"))
    };
    match judge(token, keys, policy, now) {
        Ok(()) => good(""),
        Err(Rejection::Bound) => good(", together with the key or certificate that it is bound to"),
        Err(rejection) => {
            let told = rejection.description().unwrap_or("the token is not valid");
            let help = format!("the API answers {}: {told}", rejection.status().as_u16());
            Finding::wrong(WHAT, format!("refused: {rejection}"), &help)
        }
    }
}

fn judge(token: &str, keys: &JwkSet, policy: &Policy, now: Timestamp) -> Result<(), Rejection> {
    let parsed = Compact::parse(token)?;
    policy.check_header(parsed.header())?;
    let mut why = Rejection::UnknownKey;
    for key in issuer::candidates(keys, parsed.header()) {
        match parsed.verify(&VerifyingKey::from(key.clone())) {
            Ok(verified) => return policy.check(verified, now).map(drop),
            Err(_) => why = Rejection::BadSignature,
        }
    }
    Err(why)
}
