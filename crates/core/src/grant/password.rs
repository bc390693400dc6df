//! The resource owner password credentials grant (RFC 6749 §4.3).
//!
//! RFC 9700 §2.4 forbids it. It is here because vendors live on it, and off unless a realm turns it on.

use super::{
    Circumstances, Issue, OPENID, Target, allowed, begin_family, granted_scope, issue,
    refresh_policy,
};
use crate::client::AuthenticatedClient;
use crate::realm::{Dialect, Profile};
use crate::refresh::Subject;
use crate::request::{Asked, GrantType};
use crate::{Realm, Refusal, Scope, User};

/// A user whose password was checked.
///
/// Comparing a password takes milliseconds and is bounded by the caller, so the comparison itself is an argument;
/// that it was made cannot be forgotten.
#[derive(Clone, Copy, Debug)]
pub struct AuthenticatedUser<'a> {
    user: &'a User,
}

impl<'a> AuthenticatedUser<'a> {
    /// The user, if the password was right. One refusal for an unknown user and a wrong password.
    pub fn checked(user: Option<&'a User>, password_is_right: bool) -> Result<Self, Refusal> {
        match user.filter(|_| password_is_right) {
            None => Err(Refusal::WrongPassword),
            Some(user) if !user.enabled => Err(Refusal::UserDisabled),
            Some(user) => Ok(Self { user }),
        }
    }

    /// Whether this client may ask for a password at all. To be asked before one is compared.
    pub fn may_be_asked(realm: &Realm, client: &AuthenticatedClient) -> Result<(), Refusal> {
        // FAPI 2.0 §5.3.2.1: "shall reject requests using the resource owner password credentials grant"
        if !realm.password_grant || realm.profile == Profile::Fapi2 {
            return Err(Refusal::UnsupportedGrant(GrantType::Password.to_string()));
        }
        allowed(client, GrantType::Password)
    }

    /// Whether this scope is refused before a password is compared, as Keycloak has it.
    pub fn may_ask_for(
        realm: &Realm,
        client: &AuthenticatedClient,
        scope: Option<&Scope>,
    ) -> Result<(), Refusal> {
        if realm.dialect == Dialect::Keycloak {
            granted_scope(realm, client.registration(), scope.cloned())?;
        }
        Ok(())
    }
}

/// Decides a password request.
pub fn password(
    client: &AuthenticatedClient,
    user: AuthenticatedUser<'_>,
    asked: Asked,
    circumstances: &Circumstances<'_>,
) -> Result<Issue, Refusal> {
    AuthenticatedUser::may_be_asked(circumstances.realm, client)?;
    let registration = client.registration();
    let id_token = circumstances.realm.tokens.id_token
        || asked.scope.as_ref().is_some_and(|scope| scope.contains(OPENID));
    let subject = Subject::User { name: user.user.name.clone(), id: user.user.subject.clone() };
    let target = Target::of(circumstances.realm, registration, &asked.resources, None)?;
    let scope = granted_scope(circumstances.realm, registration, asked.scope)?;
    let mut issue = issue(client, GrantType::Password, subject, scope, target, circumstances)?;
    issue.issued_since(user.user.good_since());
    issue.id_token |= id_token;
    if let Some(policy) = refresh_policy(circumstances.realm, registration) {
        begin_family(&mut issue, client, policy, circumstances);
    }
    Ok(issue)
}
