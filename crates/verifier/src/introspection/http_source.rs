//! Questions over HTTP (RFC 7662 §2.1), with the secret of a client.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Uri};
use tokenry_core::Secret;
use tokio::sync::Mutex;

use super::IntrospectionSource;
use super::answer::MAX_ANSWER_LEN;
use crate::fetch::{Discovery, Http, address, basic, encoded};
use crate::{BoxFuture, ClientSecret, FetchError};

/// Asks over HTTP and TLS. Redirects are not followed.
pub(super) struct HttpSource {
    http: Http,
    endpoint: Option<Uri>,
    discovery: Discovery,
    /// Held while the metadata are looked up: those that come meanwhile wait, instead of fetching them as well.
    looking_up: Mutex<()>,
    client: Client,
}

/// The asking client.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) method: Method,
    pub(super) id: String,
    pub(super) secret: ClientSecret,
}

/// How it shows who it is (RFC 6749 §2.3.1).
#[derive(Clone, Copy)]
pub(super) enum Method {
    /// In the header `Authorization`.
    Basic,
    /// In the form, besides the token.
    Post,
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
        let secret = self.client.secret.held().await?;
        let mut answer = self.send(uri.clone(), token, &secret).await;
        // RFC 7662 §2.3. A secret that was changed meanwhile may be the cause.
        if let Err(FetchError::Status(401)) = &answer
            && let Some(newer) = self.client.secret.instead_of(&secret).await
        {
            answer = self.send(uri, token, &newer).await;
        }
        if let Err(FetchError::Connection(_) | FetchError::Status(404 | 405 | 410)) = &answer {
            // Perhaps the endpoint has moved.
            self.discovery.forget();
        }
        answer
    }

    async fn send(&self, uri: Uri, token: &str, secret: &Secret) -> Result<Bytes, FetchError> {
        let mut form = format!("token={}&token_type_hint=access_token", encoded(token));
        let mut request = Request::post(uri)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let Client { method, id, .. } = &self.client;
        match method {
            Method::Basic => request = request.header(AUTHORIZATION, basic(id, secret)),
            Method::Post => {
                let (id, secret) = (encoded(id), Secret::new(encoded(secret.expose())));
                form.push_str("&client_id=");
                form.push_str(&id);
                form.push_str("&client_secret=");
                form.push_str(secret.expose());
            }
        }
        Ok(self.http.ask(request, form.into(), MAX_ANSWER_LEN).await?.1)
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
