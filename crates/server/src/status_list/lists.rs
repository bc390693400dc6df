//! Lists that were signed, kept until they say something old.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokenry_core::status_list::{MEDIA_TYPE, PLACES, StatusList, StatusListToken};
use tokenry_core::{Realm, Timestamp};

use crate::directory::RealmState;
use crate::document::Document;
use crate::keyring::Kind;
use crate::metadata;

/// `ttl`: how long a copy may be kept. Whoever knows of revocations by lists alone learns of one so much later at most;
/// a minute costs a verifier one small request a minute and list, and this server one signature.
pub(super) const TTL: Duration = Duration::from_secs(60);

/// `exp`: how long a copy says something at all. What is served is up to a `TTL` old; a cache on the way may keep it for
/// another, and the verifier for a third. The rest is for a server that does not answer for a while.
const LIFETIME: Duration = Duration::from_secs(300);

/// A cache on the way may keep it for a `TTL` too.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// The lists that were taken last: those of 40,000 tokens a second that live for an hour are 2,200.
const NEWEST: u32 = 2400;

/// How many of the newest lists, and of those in use, are signed in a second that nothing has changed in. Anybody may ask
/// for all of them once in a `TTL`, which is 40 in a second for the newest, and 50 for as many older ones as
/// [`OLD_PER_SECOND`] lets come into use: no stranger keeps a list from being signed that others need.
const SIGNED_PER_SECOND: u32 = 100;

/// How many older lists that nobody has asked for in a `LIFETIME` are signed in a second. Families of refresh tokens may
/// live for weeks, and so may their places; but of all lists that ever were, most are for nobody any more.
const OLD_PER_SECOND: u32 = 10;

/// A signed list.
#[derive(Debug)]
struct Signed {
    document: Arc<Document>,
    /// What it was made of: indices in order, the key, the list's URI.
    revoked: Vec<u16>,
    kid: String,
    uri: String,
    at: Timestamp,
}

/// The signed lists of a realm.
#[derive(Debug, Default)]
pub(super) struct SignedLists {
    by_number: HashMap<u32, Signed>,
    allowance: Allowance,
    of_old: Allowance,
}

/// How many signatures for nothing new there were in one second.
#[derive(Debug, Default)]
struct Allowance {
    second: u64,
    used: u32,
}

/// Why there is no list to give.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoList {
    /// Too many were signed in this second.
    TooMany,
    /// There is no key, or it did not sign.
    NoKey,
    /// The realm has just been removed.
    NoRealm,
}

impl SignedLists {
    /// The list of this number, of so many that were taken, in which these indices are revoked, in order and none twice.
    pub(super) fn get(
        &mut self,
        state: &RealmState,
        (number, taken): (u32, u32),
        revoked: Vec<u16>,
        now: Timestamp,
    ) -> Result<Arc<Document>, NoList> {
        let realm = &state.realm;
        let signer = state.keyring.signer(realm.tokens.signing, now).ok_or(NoList::NoKey)?;
        let uri = metadata::status_list(realm, number);
        let known = self.by_number.get(&number);
        let known = known.filter(|known| known.at <= now && known.at + LIFETIME > now);
        let same = known.filter(|known| {
            known.revoked == revoked && known.kid == signer.kid() && known.uri == uri
        });
        if let Some(same) = same
            && same.at + TTL > now
        {
            return Ok(Arc::clone(&same.document));
        }
        // What has changed was changed by somebody who may; all else can be asked for by anybody.
        let has_changed = known.is_some() && same.is_none();
        let is_needed = known.is_some() || number.saturating_add(NEWEST) >= taken;
        let (allowance, most) = match is_needed {
            true => (&mut self.allowance, SIGNED_PER_SECOND),
            false => (&mut self.of_old, OLD_PER_SECOND),
        };
        if !has_changed && !allowance.may_sign(most, now) {
            // What is older than it should be still says what is so.
            let old = same.filter(|same| same.at + (LIFETIME - TTL * 2) > now);
            return old.map(|old| Arc::clone(&old.document)).ok_or(NoList::TooMany);
        }
        let claims = claims(&uri, &revoked, now);
        let text = signer.sign(Kind::StatusList, &claims).ok_or(NoList::NoKey)?;
        let document = Arc::new(document(realm, text));
        self.by_number.retain(|_, signed| signed.at <= now && signed.at + LIFETIME > now);
        let kid = signer.kid().to_owned();
        let signed = Signed { document: Arc::clone(&document), revoked, kid, uri, at: now };
        self.by_number.insert(number, signed);
        Ok(document)
    }
}

impl Allowance {
    fn may_sign(&mut self, most: u32, now: Timestamp) -> bool {
        if self.second != now.as_secs() {
            *self = Self { second: now.as_secs(), used: 0 };
        }
        let may = self.used < most;
        self.used += u32::from(may);
        may
    }
}

fn claims(uri: &str, revoked: &[u16], now: Timestamp) -> String {
    let token = StatusListToken {
        uri: uri.to_owned(),
        issued_at: now,
        expires_at: Some(now.trunc_to_secs() + LIFETIME),
        ttl: Some(TTL),
        list: StatusList::revoked(PLACES, revoked.iter().copied()),
    };
    token.to_json()
}

fn document(realm: &Realm, text: String) -> Document {
    Document::new(realm.dialect, MEDIA_TYPE, text).cached(CACHE_CONTROL)
}
