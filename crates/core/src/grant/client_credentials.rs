//! The client credentials grant (RFC 6749 §4.4).

use super::{
    Circumstances, Issue, Target, allowed, begin_family, granted_scope, issue, refresh_policy,
};
use crate::Refusal;
use crate::client::{AuthenticatedClient, Proof};
use crate::refresh::Subject;
use crate::request::{Asked, GrantType};

/// Decides a client credentials request.
///
/// RFC 6749 §4.4.3: "A refresh token SHOULD NOT be included." It is, where the realm's or the client's policy says so.
pub fn client_credentials(
    client: &AuthenticatedClient,
    asked: Asked,
    circumstances: &Circumstances<'_>,
) -> Result<Issue, Refusal> {
    allowed(client, GrantType::ClientCredentials)?;
    // "The client credentials grant type MUST only be used by confidential clients" (§4.4).
    if !matches!(client.proof(), Proof::Credential(_)) {
        return Err(Refusal::NoCredentials);
    }
    let registration = client.registration();
    let realm = circumstances.realm;
    let target = Target::of(realm, registration, &asked.resources, None)?;
    let scope = granted_scope(realm, registration, asked.scope)?;
    let grant = GrantType::ClientCredentials;
    let mut issue = issue(client, grant, Subject::Client, scope, target, circumstances)?;
    let policy = refresh_policy(realm, registration);
    if let Some(policy) = policy.filter(|policy| policy.client_credentials) {
        begin_family(&mut issue, client, policy, circumstances);
    }
    Ok(issue)
}
