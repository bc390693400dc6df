//! The decision: which tokens, if any, a client gets.
//!
//! One file per grant. Each takes an [`AuthenticatedClient`] and gives an [`Issue`]: data, neither signed nor stored.

use std::sync::Arc;
use std::time::Duration;

use crate::binding::Binding;
use crate::client::{AuthenticatedClient, Proof};
use crate::family::{FamilyId, Rotation};
use crate::jose::Algorithm;
use crate::realm::{ClientAuthentication, Dialect, Profile, RefreshPolicy};
use crate::refresh::{RefreshToken, Subject, expiry};
use crate::request::GrantType;
use crate::status_list::Place;
use crate::{Client, Realm, Refusal, Scope, Timestamp, keycloak};

mod client_credentials;
mod jwt_bearer;
mod password;
mod refresh_token;
mod target;
mod token_exchange;

pub use client_credentials::client_credentials;
pub use jwt_bearer::jwt_bearer;
pub use password::{AuthenticatedUser, password};
pub(crate) use refresh_token::is_good;
pub use refresh_token::{Standing, refresh_token};
pub use target::is_absolute;
pub use token_exchange::{Exchanged, token_exchange};

use target::Target;

/// By how much `iat` may be ahead: the two seconds by which what ends is told ahead at most, and one by which the clocks of
/// nodes may differ.
const MAX_AHEAD: Duration = Duration::from_secs(3);

/// The circumstances of a decision: the realm, the time, and randomness that nobody can guess.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The realm of the request.
    pub realm: &'a Realm,
    /// The time of the request.
    pub now: Timestamp,
    /// The keys that the request has proved to have.
    pub proven: Binding,
    /// Random bytes: for the `jti` and for the family of a refresh token.
    pub random: [u8; 26],
}

impl Circumstances<'_> {
    fn jti(&self) -> [u8; 16] {
        let [jti @ .., _, _, _, _, _, _, _, _, _, _] = self.random;
        jti
    }

    fn family(&self) -> FamilyId {
        let mut random = [0; 10];
        random.copy_from_slice(&self.random[16..]);
        FamilyId::new(self.now, random)
    }
}

/// The tokens to be issued.
#[derive(Clone, Debug)]
pub struct Issue {
    /// The grant that gave it.
    pub grant: GrantType,
    /// The client they are issued to.
    pub client: Arc<Client>,
    /// Whom they are about.
    pub subject: Subject,
    /// The scope granted.
    pub scope: Scope,
    /// `aud` of the access token.
    pub audience: Vec<String>,
    /// What the access token is signed with.
    pub algorithm: Algorithm,
    /// `jti` of the access token: 128 random bits, or an identifier with its place in a status list.
    pub jti: [u8; 16],
    /// When it is decided, in whole seconds: lifetimes count from here.
    pub decided_at: Timestamp,
    /// `iat` of the access token: whole seconds. It is later than [`decided_at`](Self::decided_at) where older tokens have
    /// just ended by a point that has not come yet: by its time, this one is none of them.
    pub issued_at: Timestamp,
    /// `exp` of the access token: whole seconds.
    pub expires_at: Timestamp,
    /// The keys that the access token is good with alone.
    pub binding: Binding,
    /// `act` of the access token (RFC 8693 §4.1), as JSON: who acts for the subject.
    pub act: Option<String>,
    /// `may_act` of the access token (RFC 8693 §4.4), as JSON: who alone may act for the subject.
    pub may_act: Option<String>,
    /// The family of refresh tokens that the access token belongs to, and ends with.
    pub family: Option<FamilyId>,
    /// What becomes of the refresh token.
    pub refresh: Refresh,
    /// Whether there is an ID token too.
    pub id_token: bool,
    /// Whether the access token is opaque.
    pub opaque: bool,
    /// The place of the access token in a status list.
    pub place: Option<Place>,
}

impl Issue {
    /// `expires_in`: how long the access token lives.
    pub fn lifetime(&self) -> Duration {
        self.expires_at.since(self.decided_at)
    }

    /// Has the access token be none of those that ended before this.
    pub(crate) fn issued_since(&mut self, ended_before: Timestamp) {
        self.issued_at = self.issued_at.max(ended_before);
    }

    /// Whether `iat` is further ahead than what ends tokens tells: clocks must differ. Nobody should have such a token,
    /// and nobody one that has ended already.
    pub fn is_ahead(&self) -> bool {
        self.issued_at > self.decided_at + MAX_AHEAD
    }

    /// Whether the access token is to be [`put`](Self::put) into a status list: with a refresh, its family has a place
    /// or has none. An opaque token says no place to anybody.
    pub fn wants_place(&self, realm: &Realm) -> bool {
        realm.tokens.status_list && !self.opaque && self.grant != GrantType::RefreshToken
    }

    /// Gives the access token its place in a status list, by the name under which it would be revoked: that of the
    /// family that begins with it, or else its own.
    pub fn put(&mut self, place: Place, now: Timestamp) {
        let id = place.identifier(now, [self.jti[0], self.jti[1]]);
        match &mut self.refresh {
            Refresh::Give(token) => {
                token.family = id;
                self.family = Some(id);
            }
            Refresh::None | Refresh::Rotate { .. } => self.jti = id.0,
        }
        self.place = Some(place);
    }
}

/// What becomes of the refresh token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refresh {
    /// The answer has none.
    None,
    /// The answer has this one; nothing needs to be remembered for it.
    Give(RefreshToken),
    /// The presented one is to be used up; the answer has its successor, once the store has agreed.
    Rotate {
        /// The token that was presented.
        presented: RefreshToken,
        /// What the store is asked.
        rotation: Rotation,
        /// What the successor lives by.
        policy: RefreshPolicy,
    },
}

/// What every grant has in common, decided once.
fn issue(
    client: &AuthenticatedClient,
    grant: GrantType,
    subject: Subject,
    scope: Scope,
    target: Target,
    circumstances: &Circumstances<'_>,
) -> Result<Issue, Refusal> {
    let Circumstances { realm, now, proven, .. } = *circumstances;
    let client = client.registration();
    let decided_at = now.trunc_to_secs();
    let access = client.access.unwrap_or(realm.tokens.access);
    let scope = target.narrowed(scope)?;
    // Keycloak gives one to machines as well, and with each refresh.
    let asked = realm.dialect == Dialect::Keycloak && scope.contains(OPENID);
    Ok(Issue {
        id_token: asked && !matches!(subject, Subject::Other { .. }),
        grant,
        subject,
        scope,
        algorithm: client.signing.unwrap_or(realm.tokens.signing),
        jti: circumstances.jti(),
        decided_at,
        issued_at: decided_at.max(realm.good_since()).max(client.good_since()),
        expires_at: decided_at + target.access.map_or(access, |most| access.min(most)),
        audience: target.audience,
        binding: bound(realm, client, proven)?,
        act: None,
        may_act: None,
        family: None,
        refresh: Refresh::None,
        opaque: client.particulars().opaque.unwrap_or(realm.tokens.opaque),
        place: None,
        client: Arc::clone(client),
    })
}

/// What of the proven keys a client's tokens are bound to.
fn bound(realm: &Realm, client: &Client, proven: Binding) -> Result<Binding, Refusal> {
    let own = client.particulars();
    if proven.key.is_none() && (own.dpop_bound || realm.dpop.required) {
        return Err(Refusal::NoProof);
    }
    if proven.certificate.is_none() && own.certificate_bound {
        return Err(Refusal::NoCertificate);
    }
    // FAPI 2.0 §5.3.2.1: "shall only issue sender-constrained access tokens"
    let constrained = realm.profile == Profile::Fapi2;
    if constrained && proven.is_none() {
        return Err(Refusal::NoProof);
    }
    let by_certificate = own.certificate_bound || (constrained && proven.key.is_none());
    Ok(Binding { certificate: proven.certificate.filter(|_| by_certificate), ..proven })
}

/// The refresh policy that holds for a client, if it may use refresh tokens at all.
pub fn refresh_policy<'a>(realm: &'a Realm, client: &'a Client) -> Option<&'a RefreshPolicy> {
    client
        .grants
        .contains(GrantType::RefreshToken)
        .then(|| client.refresh.as_deref().or(realm.tokens.refresh.as_ref()))
        .flatten()
}

/// Gives the first refresh token of a new family.
fn begin_family(
    issue: &mut Issue,
    client: &AuthenticatedClient,
    policy: &RefreshPolicy,
    circumstances: &Circumstances<'_>,
) {
    let Circumstances { realm, now, .. } = *circumstances;
    // RFC 9449 §5, RFC 8705 §4: where the refresh token alone is to stand for the client, it is bound to the key too;
    // a client that authenticates may change its key.
    let alone = issue.client.client_authentication.unwrap_or(realm.client_authentication)
        == ClientAuthentication::Optional
        || matches!(client.proof(), Proof::Endpoint);
    let family = circumstances.family();
    issue.family = Some(family);
    issue.refresh = Refresh::Give(RefreshToken {
        family,
        generation: 0,
        client: issue.client.id.clone(),
        subject: issue.subject.clone(),
        scope: issue.scope.clone(),
        audience: issue.audience.clone(),
        binding: if alone { issue.binding } else { Binding::NONE },
        started_at: now,
        issued_at: now,
        expires_at: expiry(now, now, policy),
    });
}

/// The grant is one that the client is registered for.
fn allowed(client: &AuthenticatedClient, grant: GrantType) -> Result<(), Refusal> {
    let registered = client.registration().grants.contains(grant);
    registered.then_some(()).ok_or(Refusal::GrantNotAllowed)
}

/// The scope of a token for which a client names neither scope nor resource.
///
/// # Errors
///
/// The refusal that it would meet, such as [`Refusal::NoScopeThere`]: for whoever registers it.
pub fn scope_by_default(realm: &Realm, client: &Client) -> Result<Scope, Refusal> {
    Target::of(realm, client, &[], None)?.narrowed(granted_scope(realm, client, None)?)
}

/// The scope that is granted: what was asked for, if the client may have all of it; its default otherwise.
///
/// `openid` is no access right but a question for an ID token; it is dropped where the client has no such scope.
fn granted_scope(realm: &Realm, client: &Client, asked: Option<Scope>) -> Result<Scope, Refusal> {
    if realm.dialect == Dialect::Keycloak {
        return keycloak::granted_scope(client, asked.as_ref());
    }
    let Some(mut asked) = asked else {
        return Ok(client.default_scope.clone().unwrap_or_else(|| client.scope.clone()));
    };
    if asked == client.scope {
        return Ok(asked);
    }
    if !client.scope.contains(OPENID) {
        let without = asked.without(OPENID);
        if without.is_empty() && !asked.is_empty() {
            return granted_scope(realm, client, None);
        }
        asked = without;
    }
    match asked.first_outside(&client.scope) {
        Some(token) => Err(Refusal::ScopeNotAllowed(crate::request::excerpt(token))),
        None => Ok(asked),
    }
}

/// The scope token that asks for an ID token (OpenID Connect Core §3.1.2.1).
pub(crate) const OPENID: &str = "openid";

#[cfg(test)]
mod tests;
