//! What was issued, and whether it is still good.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokenry_core::Timestamp;

/// What a refresh does to the refresh token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RefreshPolicy {
    /// There are no refresh tokens.
    Never,
    /// Each is good once, and the answer brings its successor.
    ///
    /// Who presents a used one again within the grace gets the same successor again. After that it is theft (RFC 9700
    /// §4.14.2): the family ends, its access tokens with it.
    Rotate {
        /// How long a lost answer can be asked for again; zero for not at all.
        grace: Duration,
    },
    /// The answer brings another one, and the old one stays good as well.
    Reissue,
    /// The answer brings none; the old one stays good.
    Keep,
}

/// Who a family of tokens was issued to, and with what.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Grantee {
    pub(crate) client: Option<String>,
    pub(crate) scope: Option<String>,
    /// The thumbprint of the DPoP key.
    pub(crate) key: Option<[u8; 32]>,
}

/// A token pair.
pub(crate) struct Pair {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) grantee: Grantee,
}

struct Family {
    grantee: Grantee,
    ended: bool,
}

struct Access {
    family: usize,
    expires_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

struct Refresh {
    family: usize,
    expires_at: Timestamp,
    /// When it was used up, and what for.
    used: Option<(Timestamp, String)>,
}

/// All tokens of a server. None is forgotten: a server of a test does not live for long.
pub(crate) struct Issued {
    server: u64,
    count: u64,
    families: Vec<Family>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
}

/// How long things live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lives {
    pub(crate) access: Duration,
    pub(crate) refresh: Duration,
    pub(crate) policy: RefreshPolicy,
}

impl Issued {
    pub(crate) fn new() -> Self {
        // Tokens of two servers of one test must not look the same.
        static SERVERS: AtomicU64 = AtomicU64::new(1);
        Self {
            server: SERVERS.fetch_add(1, Ordering::Relaxed),
            count: 0,
            families: Vec::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
        }
    }

    /// Tokens of a new family.
    pub(crate) fn begin(&mut self, grantee: Grantee, lives: Lives, now: Timestamp) -> Pair {
        let family = self.families.len();
        self.families.push(Family { grantee, ended: false });
        let refresh_token = (lives.policy != RefreshPolicy::Never)
            .then(|| self.new_refresh(family, lives.refresh, now));
        self.pair(family, refresh_token, lives, now)
    }

    /// What a refresh token brings. `None` if it brings nothing.
    pub(crate) fn refresh(
        &mut self,
        presented: &str,
        by: &Grantee,
        lives: Lives,
        now: Timestamp,
    ) -> Option<Pair> {
        let known = self.refresh.get(presented)?;
        let family = known.family;
        let Family { grantee, ended } = self.families.get(family)?;
        let theirs =
            grantee.client == by.client && grantee.key.is_none_or(|key| by.key == Some(key));
        if *ended || !theirs || known.expires_at <= now {
            return None;
        }
        let refresh_token = match (lives.policy, &known.used) {
            (RefreshPolicy::Never, _) => return None,
            (RefreshPolicy::Keep, _) => None,
            (RefreshPolicy::Reissue, _) => Some(self.new_refresh(family, lives.refresh, now)),
            (RefreshPolicy::Rotate { grace }, Some((at, _))) if now.since(*at) >= grace => {
                self.end(family);
                return None;
            }
            (RefreshPolicy::Rotate { .. }, Some((_, successor))) => Some(successor.clone()),
            (RefreshPolicy::Rotate { .. }, None) => {
                let successor = self.new_refresh(family, lives.refresh, now);
                if let Some(used) = self.refresh.get_mut(presented) {
                    used.used = Some((now, successor.clone()));
                }
                Some(successor)
            }
        };
        Some(self.pair(family, refresh_token, lives, now))
    }

    fn pair(
        &mut self,
        family: usize,
        refresh_token: Option<String>,
        lives: Lives,
        now: Timestamp,
    ) -> Pair {
        let access_token = self.name("at");
        let access = Access { family, expires_at: now + lives.access, revoked_at: None };
        self.access.insert(access_token.clone(), access);
        let grantee = self.families.get(family).map(|family| family.grantee.clone());
        Pair { access_token, refresh_token, grantee: grantee.unwrap_or_default() }
    }

    fn new_refresh(&mut self, family: usize, lifetime: Duration, now: Timestamp) -> String {
        let token = self.name("rt");
        let refresh = Refresh { family, expires_at: now + lifetime, used: None };
        self.refresh.insert(token.clone(), refresh);
        token
    }

    fn name(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}-{}-{}", self.server, self.count)
    }

    fn end(&mut self, family: usize) {
        if let Some(family) = self.families.get_mut(family) {
            family.ended = true;
        }
    }

    /// Whose access token this is and how long it is good for, if it is.
    pub(crate) fn good(&self, access_token: &str, now: Timestamp) -> Option<(&Grantee, Duration)> {
        let access = self.access.get(access_token)?;
        let family = self.families.get(access.family).filter(|family| !family.ended)?;
        let until = access.revoked_at.map_or(access.expires_at, |at| at.min(access.expires_at));
        (now < until).then(|| (&family.grantee, until.since(now)))
    }

    pub(crate) fn revoke(&mut self, access_token: &str, at: Timestamp) {
        if let Some(access) = self.access.get_mut(access_token) {
            access.revoked_at = Some(at);
        }
    }

    pub(crate) fn revoke_access_tokens(&mut self, at: Timestamp) {
        self.access.values_mut().for_each(|access| access.revoked_at = Some(at));
    }

    pub(crate) fn end_families(&mut self) {
        self.families.iter_mut().for_each(|family| family.ended = true);
    }

    /// How many families have a refresh token that can still be used.
    pub(crate) fn living_families(&self, now: Timestamp) -> usize {
        let living = self.refresh.values().filter(|token| now < token.expires_at);
        let mut living: Vec<_> = living
            .map(|token| token.family)
            .filter(|family| self.families.get(*family).is_some_and(|family| !family.ended))
            .collect();
        living.sort_unstable();
        living.dedup();
        living.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.access.len()
    }
}
