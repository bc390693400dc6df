//! Token requests as bytes (RFC 6749 §2.3.1, §4.3.2, §4.4.2, §6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use tokenry_core::Secret;

use crate::credentials::{Client, Credentials};
use crate::provider::{ClientAuthentication, CredentialsGrant, Obtain, Refresh};

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tokenry-client/", env!("CARGO_PKG_VERSION")));

/// A request with the client's or the user's credentials.
pub(crate) fn obtain(rules: &Obtain, credentials: &Credentials) -> Request<Bytes> {
    let mut form = Form::default();
    match rules.grant {
        CredentialsGrant::ClientCredentials => {
            form.push_if(rules.send_grant_type, "grant_type", "client_credentials");
        }
        CredentialsGrant::Password => {
            form.push_if(rules.send_grant_type, "grant_type", "password");
            if let Some(user) = &credentials.user {
                form.push("username", &user.name);
                form.push("password", user.password.expose());
            }
        }
    }
    if let Some(scope) = &rules.scope {
        form.push("scope", scope);
    }
    post(&rules.url, form, rules.client_authentication, credentials.client.as_ref())
}

/// A request with a refresh token.
pub(crate) fn refresh(
    rules: &Refresh,
    credentials: &Credentials,
    refresh_token: &Secret,
) -> Request<Bytes> {
    let mut form = Form::default();
    form.push_if(rules.send_grant_type, "grant_type", "refresh_token");
    form.push("refresh_token", refresh_token.expose());
    post(&rules.url, form, rules.client_authentication, credentials.client.as_ref())
}

fn post(
    url: &Uri,
    mut form: Form,
    method: ClientAuthentication,
    client: Option<&Client>,
) -> Request<Bytes> {
    let mut basic = None;
    match (method, client) {
        (ClientAuthentication::None, _) | (_, None) => {}
        (ClientAuthentication::Post, Some(client)) => {
            form.push("client_id", &client.id);
            form.push("client_secret", client.secret.expose());
        }
        (ClientAuthentication::Basic, Some(client)) => {
            // "The client identifier is encoded using the application/x-www-form-urlencoded encoding algorithm"
            // (RFC 6749 §2.3.1), and the secret as well.
            let pair = format!("{}:{}", encoded(&client.id), encoded(client.secret.expose()));
            basic = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok();
        }
    }
    let mut request = Request::new(Bytes::from(form.0));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.clone();
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, AGENT);
    if let Some(mut basic) = basic {
        basic.set_sensitive(true);
        headers.insert(AUTHORIZATION, basic);
    }
    request
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
    use super::*;
    use crate::Provider;

    fn body(request: &Request<Bytes>) -> &str {
        std::str::from_utf8(request.body()).unwrap()
    }

    #[test]
    fn truphone_gets_its_client_in_the_form() {
        let provider = Provider::named("truphone").unwrap();
        let credentials = Credentials::client("truphone", Secret::new("xx-43f3"));
        let request = obtain(&provider.obtain, &credentials);
        assert_eq!(request.method(), Method::POST);
        assert_eq!(
            body(&request),
            "grant_type=client_credentials&client_id=truphone&client_secret=xx-43f3"
        );
        let request = refresh(provider.refresh.as_ref().unwrap(), &credentials, &Secret::new("r1"));
        assert_eq!(
            body(&request),
            "grant_type=refresh_token&refresh_token=r1&client_id=truphone&client_secret=xx-43f3"
        );
    }

    #[test]
    fn simacan_gets_name_and_password_and_nothing_else() {
        let provider = Provider::named("simacan").unwrap();
        let credentials = Credentials::password("anna", Secret::new("p w"));
        let request = obtain(&provider.obtain, &credentials);
        assert_eq!(request.uri().path(), "/api/v1/auth/password");
        assert_eq!(body(&request), "username=anna&password=p+w");
        let request = refresh(provider.refresh.as_ref().unwrap(), &credentials, &Secret::new("r1"));
        assert_eq!(request.uri().path(), "/api/v1/auth/refresh");
        assert_eq!(body(&request), "refresh_token=r1");
    }

    #[test]
    fn tuinly_is_refreshed_without_a_client() {
        let provider = Provider::named("tuinly").unwrap();
        let credentials = Credentials::client("id", Secret::new("secret"));
        let request = refresh(provider.refresh.as_ref().unwrap(), &credentials, &Secret::new("r1"));
        assert_eq!(body(&request), "grant_type=refresh_token&refresh_token=r1");
        assert!(!request.headers().contains_key(AUTHORIZATION));
    }

    #[test]
    fn basic_is_form_encoded_before_it_is_base64() {
        let provider = Provider::at("https://as.example/token").unwrap();
        let credentials = Credentials::client("cl:i ent/ü", Secret::new("s+e c%r&t=:ä"));
        let request = obtain(&provider.obtain, &credentials);
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
}
