//! Revocation of one token: what it ends, and by an operator, who need not be the client.

use tokenry_core::family::FamilyId;
use tokenry_core::grant::refresh_policy;
use tokenry_core::introspection::AccessToken;
use tokenry_core::jose::jws::Compact;
use tokenry_core::refresh::{Sealer, family_end};
use tokenry_core::status_list::{self, Reference};
use tokenry_core::{Client, MasterKey, Realm, Timestamp};
use tokenry_store::{Store, StoreError};

use crate::keyring::Keyring;
use crate::reader::{Reader, Token};

/// What is no longer good once a token is revoked, and when it could not be good any more anyway.
///
/// A refresh token ends with its family, and with the access tokens of that family. An access token ends alone, unless
/// a status list has no other place for it than that of its family.
pub(crate) fn ended_with(
    token: &Token,
    realm: &Realm,
    client: &Client,
    access_expired: Timestamp,
    now: Timestamp,
) -> (FamilyId, Timestamp) {
    let of_family = |id, expires_at| {
        let end = family_end(now, expires_at, refresh_policy(realm, client));
        (id, end.max(access_expired))
    };
    match token {
        Token::Access(token, _) => match listed_family(token) {
            Some(family) => of_family(family, token.expires_at),
            None => (token.id, token.expires_at),
        },
        Token::Refresh(token) => of_family(token.family, token.expires_at),
    }
}

/// The family that has to end with an access token, since it alone has a place in a status list.
///
/// RFC 7009 §2.1: where "the token passed to the request is an access token, the authorization server MAY revoke the
/// respective refresh token as well". A token by exchange names somebody else's family, and has a place of its own.
fn listed_family(token: &AccessToken) -> Option<FamilyId> {
    let names_a_place = matches!(Reference::of(&token.claims), Ok(Some(_)));
    let alone = status_list::Place::of(token.id).is_some();
    token
        .family
        .filter(|family| names_a_place && !alone && status_list::Place::of(*family).is_some())
}

/// A token that an operator has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevokedToken {
    /// Its realm.
    pub realm: String,
    /// The client that it was issued to.
    pub client: String,
    /// What kind of token it is.
    pub kind: RevokedKind,
    /// What has ended: the `jti` of an access token, or the `sid` of all that came with it.
    pub id: FamilyId,
    /// When it would have ended by itself.
    pub expires_at: Timestamp,
    /// Whether it had ended before, by itself or because somebody had revoked it.
    pub had_ended: bool,
}

/// The kinds of token that can be ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevokedKind {
    /// An access token, signed or opaque.
    Access,
    /// A refresh token.
    Refresh,
}

/// Ends the token that a text is, in whatever realm of the store, as RFC 7009 does for the client that has it.
///
/// It is taken for a token by its signature, its seal, or what the store holds of it, and not by what it says. Servers
/// on this store learn of it as of any other revocation. `None`: it is no token of this store that can still be told.
///
/// # Errors
///
/// The store failed.
pub async fn revoke_token(
    store: &dyn Store,
    master: &MasterKey,
    text: &str,
    now: Timestamp,
) -> Result<Option<RevokedToken>, StoreError> {
    let stored = store.outline().await?;
    let compact = Compact::parse(text).ok();
    let kid = compact.as_ref().and_then(|compact| compact.header().kid());
    for realm in &stored.realms {
        let Some(sealer) = Sealer::new(master, &realm.name) else { continue };
        // To open a key takes a while, and one at most is asked for.
        let is_asked = |key: &&_| is_key(key, &realm.name, kid);
        let keys = stored.keys.iter().filter(is_asked).cloned().collect();
        let keyring = Keyring::open(master, realm, keys, None);
        let reader = Reader { realm, sealer: &sealer, keyring: &keyring, store, now };
        let Some(token) = reader.token(text).await? else { continue };
        let of_clients = stored.usage.iter().find(|usage| usage.realm == realm.name);
        let of_clients = of_clients.and_then(|usage| usage.longest_access).unwrap_or_default();
        let outlived = stored.outlived.iter().find(|(name, _)| *name == realm.name);
        let access_expired = (now + of_clients.max(realm.tokens.access))
            .max(outlived.map_or(Timestamp::EPOCH, |(_, at)| *at));
        return end(store, realm, &token, access_expired, now).await.map(Some);
    }
    Ok(None)
}

fn is_key(key: &tokenry_core::key::KeyRecord, realm: &str, kid: Option<&str>) -> bool {
    key.realm == realm && Some(key.kid.as_str()) == kid
}

async fn end(
    store: &dyn Store,
    realm: &Realm,
    token: &Token,
    access_expired: Timestamp,
    now: Timestamp,
) -> Result<RevokedToken, StoreError> {
    let id = token.client();
    // Of a client that is gone all has ended; that is no reason not to say it once more.
    let client = store.client(&realm.name, id).await?;
    let client = client.unwrap_or_else(|| Client::new(&realm.name, id, Timestamp::EPOCH));
    let (ended, until) = ended_with(token, realm, &client, access_expired, now);
    let expires_at = token.expires_at();
    let mut had_ended = expires_at <= now;
    let family = match token {
        Token::Access(token, _) => token.family.filter(|family| *family != ended),
        Token::Refresh(_) => None,
    };
    if let Some(family) = family {
        let family = store.family(&realm.name, family).await?;
        had_ended |= family.is_some_and(|family| family.revoked_at.is_some());
    }
    if until > now {
        had_ended |= !store.revoke_family(&realm.name, id, ended, now, until).await?;
    }
    let kind = match token {
        Token::Access(..) => RevokedKind::Access,
        Token::Refresh(_) => RevokedKind::Refresh,
    };
    let (realm, client) = (realm.name.clone(), id.to_owned());
    Ok(RevokedToken { realm, client, kind, id: ended, expires_at, had_ended })
}
