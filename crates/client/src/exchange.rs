//! One token request from bytes to token.

use std::sync::Arc;
use std::time::Duration;

use tokenry_core::{Secret, Timestamp};

use crate::credentials::Credentials;
use crate::machine::{Failure, Grant};
use crate::provider::Provider;
use crate::response::{Granted, Lifetime, NoToken};
use crate::transport::{Transport, TransportError};
use crate::{Error, request, response};

/// An answer that a transport read whole, although the server should have been brief, is not parsed beyond this.
const BODY_LIMIT: usize = 1024 * 1024;

pub(crate) struct Exchange {
    pub(crate) provider: Provider,
    pub(crate) credentials: Credentials,
    pub(crate) transport: Arc<dyn Transport>,
    /// For transports that have no timeout of their own.
    pub(crate) timeout: Duration,
    /// How long a token lives if nobody knows.
    pub(crate) default_lifetime: Duration,
}

/// A token as the keeper takes it.
pub(crate) struct Obtained {
    pub(crate) access_token: Secret,
    pub(crate) lifetime: Duration,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) refresh_lifetime: Option<Duration>,
}

impl Exchange {
    pub(crate) async fn run(
        self: Arc<Self>,
        grant: Grant,
        refresh_token: Option<Secret>,
        now: Timestamp,
    ) -> Result<Obtained, NoToken> {
        let rules = self.provider.refresh.as_ref();
        let (request, sent) = match (grant, rules, &refresh_token) {
            (Grant::Credentials, _, _) => {
                let request = request::obtain(&self.provider.obtain, &self.credentials);
                (request, self.credentials.secrets().collect::<Vec<_>>())
            }
            (Grant::Refresh, Some(rules), Some(refresh_token)) => {
                let request = request::refresh(rules, &self.credentials, refresh_token);
                (request, self.credentials.secrets().chain([refresh_token]).collect())
            }
            // The machine knows better than to ask for this; credentials are the answer to it anyway.
            (Grant::Refresh, _, _) => {
                return Err(NoToken { error: Error::Abandoned, failure: Failure::Refused });
            }
        };
        let answer = tokio::time::timeout(self.timeout, self.transport.send(request))
            .await
            .unwrap_or(Err(TransportError::Timeout { after: self.timeout }))
            .map_err(NoToken::transient)?;
        if answer.body().len() > BODY_LIMIT {
            return Err(NoToken::transient(TransportError::TooLong { limit: BODY_LIMIT }));
        }
        let granted = response::read(&answer, grant, &sent, now)?;
        Ok(self.completed(granted))
    }

    /// Fills in what the answer does not say.
    fn completed(&self, granted: Granted) -> Obtained {
        let documented = self.provider.obtain.lifetime.unwrap_or(self.default_lifetime);
        let refresh_documented = self.provider.refresh.as_ref().and_then(|rules| rules.lifetime);
        Obtained {
            access_token: granted.access_token,
            lifetime: match granted.lifetime {
                Lifetime::Known(lifetime) => lifetime,
                Lifetime::Unknown => documented,
            },
            refresh_token: granted.refresh_token,
            refresh_lifetime: granted.refresh_lifetime.or(refresh_documented),
        }
    }
}
