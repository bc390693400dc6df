//! Token requests as bytes (RFC 6749 §2.3.1, §4.3.2, §4.4.2, §6; RFC 7523 §2.2; RFC 8705 §2; RFC 8707 §2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use tokenry_core::assertion::{ASSERTION_TYPE, AssertionKey};
use tokenry_core::{Secret, Timestamp};

use crate::credentials::{Presented, Proof};
use crate::provider::{
    Assertion, AssertionAudience, AssertionTyp, ClientAuthentication, CredentialsGrant, Obtain,
    Refresh,
};
use crate::{Error, randomness};

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tokenry-client/", env!("CARGO_PKG_VERSION")));

/// Who asks, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) credentials: &'a Presented,
    /// The API that the token is for.
    pub(crate) resource: Option<&'a str>,
    /// Whom an assertion is for, unless it is for the endpoint.
    pub(crate) issuer: Option<&'a str>,
    pub(crate) assertion: Assertion,
    pub(crate) now: Timestamp,
}

/// A request, and what it proves the client with, which no answer may show either.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) request: Request<Bytes>,
    pub(crate) assertion: Option<Secret>,
}

/// What is added to a request to prove the client, but for what went into the form.
#[derive(Default)]
struct Added {
    basic: Option<HeaderValue>,
    assertion: Option<Secret>,
}

/// A request with the client's or the user's credentials.
pub(crate) fn obtain(rules: &Obtain, asking: &Asking<'_>) -> Result<Prepared, Error> {
    let mut form = Form::default();
    match rules.grant {
        CredentialsGrant::ClientCredentials => {
            form.push_if(rules.send_grant_type, "grant_type", "client_credentials");
        }
        CredentialsGrant::Password => {
            form.push_if(rules.send_grant_type, "grant_type", "password");
            if let Some(user) = &asking.credentials.user {
                form.push("username", &user.name);
                form.push("password", user.password.expose());
            }
        }
    }
    if let Some(scope) = &rules.scope {
        form.push("scope", scope);
    }
    for (name, value) in &rules.parameters {
        form.push(name, value);
    }
    post(&rules.url, form, rules.client_authentication, asking)
}

/// A request with a refresh token.
pub(crate) fn refresh(
    rules: &Refresh,
    asking: &Asking<'_>,
    refresh_token: &Secret,
) -> Result<Prepared, Error> {
    let mut form = Form::default();
    form.push_if(rules.send_grant_type, "grant_type", "refresh_token");
    form.push("refresh_token", refresh_token.expose());
    post(&rules.url, form, rules.client_authentication, asking)
}

/// A request to revoke a refresh token (RFC 7009 §2.1), by the client that `method` makes known.
pub(crate) fn revoke(
    url: &Uri,
    method: ClientAuthentication,
    asking: &Asking<'_>,
    refresh_token: &Secret,
) -> Result<Prepared, Error> {
    let mut form = Form::default();
    form.push("token", refresh_token.expose());
    form.push("token_type_hint", "refresh_token");
    post(url, form, method, &Asking { resource: None, ..*asking })
}

/// A request for what is revoked (see [`tokenry_core::revocation`]), by the client that `method` makes known.
pub(crate) fn follow(
    url: &Uri,
    method: ClientAuthentication,
    asking: &Asking<'_>,
    cursor: Option<&str>,
) -> Result<Prepared, Error> {
    let asking = Asking { resource: None, ..*asking };
    let mut prepared = post(url, Form::default(), method, &asking)?;
    let headers = prepared.request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    // What reads events takes no cursor that a header cannot carry.
    if let Some(cursor) = cursor.and_then(|cursor| HeaderValue::try_from(cursor).ok()) {
        headers.insert("last-event-id", cursor);
    }
    Ok(prepared)
}

fn post(
    url: &Uri,
    mut form: Form,
    method: ClientAuthentication,
    asking: &Asking<'_>,
) -> Result<Prepared, Error> {
    if let Some(resource) = asking.resource {
        form.push("resource", resource);
    }
    let added = authenticate(&mut form, method, url, asking)?;
    let mut request = Request::new(Bytes::from(form.0));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.clone();
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, AGENT);
    if let Some(mut basic) = added.basic {
        basic.set_sensitive(true);
        headers.insert(AUTHORIZATION, basic);
    }
    Ok(Prepared { request, assertion: added.assertion })
}

/// Puts into the form what proves the client.
fn authenticate(
    form: &mut Form,
    method: ClientAuthentication,
    url: &Uri,
    asking: &Asking<'_>,
) -> Result<Added, Error> {
    let mut added = Added::default();
    let Some(client) = &asking.credentials.client else { return Ok(added) };
    if method == ClientAuthentication::None {
        return Ok(added);
    }
    match &client.proof {
        Proof::Key(key) => {
            let assertion = signed(key, &client.id, url, asking)?;
            if asking.assertion.client_id {
                form.push("client_id", &client.id);
            }
            form.push("client_assertion_type", ASSERTION_TYPE);
            form.push("client_assertion", assertion.expose());
            added.assertion = Some(assertion);
        }
        Proof::Assertion(assertion) => {
            // Its subject is the platform's name for the workload, so the client is named beside it.
            form.push("client_id", &client.id);
            form.push("client_assertion_type", ASSERTION_TYPE);
            form.push("client_assertion", assertion.expose());
        }
        // RFC 8705 §2 wants the name in every request: a certificate need not have it.
        Proof::Certificate => form.push("client_id", &client.id),
        Proof::Secret(secret) if method == ClientAuthentication::Post => {
            form.push("client_id", &client.id);
            form.push("client_secret", secret.expose());
        }
        Proof::Secret(secret) => {
            // "The client identifier is encoded using the application/x-www-form-urlencoded encoding algorithm"
            // (RFC 6749 §2.3.1), and the secret as well.
            let pair = format!("{}:{}", encoded(&client.id), encoded(secret.expose()));
            let basic = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
            added.basic = basic.ok();
        }
    }
    Ok(added)
}

/// An assertion for one request to this URL.
fn signed(
    key: &AssertionKey,
    client: &str,
    url: &Uri,
    asking: &Asking<'_>,
) -> Result<Secret, Error> {
    let endpoint = url.to_string();
    let audience = match asking.assertion.audience {
        // What makes a keeper has seen to it that the issuer is known.
        AssertionAudience::Issuer => asking.issuer.ok_or(Error::Unsigned)?,
        AssertionAudience::TokenEndpoint => &endpoint,
    };
    let random = randomness::unique()?;
    let assertion = match asking.assertion.typ {
        AssertionTyp::ClientAuthentication => key.make(client, audience, asking.now, random),
        AssertionTyp::Jwt => key.make_untyped(client, audience, asking.now, random),
    };
    assertion.map_err(|_| Error::Unsigned)
}

#[derive(Default)]
struct Form(String);

impl Form {
    fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&encoded(value));
    }

    fn push_if(&mut self, condition: bool, name: &str, value: &str) {
        if condition {
            self.push(name, value);
        }
    }
}

/// Form-encodes a value (RFC 6749 appendix B).
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'*' | b'-' | b'.' | b'_' => {
                text.push(char::from(byte));
            }
            b' ' => text.push('+'),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                text.push('%');
                text.push(char::from(HEX[usize::from(byte >> 4)]));
                text.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use tokenry_core::jose::jws::Compact;
    use tokenry_core::jose::{Algorithm, SigningKey, VerifyingKey, generate};

    use super::*;
    use crate::Provider;
    use crate::credentials::{Credentials, Which};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const ISSUER: &str = "https://as.example";

    /// Credentials that nobody has to wait for.
    fn presented(credentials: &Credentials) -> Presented {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(credentials.present(Which::Preferred)).unwrap()
    }

    fn by(credentials: &Presented) -> Asking<'_> {
        let assertion = Assertion::default();
        Asking { credentials, resource: None, issuer: Some(ISSUER), assertion, now: NOW }
    }

    fn refreshed(provider: &Provider, credentials: &Credentials) -> Request<Bytes> {
        let rules = provider.refresh.as_ref().unwrap();
        refresh(rules, &by(&presented(credentials)), &Secret::new("r1")).unwrap().request
    }

    fn obtained(provider: &Provider, credentials: &Credentials) -> Request<Bytes> {
        obtain(&provider.obtain, &by(&presented(credentials))).unwrap().request
    }

    fn key() -> SigningKey {
        let der = generate(Algorithm::Es256).unwrap();
        SigningKey::from_pkcs8(Algorithm::Es256, der.as_bytes()).unwrap()
    }

    fn body(request: &Request<Bytes>) -> &str {
        std::str::from_utf8(request.body()).unwrap()
    }

    #[test]
    fn truphone_gets_its_client_in_the_form() {
        let provider = Provider::named("truphone").unwrap();
        let credentials = Credentials::client("truphone", Secret::new("xx-43f3"));
        let request = obtained(&provider, &credentials);
        assert_eq!(request.method(), Method::POST);
        assert_eq!(
            body(&request),
            "grant_type=client_credentials&client_id=truphone&client_secret=xx-43f3"
        );
        let request = refreshed(&provider, &credentials);
        assert_eq!(
            body(&request),
            "grant_type=refresh_token&refresh_token=r1&client_id=truphone&client_secret=xx-43f3"
        );
    }

    #[test]
    fn simacan_gets_name_and_password_and_nothing_else() {
        let provider = Provider::named("simacan").unwrap();
        let credentials = Credentials::password("anna", Secret::new("p w"));
        let request = obtained(&provider, &credentials);
        assert_eq!(request.uri().path(), "/api/v1/auth/password");
        assert_eq!(body(&request), "username=anna&password=p+w");
        let request = refreshed(&provider, &credentials);
        assert_eq!(request.uri().path(), "/api/v1/auth/refresh");
        assert_eq!(body(&request), "refresh_token=r1");
    }

    #[test]
    fn tuinly_is_refreshed_without_a_client() {
        let provider = Provider::named("tuinly").unwrap();
        let credentials = Credentials::client("id", Secret::new("secret"));
        let request = refreshed(&provider, &credentials);
        assert_eq!(body(&request), "grant_type=refresh_token&refresh_token=r1");
        assert!(!request.headers().contains_key(AUTHORIZATION));
    }

    #[test]
    fn basic_is_form_encoded_before_it_is_base64() {
        let provider = Provider::at("https://as.example/token").unwrap();
        let credentials = Credentials::client("cl:i ent/ü", Secret::new("s+e c%r&t=:ä"));
        let request = obtained(&provider, &credentials);
        let header = &request.headers()[AUTHORIZATION];
        assert!(header.is_sensitive());
        let pair =
            STANDARD.decode(header.to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(
            std::str::from_utf8(&pair).unwrap(),
            "cl%3Ai+ent%2F%C3%BC:s%2Be+c%25r%26t%3D%3A%C3%A4"
        );
        assert_eq!(body(&request), "grant_type=client_credentials");
    }

    #[test]
    fn row_270_a_key_signs_an_assertion_for_the_issuer_alone_and_another_for_each_request() {
        let (key, provider) = (key(), Provider::at("https://as.example/token").unwrap());
        let public = VerifyingKey::from(key.public_jwk());
        let kid = key.kid().to_owned();
        let credentials = Credentials::private_key("billing", key);
        let assertion_of = |request: &Request<Bytes>| {
            assert!(!request.headers().contains_key(AUTHORIZATION));
            let fields = body(request).split('&').map(|pair| pair.split_once('=').unwrap());
            let fields: BTreeMap<_, _> = fields.collect();
            assert!(!fields.contains_key("client_secret"));
            assert_eq!(fields["client_assertion_type"], encoded(ASSERTION_TYPE));
            fields["client_assertion"].to_owned()
        };
        let mut seen = BTreeSet::new();
        for request in [
            obtained(&provider, &credentials),
            obtained(&provider, &credentials),
            refreshed(&provider, &credentials),
        ] {
            let assertion = assertion_of(&request);
            let compact = Compact::parse(&assertion).unwrap();
            assert_eq!(compact.header().typ(), Some("client-authentication+jwt"));
            assert_eq!(compact.header().kid(), Some(kid.as_str()));
            let claims = compact.verify(&public).unwrap().claims().unwrap();
            assert_eq!(claims.iss.as_deref(), Some("billing"));
            assert_eq!(claims.sub.as_deref(), Some("billing"));
            assert_eq!(claims.aud.as_ref().unwrap().sole(), Some(ISSUER));
            assert_eq!(claims.exp, Some(NOW + std::time::Duration::from_secs(60)));
            seen.insert(claims.jti.unwrap());
        }
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn row_272_the_resource_goes_with_every_request() {
        let provider = Provider::at("https://as.example/token").unwrap();
        let credentials = presented(&Credentials::client("a", Secret::new("b")));
        let resource = Some("https://api.example/v1?x=y");
        let asking = Asking { resource, ..by(&credentials) };
        let rules = provider.refresh.as_ref().unwrap();
        for request in [
            obtain(&provider.obtain, &asking).unwrap().request,
            refresh(rules, &asking, &Secret::new("r1")).unwrap().request,
        ] {
            let expected = "resource=https%3A%2F%2Fapi.example%2Fv1%3Fx%3Dy";
            assert!(body(&request).split('&').any(|pair| pair == expected), "{}", body(&request));
        }
    }

    #[test]
    fn a_platforms_assertion_goes_beside_the_name_of_the_client() {
        let provider = Provider::at("https://as.example/token").unwrap();
        let credentials = Credentials::assertion("billing", Secret::new("e.y.J"));
        let request = obtained(&provider, &credentials);
        assert_eq!(
            body(&request),
            "grant_type=client_credentials&client_id=billing\
             &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
             &client_assertion=e.y.J"
        );
        assert!(!request.headers().contains_key(AUTHORIZATION));
    }

    #[test]
    fn row_093_a_client_with_a_certificate_is_named_in_the_form() {
        let provider = Provider::at("https://as.example/token").unwrap();
        let request = obtained(&provider, &Credentials::certificate("billing"));
        assert_eq!(body(&request), "grant_type=client_credentials&client_id=billing");
        assert!(!request.headers().contains_key(AUTHORIZATION));
    }
}
