//! The secret of a client, which may change while it is used.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokenry_core::Secret;

use crate::{BoxFuture, FetchError};

/// The secret with which an API shows its issuer who it is.
///
/// A text is one, where it never changes. Otherwise it is read again as often as it is [needed](Self::read_by): by whoever
/// follows a feed for each connection, by whoever asks about tokens when the issuer refuses the one at hand. What cannot
/// be read for a while is used as it was.
///
/// ```no_run
/// # use tokenry_verifier::{ClientSecret, FeedSettings};
/// let secret = ClientSecret::read_by(|| {
///     Box::pin(async { std::fs::read_to_string("api.secret").map(|text| text.trim_end().to_owned()) })
/// });
/// let settings = FeedSettings::client("api", secret);
/// ```
#[derive(Clone)]
pub struct ClientSecret(Arc<Live>);

struct Live {
    read: Option<Box<dyn Fn() -> Reading + Send + Sync>>,
    /// As it was read last.
    held: Mutex<Option<Secret>>,
}

type Reading = BoxFuture<'static, Result<Secret, FetchError>>;

impl ClientSecret {
    /// Reads it so, whenever it is needed. Errors are shown in logs: they must not repeat what was read.
    pub fn read_by<F, T, E>(read: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, Result<T, E>> + Send + Sync + 'static,
        E: fmt::Display + 'static,
        T: Into<Secret> + 'static,
    {
        let read = move || -> Reading {
            let reading = read();
            Box::pin(async move {
                match reading.await.map(Into::into) {
                    Ok(secret) if secret.is_empty() => {
                        Err(FetchError::Secret("it is empty".into()))
                    }
                    Ok(secret) => Ok(secret),
                    Err(error) => Err(FetchError::Secret(error.to_string())),
                }
            })
        };
        Self(Arc::new(Live { read: Some(Box::new(read)), held: Mutex::default() }))
    }

    /// Whether it is known to be none.
    pub(crate) fn is_empty(&self) -> bool {
        self.last().is_some_and(|secret| secret.is_empty())
    }

    /// As it is now; where it cannot be read, as it was.
    pub(crate) async fn now(&self) -> Result<Secret, FetchError> {
        let Some(read) = &self.0.read else {
            return self.last().ok_or_else(|| FetchError::Secret("there is none".to_owned()));
        };
        match (read().await, self.last()) {
            (Ok(secret), _) => {
                let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
                *held = Some(secret.clone());
                Ok(secret)
            }
            (Err(error), Some(last)) => {
                tracing::warn!(%error, "a secret is used as it was");
                Ok(last)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// As it was read last; it is read only where it never was.
    pub(crate) async fn held(&self) -> Result<Secret, FetchError> {
        match self.last() {
            Some(secret) => Ok(secret),
            None => self.now().await,
        }
    }

    /// As it is now, if that is another than the one that was refused.
    pub(crate) async fn instead_of(&self, refused: &Secret) -> Option<Secret> {
        self.0.read.as_ref()?;
        self.now().await.ok().filter(|secret| secret != refused)
    }

    fn last(&self) -> Option<Secret> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<Secret> for ClientSecret {
    fn from(secret: Secret) -> Self {
        Self(Arc::new(Live { read: None, held: Mutex::new(Some(secret)) }))
    }
}

impl From<String> for ClientSecret {
    fn from(secret: String) -> Self {
        Secret::new(secret).into()
    }
}

impl From<&str> for ClientSecret {
    fn from(secret: &str) -> Self {
        Secret::new(secret).into()
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(..)")
    }
}
