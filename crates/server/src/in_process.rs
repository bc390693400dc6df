//! What others in this process may ask of the server: its realms' keys, and whether a token is good.

use std::net::{IpAddr, Ipv4Addr};

use tokenry_core::realm::Dialect;

use crate::app::App;
use crate::dialect::{Place, Voice};
use crate::endpoint::Walk;
use crate::reader::Token;

/// A realm as those see it who check its tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issues {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// How they are written.
    pub dialect: Dialect,
}

/// The store did not say whether a token is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the store did not say whether the token is good")]
pub struct NotKnown;

impl App {
    /// What the tokens of a realm look like; `None`: there is no such realm.
    pub fn issues(&self, realm: &str) -> Option<Issues> {
        let directory = self.directory();
        let realm = &directory.realm(realm)?.realm;
        Some(Issues { issuer: realm.issuer.to_string(), dialect: realm.dialect })
    }

    /// The public keys of a realm as it publishes them (RFC 7517 §5); `None`: there is no such realm.
    pub fn jwks(&self, realm: &str) -> Option<String> {
        Some(self.directory().realm(realm)?.keyring.jwks(self.now()))
    }

    /// Whether a text is an access token of this realm that is good now, as introspection would say: not expired, not
    /// revoked, and of a client that may have tokens.
    ///
    /// # Errors
    ///
    /// [`NotKnown`].
    pub async fn is_active(&self, realm: &str, token: &str) -> Result<bool, NotKnown> {
        let directory = self.directory();
        let Some(state) = directory.realm(realm) else { return Ok(false) };
        let walk = Walk {
            app: self,
            directory: &directory,
            state,
            voice: Voice { realm: &state.realm, place: Place::Introspection, endpoint: None },
            now: self.now(),
            // Nobody sent a request that would be told of.
            peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            certificate: None,
            request_id: "",
        };
        let active = walk.active(token).await.map_err(|_| NotKnown)?;
        Ok(active.is_some_and(|token| matches!(token, Token::Access(..))))
    }

    /// Takes up at once, on this node, what was changed of a client; the others see it a moment later.
    pub(crate) async fn client_changed(&self, realm: &str, id: &str) {
        let touched = [(realm.to_owned(), id.to_owned())];
        if let Err(error) = self.clients.touch(&touched).await {
            // What was held is forgotten in any case.
            tracing::warn!(%error, realm, client = id, "a changed client is not loaded yet");
        }
        self.feed.finish(|of, client| of == realm && client == id).await;
        self.feed.tell();
    }
}
