//! `tokenry curl`: curl with an access token that stands in no argument.

mod arguments;
mod request;

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};

use clap::{ArgGroup, Args};
use tokenry_client::Token;
use tokenry_core::Secret;

use self::request::TheRequest;
use super::Outcome;
use super::source::Source;
use super::token::{curl_header, curl_quoted};
use crate::diagnostic::{Diagnostic, Diagnostics, plain};
use crate::output::Output;

/// Runs curl with an access token: `tokenry curl --provider NAME … -- https://api.example/things`.
///
/// The token reaches curl on its standard input, where no list of processes shows it. What --cacert and --connect-to
/// say holds for the token endpoint and for curl's own request: it need not be said again after `--`. A token goes to the hosts its provider
/// names, and to no others:
/// URLs are written out (https://host/path, without patterns), options that could lead elsewhere are refused, and a
/// .curlrc is not read. The exit code is curl's.
///
/// With --dpop the request carries a proof of its own, so that there is one URL, and neither --location nor --retry.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("from").required(true).multiple(true).args(Source::ORIGINS)))]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// What curl is to be told, after `--`.
    #[arg(last = true, required = true, value_name = "CURL ARGUMENTS")]
    curl: Vec<String>,
}

pub(crate) async fn run(arguments: &Arguments, _: Output) -> Outcome {
    let urls = arguments::urls(&arguments.curl)?;
    let supply = arguments.source.supply().await?;
    let mut diagnostics = Diagnostics::default();
    diagnostics.0.extend(urls.iter().filter_map(|url| supply.forbids(url)));
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let token = supply.token(None).await?;
    let proof = match token.token_type() {
        "DPoP" => proof(&token, &TheRequest::of(&arguments.curl)?)?,
        _ => None,
    };
    let mut options = arguments.source.curl_options();
    if urls.iter().any(|url| url.scheme_str() == Some("http")) {
        stays_here(&arguments.curl)?;
        // A proxy that the environment names is somewhere else.
        options.push(("noproxy", "*".to_owned()));
    }
    let config = config(&token, proof.as_ref(), &options);
    Ok(ExitCode::from(curl(arguments, &config)?))
}

/// Plain HTTP is for this machine alone, so nothing may lead it elsewhere.
fn stays_here(curl: &[String]) -> Result<(), Diagnostic> {
    match curl.iter().find(|a| ["--noproxy", "--resolve", "--connect-to"].contains(&a.as_str())) {
        None => Ok(()),
        Some(option) => Err(Diagnostic::error(format!(
            "{option} could lead a token away from this machine in plain HTTP"
        ))
        .help("leave it out, or use an https URL")),
    }
}

/// The proof that goes with a token that is bound to a key (RFC 9449 §7.1).
fn proof(token: &Token, request: &TheRequest) -> Result<Option<Secret>, Diagnostic> {
    let proof = token
        .dpop_proof(&request.method, &request.url)
        .map_err(|_| Diagnostic::error("the proof of this request cannot be signed"))?;
    Ok(proof.as_ref().and_then(|proof| proof.to_str().ok()).map(Secret::new))
}

/// A configuration for curl, as `curl --config -` reads it.
fn config(token: &Token, proof: Option<&Secret>, options: &[(&str, String)]) -> Secret {
    let value = format!("{} {}", token.token_type(), token.access_token().expose());
    let mut text = curl_header("Authorization", &value) + "\n";
    if let Some(proof) = proof {
        text.push_str(&curl_header("DPoP", proof.expose()));
        text.push('\n');
    }
    // Braces and brackets in a URL stand for themselves: no second host can hide in them.
    text.push_str("globoff\n");
    for (name, value) in options {
        text.push_str(&format!("{name} = {}\n", curl_quoted(value)));
    }
    Secret::new(text)
}

fn curl(arguments: &Arguments, config: &Secret) -> Result<u8, Diagnostic> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Diagnostic::error("there is no curl on this machine")
            .help("install it, or use `tokenry token --header`"),
        _ => Diagnostic::error(format!("curl did not run: {}", plain(&error))),
    };
    let mut command = Command::new("curl");
    for variable in arguments.source.secret_variables() {
        command.env_remove(variable);
    }
    let mut child = command
        // A .curlrc could name URLs that nobody has looked at; `--disable` counts only as the first argument.
        .args(["--disable", "--config", "-"])
        .args(&arguments.curl)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A curl that does not want to read it says why itself.
        let _ = stdin.write_all(config.expose().as_bytes());
    }
    let status = child.wait().map_err(failed)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(super::ERROR))
}

#[cfg(test)]
mod tests {
    use tokenry_client::{StaticToken, TokenSource as _};

    use super::*;

    #[tokio::test]
    async fn the_configuration_is_what_curl_reads() {
        let source = StaticToken::new(Secret::new("a\"b\\c")).unwrap();
        let token = source.token().await.unwrap();
        let proof = Secret::new("ey");
        let config = config(&token, Some(&proof), &[("cacert", "ca.pem".to_owned())]);
        let expected = "header = \"Authorization: Bearer a\\\"b\\\\c\"\nheader = \"DPoP: ey\"\ngloboff\ncacert = \"ca.pem\"\n";
        assert_eq!(config.expose(), expected);
    }
}
