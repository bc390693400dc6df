//! A token of another issuer as a grant (RFC 7523 §2.1).

use super::token_exchange::admits;
use super::{Circumstances, Issue, Target, allowed, granted_scope, issue};
use crate::client::{AuthenticatedClient, Proof};
use crate::foreign::ForeignToken;
use crate::refresh::Subject;
use crate::request::{Asked, GrantType, excerpt};
use crate::{Refusal, Scope};

/// Decides a request that presents a token of another issuer.
///
/// There is no refresh token: whoever got the token can get another (RFC 7521 §4.1).
pub fn jwt_bearer(
    client: &AuthenticatedClient,
    token: &ForeignToken<'_>,
    asked: Asked,
    circumstances: &Circumstances<'_>,
) -> Result<Issue, Refusal> {
    allowed(client, GrantType::JwtBearer)?;
    if !matches!(client.proof(), Proof::Credential(_)) {
        return Err(Refusal::NoCredentials);
    }
    let trusted = &token.trust().scopes;
    if trusted.is_empty() {
        return Err(Refusal::BadForeignToken(
            "its issuer is trusted to authenticate clients alone",
        ));
    }
    let registration = client.registration();
    if !admits(token.claims(), &registration.id) {
        return Err(Refusal::BadForeignToken("its subject lets another act for it"));
    }
    let target = Target::of(circumstances.realm, registration, &asked.resources, None)?;
    let explicit = asked.scope.is_some();
    let scope = granted_scope(circumstances.realm, registration, asked.scope)?;
    let scope = match scope.first_outside(trusted) {
        Some(outside) if explicit => return Err(Refusal::ScopeNotAllowed(excerpt(outside))),
        Some(_) => within(&scope, trusted),
        None => scope,
    };
    let subject = Subject::Other { id: token.local_subject() };
    issue(client, GrantType::JwtBearer, subject, scope, target, circumstances)
}

/// The part of a scope that another has too.
pub(super) fn within(scope: &Scope, other: &Scope) -> Scope {
    scope.tokens().filter(|token| other.contains(token)).collect()
}
