//! An issuer that is trusted: what its tokens must say, its keys, and what of its tokens has ended.

mod epoch;
mod revocations;
mod settings;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokenry_core::Timestamp;
use tokenry_core::jose::jws::{Compact, Verified};
use tokenry_core::revocation::Marks;

use crate::cache::Entry;
use crate::feed::Follower;
use crate::introspection::Introspection;
use crate::keys::{Key, KeyCache, Refreshed};
use crate::status::StatusLists;
use crate::{AccessToken, IssuerMetrics, Policy, Rejection};

pub(crate) use epoch::Epoch;
pub(crate) use revocations::Revocations;
pub use revocations::TooManyDenied;
pub(crate) use settings::Settings;

/// An issuer that is trusted.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) policy: Policy,
    pub(crate) keys: Arc<KeyCache>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) feed: Option<Follower>,
    /// How it is asked about tokens, where it is.
    pub(crate) introspection: Option<Introspection>,
    /// Where its tokens are looked up that name a status list.
    pub(crate) status_lists: Option<StatusLists>,
}

/// A token that is good, and what has to stay as it is for that.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) token: Arc<AccessToken>,
    /// The key that has signed it; none, where its issuer has vouched for it.
    pub(crate) key: Option<Arc<Key>>,
    /// When it is good by what it says itself.
    pub(crate) good: Range<Timestamp>,
    /// As of when this is known.
    pub(crate) epoch: u64,
}

impl Issuer {
    /// Checks a token for itself, without asking who sent it, as of an epoch that was read before all else: what happens
    /// from then on may be overlooked.
    pub(crate) async fn check(
        &self,
        parsed: &Compact<'_>,
        epoch: u64,
        now: Timestamp,
    ) -> Result<Found, Rejection> {
        self.policy.check_header(parsed.header())?;
        let (verified, key) = match self.check_signature(parsed) {
            Ok(checked) => checked,
            Err(rejection) => self.check_again(parsed, rejection).await?,
        };
        let token = self.policy.check_claims(verified, now)?;
        // Asked before the revocations are looked at: who is told that all is known has to see all that was told.
        let admitted = self.admit();
        if self.revocations.covers(&marks(&token, key.kid()), now) {
            return Err(Rejection::Revoked);
        }
        // Nothing is missing where the issuer is asked about the token itself.
        if !self.must_confirm() {
            admitted?;
        }
        let good = self.policy.life(token.claims());
        Ok(Found { token: Arc::new(token), key: Some(key), good, epoch })
    }

    /// Whether a token that is good by itself has to be looked up in a status list.
    pub(crate) fn must_look_up(&self, found: &Found) -> bool {
        self.status_lists.is_some() && StatusLists::concerns(found.token.claims())
    }

    /// Looks it up.
    pub(crate) async fn look_up(&self, found: &Found, now: Timestamp) -> Result<Found, Rejection> {
        let Some(lists) = &self.status_lists else { return Ok(found.clone()) };
        let believed = lists.look_up(found.token.claims(), now).await?;
        // It may have been revoked while its list was waited for.
        let kid = found.key.as_ref().and_then(|key| key.kid());
        if self.revocations.covers(&marks(&found.token, kid), now) {
            return Err(Rejection::Revoked);
        }
        let good = found.good.start.max(believed.start)..found.good.end.min(believed.end);
        Ok(Found { good, ..found.clone() })
    }

    /// Asks the issuer about a token that only it can read (RFC 7662). What it says is kept.
    pub(crate) async fn introspect(&self, text: &str, now: Timestamp) -> Result<Found, Rejection> {
        self.ask(text, None, now).await
    }

    /// Asks the issuer whether a JWT that is good by itself is active, too. What it says is kept.
    pub(crate) async fn confirm(
        &self,
        text: &str,
        found: &Found,
        now: Timestamp,
    ) -> Result<Found, Rejection> {
        self.ask(text, Some(found), now).await
    }

    async fn ask(
        &self,
        text: &str,
        signed: Option<&Found>,
        now: Timestamp,
    ) -> Result<Found, Rejection> {
        let introspection = self.introspection.as_ref().ok_or_else(|| self.unavailable())?;
        introspection.ask(text, signed, |entry| self.recalls(entry, now) == Ok(true), now).await
    }

    /// Whether JWTs that are good by themselves are let in only with the issuer's word on them. It changes together with
    /// the epoch.
    pub(crate) fn must_confirm(&self) -> bool {
        let Some(introspection) = &self.introspection else { return false };
        introspection.is_for_all() || self.feed.as_ref().is_some_and(Follower::must_introspect)
    }

    /// Whether a token that was found good before still is; an error, where that cannot be said now.
    pub(crate) fn recalls(&self, entry: &Entry, now: Timestamp) -> Result<bool, Rejection> {
        if !entry.good.contains(&now) {
            return Ok(false);
        }
        let epoch = self.epoch.now();
        if entry.epoch.load(Ordering::Acquire) != epoch {
            let admitted = if entry.is_confirmed { Ok(()) } else { self.admit() };
            if !entry.is_confirmed && self.must_confirm() {
                return Ok(false);
            }
            if !self.still_takes(&entry.token, entry.key.as_deref(), now) {
                return Ok(false);
            }
            // What its issuer has said says it all.
            if !entry.is_confirmed && !self.is_still_listed(&entry.token, now) {
                return Ok(false);
            }
            admitted?;
            // As of when this was asked. Whoever stores an older one here has it looked at once more.
            entry.epoch.store(epoch, Ordering::Release);
        }
        Ok(true)
    }

    pub(crate) fn metrics(&self) -> IssuerMetrics {
        let (key_fetches, key_fetches_failed) = self.keys.fetches();
        IssuerMetrics {
            issuer: self.policy.issuer.clone(),
            ready: self.is_ready(),
            keys: self.keys.current().map_or(0, |keys| keys.len()),
            key_fetches,
            key_fetches_failed,
            revocations: self.revocations.len(),
            feed: self.feed.as_ref().map(Follower::metrics),
            introspection: self.introspection.as_ref().map(Introspection::metrics),
            status_lists: self.status_lists.as_ref().map(StatusLists::metrics),
        }
    }

    /// Whether so much is known about what was revoked that tokens may be found good. To be asked before looking at the
    /// revocations.
    pub(crate) fn admit(&self) -> Result<(), Rejection> {
        self.feed.as_ref().map_or(Ok(()), Follower::admit)
    }

    /// Whether anything can be said about tokens.
    pub(crate) fn is_ready(&self) -> bool {
        let can_ask = || self.introspection.as_ref().is_some_and(|it| !it.is_paused());
        let is_sure = if self.must_confirm() { can_ask() } else { self.admit().is_ok() };
        self.keys.current().is_some() && is_sure
    }

    /// Whether a token that was found good before still is, apart from what it says itself: its key is still published,
    /// and nobody has revoked it.
    fn still_takes(&self, token: &AccessToken, key: Option<&Key>, now: Timestamp) -> bool {
        let is_published = |key| self.keys.current().is_some_and(|keys| keys.has(key));
        key.is_none_or(is_published)
            && !self.revocations.covers(&marks(token, key.and_then(Key::kid)), now)
    }

    /// Whether the list that it names, if any, still calls it good.
    fn is_still_listed(&self, token: &AccessToken, now: Timestamp) -> bool {
        self.status_lists.as_ref().is_none_or(|lists| lists.still_takes(token.claims(), now))
    }

    fn check_signature<'t>(
        &self,
        token: &'t Compact<'_>,
    ) -> Result<(Verified<'t>, Arc<Key>), Rejection> {
        match self.keys.current() {
            Some(keys) => keys.verify(token),
            None => Err(self.unavailable()),
        }
    }

    /// Asks for newer keys where they may help, and looks once more.
    async fn check_again<'t>(
        &self,
        token: &'t Compact<'_>,
        rejection: Rejection,
    ) -> Result<(Verified<'t>, Arc<Key>), Rejection> {
        if !matches!(
            rejection,
            Rejection::UnknownKey | Rejection::BadSignature | Rejection::Unavailable { .. }
        ) {
            return Err(rejection);
        }
        // By its own words it is not for us to judge: no key of ours would make it good, so none is fetched.
        if token.unverified_claim("iss").is_none_or(|iss| iss != self.policy.issuer) {
            return Err(Rejection::WrongIssuer);
        }
        match (self.keys.refresh().await, rejection) {
            (Refreshed::Fetched | Refreshed::JustFetched, _) => self.check_signature(token),
            (Refreshed::Failed, Rejection::BadSignature) => Err(Rejection::BadSignature),
            // The key may be one that was published since: nobody can say that the token is bad.
            (Refreshed::Failed, _) => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> Rejection {
        Rejection::Unavailable { retry_after: self.keys.retry_after() }
    }
}

/// What of a token decides whether it was revoked.
pub(crate) fn marks<'t>(token: &'t AccessToken, kid: Option<&'t str>) -> Marks<'t> {
    let claims = token.claims();
    Marks {
        jti: token.jti(),
        family: claims.other.get("sid").and_then(|sid| sid.as_str()),
        client: token.client_id(),
        subject: token.subject(),
        issued_at: claims.iat,
        kid,
    }
}
