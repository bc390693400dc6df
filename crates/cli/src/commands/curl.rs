//! `tokenry curl`: curl with an access token that stands in no argument.

mod arguments;

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use http::Uri;
use tokenry_client::Provider;
use tokenry_core::Secret;

use super::Outcome;
use super::source::{Obtained, Source};
use crate::diagnostic::{Diagnostic, Diagnostics, plain, quoted};
use crate::output::Output;

/// Runs curl with an access token: `tokenry curl --provider NAME … -- https://api.example/things`.
///
/// The token reaches curl on its standard input, where no list of processes shows it. What --cacert and --connect-to
/// say holds for the token endpoint and for curl's own request: it need not be said again after `--`. A token goes to the hosts its provider
/// names, and to no others:
/// URLs are written out (https://host/path, without patterns), options that could lead elsewhere are refused, and a
/// .curlrc is not read. The exit code is curl's.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// What curl is to be told, after `--`.
    #[arg(last = true, required = true, value_name = "CURL ARGUMENTS")]
    curl: Vec<String>,
}

pub(crate) async fn run(arguments: &Arguments, _: Output) -> Outcome {
    let urls = arguments::urls(&arguments.curl)?;
    let Obtained { provider, token } = arguments.source.obtain().await?;
    let mut diagnostics = Diagnostics::default();
    diagnostics.0.extend(urls.iter().filter_map(|url| forbidden(&provider, url)));
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let config = config(token.access_token(), &arguments.source.curl_options());
    Ok(ExitCode::from(curl(&arguments.curl, &config)?))
}

/// Why a token of this provider must not go to a URL.
fn forbidden(provider: &Provider, url: &Uri) -> Option<Diagnostic> {
    let hosts = provider.api_hosts();
    let host = url.host().unwrap_or_default();
    let own = provider.token_url();
    // A provider of the command line names no hosts: whoever writes both knows that they belong together.
    if *hosts == tokenry_client::AllowedHosts::default() {
        let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        return (url.scheme_str() == Some("http") && !loopback).then(|| {
            Diagnostic::error(format!("a token does not travel in plain HTTP to {}", quoted(host)))
        });
    }
    (!hosts.allows(url)).then(|| {
        Diagnostic::error(format!("a token from {own} does not go to {}", quoted(&url.to_string())))
            .help("the provider's file says where: `[api] hosts`")
    })
}

/// A configuration for curl, as `curl --config -` reads it.
fn config(token: &Secret, options: &[(&str, String)]) -> Secret {
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text =
        format!("header = {}\n", quote(&format!("Authorization: Bearer {}", token.expose())));
    // Braces and brackets in a URL stand for themselves: no second host can hide in them.
    text.push_str("globoff\n");
    for (name, value) in options {
        text.push_str(&format!("{name} = {}\n", quote(value)));
    }
    Secret::new(text)
}

fn curl(arguments: &[String], config: &Secret) -> Result<u8, Diagnostic> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Diagnostic::error("there is no curl on this machine")
            .help("install it, or use `tokenry token --header`"),
        _ => Diagnostic::error(format!("curl did not run: {}", plain(&error))),
    };
    let mut child = Command::new("curl")
        // A .curlrc could name URLs that nobody has looked at; `--disable` counts only as the first argument.
        .args(["--disable", "--config", "-"])
        .args(arguments)
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
    use super::*;

    #[test]
    fn a_token_goes_only_where_its_provider_says() {
        let simacan = Provider::named("simacan").unwrap();
        let ok =
            |provider: &Provider, text: &str| forbidden(provider, &text.parse().unwrap()).is_none();
        assert!(ok(&simacan, "https://api.services.simacan.com/x"));
        assert!(!ok(&simacan, "https://api-stg.services.simacan.com/x"));
        assert!(!ok(&simacan, "https://example.com/"));
        assert!(!ok(&simacan, "http://api.services.simacan.com/x"));
        let own = Provider::at("https://auth.example/token").unwrap();
        assert!(ok(&own, "https://api.example/"));
        assert!(ok(&own, "http://localhost:8080/"));
        assert!(!ok(&own, "http://api.example/"));
    }

    #[test]
    fn the_configuration_is_what_curl_reads() {
        let config = config(&Secret::new("a\"b\\c"), &[("cacert", "ca.pem".to_owned())]);
        let expected =
            "header = \"Authorization: Bearer a\\\"b\\\\c\"\ngloboff\ncacert = \"ca.pem\"\n";
        assert_eq!(config.expose(), expected);
    }
}
