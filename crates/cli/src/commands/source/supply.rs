//! Who gives tokens, once the arguments have been made sense of.

use std::time::Duration;

use http::Uri;
use tokenry_client::agent::{Agent, AgentSource};
use tokenry_client::{
    AllowedHosts, Error, Event, Keeper, KeeperConfig, KeeperConfigError, Provider, ProviderError,
    Token, TokenSource,
};
use tokio::sync::broadcast;

use super::trouble::{self, Asked};
use super::{CLIENT_SECRET, PASSWORD, Source};
use crate::commands::token::check_life;
use crate::diagnostic::{Diagnostic, quoted};
use crate::edge;

/// What gives tokens.
pub(crate) struct Supply<'a> {
    source: &'a Source,
    giver: Giver,
    /// The hosts that tokens may go to: all of these have to allow one. Without any, whoever wrote both an issuer or a
    /// token URL and the URL of an API knows that they belong together.
    hosts: Vec<AllowedHosts>,
    /// Where tokens are obtained, for people.
    place: String,
}

enum Giver {
    Keeper(Keeper),
    /// An agent, which was asked once already.
    Agent(AgentSource, Lent),
}

/// What an agent is asked for.
enum Lent {
    Named(String),
    Config(Box<KeeperConfig>),
}

impl<'a> Supply<'a> {
    /// What is made of these settings; whoever asks waits no longer than this for a server that fails.
    pub(crate) async fn of(
        source: &'a Source,
        config: KeeperConfig,
        patience: Duration,
    ) -> Result<Self, Diagnostic> {
        let keeper = keeper(source, &config, Some(patience)).await?;
        let provider = keeper.provider();
        let hosts = hosts(&config, provider.api_hosts());
        let place = provider.token_url().to_string();
        Ok(Self { source, giver: Giver::Keeper(keeper), hosts, place })
    }

    /// The same, but that the agent of this machine is asked first, if there is one. With a fallback, also when it goes
    /// away later.
    pub(crate) async fn by_agent(
        source: &'a Source,
        config: KeeperConfig,
        patience: Duration,
        has_fallback: bool,
    ) -> Result<Self, Diagnostic> {
        check_credentials(&config)?;
        let Some(agent) = source.agent().filter(Agent::takes_lent_keepers) else {
            return Self::of(source, config, patience).await;
        };
        let lent = AgentSource::lent(agent, config.clone());
        // What the agent says of the token is an answer, even if it is no; that there is no agent is none.
        if let Err(error @ Error::Agent(_)) = TokenSource::token(&lent).await {
            tracing::debug!(%error, "no token from an agent");
            return Self::of(source, config, patience).await;
        }
        // The agent has found out where an issuer's tokens come from; a provider's file says it without asking anybody.
        let (hosts, place) = match (&config.provider, &config.issuer, &config.token_url) {
            (Some(_), _, _) => {
                let transport = config.transport().await.map_err(|e| no_keeper(&e, source))?;
                let provider =
                    config.provider(&transport).await.map_err(|e| no_keeper(&e, source))?;
                (hosts(&config, provider.api_hosts()), provider.token_url().to_string())
            }
            (_, issuer, url) => {
                let place = url.as_ref().or(issuer.as_ref()).cloned().unwrap_or_default();
                (hosts(&config, &AllowedHosts::new(&config.api_hosts)), place)
            }
        };
        let lent = match has_fallback.then(|| keeper(source, &config, Some(patience))) {
            None => lent,
            Some(own) => match own.await {
                Ok(own) => lent.or(own),
                Err(_) => lent,
            },
        };
        let giver = Giver::Agent(lent, Lent::Config(Box::new(config)));
        Ok(Self { source, giver, hosts, place })
    }

    /// The token that the agent has under a name.
    pub(crate) async fn named(source: &'a Source, name: &str) -> Result<Self, Diagnostic> {
        let agent = source.agent().ok_or_else(|| {
            Diagnostic::error(format!("there is no agent to ask for {}", quoted(name))).help(
                "`tokenry agent` is one; TOKENRY_AGENT says where its socket is; or --provider, --issuer or --token-url says whom to ask",
            )
        })?;
        let place = format!("the agent at {agent}");
        let agent = AgentSource::named(agent, name);
        // It says with the token where that may go. That there is none is told by whoever asks for it.
        let _ = TokenSource::token(&agent).await;
        let (said, written) = (agent.api_hosts(), AllowedHosts::new(&source.api_host));
        let mut hosts = vec![said, written];
        hosts.retain(|hosts| !hosts.is_empty());
        // Nobody has said anything: nowhere.
        if hosts.is_empty() {
            hosts.push(AllowedHosts::default());
        }
        let giver = Giver::Agent(agent, Lent::Named(name.to_owned()));
        Ok(Self { source, giver, hosts, place })
    }

    /// A token that is good now, and for as long as is asked.
    pub(crate) async fn token(&self, min_ttl: Option<Duration>) -> Result<Token, Diagnostic> {
        let now = edge::now();
        let (token, min_ttl) = match (&self.giver, min_ttl) {
            (Giver::Keeper(keeper), min_ttl) => (keeper.token().await, min_ttl),
            (Giver::Agent(source, _), None) => (TokenSource::token(source).await, None),
            (Giver::Agent(source, lent), Some(min_ttl)) => match TokenSource::token(source).await {
                Ok(token) if check_life(&token, min_ttl, now).is_err() => {
                    (self.renewed(source.agent(), lent).await?, Some(min_ttl))
                }
                token => (token, None),
            },
        };
        let token = token.map_err(|error| self.no_token(&error))?;
        if let Some(min_ttl) = min_ttl {
            check_life(&token, min_ttl, edge::now())?;
        }
        Ok(token)
    }

    /// Has the agent replace its token, which does not live long enough any more.
    async fn renewed(
        &self,
        agent: &Agent,
        lent: &Lent,
    ) -> Result<Result<Token, Error>, Diagnostic> {
        let (withdrawn, source) = match lent {
            Lent::Named(name) => {
                (agent.invalidate(name).await, AgentSource::named(agent.clone(), name))
            }
            Lent::Config(config) => {
                let source = AgentSource::lent(agent.clone(), KeeperConfig::clone(config));
                (agent.invalidate_lent(config).await, source)
            }
        };
        withdrawn.map_err(|fault| self.no_token(&Error::Agent(fault)))?;
        Ok(TokenSource::token(&source).await)
    }

    fn no_token(&self, error: &Error) -> Diagnostic {
        let (scope, cacert) = (self.source.scope.as_deref(), self.source.cacert.as_deref());
        trouble::no_token(error, &Asked { url: &self.place, scope, cacert })
    }

    /// A token that whoever has it can use, and nobody needs a key for.
    pub(crate) async fn bearer_token(
        &self,
        min_ttl: Option<Duration>,
    ) -> Result<Token, Diagnostic> {
        let token = self.token(min_ttl).await?;
        if token.token_type() == "Bearer" {
            return Ok(token);
        }
        let message = "a token that is bound to a key is of no use without the key";
        Err(Diagnostic::error(message)
            .help("`tokenry curl` and `tokenry proxy` send it with its proofs"))
    }

    /// What happens to the token from now on, if who gives it tells.
    pub(crate) fn events(&self) -> Option<broadcast::Receiver<Event>> {
        match &self.giver {
            Giver::Keeper(keeper) => Some(keeper.events()),
            Giver::Agent(..) => None,
        }
    }

    /// The provider that is asked, where no agent is.
    pub(crate) fn provider(&self) -> Option<&Provider> {
        match &self.giver {
            Giver::Keeper(keeper) => Some(keeper.provider()),
            Giver::Agent(..) => None,
        }
    }

    /// Where tokens are obtained: a URL, or an agent.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Why its token must not go to a URL.
    pub(crate) fn forbids(&self, url: &Uri) -> Option<Diagnostic> {
        forbidden(&self.hosts, &self.place, url)
    }
}

/// A keeper of this process: what is made of these settings. Without a patience it has the usual one.
pub(super) async fn keeper(
    source: &Source,
    config: &KeeperConfig,
    patience: Option<Duration>,
) -> Result<Keeper, Diagnostic> {
    check_credentials(config)?;
    let mut prepared = config.prepare().await.map_err(|error| no_keeper(&error, source))?;
    if let Some(patience) = patience {
        prepared = prepared.patience(patience);
    }
    prepared.build().map_err(|error| no_keeper(&error.into(), source))
}

/// What a token has to keep to.
fn hosts(config: &KeeperConfig, known: &AllowedHosts) -> Vec<AllowedHosts> {
    if config.provider.is_none() && known.is_empty() { Vec::new() } else { vec![known.clone()] }
}

/// Why a token must not go to a URL.
fn forbidden(hosts: &[AllowedHosts], own: &str, url: &Uri) -> Option<Diagnostic> {
    let host = url.host().unwrap_or_default();
    if hosts.is_empty() {
        let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        return (url.scheme_str() == Some("http") && !loopback).then(|| {
            Diagnostic::error(format!("a token does not travel in plain HTTP to {}", quoted(host)))
        });
    }
    let allowed = hosts.iter().all(|hosts| hosts.allows(url));
    (!allowed).then(|| {
        Diagnostic::error(format!("a token from {own} does not go to {}", quoted(&url.to_string())))
            .help("the provider's file says where: `[api] hosts`; or else --api-host does")
    })
}

/// That there is something to prove oneself with; the rest is the keeper's to judge.
fn check_credentials(config: &KeeperConfig) -> Result<(), Diagnostic> {
    let missing = |what: &str| {
        Err(Diagnostic::error(format!("{what} is missing")).help(format!(
            "a client needs --client-id and its secret from --client-secret-file, --client-secret-from or {CLIENT_SECRET}, \
             or one of --private-key, --client-certificate and --assertion-file; \
             a user needs --username and its password from --password-file or {PASSWORD}"
        )))
    };
    let proves = !config.client_secret.is_empty()
        || config.private_key.is_some()
        || config.client_certificate.is_some()
        || config.assertion.is_some();
    match (&config.client_id, &config.username) {
        (None, None) => missing("--client-id or --username"),
        (Some(_), _) if !proves => missing("the client's secret"),
        (_, Some(_)) if config.password.is_none() => missing("the password"),
        _ => Ok(()),
    }
}

/// The error about what makes no keeper.
pub(crate) fn no_keeper(error: &KeeperConfigError, source: &Source) -> Diagnostic {
    let cacert = source.cacert.as_deref();
    match error {
        KeeperConfigError::Field { field, what } => {
            Diagnostic::error(format!("--{}: {what}", field.replace('_', "-")))
        }
        KeeperConfigError::Provider(ProviderError::Transport(error)) => {
            trouble::unreachable(error, cacert)
        }
        KeeperConfigError::Provider(error) => match (error, &source.issuer, &source.provider) {
            (ProviderError::Metadata { what }, Some(issuer), _) => {
                Diagnostic::error(format!("no metadata of {}: {what}", quoted(issuer))).help(
                    "is the issuer written as the server has it? otherwise name the endpoint with --token-url",
                )
            }
            (
                ProviderError::Unknown { .. } | ProviderError::UnknownEnvironment { .. },
                _,
                _,
            ) => trouble::no_provider(error),
            (_, _, Some(name)) => {
                let text = error.to_string();
                let is_told = !Provider::is_path(name) || text.starts_with(name.as_str());
                Diagnostic::error(if is_told { text } else { format!("{name}: {text}") })
            }
            _ => Diagnostic::error(error.to_string()),
        },
        _ => Diagnostic::error(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_only_where_its_provider_says() {
        let simacan = Provider::named("simacan").unwrap();
        let of = |provider: Option<&str>, known: &AllowedHosts| {
            let provider = provider.map(str::to_owned);
            hosts(&KeeperConfig { provider, ..KeeperConfig::default() }, known)
        };
        let ok = |provider: &Provider, text: &str| {
            let name = Provider::names().find(|name| *name == provider.name());
            let hosts = of(name, provider.api_hosts());
            forbidden(&hosts, "x", &text.parse().unwrap()).is_none()
        };
        // A provider that names no host, until somebody does.
        let nowhere = of(Some("keycloak"), &AllowedHosts::default());
        assert!(forbidden(&nowhere, "x", &"https://api.example/".parse().unwrap()).is_some());
        assert!(ok(&simacan, "https://api.services.simacan.com/x"));
        assert!(!ok(&simacan, "https://api-stg.services.simacan.com/x"));
        assert!(!ok(&simacan, "https://example.com/"));
        assert!(!ok(&simacan, "http://api.services.simacan.com/x"));
        let own = Provider::at("https://auth.example/token").unwrap();
        assert!(ok(&own, "https://api.example/"));
        assert!(ok(&own, "http://localhost:8080/"));
        assert!(!ok(&own, "http://api.example/"));
    }
}
