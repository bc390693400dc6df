//! What a keeper proves its right to a token with.

use std::sync::Arc;

use tokenry_core::Secret;
use tokenry_core::assertion::AssertionKey;
use tokenry_core::jose::SigningKey;

/// The credentials of one client. `Debug` names the client, the user and the key, never a secret.
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
    Secret(Secret),
    /// A key that signs assertions: `private_key_jwt` (RFC 7523 §2.2).
    Key(Arc<AssertionKey>),
    /// The certificate of the transport: `tls_client_auth` (RFC 8705 §2).
    Certificate,
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: Secret,
}

impl Credentials {
    /// A client's id and secret.
    pub fn client(id: impl Into<String>, secret: Secret) -> Self {
        Self::of(id, Evidence::Secret(secret))
    }

    /// A client's id, and the key that it signs assertions with: `private_key_jwt` (RFC 7523 §2.2).
    ///
    /// The key's `kid` names it to the server. An assertion is for one issuer alone, so the
    /// [`Provider`](crate::Provider) must know its issuer.
    pub fn private_key(id: impl Into<String>, key: SigningKey) -> Self {
        Self::of(id, Evidence::Key(Arc::new(AssertionKey::new(key))))
    }

    /// A client's id. What proves it is the certificate of the transport: `tls_client_auth` (RFC 8705 §2).
    pub fn certificate(id: impl Into<String>) -> Self {
        Self::of(id, Evidence::Certificate)
    }

    /// A user's name and password, for the password grant without a client.
    pub fn password(username: impl Into<String>, password: Secret) -> Self {
        Self { client: None, user: Some(User { name: username.into(), password }) }
    }

    /// A client that uses the password of a user.
    #[must_use]
    pub fn with_client(mut self, id: impl Into<String>, secret: Secret) -> Self {
        self.client = Some(Client { id: id.into(), evidence: Evidence::Secret(secret) });
        self
    }

    fn of(id: impl Into<String>, evidence: Evidence) -> Self {
        Self { client: Some(Client { id: id.into(), evidence }), user: None }
    }

    /// Every secret in here, so that none is shown by mistake.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let secret = self.client.iter().filter_map(|client| match &client.evidence {
            Evidence::Secret(secret) => Some(secret),
            Evidence::Key(_) | Evidence::Certificate => None,
        });
        secret.chain(self.user.iter().map(|user| &user.password))
    }
}
