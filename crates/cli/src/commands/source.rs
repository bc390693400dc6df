//! Where `tokenry token`, `curl`, `exec` and `doctor` get their token from.

mod supply;
mod trouble;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{ArgGroup, Args};
use tokenry_client::agent::Agent;
use tokenry_client::proxy::Dialer;
use tokenry_client::{Keeper, KeeperConfig, KeeperConfigError, Provider, SecretSource};

pub(crate) use self::supply::{Supply, no_keeper};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::edge;

/// Where a token comes from.
#[derive(Args, Debug)]
#[group(skip)]
#[command(group(ArgGroup::new("origin").args(Self::ORIGINS)))]
pub(crate) struct Source {
    /// A token of the agent, by the name that it has in the agent's file. Nothing else has to be said then.
    #[arg(value_name = "NAME", conflicts_with_all = ["scope", "resource"])]
    name: Option<String>,
    /// A provider: 1global, simacan, simacan-staging, truphone, tuinly, …, or the path of a provider file.
    #[arg(long, value_name = "NAME|FILE", value_parser = NameOrFile, hide_possible_values = true)]
    provider: Option<String>,
    /// One of the provider's environments.
    #[arg(long, requires = "provider", value_name = "NAME")]
    environment: Option<String>,
    /// What the provider's file leaves open, such as `tenant=acme`. May be repeated.
    #[arg(long, requires = "provider", value_name = "NAME=VALUE", value_parser = parameter)]
    parameter: Vec<(String, String)>,
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
    /// Where the client's secret is kept: env:NAME, file:PATH, command:COMMAND, systemd:NAME, vault:MOUNT/PATH#FIELD or
    /// keyring:SERVICE/USER. Twice while one secret follows another: the second is tried when the first is refused.
    #[arg(long, value_name = "WHERE", conflicts_with = "client_secret_file")]
    client_secret_from: Vec<String>,
    /// A file with the client's private key (PKCS #8, PEM), instead of a secret: private_key_jwt (RFC 7523).
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// The key's `kid`. Without it: its thumbprint.
    #[arg(long, value_name = "KID", requires = "private_key")]
    private_key_id: Option<String>,
    /// The key's algorithm, where it may be of two: RS256 or PS256.
    #[arg(long, value_name = "ALGORITHM", requires = "private_key")]
    private_key_algorithm: Option<String>,
    /// A file with the client's certificate and its chain (PEM), instead of a secret: tls_client_auth (RFC 8705).
    #[arg(long, value_name = "FILE", requires = "client_certificate_key")]
    client_certificate: Option<PathBuf>,
    /// A file with the certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_certificate_key: Option<PathBuf>,
    /// A file with a token by which the platform says who the client is, instead of a secret: of a Kubernetes service
    /// account, a CI job, a workload (RFC 7523).
    #[arg(long, value_name = "FILE")]
    assertion_file: Option<PathBuf>,
    /// The name of a user, for the password grant.
    #[arg(long, value_name = "NAME", env = "TOKENRY_USERNAME")]
    username: Option<String>,
    /// A file with the user's password, or `-` for standard input. Without it: the variable TOKENRY_PASSWORD.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The scope to ask for.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// The API that the token is to be for (RFC 8707).
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Ask for a token that is bound to a key (DPoP, RFC 9449).
    #[arg(long)]
    dpop: bool,
    /// A file with that key (PKCS #8, PEM). Without it: a new one.
    #[arg(long, value_name = "FILE", requires = "dpop")]
    dpop_key: Option<PathBuf>,
    /// Where the refresh token is kept from one run to the next. No two may run with the same file.
    #[arg(long, value_name = "FILE")]
    refresh_token_file: Option<PathBuf>,
    /// A host that tokens may go to, such as `api.example` or `*.api.example`, instead of those of the provider. May be
    /// repeated.
    #[arg(long, value_name = "HOST")]
    api_host: Vec<String>,
    /// Ask the server directly, even if there is an agent.
    #[arg(long, conflicts_with = "name")]
    no_agent: bool,
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

impl Source {
    /// The arguments of which one is needed.
    pub(crate) const ORIGINS: [&str; 4] = ["name", "provider", "issuer", "token_url"];

    /// Finds out who gives a token: the agent if there is one, else a server.
    pub(crate) async fn supply(&self) -> Result<Supply<'_>, Diagnostics> {
        match &self.name {
            Some(name) => Ok(Supply::named(self, name).await?),
            // Whoever waits at a terminal wants to see the first failure.
            None => Ok(Supply::by_agent(self, self.config()?, Duration::ZERO, false).await?),
        }
    }

    /// The same for a long time: an agent may come and go meanwhile, and a server have its failures.
    pub(crate) async fn lasting_supply(
        &self,
        patience: Duration,
    ) -> Result<Supply<'_>, Diagnostics> {
        match &self.name {
            Some(name) => Ok(Supply::named(self, name).await?),
            None => Ok(Supply::by_agent(self, self.config()?, patience, true).await?),
        }
    }

    /// A keeper for a process that stays, and what opens connections as it does.
    pub(crate) async fn keeper(&self) -> Result<(Keeper, Dialer), Diagnostics> {
        if self.name.is_some() {
            let message =
                "a token of the agent has a name, and this command needs all that stands behind it";
            return Err(Diagnostic::error(message)
                .help("name --provider, --issuer or --token-url, and the client")
                .into());
        }
        let config = self.config()?;
        let wrong = |error: KeeperConfigError| no_keeper(&error, self);
        let dialer = config.transport().await.map_err(wrong)?.dialer();
        Ok((supply::keeper(self, &config, None).await?, dialer))
    }

    /// The agent to ask, if there is one and nobody said otherwise.
    fn agent(&self) -> Option<Agent> {
        if self.no_agent { None } else { Agent::find() }
    }

    /// The name of the agent's token, if that is meant.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What the arguments and the environment say.
    pub(crate) fn config(&self) -> Result<KeeperConfig, Diagnostics> {
        let mut diagnostics = Diagnostics::default();
        let mut note = |error: Diagnostic| diagnostics.push(error);
        if self.client_secret_file.as_deref() == Some(Path::new("-"))
            && self.password_file == self.client_secret_file
        {
            note(Diagnostic::error("only one of secret and password can come from standard input"));
            return Err(diagnostics);
        }
        let client_secret = self.client_secret().map_err(&mut note).unwrap_or_default();
        let password = self.password().map_err(&mut note).unwrap_or_default();
        let file = |path: &Option<PathBuf>| path.clone().map(SecretSource::File);
        let config = KeeperConfig {
            provider: self.provider.clone(),
            environment: self.environment.clone(),
            parameters: self.parameter.iter().cloned().collect::<BTreeMap<_, _>>(),
            issuer: self.issuer.clone(),
            token_url: self.token_url.clone(),
            client_id: self.client_id.clone(),
            client_secret,
            private_key: file(&self.private_key),
            private_key_id: self.private_key_id.clone(),
            private_key_algorithm: self.private_key_algorithm.clone(),
            client_certificate: self.client_certificate.clone(),
            client_certificate_key: file(&self.client_certificate_key),
            assertion: file(&self.assertion_file),
            username: self.username.clone(),
            password,
            scope: self.scope.clone(),
            resource: self.resource.clone(),
            dpop: self.dpop,
            dpop_key: file(&self.dpop_key),
            refresh_token_file: self.refresh_token_file.clone(),
            // For processes that hold a token for long, each of which has a file.
            follow_revocations: false,
            api_hosts: self.api_host.clone(),
            cacert: self.cacert.clone(),
            connect_to: self.connect_to.clone(),
        };
        if diagnostics.has_errors() { Err(diagnostics) } else { Ok(config) }
    }

    fn client_secret(&self) -> Result<Vec<SecretSource>, Diagnostic> {
        if let Some(path) = &self.client_secret_file {
            return Ok(vec![file_source(path, "the client's secret")?]);
        }
        if self.client_secret_from.len() > MAX_SECRETS {
            return Err(Diagnostic::error(
                "a client has two secrets at most, while one follows the other",
            ));
        }
        if !self.client_secret_from.is_empty() {
            // Not by clap, which repeats what it does not understand: that may be the secret itself.
            let named = self.client_secret_from.iter().map(|text| text.parse());
            return named
                .collect::<Result<_, _>>()
                .map_err(|error| Diagnostic::error(format!("--client-secret-from: {error}")));
        }
        // A variable that is there for other commands is no second proof.
        let proves_otherwise = self.private_key.is_some()
            || self.client_certificate.is_some()
            || self.assertion_file.is_some();
        let named = self.client_id.is_some();
        let secret = variable(CLIENT_SECRET).filter(|_| named && !proves_otherwise);
        Ok(secret.into_iter().collect())
    }

    fn password(&self) -> Result<Option<SecretSource>, Diagnostic> {
        match &self.password_file {
            Some(path) => file_source(path, "the password").map(Some),
            None => Ok(variable(PASSWORD).filter(|_| self.username.is_some())),
        }
    }

    /// The scope that is asked for.
    pub(crate) fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// The API that the token is to be for.
    pub(crate) fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// The file with the client's certificate.
    pub(crate) fn client_certificate(&self) -> Option<&Path> {
        self.client_certificate.as_deref()
    }

    /// The environment variables that hold secrets of this source.
    pub(crate) fn secret_variables(&self) -> Vec<&str> {
        let named = self.client_secret_from.iter().filter_map(|text| text.strip_prefix("env:"));
        [CLIENT_SECRET, PASSWORD].into_iter().chain(named).collect()
    }

    /// The options that make curl connect as we do.
    pub(crate) fn curl_options(&self) -> Vec<(&'static str, String)> {
        let mut options = Vec::new();
        for (name, path) in [
            ("cacert", &self.cacert),
            // A token that is bound to the certificate is good with it alone (RFC 8705 §3).
            ("cert", &self.client_certificate),
            ("key", &self.client_certificate_key),
        ] {
            options.extend(path.iter().map(|path| (name, path.display().to_string())));
        }
        options.extend(self.connect_to.iter().map(|text| ("connect-to", text.clone())));
        options
    }
}

const CLIENT_SECRET: &str = "TOKENRY_CLIENT_SECRET";
const PASSWORD: &str = "TOKENRY_PASSWORD";

/// The one that is in use, and the one that follows it.
const MAX_SECRETS: usize = 2;

/// A variable, if it holds anything.
fn variable(name: &str) -> Option<SecretSource> {
    let text = std::env::var_os(name)?;
    (!text.is_empty()).then(|| SecretSource::Env(name.to_owned()))
}

/// A file that is there. It is read again whenever its secret is needed, since that may be another then.
fn file_source(path: &Path, what: &str) -> Result<SecretSource, Diagnostic> {
    let secret = edge::read_secret(path, what)?;
    // What comes through a pipe comes once.
    let stays = path != Path::new("-") && std::fs::metadata(path).is_ok_and(|file| file.is_file());
    Ok(if stays { SecretSource::File(path.to_owned()) } else { SecretSource::Given(secret) })
}

fn parameter(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("a parameter is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
