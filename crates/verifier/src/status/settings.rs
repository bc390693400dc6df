//! Settings of a verifier that looks tokens up in status lists.

use std::fmt;
use std::sync::Arc;

use super::StatusListSource;
use super::followed::Followed;
use super::source::HttpSource;
use crate::fetch::HttpSettings;
use crate::{BuildError, VerifierBuilder};

impl VerifierBuilder {
    /// Looks tokens up in the status lists that they name (draft-ietf-oauth-status-list): a token that was revoked is
    /// refused as soon as its list says so, which takes as long as a list may be kept (`ttl`).
    ///
    /// Without it the claim `status` means nothing here, as any claim that is not understood (RFC 7519 §4), and a token
    /// is good until it expires.
    ///
    /// ```no_run
    /// # use tokenry_verifier::{BuildError, StatusListSettings, Verifier};
    /// # fn f() -> Result<Verifier, BuildError> {
    /// Verifier::builder("https://id.example/realms/main")
    ///     .audience("https://api.example")
    ///     .status_lists(StatusListSettings::new())
    ///     .build()
    /// # }
    /// ```
    #[must_use]
    pub fn status_lists(mut self, settings: StatusListSettings) -> Self {
        self.current.status_lists = Some(settings);
        self
    }
}

/// How tokens of an issuer are looked up in status lists.
///
/// A list is fetched when the first token names it, and again before its `ttl` ends as long as such tokens come; requests
/// wait only for the first fetch, and three seconds at most (see [`max_wait`](VerifierBuilder::max_wait)). It must be
/// signed with a key of the issuer. While it cannot be fetched, the copy at hand is used until it expires.
///
/// | status of a token | what becomes of it |
/// | --- | --- |
/// | 0 | it is good |
/// | 1 (invalid), 2 (suspended), all others | [`Revoked`](crate::Rejection::Revoked) |
/// | its `idx` is beyond the list, its `uri` is not followed | [`UnknownStatus`](crate::Rejection::UnknownStatus) |
/// | the claim is malformed | [`Claims`](crate::Rejection::Claims) |
/// | there is no list that can be used | its issuer is [asked](VerifierBuilder::introspection) where that is set; else [`Unavailable`](crate::Rejection::Unavailable), which is 503 |
///
/// A token that names no list is none the worse for it. Where the issuer is asked about every token anyway, its word
/// says it all, and no list is looked at.
///
/// For each issuer 1,024 lists are held at most, of 64 MiB altogether. A list that no token has named for twice its `ttl`
/// is no longer fetched, and goes.
#[derive(Clone, Default)]
pub struct StatusListSettings {
    source: Option<Arc<dyn StatusListSource>>,
    prefixes: Vec<String>,
}

impl StatusListSettings {
    /// Fetches lists over HTTP, with the builder's settings of connections.
    ///
    /// A token says where its list is, and only lists of its issuer's own origin (scheme, host and port) are fetched,
    /// unless [`allow_uri_prefix`](Self::allow_uri_prefix) says that there are others.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the lists from elsewhere. Which URIs are followed stays as it is.
    pub fn source(source: impl StatusListSource) -> Self {
        Self { source: Some(Arc::new(source)), prefixes: Vec::new() }
    }

    /// Fetches also lists whose address is this one, or in the folder of this name, such as `https://status.example` or
    /// `https://cdn.example/lists`. May be given more than once.
    #[must_use]
    pub fn allow_uri_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefixes.push(prefix.into());
        self
    }

    /// Which lists are followed.
    pub(super) fn followed(
        &self,
        issuer: &str,
        http: &HttpSettings,
    ) -> Result<Followed, BuildError> {
        Followed::new(issuer, &self.prefixes, http.allow_plain_http)
            .ok_or(BuildError::StatusListPrefix)
    }

    /// Where the lists come from.
    pub(super) fn open(
        &self,
        http: &HttpSettings,
    ) -> Result<Arc<dyn StatusListSource>, BuildError> {
        match &self.source {
            Some(source) => Ok(Arc::clone(source)),
            None => Ok(Arc::new(HttpSource(http.clone().build()?))),
        }
    }
}

impl fmt::Debug for StatusListSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusListSettings")
            .field("prefixes", &self.prefixes)
            .finish_non_exhaustive()
    }
}
