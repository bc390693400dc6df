//! Questions over HTTP (RFC 7662 §2.1), with the secret of a client.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use tokenry_core::Secret;
use tokio::sync::Mutex;

use super::IntrospectionSource;
use super::answer::MAX_ANSWER_LEN;
use crate::fetch::{Discovery, Http, address, encoded};
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
    /// The value of `Authorization`, which says that it is sensitive.
    Basic(HeaderValue),
    /// What stands in the form besides the token.
    Post(Secret),
}

impl Client {
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
            Client::Basic(header) => request = request.header(AUTHORIZATION, header.clone()),
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
