//! What a text is to a realm: one of its tokens, or nothing.

use tokenry_core::introspection::AccessToken;
use tokenry_core::jose::jws::Compact;
use tokenry_core::opaque::OpaqueToken;
use tokenry_core::refresh::{RefreshToken, Sealer};
use tokenry_core::{Realm, Timestamp};
use tokenry_store::{Store, StoreError};

use crate::keyring::Keyring;

/// A token of a realm.
pub(crate) enum Token {
    /// An access token, and the text of its claims.
    Access(Box<AccessToken>, String),
    /// A refresh token.
    Refresh(Box<RefreshToken>),
}

impl Token {
    /// The client that it was issued to.
    pub(crate) fn client(&self) -> &str {
        match self {
            Self::Access(token, _) => &token.client,
            Self::Refresh(token) => &token.client,
        }
    }

    pub(crate) const fn expires_at(&self) -> Timestamp {
        match self {
            Self::Access(token, _) => token.expires_at,
            Self::Refresh(token) => token.expires_at,
        }
    }
}

/// What it takes to know the tokens of a realm.
pub(crate) struct Reader<'a> {
    pub(crate) realm: &'a Realm,
    pub(crate) sealer: &'a Sealer,
    pub(crate) keyring: &'a Keyring,
    pub(crate) store: &'a dyn Store,
    pub(crate) now: Timestamp,
}

impl Reader<'_> {
    /// The token of the realm that a text is, whether it is still good or not.
    pub(crate) async fn token(&self, text: &str) -> Result<Option<Token>, StoreError> {
        if let Ok(token) = self.sealer.open(text) {
            return Ok(Some(Token::Refresh(Box::new(token))));
        }
        match OpaqueToken::read(text) {
            Some(token) => self.opaque(&token).await,
            None => Ok(self.signed(text)),
        }
    }

    /// An opaque token, by what is held of it.
    async fn opaque(&self, token: &OpaqueToken) -> Result<Option<Token>, StoreError> {
        let held = self.store.token(&self.realm.name, token.id).await?;
        let held = held.filter(|held| token.is(held));
        Ok(held.and_then(|held| {
            let read = AccessToken::stored(&held, self.realm)?;
            Some(Token::Access(Box::new(read), held.claims))
        }))
    }

    fn signed(&self, text: &str) -> Option<Token> {
        let compact = Compact::parse(text).ok()?;
        let key = self.keyring.verifying(compact.header().kid()?, self.now)?;
        let verified = compact.verify(key).ok()?;
        let token = AccessToken::read(&verified, self.realm)?;
        let claims = String::from_utf8(verified.payload().to_vec()).ok()?;
        Some(Token::Access(Box::new(token), claims))
    }
}
