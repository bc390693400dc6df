//! Where `tokenry token` and `tokenry curl` get their token from.

mod trouble;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{ArgGroup, Args};
use http::Request;
use serde_json::Value;
use tokenry_client::{
    Credentials, HttpTransport, Keeper, Provider, ProviderError, Token, Transport as _,
};
use tokenry_core::Secret;

use self::trouble::Asked;
use crate::diagnostic::{Diagnostic, Diagnostics, plain, quoted};
use crate::edge;

/// Where a token comes from.
#[derive(Args, Debug)]
#[group(skip)]
#[command(group(ArgGroup::new("origin").required(true).args(["provider", "issuer", "token_url"])))]
pub(crate) struct Source {
    /// A provider: 1global, simacan, simacan-staging, truphone, tuinly, or the path of a provider file.
    #[arg(long, value_name = "NAME|FILE", value_parser = NameOrFile, hide_possible_values = true)]
    provider: Option<String>,
    /// One of the provider's environments.
    #[arg(long, requires = "provider", value_name = "NAME")]
    environment: Option<String>,
    /// An issuer, whose metadata say where its token endpoint is (RFC 8414).
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// A token endpoint.
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    /// The client's identifier.
    #[arg(long, value_name = "ID", env = "TOKENRY_CLIENT_ID")]
    client_id: Option<String>,
    /// A file with the client's secret, or `-` for standard input. Without it: the variable TOKENRY_CLIENT_SECRET.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// The name of a user, for the password grant.
    #[arg(long, value_name = "NAME", env = "TOKENRY_USERNAME")]
    username: Option<String>,
    /// A file with the user's password, or `-` for standard input. Without it: the variable TOKENRY_PASSWORD.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The scope to ask for.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Trust the certificates in this PEM file, and no others. `tokenry curl` tells curl the same.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Connect to ADDR:PORT2 instead of HOST, as curl does. May be repeated. `tokenry curl` tells curl the same.
    #[arg(long, value_name = "HOST:PORT:ADDR:PORT2")]
    connect_to: Vec<String>,
}

/// Takes any text, and suggests the names of providers to whoever asks a shell to complete it.
#[derive(Clone)]
struct NameOrFile;

impl TypedValueParser for NameOrFile {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Provider::names().map(PossibleValue::new)))
    }
}

/// A provider and a token of it.
pub(crate) struct Obtained {
    pub(crate) provider: Provider,
    pub(crate) token: Token,
}

impl Source {
    /// Obtains a token.
    pub(crate) async fn obtain(&self) -> Result<Obtained, Diagnostics> {
        let mut diagnostics = Diagnostics::default();
        let mut note = |error: Diagnostic| diagnostics.push(error);
        if self.client_secret_file.as_deref() == Some(Path::new("-"))
            && self.password_file == self.client_secret_file
        {
            note(Diagnostic::error("only one of secret and password can come from standard input"));
            return Err(diagnostics);
        }
        let transport = self.transport().await.map_err(&mut note).ok();
        let credentials = self.credentials().map_err(&mut note).ok();
        let provider = match &transport {
            Some(transport) => self.provider(transport).await.map_err(&mut note).ok(),
            None => None,
        };
        let (Some(transport), Some(credentials), Some(provider)) =
            (transport, credentials, provider)
        else {
            return Err(diagnostics);
        };
        let keeper = Keeper::builder(provider, credentials)
            .transport(transport)
            // Whoever waits at a terminal wants to see the first failure.
            .patience(Duration::ZERO)
            .build()
            .map_err(|error| Diagnostic::error(error.to_string()).help(CREDENTIALS))?;
        let token = keeper.token().await.map_err(|error| {
            let url = keeper.provider().token_url().to_string();
            let cacert = self.cacert.as_deref();
            trouble::no_token(&error, &Asked { url: &url, scope: self.scope.as_deref(), cacert })
        })?;
        Ok(Obtained { provider: keeper.provider().clone(), token })
    }

    async fn provider(&self, transport: &HttpTransport) -> Result<Provider, Diagnostic> {
        let provider = match (&self.provider, &self.issuer, &self.token_url) {
            (Some(name), _, _) => {
                let provider = named_or_file(name)?;
                match &self.environment {
                    Some(environment) => {
                        provider.environment(environment).map_err(|e| trouble::no_provider(&e))?
                    }
                    None => provider,
                }
            }
            (None, Some(issuer), _) => {
                self.at(&discover(transport, issuer, self.cacert.as_deref()).await?)?
            }
            (None, None, Some(url)) => self.at(url)?,
            // The command line has one of the three.
            (None, None, None) => {
                return Err(Diagnostic::error("--provider, --issuer or --token-url is missing"));
            }
        };
        Ok(match &self.scope {
            Some(scope) => provider.with_scope(scope),
            None => provider,
        })
    }

    /// A server that follows the RFCs.
    fn at(&self, token_url: &str) -> Result<Provider, Diagnostic> {
        let wrong = |error: ProviderError| Diagnostic::error(error.to_string());
        let provider = Provider::at(token_url).map_err(wrong)?;
        if self.username.is_none() {
            return Ok(provider);
        }
        let authentication = if self.client_id.is_some() { "basic" } else { "none" };
        let url = toml::Value::String(token_url.to_owned());
        let text = format!(
            "name = \"command line\"\n[obtain]\nurl = {url}\ngrant = \"password\"\n\
             client_authentication = \"{authentication}\"\n[api]\nhosts = []\n"
        );
        Provider::from_toml(&text).map_err(wrong)
    }

    fn credentials(&self) -> Result<Credentials, Diagnostic> {
        let secret = |file: &Option<PathBuf>, variable: &str, what: &str| match (
            file,
            std::env::var(variable),
        ) {
            (Some(path), _) => edge::read_secret(path, what).map(Some),
            (None, Ok(text)) if !text.is_empty() => Ok(Some(Secret::new(text))),
            (None, _) => Ok(None),
        };
        let client_secret =
            || secret(&self.client_secret_file, "TOKENRY_CLIENT_SECRET", "the client's secret");
        let password = || secret(&self.password_file, "TOKENRY_PASSWORD", "the password");
        let missing =
            |what: &str| Diagnostic::error(format!("{what} is missing")).help(CREDENTIALS);
        match (&self.client_id, &self.username) {
            (None, None) => Err(missing("--client-id or --username")),
            (Some(id), None) => {
                let secret = client_secret()?.ok_or_else(|| missing("the client's secret"))?;
                Ok(Credentials::client(id, secret))
            }
            (id, Some(name)) => {
                let password = password()?.ok_or_else(|| missing("the password"))?;
                let credentials = Credentials::password(name, password);
                Ok(match (id, client_secret()?) {
                    (Some(id), Some(secret)) => credentials.with_client(id, secret),
                    (Some(_), None) => return Err(missing("the client's secret")),
                    (None, _) => credentials,
                })
            }
        }
    }

    async fn transport(&self) -> Result<HttpTransport, Diagnostic> {
        let mut builder = HttpTransport::builder();
        if let Some(path) = &self.cacert {
            let pem = std::fs::read(path).map_err(|error| {
                Diagnostic::error(format!("{} cannot be read: {}", path.display(), plain(&error)))
            })?;
            builder = builder
                .root_certificates(&pem)
                .map_err(|error| Diagnostic::error(format!("{}: {error}", path.display())))?;
        }
        for text in &self.connect_to {
            let (host, address) = connect_to(text).await?;
            builder = builder.connect_to(&host, address);
        }
        builder.build().map_err(|error| Diagnostic::error(error.to_string()))
    }

    /// The options that make curl connect as we do.
    pub(crate) fn curl_options(&self) -> Vec<(&'static str, String)> {
        let cacert = self.cacert.iter().map(|path| ("cacert", path.display().to_string()));
        cacert.chain(self.connect_to.iter().map(|text| ("connect-to", text.clone()))).collect()
    }
}

const CREDENTIALS: &str = "a client needs --client-id and its secret from --client-secret-file or \
    TOKENRY_CLIENT_SECRET; a user needs --username and its password from --password-file or TOKENRY_PASSWORD";

fn named_or_file(name: &str) -> Result<Provider, Diagnostic> {
    let known = Provider::names().any(|known| known == name);
    // A name has neither slash nor dot; whoever has both a file and a provider of one name writes `./name`.
    let provider = if known || !name.contains(['/', '.']) {
        Provider::named(name)
    } else {
        Provider::from_path(Path::new(name))
    };
    provider.map_err(|error| match error {
        ProviderError::Unknown { .. } => trouble::no_provider(&error),
        _ => {
            let text = error.to_string();
            Diagnostic::error(if text.starts_with(name) || known {
                text
            } else {
                format!("{name}: {text}")
            })
        }
    })
}

/// Asks the issuer's metadata for its token endpoint (RFC 8414 §3, or where OpenID Connect Discovery has them).
async fn discover(
    transport: &HttpTransport,
    issuer: &str,
    cacert: Option<&Path>,
) -> Result<String, Diagnostic> {
    let parsed: tokenry_core::realm::Issuer = issuer
        .parse()
        .map_err(|error| Diagnostic::error(format!("--issuer: {error}, not {}", quoted(issuer))))?;
    let (origin, path) = (parsed.origin(), parsed.path());
    let places = [
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}{path}/.well-known/openid-configuration"),
    ];
    let mut last = String::new();
    for place in &places {
        let request = Request::get(place)
            .body(Bytes::new())
            .map_err(|error| Diagnostic::error(format!("{place}: {error}")))?;
        let answer =
            transport.send(request).await.map_err(|error| trouble::unreachable(&error, cacert))?;
        if !answer.status().is_success() {
            last = format!("{place} answered {}", answer.status().as_u16());
            continue;
        }
        let metadata: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        // RFC 8414 §3.3: "the issuer value returned MUST be identical".
        if metadata["issuer"] != issuer {
            last = format!("{place} is not about this issuer");
            continue;
        }
        return metadata["token_endpoint"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| Diagnostic::error(format!("{place} names no token endpoint")));
    }
    Err(Diagnostic::error(format!("no metadata of {}: {last}", quoted(issuer))).help(
        "is the issuer written as the server has it? otherwise name the endpoint with --token-url",
    ))
}

/// Reads `HOST:PORT:ADDR:PORT2`. The host may be any, the port is not looked at.
async fn connect_to(text: &str) -> Result<(String, SocketAddr), Diagnostic> {
    let wrong = || {
        Diagnostic::error(format!(
            "--connect-to is written HOST:PORT:ADDR:PORT2, not {}",
            quoted(text)
        ))
        .help("such as auth.example:443:127.0.0.1:8443")
    };
    let (host, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (_, address) = rest.split_once(':').ok_or_else(wrong)?;
    if host.is_empty() {
        return Err(wrong());
    }
    let mut addresses = tokio::net::lookup_host(address).await.map_err(|_| wrong())?;
    addresses.next().map(|address| (host.to_owned(), address)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connect_to_is_written_as_curl_has_it() {
        let (host, address) = connect_to("a.example:443:127.0.0.1:8443").await.unwrap();
        assert_eq!((host.as_str(), address.to_string().as_str()), ("a.example", "127.0.0.1:8443"));
        let (_, address) = connect_to("a.example:443:[::1]:8443").await.unwrap();
        assert_eq!(address.to_string(), "[::1]:8443");
        for wrong in ["", "a", "a:443", "a:443:", "a:443:127.0.0.1", ":443:127.0.0.1:1"] {
            assert!(connect_to(wrong).await.is_err(), "{wrong}");
        }
    }
}
