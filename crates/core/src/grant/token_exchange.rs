//! Token exchange (RFC 8693): a token about somebody for another about the same, for somewhere else.

use serde_json::{Map, Value, json};

use super::jwt_bearer::within;
use super::{Circumstances, Issue, Target, allowed, issue};
use crate::binding::Binding;
use crate::client::{AuthenticatedClient, Proof};
use crate::family::FamilyId;
use crate::foreign::ForeignToken;
use crate::introspection::AccessToken;
use crate::jose::Claims;
use crate::refresh::Subject;
use crate::request::{Asked, GrantType, excerpt};
use crate::{Client, Refusal, Scope, Timestamp};

/// How many actors may stand behind one another.
const MAX_ACTORS: usize = 8;

/// A token that is presented for somebody, and was found good.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// Whom the new token is to be about.
    subject: Subject,
    /// What `sub` says of them.
    id: String,
    scope: Scope,
    expires_at: Timestamp,
    binding: Binding,
    claims: Claims,
    /// `iat`; `None` where another issuer has issued it.
    issued_at: Option<Timestamp>,
    /// The client it was issued to; `None` where another issuer has issued it.
    client: Option<String>,
    /// What it ends with: the family that it came with, or itself.
    ends_with: Option<FamilyId>,
}

const fn bad(why: &'static str) -> Refusal {
    Refusal::BadExchangedToken(why)
}

impl Exchanged {
    /// An access token of this realm that is good now, about `subject`.
    pub fn own(token: AccessToken, subject: Subject) -> Result<Self, Refusal> {
        let binding = token.binding().ok_or(bad("bound in a way that is not known"))?;
        let scope = token.claims.scope.as_deref().unwrap_or_default().parse()?;
        let id = token.claims.sub.clone().ok_or(bad("no subject"))?;
        let (expires_at, issued_at) = (token.expires_at, Some(token.issued_at));
        let ends_with = Some(token.family.unwrap_or(token.id));
        Ok(Self {
            subject,
            id,
            scope,
            expires_at,
            issued_at,
            binding,
            claims: token.claims,
            client: Some(token.client),
            ends_with,
        })
    }

    /// A token of another issuer.
    pub fn foreign(token: &ForeignToken<'_>) -> Result<Self, Refusal> {
        let scope = token.trust().scopes.clone();
        if scope.is_empty() {
            return Err(bad("its issuer is trusted to authenticate clients alone"));
        }
        let mut claims = token.claims().clone();
        // Whom another issuer calls an actor nobody here knows by that name.
        claims.other.remove("act");
        let expires_at = claims.exp.ok_or(bad("no expiry"))?;
        let binding = claims.cnf.as_ref().map_or(Some(Binding::NONE), Binding::from_cnf);
        let id = token.local_subject();
        Ok(Self {
            subject: Subject::Other { id: id.clone() },
            id,
            scope,
            expires_at,
            binding: binding.ok_or(bad("bound in a way that is not known"))?,
            claims,
            issued_at: None,
            client: None,
            ends_with: None,
        })
    }

    /// Whether a client may present it: it was issued to that client, or is meant for it, by its identifier or by an
    /// audience that is its own (`introspects`). To introspect all (`*`) is no right to speak for all.
    fn is_for(&self, caller: &Client) -> bool {
        let own = |one: &str| {
            one == caller.id || caller.particulars().introspects.iter().any(|own| own == one)
        };
        let is_meant = self.claims.aud.as_ref().is_some_and(|aud| aud.iter().any(own));
        self.client.as_ref().is_none_or(|client| *client == caller.id || is_meant)
    }
}

/// Whether a token's subject lets this actor act for it (RFC 8693 §4.4).
///
/// A `may_act` that says more than a `sub` means somebody whom another issuer knows: nobody here is that.
pub(super) fn admits(claims: &Claims, actor: &str) -> bool {
    match claims.other.get("may_act") {
        None => true,
        Some(Value::Object(named)) => {
            named.len() == 1 && named.get("sub").and_then(Value::as_str) == Some(actor)
        }
        Some(_) => false,
    }
}

/// Decides a token exchange.
///
/// The new token is about the same subject, for no more scope and no longer than the old one. With an `actor` it says
/// who acts for the subject; whoever acted before stands behind that one (RFC 8693 §4.1).
pub fn token_exchange(
    client: &AuthenticatedClient,
    subject: &Exchanged,
    actor: Option<&Exchanged>,
    asked: Asked,
    circumstances: &Circumstances<'_>,
) -> Result<Issue, Refusal> {
    allowed(client, GrantType::TokenExchange)?;
    if !matches!(client.proof(), Proof::Credential(_)) {
        return Err(Refusal::NoCredentials);
    }
    let registration = client.registration();
    for token in [Some(subject), actor].into_iter().flatten() {
        if !token.is_for(registration) {
            return Err(bad("issued neither to nor for this client"));
        }
        if !token.binding.is_proved_by(&circumstances.proven) {
            return Err(bad("bound to a key that the request does not prove to have"));
        }
    }
    if !admits(&subject.claims, actor.map_or(&registration.id, |actor| &actor.id)) {
        return Err(bad("its subject lets another act for it, and not this one"));
    }
    let target = Target::exactly(circumstances.realm, registration, &asked.resources)?;
    let scope = scope(registration, subject, asked.scope)?;
    let grant = GrantType::TokenExchange;
    let mut issue = issue(client, grant, subject.subject.clone(), scope, target, circumstances)?;
    issue.expires_at = issue.expires_at.min(subject.expires_at);
    if let Some(actor) = actor {
        issue.expires_at = issue.expires_at.min(actor.expires_at);
    }
    // An issuer's clock may be behind: what has just ended is good to nobody.
    if issue.expires_at <= issue.decided_at {
        return Err(bad("expired"));
    }
    // What is good now is none of those that ended about its subject, and so the new token is none of them either.
    if let Some(issued_at) = subject.issued_at {
        issue.issued_since(issued_at);
    }
    // What was bound stays so, whoever has it.
    issue.binding.key = issue.binding.key.or(subject.binding.key);
    issue.binding.certificate = issue.binding.certificate.or(subject.binding.certificate);
    issue.family = subject.ends_with;
    issue.act = act(subject, actor)?;
    issue.may_act = subject.claims.other.get("may_act").map(Value::to_string);
    Ok(issue)
}

/// "[...] the scope of the new token is no wider": what subject and client both have.
fn scope(client: &Client, subject: &Exchanged, asked: Option<Scope>) -> Result<Scope, Refusal> {
    let most = within(&subject.scope, &client.scope);
    match asked {
        None => Ok(most),
        Some(asked) => match asked.first_outside(&most) {
            Some(outside) => Err(Refusal::ScopeNotAllowed(excerpt(outside))),
            None => Ok(asked),
        },
    }
}

/// `act`: the actor, and behind it those who acted before.
fn act(subject: &Exchanged, actor: Option<&Exchanged>) -> Result<Option<String>, Refusal> {
    let before = match subject.claims.other.get("act") {
        None => None,
        Some(Value::Object(before)) => Some(before),
        Some(_) => return Err(bad("an actor that is no object")),
    };
    let Some(actor) = actor else {
        return Ok(before.map(|act| Value::from(act.clone()).to_string()));
    };
    let mut act = Map::new();
    act.insert("sub".to_owned(), json!(actor.id));
    if let Some(before) = before {
        if depth(before) >= MAX_ACTORS {
            return Err(bad("too many actors behind one another"));
        }
        act.insert("act".to_owned(), Value::Object(before.clone()));
    }
    Ok(Some(Value::Object(act).to_string()))
}

fn depth(act: &Map<String, Value>) -> usize {
    let behind = std::iter::successors(Some(act), |act| act.get("act").and_then(Value::as_object));
    behind.take(MAX_ACTORS + 1).count()
}
