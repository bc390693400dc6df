//! What a keeper proves its right to a token with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokenry_core::Secret;
use tokenry_core::assertion::AssertionKey;
use tokenry_core::jose::SigningKey;

use crate::secret::{LiveSecret, ReadSecret, SecretError};

/// The credentials of one client. `Debug` names the client, the user and the key, never a secret.
///
/// Secrets are read whenever they are sent, so that one that changes where it is kept is noticed; see [`ReadSecret`].
#[derive(Clone, Debug)]
pub struct Credentials {
    pub(crate) client: Option<Client>,
    pub(crate) user: Option<User>,
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) evidence: Evidence,
}

/// By what a client is known. The kind decides how it authenticates, where the provider leaves a choice.
#[derive(Clone, Debug)]
pub(crate) enum Evidence {
    /// What both sides know (RFC 6749 §2.3.1).
    Secret(Arc<Secrets>),
    /// A key that signs assertions: `private_key_jwt` (RFC 7523 §2.2).
    Key(Arc<AssertionKey>),
    /// The certificate of the transport: `tls_client_auth` (RFC 8705 §2).
    Certificate,
    /// An assertion that somebody else signs: a platform that knows the workload (RFC 7523 §2.2).
    Assertion(Arc<LiveSecret>),
}

/// A client's secret, and the one that is to follow it or that it follows.
#[derive(Debug)]
pub(crate) struct Secrets {
    first: LiveSecret,
    second: Option<LiveSecret>,
    /// Whether the second is the one that the server took last.
    second_is_good: AtomicBool,
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: Arc<LiveSecret>,
}

/// Which of two secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Which {
    /// The one that was good last, or was named first.
    Preferred,
    /// The other one.
    Other,
}

/// Credentials as they are at one moment.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) client: Option<PresentedClient>,
    pub(crate) user: Option<PresentedUser>,
}

#[derive(Debug)]
pub(crate) struct PresentedClient {
    pub(crate) id: String,
    pub(crate) proof: Proof,
}

#[derive(Debug)]
pub(crate) struct PresentedUser {
    pub(crate) name: String,
    pub(crate) password: Secret,
}

/// [`Evidence`] as it is at one moment.
#[derive(Debug)]
pub(crate) enum Proof {
    Secret(Secret),
    Key(Arc<AssertionKey>),
    Certificate,
    Assertion(Secret),
}

impl Credentials {
    /// A client's id and secret.
    pub fn client(id: impl Into<String>, secret: impl ReadSecret + 'static) -> Self {
        Self::of(id, Evidence::Secret(Arc::new(Secrets::new(secret))))
    }

    /// Another secret of the same client, for as long as one follows the other: it is tried when the first is refused,
    /// and the one that was taken is tried first from then on. For a client without a secret it means nothing.
    #[must_use]
    pub fn or_secret(mut self, secret: impl ReadSecret + 'static) -> Self {
        if let Some(Client { evidence: Evidence::Secret(secrets), .. }) = &mut self.client
            && let Some(secrets) = Arc::get_mut(secrets)
        {
            secrets.second = Some(LiveSecret::new(secret));
        }
        self
    }

    /// A client's id, and the key that it signs assertions with: `private_key_jwt` (RFC 7523 §2.2).
    ///
    /// The key's `kid` names it to the server. An assertion is for one issuer alone, so the
    /// [`Provider`](crate::Provider) must know its issuer.
    pub fn private_key(id: impl Into<String>, key: SigningKey) -> Self {
        Self::of(id, Evidence::Key(Arc::new(AssertionKey::new(key))))
    }

    /// As [`Self::private_key`], for servers that know the key by its certificate (DER) and want to be told which:
    /// Entra ID. The header's `x5t#S256` says (RFC 7515 §4.1.8).
    pub fn private_key_of_certificate(
        id: impl Into<String>,
        key: SigningKey,
        certificate: &[u8],
    ) -> Self {
        Self::of(id, Evidence::Key(Arc::new(AssertionKey::of_certificate(key, certificate))))
    }

    /// A client's id. What proves it is the certificate of the transport: `tls_client_auth` (RFC 8705 §2).
    pub fn certificate(id: impl Into<String>) -> Self {
        Self::of(id, Evidence::Certificate)
    }

    /// A client's id, and a token by which its platform says who it is, instead of any secret: of a Kubernetes service
    /// account, a job of a CI system, a SPIFFE JWT-SVID (RFC 7523 §2.2). Platforms write such tokens to a file and
    /// replace them there.
    pub fn assertion(id: impl Into<String>, assertion: impl ReadSecret + 'static) -> Self {
        Self::of(id, Evidence::Assertion(Arc::new(LiveSecret::new(assertion))))
    }

    /// A user's name and password, for the password grant without a client.
    pub fn password(username: impl Into<String>, password: impl ReadSecret + 'static) -> Self {
        let password = Arc::new(LiveSecret::new(password));
        Self { client: None, user: Some(User { name: username.into(), password }) }
    }

    /// A client that uses the password of a user.
    #[must_use]
    pub fn with_client(self, id: impl Into<String>, secret: impl ReadSecret + 'static) -> Self {
        Self { user: self.user, ..Self::client(id, secret) }
    }

    /// A user whose password this client uses.
    #[must_use]
    pub fn with_password(
        self,
        username: impl Into<String>,
        password: impl ReadSecret + 'static,
    ) -> Self {
        Self { client: self.client, ..Self::password(username, password) }
    }

    fn of(id: impl Into<String>, evidence: Evidence) -> Self {
        Self { client: Some(Client { id: id.into(), evidence }), user: None }
    }

    /// The client's secrets, if it has any.
    pub(crate) fn secrets(&self) -> Option<&Secrets> {
        match &self.client.as_ref()?.evidence {
            Evidence::Secret(secrets) => Some(secrets),
            Evidence::Key(_) | Evidence::Certificate | Evidence::Assertion(_) => None,
        }
    }

    /// As they are now.
    pub(crate) async fn present(&self, which: Which) -> Result<Presented, SecretError> {
        let client = match &self.client {
            None => None,
            Some(Client { id, evidence }) => {
                let proof = match evidence {
                    Evidence::Secret(secrets) => Proof::Secret(secrets.get(which).await?),
                    Evidence::Key(key) => Proof::Key(key.clone()),
                    Evidence::Certificate => Proof::Certificate,
                    Evidence::Assertion(assertion) => Proof::Assertion(assertion.get().await?),
                };
                Some(PresentedClient { id: id.clone(), proof })
            }
        };
        let user = match &self.user {
            None => None,
            Some(User { name, password }) => {
                Some(PresentedUser { name: name.clone(), password: password.get().await? })
            }
        };
        Ok(Presented { client, user })
    }
}

impl Secrets {
    fn new(secret: impl ReadSecret + 'static) -> Self {
        Self {
            first: LiveSecret::new(secret),
            second: None,
            second_is_good: AtomicBool::new(false),
        }
    }

    /// Whether there are two to try.
    pub(crate) fn are_two(&self) -> bool {
        self.second.is_some()
    }

    /// The server took the other one.
    pub(crate) fn prefer_other(&self) {
        self.second_is_good.fetch_xor(true, Ordering::Relaxed);
    }

    async fn get(&self, which: Which) -> Result<Secret, SecretError> {
        let wants_second = self.second_is_good.load(Ordering::Relaxed) != (which == Which::Other);
        match &self.second {
            // One that cannot be read must not stand in the way of the other.
            Some(second) if which == Which::Preferred => {
                let (one, other) =
                    if wants_second { (second, &self.first) } else { (&self.first, second) };
                match one.get().await {
                    Ok(secret) => Ok(secret),
                    Err(error) => other.get().await.map_err(|_| error),
                }
            }
            Some(second) if wants_second => second.get().await,
            _ => self.first.get().await,
        }
    }
}

impl Presented {
    /// Every secret in here, so that none is shown by mistake.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let client = self.client.iter().filter_map(|client| match &client.proof {
            Proof::Secret(secret) | Proof::Assertion(secret) => Some(secret),
            Proof::Key(_) | Proof::Certificate => None,
        });
        client.chain(self.user.iter().map(|user| &user.password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_secret_that_is_sent_is_known_so_that_none_is_shown() {
        let secret = Secret::new("s");
        for (credentials, expected) in [
            (Credentials::client("acme", secret.clone()), 1),
            (Credentials::assertion("acme", secret.clone()), 1),
            (Credentials::password("anna", secret.clone()), 1),
            (Credentials::assertion("acme", secret.clone()).with_password("anna", secret), 2),
            (Credentials::certificate("acme"), 0),
        ] {
            let presented = credentials.present(Which::Preferred).await.unwrap();
            assert_eq!(presented.secrets().count(), expected, "{credentials:?}");
        }
    }
}
