//! Refresh tokens that are given up are revoked (RFC 7009), so that no family of theirs lives on.

use std::time::Duration;

use http::{StatusCode, Uri};
use tokenry_core::Secret;

use crate::credentials::{Secrets, Which};
use crate::exchange::Exchange;
use crate::provider::ClientAuthentication;
use crate::transport::TransportError;
use crate::{Event, request, response, rt};

/// How long one revocation may take: a caller may be waiting for the token that comes after it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a refresh token is not revoked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// No answer. It is tried again after the next token.
    #[error("no answer from the revocation endpoint: {0}")]
    Transport(#[from] TransportError),
    /// The server cannot at the moment. It is tried again after the next token.
    #[error("the revocation endpoint answered {status}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
    /// The server will not. It is not asked again.
    #[error("the revocation endpoint answered {status}, and is not asked again")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The client's secret could not be read, nothing could be signed, or the endpoint does not take it. It is tried again after the next
    /// token.
    #[error("the client could not be proven to the revocation endpoint")]
    Unproven,
}

impl Exchange {
    /// Whether refresh tokens can be revoked.
    pub(crate) fn revocation(&self) -> Option<&Uri> {
        self.provider.refresh.as_ref().and_then(|rules| rules.revocation.as_ref())
    }

    /// Revokes what was abandoned, once each. What cannot be reached stays for the next time.
    pub(crate) async fn revoke_abandoned(&self) {
        let Some(url) = self.revocation() else { return };
        for token in self.ledger.abandoned().await {
            let revoked = self.revoke(url, &token).await;
            let is_over = matches!(revoked, Ok(()) | Err(RevocationError::Refused { .. }));
            if is_over && let Err(error) = self.ledger.settle(&token).await {
                // It is revoked again, which does no harm (RFC 7009 §2.2).
                self.tell(Event::RefreshTokenNotStored { error });
            }
            self.tell(match revoked {
                Ok(()) => Event::RefreshTokenRevoked,
                Err(error) => Event::RefreshTokenNotRevoked { error },
            });
        }
    }

    /// With the client's secret, and with the other one if that is refused.
    async fn revoke(&self, url: &Uri, token: &Secret) -> Result<(), RevocationError> {
        let revoked = self.revoke_as(url, token, Which::Preferred).await;
        let two = self.credentials.secrets().is_some_and(Secrets::are_two);
        match revoked {
            Err(RevocationError::Unproven) if two => self.revoke_as(url, token, Which::Other).await,
            revoked => revoked,
        }
    }

    async fn revoke_as(
        &self,
        url: &Uri,
        token: &Secret,
        which: Which,
    ) -> Result<(), RevocationError> {
        let credentials = self.credentials.present(which).await;
        let credentials = credentials.map_err(|_| RevocationError::Unproven)?;
        let asking = self.asking(&credentials);
        let prepared = request::revoke(url, self.known_as(), &asking, token);
        let request = prepared.map_err(|_| RevocationError::Unproven)?.request;
        let response = rt::timeout(TIMEOUT, self.transport.send(request))
            .await
            .unwrap_or(Err(TransportError::Timeout { after: TIMEOUT }))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            // "the client must assume the token still exists and may retry" (RFC 7009 §2.2.1).
            status
                if status.is_server_error()
                    || status == StatusCode::TOO_MANY_REQUESTS
                    || status == StatusCode::REQUEST_TIMEOUT =>
            {
                Err(RevocationError::Unavailable { status: status.as_u16() })
            }
            // It says nothing of the token.
            _ if response::refuses_client(&response) => Err(RevocationError::Unproven),
            status => Err(RevocationError::Refused { status: status.as_u16() }),
        }
    }

    /// How the client is known beside the token endpoint: as where tokens are refreshed, or else where they are obtained.
    pub(crate) fn known_as(&self) -> ClientAuthentication {
        let refresh = self.provider.refresh.as_ref().map(|rules| rules.client_authentication);
        // RFC 7009 §2.1 has every client say who it is, one that refreshes without a name as well.
        refresh
            .filter(|method| *method != ClientAuthentication::None)
            .unwrap_or(self.provider.obtain.client_authentication)
    }
}
