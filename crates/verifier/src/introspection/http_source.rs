//! Questions over HTTP (RFC 7662 §2.1), with the secret of a client.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use tokenry_core::Secret;
use tokio::sync::Mutex;

use super::IntrospectionSource;
use super::answer::MAX_ANSWER_LEN;
use crate::fetch::{Discovery, Http, address};
use crate::{BoxFuture, FetchError};

/// Asks over HTTP and TLS. Redirects are not followed.
pub(super) struct HttpSource {
    http: Http,
    endpoint: Option<Uri>,
    discovery: Discovery,
    /// Held while the metadata are looked up: those that come meanwhile wait, instead of fetching them as well.
    looking_up: Mutex<()>,
    client: Client,
}

/// How the asking client shows who it is, ready to be sent.
#[derive(Clone)]
pub(super) enum Client {
    /// The value of `Authorization`.
    Basic(Secret),
    /// What stands in the form besides the token.
    Post(Secret),
}

impl Client {
    /// "The client identifier is encoded using the application/x-www-form-urlencoded encoding algorithm" (RFC 6749
    /// §2.3.1), and the secret as well.
    pub(super) fn basic(id: &str, secret: &Secret) -> Self {
        let pair = Secret::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
        Self::Basic(Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair.expose()))))
    }

    pub(super) fn post(id: &str, secret: &Secret) -> Self {
        let (id, secret) = (encoded(id), Secret::new(encoded(secret.expose())));
        Self::Post(Secret::new(format!("&client_id={id}&client_secret={}", secret.expose())))
    }
}

impl HttpSource {
    pub(super) fn new(http: Http, endpoint: Option<Uri>, client: Client) -> Self {
        let (discovery, looking_up) = (Discovery::default(), Mutex::default());
        Self { http, endpoint, discovery, looking_up, client }
    }

    async fn ask(&self, issuer: &str, token: &str) -> Result<Bytes, FetchError> {
        let uri = match &self.endpoint {
            Some(uri) => uri.clone(),
            None => self.find(issuer).await?,
        };
        let mut form = format!("token={}&token_type_hint=access_token", encoded(token));
        let mut request = Request::post(uri)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match &self.client {
            Client::Basic(header) => {
                let mut header = HeaderValue::try_from(header.expose())
                    .map_err(|_| FetchError::Address("the client has no header".to_owned()))?;
                header.set_sensitive(true);
                request = request.header(AUTHORIZATION, header);
            }
            Client::Post(more) => form.push_str(more.expose()),
        }
        let answer = self.http.ask(request, form.into(), MAX_ANSWER_LEN).await;
        if let Err(FetchError::Connection(_) | FetchError::Status(404 | 405 | 410)) = &answer {
            // Perhaps the endpoint has moved.
            self.discovery.forget();
        }
        Ok(answer?.1)
    }

    async fn find(&self, issuer: &str) -> Result<Uri, FetchError> {
        let metadata = {
            let _only = self.looking_up.lock().await;
            self.discovery.metadata(&self.http, issuer).await?
        };
        let none = || FetchError::Metadata("no introspection_endpoint".to_owned());
        let endpoint = metadata.introspection_endpoint.as_deref().ok_or_else(none)?;
        address(endpoint, "introspection_endpoint")
    }
}

impl IntrospectionSource for HttpSource {
    fn introspect<'a>(
        &'a self,
        issuer: &'a str,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(self.ask(issuer, token))
    }
}

/// Form-encodes a value (RFC 6749 appendix B).
fn encoded(value: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'*' | b'-' | b'.' | b'_' => {
                text.push(char::from(byte));
            }
            b' ' => text.push('+'),
            _ => {
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

    #[test]
    fn client_and_secret_are_form_encoded_before_they_are_base64() {
        let secret = Secret::new("p%s+s w:\u{e4}/=");
        let Client::Basic(header) = Client::basic("a:b", &secret) else { unreachable!() };
        let pair = BASE64_STANDARD.decode(header.expose().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(pair).unwrap(), "a%3Ab:p%25s%2Bs+w%3A%C3%A4%2F%3D");
        let Client::Post(form) = Client::post("a&b", &secret) else { unreachable!() };
        assert_eq!(form.expose(), "&client_id=a%26b&client_secret=p%25s%2Bs+w%3A%C3%A4%2F%3D");
    }
}
