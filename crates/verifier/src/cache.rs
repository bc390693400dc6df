//! Tokens that were found good, so that the next request with one costs a look instead of a signature check.
//!
//! A table of fixed size, read without a lock: each token has four places where it may be, told by its print, and a
//! newcomer takes the one whose token expires soonest. What is found is a candidate; whether it is still good, who looks
//! it up has to ask.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::{ArcSwapOption, Guard};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use tokenry_core::Timestamp;

use crate::AccessToken;
use crate::issuer::Found;
use crate::keys::Key;

/// In how many places a token may be: fewer would have tokens drive each other out of a table that is half empty.
const WAYS: usize = 4;

/// The print of a token's text, by which it is known again. The text itself is not kept.
///
/// It is a GMAC (NIST SP 800-38D §3) under a key of this process, which takes a sixth of the time of a SHA-256. Nobody who
/// does not know the key finds two texts of one print: for texts of up to 16 KiB the odds are one in 2¹¹⁷ for each pair
/// tried. That the nonce is always the same would help only those who get to see prints, and none leaves the process.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Print([u8; 16]);

/// `None` where there is no randomness for it.
static KEY: LazyLock<Option<LessSafeKey>> = LazyLock::new(|| {
    let mut key = [0; 16];
    rand::fill(&mut key).ok()?;
    UnboundKey::new(&AES_128_GCM, &key).ok().map(LessSafeKey::new)
});

impl Print {
    pub(crate) fn of(token: &str) -> Self {
        let mut print = [0; 16];
        match Self::keyed(token) {
            Some(tag) => print.copy_from_slice(tag.as_ref()),
            None => print.copy_from_slice(&digest(&SHA256, token.as_bytes()).as_ref()[..16]),
        }
        Self(print)
    }

    fn keyed(token: &str) -> Option<impl AsRef<[u8]>> {
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        KEY.as_ref()?.seal_in_place_separate_tag(nonce, Aad::from(token), &mut []).ok()
    }

    /// Which of so many buckets is its own.
    pub(crate) fn bucket(&self, buckets: usize) -> usize {
        let [a, b, c, d, ..] = self.0;
        let hash = u64::from(u32::from_le_bytes([a, b, c, d]));
        usize::try_from((hash * buckets as u64) >> 32).unwrap_or_default()
    }

    /// Not zero, which is no token's.
    fn tag(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d]) | 1
    }
}

/// What was found about a token. What is looked at for every request stands first, in one line of a processor's cache.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) print: Print,
    /// When it is good by what it says itself, and as long as what its issuer has said about it may be believed.
    pub(crate) good: Range<Timestamp>,
    /// The issuer's epoch in which it was looked at last.
    pub(crate) epoch: AtomicU64,
    pub(crate) token: Arc<AccessToken>,
    /// Which of the verifier's issuers it is from.
    pub(crate) issuer: usize,
    /// The key that has signed it; none, where its issuer has vouched for it.
    pub(crate) key: Option<Arc<Key>>,
    /// Whether its issuer has said that it is active.
    pub(crate) is_confirmed: bool,
}

impl Entry {
    pub(crate) fn new(print: Print, issuer: usize, found: &Found, is_confirmed: bool) -> Self {
        Self {
            print,
            token: Arc::clone(&found.token),
            issuer,
            key: found.key.clone(),
            is_confirmed,
            good: found.good.clone(),
            epoch: AtomicU64::new(found.epoch),
        }
    }

    pub(crate) fn found(&self) -> Found {
        let (token, key) = (Arc::clone(&self.token), self.key.clone());
        Found { token, key, good: self.good.clone(), epoch: self.epoch.load(Ordering::Acquire) }
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct TokenCache {
    /// None: nothing is kept.
    buckets: Box<[Bucket]>,
}

/// The tags say without a further access to memory whether a place may hold the token that is looked for.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    tags: [AtomicU32; WAYS],
    places: [ArcSwapOption<Entry>; WAYS],
}

impl TokenCache {
    /// Room for so many tokens; with none there is no cache.
    ///
    /// There are twice as many places. With fewer, tokens that could all be held would drive each other out.
    pub(crate) fn new(tokens: usize) -> Self {
        let buckets = tokens.saturating_mul(2).div_ceil(WAYS);
        Self { buckets: std::iter::repeat_with(Bucket::default).take(buckets).collect() }
    }

    /// Whether anything is kept at all.
    pub(crate) const fn is_on(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// What was found about a token, if it is still here.
    pub(crate) fn find(&self, print: &Print) -> Option<Guard<Option<Arc<Entry>>>> {
        let tag = print.tag();
        let (tags, places) = self.bucket(print)?.parts();
        for (own, place) in tags.iter().zip(places) {
            if own.load(Ordering::Acquire) != tag {
                continue;
            }
            let found = place.load();
            if found.as_ref().is_some_and(|entry| entry.print == *print) {
                return Some(found);
            }
        }
        None
    }

    /// Keeps what was found about a token.
    pub(crate) fn keep(&self, entry: Entry) {
        let Some((tags, places)) = self.bucket(&entry.print).map(Bucket::parts) else { return };
        let tag = entry.print.tag();
        // The same token's place, an empty one, or that of the token which expires soonest.
        let worth = |(own, place): &(&AtomicU32, &ArcSwapOption<Entry>)| match own
            .load(Ordering::Acquire)
        {
            own if own == tag => (0, Timestamp::EPOCH),
            0 => (1, Timestamp::EPOCH),
            _ => (2, place.load().as_ref().map_or(Timestamp::EPOCH, |entry| entry.good.end)),
        };
        let Some((own, place)) = tags.iter().zip(places).min_by_key(worth) else { return };
        place.store(Some(Arc::new(entry)));
        own.store(tag, Ordering::Release);
    }

    /// Forgets a token.
    pub(crate) fn forget(&self, print: &Print) {
        let Some(bucket) = self.bucket(print) else { return };
        for place in &bucket.places {
            if place.load().as_ref().is_some_and(|entry| entry.print == *print) {
                place.store(None);
            }
        }
    }

    /// Forgets all tokens.
    pub(crate) fn clear(&self) {
        for place in self.buckets.iter().flat_map(|bucket| &bucket.places) {
            place.store(None);
        }
    }

    fn bucket(&self, print: &Print) -> Option<&Bucket> {
        self.buckets.get(print.bucket(self.buckets.len()))
    }
}

impl Bucket {
    const fn parts(&self) -> (&[AtomicU32; WAYS], &[ArcSwapOption<Entry>; WAYS]) {
        (&self.tags, &self.places)
    }
}

#[cfg(test)]
mod tests {
    use tokenry_core::jose::Claims;
    use tokenry_core::{Binding, Scope};

    use super::*;

    #[test]
    fn a_print_is_of_the_whole_text_and_of_this_process_alone() {
        let text = "a".repeat(700);
        let print = Print::of(&text);
        assert_eq!(print, Print::of(&text.clone()));
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = b'b';
            assert_ne!(Print::of(std::str::from_utf8(&other).unwrap()), print, "{at}");
        }
        for other in ["", &text[1..], &format!("{text}a"), &format!("{text}\0")] {
            assert_ne!(Print::of(other), print);
        }
        // Under the key of nobody it would be this.
        let nobody = UnboundKey::new(&AES_128_GCM, &[0; 16]).map(LessSafeKey::new).unwrap();
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let tag = nobody.seal_in_place_separate_tag(nonce, Aad::from(&text), &mut []).unwrap();
        assert_ne!(print.0, tag.as_ref());
    }

    /// The tag and the bucket are a part of the print alone.
    #[test]
    fn two_tokens_of_one_bucket_and_tag_are_not_mixed_up() {
        let found = |id: &str| {
            let claims = Claims { jti: Some(id.to_owned()), ..Claims::default() };
            let life = Timestamp::EPOCH..Timestamp::from_secs(10);
            let binding = Binding::default();
            let token = AccessToken::new(claims, Scope::default(), life.end, binding);
            Found { token: Arc::new(token), key: None, good: life, epoch: 0 }
        };
        let cache = TokenCache::new(100);
        let [one, two] = [Print([1; 16]), Print([[1; 8], [2; 8]].concat().try_into().unwrap())];
        assert_eq!((one.bucket(50), one.tag()), (two.bucket(50), two.tag()));
        let jti =
            |print| cache.find(print).and_then(|it| it.as_ref()?.token.jti().map(str::to_owned));
        cache.keep(Entry::new(one, 0, &found("one"), false));
        assert_eq!((jti(&one).as_deref(), jti(&two)), (Some("one"), None));
        cache.forget(&two);
        assert_eq!(jti(&one).as_deref(), Some("one"));
        // One that has the other's tag takes its place.
        cache.keep(Entry::new(two, 0, &found("two"), false));
        assert_eq!((jti(&one), jti(&two).as_deref()), (None, Some("two")));
    }

    #[test]
    fn every_bucket_is_somebodys() {
        for buckets in [1, 3, 1000] {
            let print = |first: u32| {
                let mut print = [0; 16];
                print[..4].copy_from_slice(&first.to_le_bytes());
                Print(print).bucket(buckets)
            };
            assert_eq!((print(0), print(u32::MAX)), (0, buckets - 1));
        }
    }
}
