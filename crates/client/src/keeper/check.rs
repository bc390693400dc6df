//! What is told about a keeper's settings before anything is sent.

use crate::credentials::{Credentials, Evidence};
use crate::provider::{AssertionAudience, ClientAuthentication, CredentialsGrant, Provider};
use crate::transport::{ConfigError, Transport};

/// Why a keeper cannot be built. All of it is configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The provider's grant needs credentials that were not given.
    #[error("provider {provider:?} needs {needed}")]
    Credentials {
        /// The provider.
        provider: String,
        /// What is missing.
        needed: &'static str,
    },
    /// The client has a key, and nobody knows whom its assertions are for.
    #[error("provider {provider:?} does not say its issuer, which a client assertion is for")]
    NoIssuer {
        /// The provider.
        provider: String,
    },
    /// The server grants nothing to whoever does not say what, and nobody did.
    #[error("provider {provider:?} needs a scope")]
    NoScope {
        /// The provider.
        provider: String,
    },
    /// Refresh tokens are to be stored, and none are used.
    #[error("provider {provider:?} uses no refresh tokens, so there are none to store")]
    NoRefresh {
        /// The provider.
        provider: String,
    },
    /// The resource is no absolute URI, or has a fragment (RFC 8707 §2).
    #[error("a resource is an absolute URI without a fragment, got {resource:?}")]
    Resource {
        /// What was given.
        resource: String,
    },
    /// The keeper is to follow revocations over a transport that reads answers only whole.
    #[error("revocations are followed over a transport that reads answers as they arrive")]
    NotStreaming,
    /// The DPoP key could not be generated, or cannot sign.
    #[error("the DPoP key cannot be used")]
    DpopKey,
    /// The default transport cannot be set up.
    #[error(transparent)]
    Transport(#[from] ConfigError),
}

/// That the credentials are what the provider asks for.
pub(super) fn credentials(
    provider: &Provider,
    credentials: &Credentials,
) -> Result<(), BuildError> {
    let needs_user = provider.obtain.grant == CredentialsGrant::Password;
    if needs_user && credentials.user.is_none() {
        return Err(needs(provider, "a username and a password"));
    }
    let evidence = credentials.client.as_ref().map(|client| &client.evidence);
    match (provider.obtain.client_authentication, evidence) {
        (ClientAuthentication::None, _) => Ok(()),
        (
            ClientAuthentication::PrivateKeyJwt,
            None | Some(Evidence::Secret(_) | Evidence::Certificate),
        ) => Err(needs(provider, "a client id and a private key")),
        (
            ClientAuthentication::TlsClientAuth,
            None | Some(Evidence::Secret(_) | Evidence::Key(_) | Evidence::Assertion(_)),
        ) => Err(needs(provider, "a client id and a certificate")),
        (ClientAuthentication::Basic | ClientAuthentication::Post, None) => {
            Err(needs(provider, "a client id and a client secret"))
        }
        (_, Some(Evidence::Key(_)))
            if provider.issuer.is_none()
                && provider.assertion.audience == AssertionAudience::Issuer =>
        {
            Err(BuildError::NoIssuer { provider: provider.name.clone() })
        }
        (_, Some(_)) => Ok(()),
    }
}

/// That what was set makes sense with this provider.
pub(super) fn settings(
    provider: &Provider,
    resource: Option<&str>,
    stored: bool,
) -> Result<(), BuildError> {
    if let Some(resource) = resource.filter(|resource| !is_resource(resource)) {
        return Err(BuildError::Resource { resource: resource.to_owned() });
    }
    if provider.obtain.scope_required && provider.obtain.scope.is_none() {
        return Err(BuildError::NoScope { provider: provider.name.clone() });
    }
    if stored && provider.refresh.is_none() {
        return Err(BuildError::NoRefresh { provider: provider.name.clone() });
    }
    Ok(())
}

/// The provider as this transport reaches it, if the client can prove itself over it.
pub(super) fn transport(
    provider: Provider,
    credentials: &Credentials,
    transport: &dyn Transport,
) -> Result<Provider, BuildError> {
    if transport.has_client_certificate() {
        return Ok(provider.over_mtls());
    }
    let evidence = credentials.client.as_ref().map(|client| &client.evidence);
    let is_known = provider.obtain.client_authentication != ClientAuthentication::None;
    if is_known && matches!(evidence, Some(Evidence::Certificate)) {
        return Err(needs(&provider, "a transport with a client certificate"));
    }
    Ok(provider)
}

/// That revocations can be followed: by a client that is known, over a transport that can read a feed.
pub(super) fn following(
    provider: &Provider,
    credentials: &Credentials,
    transport: &dyn Transport,
) -> Result<(), BuildError> {
    let methods = provider.refresh.as_ref().map(|rules| rules.client_authentication);
    let mut methods = methods.into_iter().chain([provider.obtain.client_authentication]);
    if credentials.client.is_none() || methods.all(|method| method == ClientAuthentication::None) {
        return Err(needs(provider, "a client to follow revocations"));
    }
    transport.streaming().map(|_| ()).ok_or(BuildError::NotStreaming)
}

fn needs(provider: &Provider, needed: &'static str) -> BuildError {
    BuildError::Credentials { provider: provider.name.clone(), needed }
}

/// RFC 8707 §2: an absolute URI, and "MUST NOT include a fragment component".
fn is_resource(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}
