//! The revocation feed: an answer that does not end, for clients that check tokens.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, header};
use tokenry_core::request::{Credentials, GrantType, Received};

use super::{Failure, Walk, Who};
use crate::clock::random;
use crate::feed::{NotFollowing, Reads};
use crate::http_answer::{Body, stream};

/// From where to go on (WHATWG HTML §9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a request without a body is read as.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

impl Walk<'_> {
    /// `who` is filled where the request is refused.
    pub(super) async fn follow(
        &self,
        parts: &Parts,
        received: &Received<'_>,
        who: &mut Who,
    ) -> Result<Response<Body>, Failure> {
        let received = match parts.method {
            http::Method::GET => without_body(received),
            _ => *received,
        };
        let credentials = Credentials::parse(&received)?;
        let client = self.client_of(&credentials, None, who).await?;
        let client = client.registration();
        let grants = [GrantType::Password, GrantType::RefreshToken, GrantType::TokenExchange];
        let reads = Reads {
            realm: self.state.realm.name.clone(),
            client: client.id.clone(),
            everything: !client.particulars().introspects.is_empty(),
            users: grants.into_iter().any(|grant| client.grants.contains(grant)),
        };
        let cursor = parts.headers.get(&LAST_EVENT_ID).map(HeaderValue::as_bytes);
        let [random] = random().unwrap_or_default();
        let followed = self.app.feed.follow(reads, cursor, random).await;
        let told = followed.map_err(|refused| match refused {
            NotFollowing::Full => {
                self.app.metrics.shed.inc();
                Failure::Shed
            }
            NotFollowing::Store(error) => {
                tracing::error!(%error, "the log of revocations was not read");
                Failure::Unavailable("the store did not say what was revoked")
            }
        })?;
        tracing::info!(
            realm = self.state.realm.name,
            client = client.id,
            peer = %self.peer,
            request_id = self.request_id,
            resumed = cursor.is_some(),
            "revocations are followed"
        );
        let mut response = stream(told);
        let headers = response.headers_mut();
        let content_type = const { HeaderValue::from_static("text/event-stream") };
        headers.insert(header::CONTENT_TYPE, content_type);
        let no_store = const { HeaderValue::from_static("no-store") };
        headers.insert(header::CACHE_CONTROL, no_store);
        // Proxies that collect an answer before they pass it on would make it useless.
        let unbuffered = const { HeaderValue::from_static("no") };
        headers.insert(HeaderName::from_static("x-accel-buffering"), unbuffered);
        Ok(self.voice.decorated(response))
    }
}

/// A request that has only a head: the credentials stand in it, or are the certificate of the connection. For that alone
/// the URL may say whose it is (RFC 8705 §2: the client "MUST include the client_id parameter").
fn without_body<'a>(received: &Received<'a>) -> Received<'a> {
    let named = received
        .query
        .filter(|query| query.strip_prefix(b"client_id=").is_some_and(|id| !id.contains(&b'&')));
    Received {
        content_type: Some(FORM),
        body: named.unwrap_or_default(),
        query: received.query.filter(|_| named.is_none()),
        ..*received
    }
}
