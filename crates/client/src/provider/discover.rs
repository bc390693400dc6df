//! What a server publishes about itself, fetched (RFC 8414 §3, OpenID Connect Discovery §4).

use bytes::Bytes;
use http::Request;
use http::header::ACCEPT;
use tokenry_core::realm::Issuer;

use super::{Provider, ProviderError};
use crate::Transport;

impl Provider {
    /// The server of this issuer, by the metadata that it publishes; see [`Provider::from_metadata`].
    ///
    /// They are looked for where RFC 8414 §3 puts them, then where OpenID Connect Discovery does.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Transport`] if there is no answer, [`ProviderError::Metadata`] if it is none about this issuer.
    pub async fn discover(issuer: &str, transport: &dyn Transport) -> Result<Self, ProviderError> {
        let wrong = |what: String| ProviderError::Metadata { what };
        let parsed: Issuer =
            issuer.parse().map_err(|error| wrong(format!("of {issuer:?}: {error}")))?;
        let (origin, path) = (parsed.origin(), parsed.path());
        let mut last = None;
        for place in [
            format!("{origin}/.well-known/oauth-authorization-server{path}"),
            format!("{origin}{path}/.well-known/openid-configuration"),
        ] {
            let request = Request::get(&place)
                .header(ACCEPT, "application/json")
                .body(Bytes::new())
                .map_err(|error| wrong(format!("at {place}: {error}")))?;
            let answer = transport.send(request).await?;
            if !answer.status().is_success() {
                last = Some(wrong(format!("at {place}: it answered {}", answer.status().as_u16())));
                continue;
            }
            match Self::from_metadata(issuer, answer.body()) {
                Ok(provider) => return Ok(provider),
                Err(ProviderError::Metadata { what }) => {
                    last = Some(wrong(format!("at {place}: {what}")));
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| wrong(format!("of {issuer:?}: none"))))
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::TransportError;

    /// A server that has metadata at one place.
    async fn discover(
        issuer: &str,
        place: &'static str,
        body: String,
    ) -> Result<Provider, ProviderError> {
        let transport = move |request: Request<Bytes>| {
            let there = request.uri() == place;
            let body = if there { body.clone() } else { String::new() };
            let status = if there { 200 } else { 404 };
            async move {
                Ok::<_, TransportError>(
                    Response::builder().status(status).body(body.into()).unwrap(),
                )
            }
        };
        Provider::discover(issuer, &transport).await
    }

    fn metadata(issuer: &str) -> String {
        format!(r#"{{"issuer":"{issuer}","token_endpoint":"https://as.example/r/token"}}"#)
    }

    #[tokio::test]
    async fn metadata_are_found_in_either_place() {
        let issuer = "https://as.example/r";
        for place in [
            "https://as.example/.well-known/oauth-authorization-server/r",
            "https://as.example/r/.well-known/openid-configuration",
        ] {
            let provider = discover(issuer, place, metadata(issuer)).await.unwrap();
            assert_eq!(provider.token_url(), "https://as.example/r/token");
            let error = discover(issuer, place, metadata("https://other.example")).await;
            assert!(matches!(error, Err(ProviderError::Metadata { .. })));
        }
        let error = discover(issuer, "https://as.example/", metadata(issuer)).await.unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
        let error = discover("http://as.example", "", String::new()).await.unwrap_err();
        assert!(error.to_string().contains("https"), "{error}");
    }
}
