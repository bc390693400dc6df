//! A provider that differs in something from how it was read.

use std::time::Duration;

use super::file::url;
use super::{
    ClientAuthentication, CredentialsGrant, FeedPlace, MtlsAliases, Provider, ProviderError,
};
use crate::hosts::AllowedHosts;

impl Provider {
    /// Obtains tokens at another URL; also refreshes there, if that was the same.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Url`] if the URL is not https, nor http to this machine.
    pub fn with_token_url(mut self, token_url: &str) -> Result<Self, ProviderError> {
        let url = url(token_url).map_err(|what| ProviderError::Url { what })?;
        if let Some(refresh) = &mut self.refresh
            && refresh.url == self.obtain.url
        {
            refresh.url = url.clone();
            // What another server hands out is not for this one to see.
            refresh.revocation = None;
        }
        self.obtain.url = url;
        // Whoever names a URL means it, certificate or not.
        self.mtls = MtlsAliases::default();
        self.feed = FeedPlace::Unknown;
        Ok(self)
    }

    /// The server's issuer identifier (RFC 8414 §2), which the assertions of a client with a key are for.
    #[must_use]
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// The same provider for a client that has a certificate.
    pub(crate) fn over_mtls(mut self) -> Self {
        let MtlsAliases { token, revocation, feed } = std::mem::take(&mut self.mtls);
        if let Some(refresh) = &mut self.refresh
            && revocation.is_some()
        {
            refresh.revocation = revocation;
        }
        if let Some(url) = feed {
            self.feed = FeedPlace::Metadata(Some(url));
        }
        if let Some(url) = token {
            if let Some(refresh) = &mut self.refresh
                && refresh.url == self.obtain.url
            {
                refresh.url = url.clone();
            }
            self.obtain.url = url;
        }
        self
    }

    /// Refreshes tokens at another URL.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Url`] if the URL is not https, nor http to this machine.
    pub fn with_refresh_url(mut self, refresh_url: &str) -> Result<Self, ProviderError> {
        let url = url(refresh_url).map_err(|what| ProviderError::Url { what })?;
        if let Some(refresh) = &mut self.refresh {
            refresh.url = url;
            refresh.revocation = None;
            self.mtls.revocation = None;
        }
        Ok(self)
    }

    /// Revokes refresh tokens there (RFC 7009), if any are used. To name another token or refresh URL forgets it.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Url`] if the URL is not https, nor http to this machine.
    pub fn with_revocation_url(mut self, revocation_url: &str) -> Result<Self, ProviderError> {
        let url = url(revocation_url).map_err(|what| ProviderError::Url { what })?;
        if let Some(refresh) = &mut self.refresh {
            refresh.revocation = Some(url);
            self.mtls.revocation = None;
        }
        Ok(self)
    }

    /// Follows what the issuer revokes there, instead of where its metadata say; see
    /// [`follow_revocations`](crate::KeeperBuilder::follow_revocations). To name another token URL forgets it.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Url`] if the URL is not https, nor http to this machine.
    pub fn with_revocation_feed_url(mut self, feed_url: &str) -> Result<Self, ProviderError> {
        let url = url(feed_url).map_err(|what| ProviderError::Url { what })?;
        self.feed = FeedPlace::At(url);
        self.mtls.feed = None;
        Ok(self)
    }

    /// Lets a refresh token that was used up be presented again for so long, as the server does.
    #[must_use]
    pub fn with_refresh_grace(mut self, grace: Duration) -> Self {
        if let Some(refresh) = &mut self.refresh {
            refresh.grace = Some(grace);
        }
        self
    }

    /// Lets tokens go to other hosts instead.
    #[must_use]
    pub fn with_api_hosts(mut self, hosts: AllowedHosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Authenticates the client in another way, for obtaining and, unless that names no client, for refreshing.
    #[must_use]
    pub fn with_client_authentication(mut self, method: ClientAuthentication) -> Self {
        self.obtain.client_authentication = method;
        if let Some(refresh) = &mut self.refresh
            && refresh.client_authentication != ClientAuthentication::None
        {
            refresh.client_authentication = method;
        }
        self
    }

    /// Uses credentials with another grant, and as often as is usual for it: a password every 30 s at most.
    #[must_use]
    pub fn with_grant(mut self, grant: CredentialsGrant) -> Self {
        self.obtain.grant = grant;
        self.obtain.interval = grant.interval();
        self
    }

    /// Sends credentials again no sooner than after this time.
    #[must_use]
    pub fn with_credentials_interval(mut self, interval: Duration) -> Self {
        self.obtain.interval = interval;
        self
    }

    /// Asks for this scope.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.obtain.scope = Some(scope.into());
        self
    }

    /// Does not use refresh tokens, even if they come.
    #[must_use]
    pub fn without_refresh(mut self) -> Self {
        self.refresh = None;
        self
    }
}
