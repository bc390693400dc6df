//! What Keycloak decides in its own way: how credentials are put together, and which scope is granted.

use crate::assertion::{ASSERTION_TYPE, PresentedAssertion, SPIFFE_TYPE};
use crate::form::Form;
use crate::grant::OPENID;
use crate::jose::jws::Compact;
use crate::request::{Credentials, Presented, excerpt};
use crate::{Client, Refusal, Scope, Secret};

/// Who a client says it is. Header and form complete each other, the form wins, and what cannot be read is not there.
pub(crate) fn credentials(form: &Form<'_>, authorization: Option<&[u8]>) -> Credentials {
    let client_id = form.get("client_id").map(str::to_owned);
    if let Some(assertion) = assertion(form, client_id.clone()) {
        return Credentials::Assertion(assertion);
    }
    let basic = authorization.and_then(|header| Credentials::from_basic(header).ok());
    let in_form = form.get("client_secret").map(Secret::new);
    match (basic, client_id, in_form) {
        (Some(Credentials::Secret { presented, raw }), None, None) => {
            Credentials::Secret { presented, raw }
        }
        (Some(Credentials::Secret { presented, raw }), id, secret) => {
            let complete = |half: Presented| Presented {
                client_id: id.clone().unwrap_or(half.client_id),
                secret: secret.clone().unwrap_or(half.secret),
            };
            Credentials::Secret { presented: complete(presented), raw: raw.map(complete) }
        }
        (_, Some(client_id), Some(secret)) => {
            Credentials::Secret { presented: Presented { client_id, secret }, raw: None }
        }
        (_, client_id, _) => Credentials::None { client_id },
    }
}

/// The assertion, where it is one.
fn assertion(form: &Form<'_>, client_id: Option<String>) -> Option<PresentedAssertion> {
    let assertion = form.get("client_assertion").map(Secret::new)?;
    let kind = form.get("client_assertion_type")?;
    let is_jwt =
        [ASSERTION_TYPE, SPIFFE_TYPE].contains(&kind) && Compact::parse(assertion.expose()).is_ok();
    is_jwt.then_some(PresentedAssertion { assertion, client_id })
}

/// The scope that is granted: what was asked for, and the default scope of the client in any case.
///
/// `openid` is everybody's: what has it may ask for an ID token and at the userinfo endpoint.
pub(crate) fn granted_scope(client: &Client, asked: Option<&Scope>) -> Result<Scope, Refusal> {
    let default = client.default_scope.as_ref();
    let all = || default.unwrap_or(&client.scope).clone();
    let Some(asked) = asked else { return Ok(all()) };
    exists(client, asked)?;
    // A client without a default of its own may narrow what it has by asking for less.
    let always =
        if asked.without(OPENID).is_empty() { all() } else { default.cloned().unwrap_or_default() };
    Ok(asked.tokens().chain(always.tokens()).collect())
}

/// The scope of a refresh: of what was granted, what is asked for now, and the default scope of the client.
///
/// What was not granted is left out without a word, unless the client may not have it at all.
pub(crate) fn refreshed_scope(
    client: &Client,
    granted: Scope,
    asked: Option<&Scope>,
) -> Result<Scope, Refusal> {
    let Some(asked) = asked else { return Ok(granted) };
    exists(client, asked)?;
    let wanted = granted_scope(client, Some(asked))?;
    let scope: Scope = granted.tokens().filter(|token| wanted.contains(token)).collect();
    match asked.first_outside(&granted) {
        Some(outside) if scope.is_empty() => Err(Refusal::ScopeNotAllowed(excerpt(outside))),
        _ => Ok(scope),
    }
}

fn exists(client: &Client, asked: &Scope) -> Result<(), Refusal> {
    match asked.tokens().find(|token| *token != OPENID && !client.scope.contains(token)) {
        Some(token) => Err(Refusal::ScopeNotAllowed(excerpt(token))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;
    use crate::Timestamp;

    fn client(scope: &str, default: Option<&str>) -> Client {
        let parse = |scope: &str| scope.parse().unwrap();
        Client {
            scope: parse(scope),
            default_scope: default.map(parse),
            ..Client::new("r", "a", Timestamp::EPOCH)
        }
    }

    fn asked(text: &str) -> Option<Scope> {
        Some(text.parse().unwrap()).filter(|scope: &Scope| !scope.is_empty())
    }

    #[test]
    fn the_default_scope_is_always_granted_and_openid_is_everybodys() {
        let (all, some) = (
            client("email phone profile", None),
            client("email phone profile", Some("email profile")),
        );
        let cases = [
            (&all, "", Ok("email phone profile")),
            (&all, "phone", Ok("phone")),
            (&all, "openid", Ok("email openid phone profile")),
            (&all, "openid phone", Ok("openid phone")),
            (&all, "openid admin", Err("admin")),
            (&some, "", Ok("email profile")),
            (&some, "email", Ok("email profile")),
            (&some, "phone", Ok("email phone profile")),
            (&some, "openid", Ok("email openid profile")),
            (&some, "phone admin", Err("admin")),
        ];
        for (client, text, expected) in cases {
            let got = granted_scope(client, asked(text).as_ref());
            let got = got.as_ref().map(Scope::as_str);
            let expected = expected.map_err(|token| Refusal::ScopeNotAllowed(token.to_owned()));
            assert_eq!(got, expected.as_ref().copied(), "{text:?} of {:?}", client.default_scope);
        }
    }

    #[test]
    fn a_refresh_leaves_out_what_was_not_granted() {
        let client = client("email phone profile", Some("email profile"));
        let cases = [
            ("email profile", "", Ok("email profile")),
            ("email profile", "email", Ok("email profile")),
            ("email profile", "phone", Ok("email profile")),
            ("email profile", "openid", Ok("email profile")),
            ("email openid phone profile", "openid", Ok("email openid profile")),
            ("email openid phone profile", "", Ok("email openid phone profile")),
            ("email profile", "admin", Err("admin")),
            ("", "phone", Err("phone")),
        ];
        for (granted, text, expected) in cases {
            let got = refreshed_scope(&client, granted.parse().unwrap(), asked(text).as_ref());
            let got = got.as_ref().map(Scope::as_str);
            let expected = expected.map_err(|token| Refusal::ScopeNotAllowed(token.to_owned()));
            assert_eq!(got, expected.as_ref().copied(), "{text:?} of {granted:?}");
        }
    }

    #[test]
    fn header_and_form_complete_each_other() {
        let basic = |pair: &str| format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair));
        let cases = [
            (basic("a:b"), "", Some(("a", "b"))),
            (basic("a:b"), "client_id=c", Some(("c", "b"))),
            (basic("a:b"), "client_secret=d", Some(("a", "d"))),
            (basic("a:b"), "client_id=c&client_secret=d", Some(("c", "d"))),
            ("Bearer x".into(), "client_id=c&client_secret=d", Some(("c", "d"))),
            ("Basic ????".into(), "client_id=c", None),
            (basic("a"), "client_secret=d", None),
        ];
        for (header, body, expected) in cases {
            let form = Form::parse(body.as_bytes()).unwrap();
            let found = match credentials(&form, Some(header.as_bytes())) {
                Credentials::Secret { presented, .. } => {
                    Some((presented.client_id, presented.secret.expose().to_owned()))
                }
                _ => None,
            };
            let expected = expected.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
            assert_eq!(found, expected, "{header} {body}");
        }
    }

    #[test]
    fn an_assertion_that_is_no_jwt_is_not_there() {
        let kind = format!("client_assertion_type={ASSERTION_TYPE}");
        for body in [
            format!("{kind}&client_assertion=x&client_id=a"),
            format!("{kind}&client_id=a"),
            "client_assertion=x&client_id=a".to_owned(),
            "client_assertion_type=x&client_assertion=x&client_id=a".to_owned(),
        ] {
            let form = Form::parse(body.as_bytes()).unwrap();
            let found = credentials(&form, None);
            assert!(
                matches!(&found, Credentials::None { client_id: Some(id) } if id == "a"),
                "{body}"
            );
        }
    }
}
