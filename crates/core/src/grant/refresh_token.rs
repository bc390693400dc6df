//! Refreshing an access token (RFC 6749 §6).

use super::{Circumstances, Issue, OPENID, Refresh, Target, allowed, issue, refresh_policy};
use crate::client::AuthenticatedClient;
use crate::family::Rotation;
use crate::realm::{Dialect, Rotate};
use crate::refresh::{RefreshToken, Subject, expiry};
use crate::request::{Asked, GrantType, excerpt};
use crate::status_list::Place;
use crate::{Client, Realm, Refusal, Scope, Timestamp, User, keycloak};

/// What is known of a refresh token beyond what it says itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing<'a> {
    /// Whether its family was revoked.
    pub revoked: bool,
    /// The user it is about, where it is about one and the user still exists.
    pub user: Option<&'a User>,
}

/// Decides a refresh request.
///
/// `token` is what the presented text opened to. Where the policy is [`Rotate::Rotate`] the decision is not final: the
/// store has to agree to [`Refresh::Rotate`].
pub fn refresh_token(
    client: &AuthenticatedClient,
    token: RefreshToken,
    standing: Standing<'_>,
    asked: Asked,
    circumstances: &Circumstances<'_>,
) -> Result<Issue, Refusal> {
    allowed(client, GrantType::RefreshToken)?;
    let Circumstances { realm, now, .. } = *circumstances;
    let registration = client.registration();
    is_good(registration, &token, standing, realm, now)?;
    // RFC 9449 §5: "the refresh token [...] can only be used [...] in conjunction with a valid DPoP proof" of its key.
    if !token.binding.is_proved_by(&circumstances.proven) {
        return Err(Refusal::WrongKey);
    }
    let policy = refresh_policy(realm, registration).ok_or(Refusal::GrantNotAllowed)?;
    let target = Target::of(realm, registration, &asked.resources, Some(&token.audience))?;
    let is_keycloak = realm.dialect == Dialect::Keycloak;

    // RFC 6749 §6: "MUST NOT include any scope not originally granted", and what the client lost since is lost.
    let keeps = |t: &str| registration.scope.contains(t) || (is_keycloak && t == OPENID);
    let granted: Scope = token.scope.tokens().filter(|t| keeps(t)).collect();
    let scope = asked.scope;
    let asked_openid = scope.as_ref().is_some_and(|scope| scope.contains(OPENID));
    let scope = match scope.map(|s| if granted.contains(OPENID) { s } else { s.without(OPENID) }) {
        asked if is_keycloak => keycloak::refreshed_scope(registration, granted, asked.as_ref())?,
        None => granted,
        Some(asked) if asked.is_empty() => granted,
        Some(asked) => match asked.first_outside(&granted) {
            Some(outside) => return Err(Refusal::ScopeNotAllowed(excerpt(outside))),
            None => asked,
        },
    };

    let subject = token.subject.clone();
    let about_user = matches!(subject, Subject::User { .. });
    let grant = GrantType::RefreshToken;
    let mut issue = issue(client, grant, subject, scope, target, circumstances)?;
    if let Some(user) = standing.user {
        issue.issued_since(user.good_since());
    }
    issue.family = Some(token.family);
    // The place of the family, for all its access tokens. One that began without a place goes on without.
    let listed = realm.tokens.status_list && !issue.opaque;
    issue.place = listed.then(|| Place::of(token.family)).flatten();
    // What is bound stays so, also where the client is no longer registered for it.
    issue.binding.key = issue.binding.key.or(token.binding.key);
    issue.binding.certificate = issue.binding.certificate.or(token.binding.certificate);
    issue.id_token |= about_user && (realm.tokens.id_token || asked_openid);
    issue.refresh = match policy.policy {
        Rotate::Keep => Refresh::None,
        Rotate::Reissue => Refresh::Give(token.successor(token.generation, now, policy)),
        Rotate::Rotate => Refresh::Rotate {
            rotation: Rotation {
                realm: realm.name.clone(),
                client: token.client.clone(),
                family: token.family,
                presented: token.generation,
                now,
                grace: policy.grace,
                // The row outlives every token that it can be asked about, also where lifetimes were shortened since.
                expires_at: expiry(now, token.started_at, policy).max(token.expires_at),
            },
            policy: policy.clone(),
            presented: token,
        },
    };
    Ok(issue)
}

/// The token is this client's, and nothing has ended it.
pub(crate) fn is_good(
    client: &Client,
    token: &RefreshToken,
    standing: Standing<'_>,
    realm: &Realm,
    now: Timestamp,
) -> Result<(), Refusal> {
    // "the authorization server MUST verify the binding between the refresh token and client identity" (§10.4)
    if token.client != client.id {
        return Err(Refusal::RefreshTokenOfAnotherClient);
    }
    if standing.revoked {
        return Err(Refusal::FamilyRevoked);
    }
    if token.expires_at <= now {
        return Err(Refusal::RefreshTokenExpired);
    }
    let created = realm.created_at.max(client.created_at);
    let mut not_before = realm.not_before.max(client.not_before).max(created);
    // Whom another knows has no refresh tokens: the other says each time whether they are still there.
    if let Subject::Other { .. } = &token.subject {
        return Err(Refusal::NotARefreshToken);
    }
    if let Subject::User { id, .. } = &token.subject {
        // A user who was removed and added again under the same name is another one.
        let user = standing.user.filter(|user| user.subject == *id).ok_or(Refusal::UserDisabled)?;
        if !user.enabled {
            return Err(Refusal::UserDisabled);
        }
        not_before = not_before.max(user.not_before);
    }
    if token.issued_at < not_before {
        return Err(Refusal::RefreshTokenStale);
    }
    Ok(())
}
