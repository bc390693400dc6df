//! Client authentication by the certificate of the connection (RFC 8705 §2).

use tokenry_core::Refusal;
use tokenry_core::certificate::{PresentedCertificate, authenticate, has_certificates};
use tokenry_core::client::AuthenticatedClient;

use super::{Failure, Walk};
use crate::certificate::PeerCertificate;

impl Walk<'_> {
    /// The certificate of the connection, in a realm where certificates mean something.
    pub(super) fn certificate(&self) -> Option<&PeerCertificate> {
        self.certificate.as_deref().filter(|_| self.state.realm.certificates.is_some())
    }

    /// The client that is named, if it proves itself with certificates and one was presented.
    ///
    /// RFC 8705 §2: "the client [...] MUST include the client_id parameter". Who names nobody is nobody.
    pub(super) async fn by_certificate(
        &self,
        client_id: Option<&str>,
    ) -> Result<Option<AuthenticatedClient>, Failure> {
        let (Some(presented), Some(id)) = (self.certificate(), client_id) else { return Ok(None) };
        // Before anything is known of the client: that there is one must not show in how long it takes.
        let vouched_for = self.state.authorities.vouch_for(presented, self.now);
        let client = self.client(id).await?;
        if !client.as_ref().is_some_and(|client| has_certificates(client)) {
            return Ok(None);
        }
        let certificate = presented.read().ok_or(Refusal::BadCertificate("cannot be read"))?;
        let presented = PresentedCertificate { certificate, vouched_for };
        Ok(Some(authenticate(&presented, client.as_ref(), self.now)?))
    }
}
