//! Settings of a verifier that asks an issuer about tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::IntrospectionSource;
use super::answer::Lenience;
use super::http_source::{Client, HttpSource, Method};
use crate::fetch::HttpSettings;
use crate::{BuildError, ClientSecret, VerifierBuilder};

/// 10 s: so late may a token be refused that the issuer has ended, where nothing else tells of it. A token that is used
/// all the time costs six requests a minute.
const DEFAULT_TTL: Duration = Duration::from_secs(10);

/// 10 s: a client that does not give up with a dead token costs six requests a minute.
const DEFAULT_NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// 3 s: less than a caller's patience, enough for an answer from across the world.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(3);

/// 64: with answers within 10 ms, 6,400 new tokens a second. An issuer that takes longer is not asked for more at once.
const DEFAULT_CONCURRENT: usize = 64;

impl VerifierBuilder {
    /// Asks the issuer about tokens that only it can read (RFC 7662): every text that is no JWT.
    ///
    /// Where two issuers are asked, [`opaque_prefix`](IntrospectionSettings::opaque_prefix) has to say whose a token is:
    /// a token is shown to nobody but its issuer.
    ///
    /// ```no_run
    /// # use tokenry_verifier::{BuildError, IntrospectionSettings, Verifier};
    /// # fn f(secret: String) -> Result<Verifier, BuildError> {
    /// Verifier::builder("https://id.example/realms/main")
    ///     .audience("https://api.example")
    ///     .introspection(IntrospectionSettings::basic("api", secret).opaque_prefix("tka_"))
    ///     .build()
    /// # }
    /// ```
    #[must_use]
    pub fn introspection(mut self, settings: IntrospectionSettings) -> Self {
        self.current.introspection = Some(settings);
        self
    }
}

/// How an issuer is asked about tokens.
///
/// What it says is remembered for a few seconds, be it good or bad. However many requests bring a token, it is asked once
/// about it. While it does not answer, tokens of which nothing is known are answered with 503, never with 401; JWTs and
/// the tokens that are remembered are as fast as ever.
///
/// A token is let in when the answer says `active: true` and what a JWT would have to say as well: `exp` and `nbf` in
/// their time, an `aud` of this resource server, the `iss` that was asked (where there is one), `token_type` `Bearer` or
/// `DPoP`. With `cnf` it is bound to its sender, just as a JWT is.
#[derive(Clone)]
pub struct IntrospectionSettings {
    asking: Asking,
    endpoint: Option<String>,
    pub(super) prefixes: Vec<String>,
    pub(super) always: bool,
    pub(super) ttl: Duration,
    pub(super) negative_ttl: Duration,
    pub(super) deadline: Duration,
    pub(super) concurrent: usize,
    pub(super) lenience: Lenience,
}

#[derive(Clone)]
enum Asking {
    Http(Client),
    Source(Arc<dyn IntrospectionSource>),
}

impl IntrospectionSettings {
    /// Asks as this client, with its secret in the header (`client_secret_basic`, RFC 6749 §2.3.1).
    pub fn basic(client_id: &str, secret: impl Into<ClientSecret>) -> Self {
        Self::client(Method::Basic, client_id, secret.into())
    }

    /// Asks as this client, with its secret in the form (`client_secret_post`).
    pub fn post(client_id: &str, secret: impl Into<ClientSecret>) -> Self {
        Self::client(Method::Post, client_id, secret.into())
    }

    fn client(method: Method, id: &str, secret: ClientSecret) -> Self {
        Self::new(Asking::Http(Client { method, id: id.to_owned(), secret }))
    }

    /// Asks in a way of its own, such as with other client authentication.
    pub fn source(source: impl IntrospectionSource) -> Self {
        Self::new(Asking::Source(Arc::new(source)))
    }

    const fn new(asking: Asking) -> Self {
        Self {
            asking,
            endpoint: None,
            prefixes: Vec::new(),
            always: false,
            ttl: DEFAULT_TTL,
            negative_ttl: DEFAULT_NEGATIVE_TTL,
            deadline: DEFAULT_DEADLINE,
            concurrent: DEFAULT_CONCURRENT,
            lenience: Lenience { no_audience: false, no_type: false },
        }
    }

    /// Asks at this address. By default it is the `introspection_endpoint` of the issuer's metadata.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Asks only about tokens that begin so, of those that are no JWTs; more than one prefix may be given.
    ///
    /// Worth it also with one issuer: what does not begin so is refused without a request.
    #[must_use]
    pub fn opaque_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefixes.push(prefix.into());
        self
    }

    /// Asks about JWTs as well: those that are good by themselves are let in only if the issuer says that they are
    /// active.
    #[must_use]
    pub const fn always(mut self) -> Self {
        self.always = true;
        self
    }

    /// How long a token is let in without asking again (10 seconds). So late is one refused that the issuer has ended.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long a token is refused without asking again (10 seconds).
    #[must_use]
    pub const fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }

    /// How long one question may take altogether (3 seconds).
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// About how many opaque tokens the issuer is asked at the same time at most (64). Further ones are answered with 503. As
    /// many questions may be about JWTs that are good by themselves: who makes up tokens is not in the way of these.
    #[must_use]
    pub const fn max_concurrent(mut self, questions: usize) -> Self {
        self.concurrent = if questions == 0 { 1 } else { questions };
        self
    }

    /// Lets in tokens for which the issuer names no `aud`.
    ///
    /// It is then up to the issuer to call only those tokens active, for this client, that are meant for this API. Some
    /// do not: to Keycloak without an audience mapper, and to node-oidc-provider without resource indicators, each token
    /// is as active as any other, and one that was meant for another API is let in here.
    #[must_use]
    pub const fn accept_without_audience(mut self) -> Self {
        self.lenience.no_audience = true;
        self
    }

    /// Lets in tokens for which the issuer names no `token_type`.
    ///
    /// A refresh token is active, too, and it is the missing type by which many issuers tell it apart. Only for issuers
    /// that do not call the refresh tokens of others active for this client.
    #[must_use]
    pub const fn accept_without_type(mut self) -> Self {
        self.lenience.no_type = true;
        self
    }

    /// Where the answers come from.
    pub(super) fn open(
        &self,
        http: &HttpSettings,
    ) -> Result<Arc<dyn IntrospectionSource>, BuildError> {
        let client = match &self.asking {
            Asking::Source(source) => return Ok(Arc::clone(source)),
            Asking::Http(client) => client.clone(),
        };
        let http = http.clone().build()?;
        let endpoint = match &self.endpoint {
            None => None,
            Some(text) => {
                let uri: Option<Uri> = text.parse().ok();
                let good = |uri: &Uri| uri.host().is_some() && http.check_scheme(uri).is_ok();
                let bad = || BuildError::IntrospectionEndpoint(text.clone());
                Some(uri.filter(good).ok_or_else(bad)?)
            }
        };
        Ok(Arc::new(HttpSource::new(http, endpoint, client)))
    }
}

/// Whether it can be told whose an opaque token is, if both of these issuers are asked about such.
pub(crate) fn can_tell_apart(one: &IntrospectionSettings, other: &IntrospectionSettings) -> bool {
    let (ones, others) = (&one.prefixes, &other.prefixes);
    let overlap = |a: &String| others.iter().any(|b| a.starts_with(&**b) || b.starts_with(&**a));
    !ones.is_empty() && !others.is_empty() && !ones.iter().any(overlap)
}

impl fmt::Debug for IntrospectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionSettings")
            .field("endpoint", &self.endpoint)
            .field("prefixes", &self.prefixes)
            .field("always", &self.always)
            .field("ttl", &self.ttl)
            .field("without_audience", &self.lenience.no_audience)
            .finish_non_exhaustive()
    }
}
