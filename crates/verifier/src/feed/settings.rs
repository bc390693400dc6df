//! Settings of following a feed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokenry_core::revocation::CURRENT_EVERY;

use super::FeedSource;
use super::http::HttpFeed;
use crate::dpop::is_http_url;
use crate::fetch::{Discovery, HttpSettings};
use crate::{BuildError, ClientSecret, VerifierBuilder};

/// Three times what a feed needs to say that it is current, so that there is time for another connection.
const MAX_SILENCE: Duration = CURRENT_EVERY.saturating_mul(3);
/// The shortest silence that means something.
const SHORTEST: Duration = CURRENT_EVERY.saturating_mul(2);
/// The longest: an access token hardly lives longer, so that following would be for nothing.
const LONGEST: Duration = Duration::from_hours(1);

/// What becomes of tokens while it is not known which of them were revoked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum WhenBehind {
    /// They are good until they expire, as without a feed.
    #[default]
    Trust,
    /// The issuer is asked about each of them, see [`introspection`](VerifierBuilder::introspection). While it does not
    /// answer either, they are answered with 503.
    Introspect,
    /// They are answered with 503 and `Retry-After`. The API then depends on its issuer: it is closed until the feed
    /// was heard for the first time, too.
    Refuse,
}

/// How an issuer's revocation feed is followed.
///
/// ```no_run
/// # use tokenry_verifier::{BuildError, FeedSettings, Verifier, WhenBehind};
/// # fn f(secret: String) -> Result<Verifier, BuildError> {
/// Verifier::builder("https://id.example/realms/main")
///     .audience("https://api.example")
///     .feed(FeedSettings::client("invoices-api", secret).when_behind(WhenBehind::Refuse))
///     .build()
/// # }
/// ```
pub struct FeedSettings {
    origin: Origin,
    endpoint: Option<String>,
    pub(super) when_behind: WhenBehind,
    pub(super) max_silence: Duration,
    pub(super) randomness: Randomness,
}

/// Draws numbers in `[0, 1)`.
pub(super) type Randomness = Box<dyn Fn() -> f64 + Send + Sync>;

enum Origin {
    Client { id: String, secret: ClientSecret },
    Source(Arc<dyn FeedSource>),
}

impl FeedSettings {
    /// Asks with the identifier and the secret of a client, by HTTP Basic (RFC 6749 §2.3.1). It has to be one that is
    /// told of every revocation: of Tokenry, one that `introspects` something. Who hears of its own tokens alone counts as
    /// behind, and says so.
    ///
    /// Where to ask, the issuer's metadata say (`revocation_feed_endpoint`), unless [`endpoint`](Self::endpoint) does.
    pub fn client(id: impl Into<String>, secret: impl Into<ClientSecret>) -> Self {
        Self::new(Origin::Client { id: id.into(), secret: secret.into() })
    }

    /// Takes the feed from elsewhere; the builder's settings of connections are then without meaning for it.
    pub fn source(source: impl FeedSource) -> Self {
        Self::new(Origin::Source(Arc::new(source)))
    }

    fn new(origin: Origin) -> Self {
        Self {
            origin,
            endpoint: None,
            when_behind: WhenBehind::default(),
            max_silence: MAX_SILENCE,
            randomness: Box::new(share),
        }
    }

    /// Asks at this address, without looking into the metadata.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// What becomes of tokens while it is not known which of them were revoked.
    #[must_use]
    pub const fn when_behind(mut self, policy: WhenBehind) -> Self {
        self.when_behind = policy;
        self
    }

    /// How long after the feed last said that it has told everything the [policy](Self::when_behind) applies (15 seconds).
    /// After two thirds of it, another connection is tried. 10 seconds at least, since a feed speaks every five; an hour at
    /// most.
    #[must_use]
    pub fn max_silence(mut self, silence: Duration) -> Self {
        self.max_silence = silence.clamp(SHORTEST, LONGEST);
        self
    }

    /// Draws numbers in `[0, 1)` here, for jitter. By default from the operating system.
    #[must_use]
    pub fn randomness(mut self, randomness: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.randomness = Box::new(randomness);
        self
    }

    /// Whether the issuer is to be asked about tokens while the feed is lost.
    pub(crate) fn introspects(&self) -> bool {
        self.when_behind == WhenBehind::Introspect
    }

    /// What can be said without doing anything yet.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if let Origin::Client { id, secret } = &self.origin
            && (id.is_empty() || secret.is_empty())
        {
            return Err(BuildError::NoFeedClient);
        }
        Ok(())
    }

    /// Where the feed comes from.
    pub(super) fn open(&self, http: &HttpSettings) -> Result<Arc<dyn FeedSource>, BuildError> {
        let (id, secret) = match &self.origin {
            Origin::Source(source) => return Ok(Arc::clone(source)),
            Origin::Client { id, secret } => (id, secret),
        };
        // A connection that is dead without saying so must not be used again, as one with many requests on it would be.
        let http = HttpSettings { alone: true, ..http.clone() }.build()?;
        let endpoint = match &self.endpoint {
            None => None,
            Some(url) => {
                let uri: Option<Uri> = url.parse().ok().filter(|_| is_http_url(url));
                let uri = uri.filter(|uri| http.check_scheme(uri).is_ok());
                Some(uri.ok_or(BuildError::FeedEndpoint)?)
            }
        };
        let (id, secret) = (id.clone(), secret.clone());
        Ok(Arc::new(HttpFeed { http, endpoint, discovery: Discovery::default(), id, secret }))
    }
}

impl fmt::Debug for FeedSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = match &self.origin {
            Origin::Client { id, .. } => Some(id),
            Origin::Source(_) => None,
        };
        f.debug_struct("FeedSettings")
            .field("client", &client)
            .field("when_behind", &self.when_behind)
            .field("max_silence", &self.max_silence)
            .finish_non_exhaustive()
    }
}

/// A number in `[0, 1)`.
fn share() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness an instance is as good as the middle of all.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}

impl VerifierBuilder {
    /// Follows the issuer's revocation feed, so that a token that was revoked is refused within a moment instead of
    /// when it expires.
    ///
    /// Requests never wait for it. How it stands, [`metrics`](crate::Verifier::metrics) tell.
    #[must_use]
    pub fn feed(mut self, settings: FeedSettings) -> Self {
        self.current.feed = Some(settings);
        self
    }
}
