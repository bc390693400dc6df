//! The client credentials grant (RFC 6749 §4.4).

use super::{Circumstances, Issue, allowed, begin_family, granted_scope, issue, refresh_policy};
use crate::client::{AuthenticatedClient, Proof};
use crate::refresh::Subject;
use crate::request::GrantType;
use crate::{Refusal, Scope};

/// Decides a client credentials request.
///
/// RFC 6749 §4.4.3: "A refresh token SHOULD NOT be included." It is, where the realm's or the client's policy says so.
pub fn client_credentials(
    client: &AuthenticatedClient,
    scope: Option<Scope>,
    circumstances: &Circumstances<'_>,
) -> Result<Issue, Refusal> {
    allowed(client, GrantType::ClientCredentials)?;
    // "The client credentials grant type MUST only be used by confidential clients" (§4.4).
    if !matches!(client.proof(), Proof::Credential(_)) {
        return Err(Refusal::NoCredentials);
    }
    let registration = client.registration();
    let scope = granted_scope(registration, scope)?;
    let mut issue =
        issue(client, GrantType::ClientCredentials, Subject::Client, scope, circumstances);
    let policy = refresh_policy(circumstances.realm, registration);
    if let Some(policy) = policy.filter(|policy| policy.client_credentials) {
        begin_family(&mut issue, policy, circumstances);
    }
    Ok(issue)
}
