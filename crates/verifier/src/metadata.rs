//! What an API tells about itself (RFC 9728).

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde::Serialize;
use tokenry_core::Scope;

use crate::Verifier;
use crate::dpop::is_http_url;

/// Where the metadata stand, between the host and the path of the resource (§3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata of an API, from which clients learn where to get tokens for it.
///
/// ```no_run
/// use axum::{Router, body::Body, routing::get};
/// use tokenry_verifier::Verifier;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let verifier = Verifier::builder("https://id.example").audience("https://api.example").build()?;
/// let metadata = verifier
///     .resource_metadata("https://api.example")?
///     .scopes_supported(&"invoices:read".parse()?);
/// let path = metadata.path().to_owned();
/// let app: Router = Router::new()
///     .route("/invoices", get(|| async { "all of them" }))
///     .layer(verifier.layer().resource_metadata(metadata.url()))
///     // After the layer, so that no token is needed for it.
///     .route(&path, get(async move || metadata.response::<Body>()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ResourceMetadata {
    url: String,
    path: String,
    document: Document,
}

/// "Claims with zero elements MUST be omitted" (§3.2).
#[derive(Clone, Debug, Serialize)]
struct Document {
    resource: String,
    authorization_servers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    tls_client_certificate_bound_access_tokens: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dpop_signing_alg_values_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "is_false")]
    dpop_bound_access_tokens_required: bool,
}

/// §2: the default of all flags is false.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Verifier {
    /// The metadata of the API at this address, which is the `resource` that clients ask tokens for.
    ///
    /// # Errors
    ///
    /// [`NotAResource`]: it is no https (or http) URL, or it has a fragment.
    pub fn resource_metadata(
        &self,
        resource: impl Into<String>,
    ) -> Result<ResourceMetadata, NotAResource> {
        let resource = resource.into();
        if !is_http_url(&resource) {
            return Err(NotAResource(resource));
        }
        let (url, path) = well_known(&resource);
        let algs = self.dpop().map(|dpop| dpop.algs().to_vec()).unwrap_or_default();
        let document = Document {
            resource,
            authorization_servers: self.policies().map(|policy| policy.issuer.clone()).collect(),
            scopes_supported: Vec::new(),
            bearer_methods_supported: ["header"],
            resource_name: None,
            resource_documentation: None,
            tls_client_certificate_bound_access_tokens: false,
            dpop_bound_access_tokens_required: self.bound_only() && !algs.is_empty(),
            dpop_signing_alg_values_supported: algs,
        };
        Ok(ResourceMetadata { url, path, document })
    }
}

impl ResourceMetadata {
    /// What tokens for this API may allow.
    #[must_use]
    pub fn scopes_supported(mut self, scopes: &Scope) -> Self {
        self.document.scopes_supported = scopes.tokens().map(str::to_owned).collect();
        self
    }

    /// What the API is called, for people.
    #[must_use]
    pub fn resource_name(mut self, name: impl Into<String>) -> Self {
        self.document.resource_name = Some(name.into());
        self
    }

    /// The address of what developers should read.
    #[must_use]
    pub fn resource_documentation(mut self, url: impl Into<String>) -> Self {
        self.document.resource_documentation = Some(url.into());
        self
    }

    /// Says that tokens may be bound to a client certificate here; see
    /// [`ClientCertificate`](crate::ClientCertificate).
    #[must_use]
    pub const fn certificate_bound_tokens(mut self) -> Self {
        self.document.tls_client_certificate_bound_access_tokens = true;
        self.document.dpop_bound_access_tokens_required = false;
        self
    }

    /// The address of the metadata, for [`resource_metadata`](crate::VerifierLayer::resource_metadata).
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path under which they have to be served, without a token.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The document.
    pub fn to_json(&self) -> Bytes {
        // Texts and flags are all it has, so that the other branch is never taken.
        serde_json::to_vec(&self.document).unwrap_or_default().into()
    }

    /// The answer to a request for them.
    pub fn response<B: From<Bytes>>(&self) -> Response<B> {
        let mut response = Response::new(B::from(self.to_json()));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

/// A text that names no resource (RFC 9728 §2).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("resource must be an https URL without a fragment, got `{0}`")]
pub struct NotAResource(pub String);

/// The address of the metadata of a resource, and its path.
///
/// "by inserting a well-known URI string into the protected resource's resource identifier between the host component
/// and the path and/or query components, if any" (§3.1); a slash that is the whole path goes.
fn well_known(resource: &str) -> (String, String) {
    let host = resource.find("://").map_or(0, |at| at + 3);
    let end = resource[host..].find(['/', '?']).map_or(resource.len(), |at| host + at);
    let (origin, rest) = resource.split_at(end);
    let rest = match rest.strip_prefix('/') {
        Some(after) if after.is_empty() || after.starts_with('?') => after,
        _ => rest,
    };
    let path = rest.split('?').next().unwrap_or_default();
    (format!("{origin}{WELL_KNOWN}{rest}"), format!("{WELL_KNOWN}{path}"))
}

#[cfg(test)]
mod tests {
    use super::well_known;

    #[test]
    fn row_251_the_metadata_stand_between_host_and_path() {
        for (resource, expected, path) in [
            ("https://a.example", "https://a.example/W", "/W"),
            ("https://a.example/", "https://a.example/W", "/W"),
            ("https://a.example/b", "https://a.example/W/b", "/W/b"),
            ("https://a.example/b/", "https://a.example/W/b/", "/W/b/"),
            ("https://a.example:1/b?c=/d", "https://a.example:1/W/b?c=/d", "/W/b"),
            ("https://a.example?c=d", "https://a.example/W?c=d", "/W"),
            ("https://a.example/?c=d", "https://a.example/W?c=d", "/W"),
        ] {
            let full = |text: &str| text.replace("/W", super::WELL_KNOWN);
            assert_eq!(well_known(resource), (full(expected), full(path)), "{resource}");
        }
    }
}
