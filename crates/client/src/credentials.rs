//! What a keeper proves its right to a token with.

use tokenry_core::Secret;

/// The credentials of one client. `Debug` names the client or the user, never a secret.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub(crate) client: Option<Client>,
    pub(crate) user: Option<User>,
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: Secret,
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: Secret,
}

impl Credentials {
    /// A client's id and secret.
    pub fn client(id: impl Into<String>, secret: Secret) -> Self {
        Self { client: Some(Client { id: id.into(), secret }), user: None }
    }

    /// A user's name and password, for the password grant without a client.
    pub fn password(username: impl Into<String>, password: Secret) -> Self {
        Self { client: None, user: Some(User { name: username.into(), password }) }
    }

    /// A client that uses the password of a user.
    #[must_use]
    pub fn with_client(mut self, id: impl Into<String>, secret: Secret) -> Self {
        self.client = Some(Client { id: id.into(), secret });
        self
    }

    /// Every secret in here, so that none is shown by mistake.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let secret = self.client.iter().map(|client| &client.secret);
        secret.chain(self.user.iter().map(|user| &user.password))
    }
}
