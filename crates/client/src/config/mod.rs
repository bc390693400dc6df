//! A keeper as data: what stands in files, on command lines, and goes from a process to the agent.
//!
//! ```toml
//! provider = "truphone"              # a provider's name, or the path of its file; or
//! issuer = "https://auth.example"    # an issuer, whose metadata say the rest; or
//! token_url = "https://auth.example/token"
//!
//! environment = "bit"                # one of the provider's
//! parameters = { tenant = "acme" }   # what the provider's file leaves open
//! client_id = "billing"
//! client_secret = "file:/run/secrets/billing"            # or two of them, while one follows the other
//! private_key = "file:/etc/billing/key.pem"              # or a key (PKCS #8, PEM) instead of a secret
//! private_key_id = "2026-11"                             # its `kid`; the thumbprint, unless said
//! private_key_algorithm = "PS256"                        # where the key may be of two
//! client_certificate = "/etc/billing/chain.pem"          # or a certificate, and its key
//! client_certificate_key = "file:/etc/billing/tls.pem"
//! assertion = "file:/var/run/secrets/tokens/tokenry"     # or a token of the platform
//! username = "anna"                                      # for the password grant
//! password = "env:PASSWORD"
//! scope = "read write"
//! resource = "https://api.example/"                      # RFC 8707
//! dpop = true                                            # RFC 9449
//! dpop_key = "file:/etc/billing/dpop.pem"                # a key that outlives the process
//! refresh_token_file = "/var/lib/billing/refresh_token"
//! follow_revocations = true                              # another token as soon as the issuer says that one is revoked
//! api_hosts = ["api.example"]                            # where tokens may go, instead of where the provider says
//! cacert = "/etc/ssl/private-ca.pem"
//! connect_to = ["auth.example:443:127.0.0.1:8443"]       # as curl has it
//! ```
//!
//! Secrets are named by where they are kept: see [`SecretSource`].

mod connect_to;
mod key;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Deserializer, Serialize};

use self::connect_to::connect_to;
use crate::provider::{ClientAuthentication, CredentialsGrant};
use crate::secret::{ReadSecret as _, SecretError, SecretSource};
use crate::transport::ConfigError;
use crate::{
    AllowedHosts, BuildError, Credentials, HttpTransport, Keeper, KeeperBuilder, Provider,
    ProviderError,
};

/// A secret and the one that follows it; a third would say that nobody knows which is good.
const SECRETS_LIMIT: usize = 2;

/// A keeper as data; see the [module documentation](self).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeeperConfig {
    /// A provider's name, or the path of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// One of the provider's environments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What the provider's file leaves open.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// An issuer, whose metadata say where its token endpoint is (RFC 8414).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// A token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// The client's identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client's secret, and the one that it follows or that follows it.
    #[serde(deserialize_with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub client_secret: Vec<SecretSource>,
    /// The key that the client signs assertions with: PKCS #8 in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretSource>,
    /// Its `kid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_id: Option<String>,
    /// Its algorithm, by the name that it has in JOSE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_algorithm: Option<String>,
    /// The client's certificate and its chain, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    /// The key of the certificate, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_key: Option<SecretSource>,
    /// A token by which the client's platform says who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assertion: Option<SecretSource>,
    /// A user's name, for the password grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
    /// The scope to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The API that tokens are for (RFC 8707).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whether tokens are bound to a key (RFC 9449).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dpop: bool,
    /// That key, if it is to outlive the process: PKCS #8 in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpop_key: Option<SecretSource>,
    /// Where the refresh token outlives the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token_file: Option<PathBuf>,
    /// Whether it follows what the issuer revokes; see [`KeeperBuilder::follow_revocations`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow_revocations: bool,
    /// Where tokens may go, instead of where the provider says; see [`AllowedHosts`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_hosts: Vec<String>,
    /// The certificates to trust, in PEM, and no others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<PathBuf>,
    /// `HOST:PORT:ADDR:PORT2`: where hosts are to be found, as curl has it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_to: Vec<String>,
}

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperConfigError {
    /// It does not say whom to ask, or says it twice.
    #[error("one of provider, issuer and token_url is needed, and only one")]
    Where,
    /// A field has no sense, or none beside another.
    #[error("{field}: {what}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The provider cannot be had.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A secret that is needed at the start cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Transport(#[from] ConfigError),
    /// The whole makes no keeper.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl KeeperConfig {
    /// The keeper. It asks the issuer for its metadata, if it is known by that alone, and for no token.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong; see [`KeeperConfigError`].
    pub async fn build(&self) -> Result<Keeper, KeeperConfigError> {
        Ok(self.prepare().await?.build()?)
    }

    /// The keeper's settings, for those who want to add to them.
    ///
    /// # Errors
    ///
    /// As [`Self::build`].
    pub async fn prepare(&self) -> Result<KeeperBuilder, KeeperConfigError> {
        let transport = self.transport().await?;
        let provider = self.provider(&transport).await?;
        let mut builder = Keeper::builder(provider, self.credentials().await?).transport(transport);
        if let Some(resource) = &self.resource {
            builder = builder.resource(resource);
        }
        if let Some(path) = &self.refresh_token_file {
            builder = builder.refresh_token_file(path);
        }
        if self.follow_revocations {
            builder = builder.follow_revocations();
        }
        Ok(match &self.dpop_key {
            Some(source) => builder.dpop_key(key::read("dpop_key", source, None).await?),
            None if self.dpop => builder.dpop(),
            None => builder,
        })
    }

    /// How it reaches its server.
    ///
    /// # Errors
    ///
    /// That a file cannot be read, or makes no sense.
    pub async fn transport(&self) -> Result<HttpTransport, KeeperConfigError> {
        let mut builder = HttpTransport::builder();
        if let Some(path) = &self.cacert {
            builder = builder.root_certificates(&read("cacert", path).await?)?;
        }
        match (&self.client_certificate, &self.client_certificate_key) {
            (None, None) => {}
            (Some(path), Some(key)) => {
                let chain = read("client_certificate", path).await?;
                builder =
                    builder.client_certificate(&chain, key.read().await?.expose().as_bytes())?;
            }
            (Some(_), None) => {
                return Err(field("client_certificate_key", "the certificate needs its key"));
            }
            (None, Some(_)) => {
                return Err(field("client_certificate", "the key needs its certificate"));
            }
        }
        for text in &self.connect_to {
            let (host, address) =
                connect_to(text).await.map_err(|what| field("connect_to", what))?;
            builder = builder.connect_to(&host, address);
        }
        Ok(builder.build()?)
    }

    /// The provider, with what is said here about it.
    ///
    /// # Errors
    ///
    /// That there is none, or that its metadata cannot be had.
    pub async fn provider(&self, transport: &HttpTransport) -> Result<Provider, KeeperConfigError> {
        if self.provider.is_none() {
            if self.environment.is_some() {
                return Err(field("environment", "it is one of a provider, and there is none"));
            }
            if !self.parameters.is_empty() {
                return Err(field(
                    "parameters",
                    "they fill in a provider's file, and there is none",
                ));
            }
        }
        let mut provider = match (&self.provider, &self.issuer, &self.token_url) {
            (Some(name), None, None) => self.named(name)?,
            (None, Some(issuer), None) => {
                self.with_grant(Provider::discover(issuer, transport).await?)
            }
            (None, None, Some(url)) => self.with_grant(Provider::at(url)?),
            _ => return Err(KeeperConfigError::Where),
        };
        if let Some(scope) = &self.scope {
            provider = provider.with_scope(scope);
        }
        if let Some(wrong) = AllowedHosts::malformed(self.api_hosts.iter().map(String::as_str)) {
            return Err(field(
                "api_hosts",
                format!("{wrong:?} is no host, with a port or without"),
            ));
        }
        if !self.api_hosts.is_empty() {
            provider = provider.with_api_hosts(AllowedHosts::new(&self.api_hosts));
        }
        Ok(provider)
    }

    fn named(&self, name: &str) -> Result<Provider, KeeperConfigError> {
        let provider = Provider::named_or_from_path_with(name, &self.parameters)?;
        Ok(match &self.environment {
            Some(environment) => provider.environment(environment)?,
            None => provider,
        })
    }

    /// A server that follows the RFCs, asked for what the credentials are for.
    fn with_grant(&self, provider: Provider) -> Provider {
        if self.username.is_none() {
            return provider;
        }
        let provider = provider.with_grant(CredentialsGrant::Password);
        match self.client_id {
            Some(_) => provider,
            None => provider.with_client_authentication(ClientAuthentication::None),
        }
    }

    async fn credentials(&self) -> Result<Credentials, KeeperConfigError> {
        let client = self.client().await?;
        match (&self.username, &self.password, client) {
            (None, None, Some(client)) => Ok(client),
            (None, None, None) => Err(field("client_id", "it is missing, and so is username")),
            (Some(name), Some(password), None) => Ok(Credentials::password(name, password.clone())),
            (Some(name), Some(password), Some(client)) => {
                Ok(client.with_password(name, password.clone()))
            }
            (Some(_), None, _) => Err(field("password", "the user's password is missing")),
            (None, Some(_), _) => Err(field("username", "the password is whose?")),
        }
    }

    /// The client, by what it proves itself with.
    async fn client(&self) -> Result<Option<Credentials>, KeeperConfigError> {
        // A certificate may stand beside another proof: then it only binds tokens to itself (RFC 8705 §3).
        let proofs = [
            ("client_secret", !self.client_secret.is_empty()),
            ("private_key", self.private_key.is_some()),
            ("assertion", self.assertion.is_some()),
        ];
        let mut given = proofs.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
        let (proof, another) = (given.next(), given.next());
        let Some(id) = &self.client_id else {
            return match proof {
                Some(proof) => Err(field("client_id", format!("{proof} is whose?"))),
                None => Ok(None),
            };
        };
        if let (Some(one), Some(another)) = (proof, another) {
            let what = format!("a client proves itself in one way, and there is {one}");
            return Err(field(another, what));
        }
        if let [first, rest @ ..] = self.client_secret.as_slice() {
            let client = Credentials::client(id, first.clone());
            return Ok(Some(match rest {
                [] => client,
                [second, ..] => client.or_secret(second.clone()),
            }));
        }
        if let Some(source) = &self.private_key {
            let algorithm = self.private_key_algorithm.as_deref();
            let mut key = key::read("private_key", source, algorithm).await?;
            if let Some(kid) = &self.private_key_id {
                key = key.with_kid(kid.clone());
            }
            return Ok(Some(match &self.client_certificate {
                Some(path) => {
                    let chain = read("client_certificate", path).await?;
                    let leaf = CertificateDer::from_pem_slice(&chain)
                        .map_err(|_| field("client_certificate", "not a certificate in PEM"))?;
                    Credentials::private_key_of_certificate(id, key, &leaf)
                }
                None => Credentials::private_key(id, key),
            }));
        }
        if let Some(assertion) = &self.assertion {
            return Ok(Some(Credentials::assertion(id, assertion.clone())));
        }
        match &self.client_certificate {
            Some(_) => Ok(Some(Credentials::certificate(id))),
            None => Err(field("client_secret", "the client's secret is missing")),
        }
    }

    /// The same for another process of this user: paths are whole, and what only this process can see is read now.
    ///
    /// # Errors
    ///
    /// That a secret cannot be read.
    pub async fn portable(&self) -> Result<Self, SecretError> {
        let mut portable = self.clone();
        let secrets = portable
            .client_secret
            .iter_mut()
            .chain(&mut portable.private_key)
            .chain(&mut portable.client_certificate_key)
            .chain(&mut portable.assertion)
            .chain(&mut portable.password)
            .chain(&mut portable.dpop_key);
        for secret in secrets {
            *secret = secret.portable().await?;
        }
        let paths = [
            &mut portable.client_certificate,
            &mut portable.refresh_token_file,
            &mut portable.cacert,
        ];
        for path in paths.into_iter().flatten() {
            *path = absolute(path);
        }
        if let Some(name) = portable.provider.as_mut().filter(|name| Provider::is_path(name)) {
            *name = absolute(Path::new(name)).display().to_string();
        }
        Ok(portable)
    }
}

/// A path that means the same elsewhere. One that cannot be made so stays, and is not found there.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn field(field: &'static str, what: impl Into<String>) -> KeeperConfigError {
    KeeperConfigError::Field { field, what: what.into() }
}

async fn read(name: &'static str, path: &Path) -> Result<Vec<u8>, KeeperConfigError> {
    tokio::fs::read(path)
        .await
        .map_err(|error| field(name, format!("{} cannot be read: {error}", path.display())))
}

/// One source, or a list of at most two.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretSource>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "where a secret is kept, or a list of two")]
    enum Written {
        One(SecretSource),
        More(Vec<SecretSource>),
    }
    match Written::deserialize(deserializer)? {
        Written::One(source) => Ok(vec![source]),
        Written::More(sources) if sources.len() > SECRETS_LIMIT => {
            Err(serde::de::Error::custom("a client has two secrets at most"))
        }
        Written::More(sources) => Ok(sources),
    }
}
