//! Nonces that nobody needs to remember (RFC 9449 §8): a time, and a MAC of it.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::{MasterKey, Timestamp};

/// How long a nonce is good.
const LIFETIME: Duration = Duration::from_secs(300);

/// From which age on a nonce is answered with a new one, so that nobody is refused who asks now and then.
const FRESH: Duration = Duration::from_secs(150);

/// Bytes of the MAC: 128 bits.
const MAC_LEN: usize = 16;

/// Makes nonces, and knows them again: on any node that has the key.
pub struct Nonces(hmac::Key);

/// What a nonce is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NonceState {
    /// Good.
    Fresh,
    /// Good, and soon no more: the answer brings a new one.
    Ageing,
    /// Not ours, or too old.
    Bad,
}

impl Nonces {
    /// The nonces of a realm.
    pub fn of_realm(master: &MasterKey, realm: &str) -> Self {
        Self::new(&master.nonce_key(realm))
    }

    /// Nonces under a key that several nodes may share.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The nonce of a time: 24 bytes in base64url. Within a second there is one.
    pub fn make(&self, now: Timestamp) -> String {
        let time = now.as_secs().to_be_bytes();
        let tag = hmac::sign(&self.0, &time);
        BASE64_URL_SAFE_NO_PAD.encode([&time[..], &tag.as_ref()[..MAC_LEN]].concat())
    }

    /// What a nonce is worth at `now`.
    pub fn state(&self, nonce: &str, now: Timestamp) -> NonceState {
        let Some(made) = self.made_at(nonce) else { return NonceState::Bad };
        if made > now + FRESH || made + LIFETIME <= now {
            NonceState::Bad
        } else if made + FRESH <= now {
            NonceState::Ageing
        } else {
            NonceState::Fresh
        }
    }

    fn made_at(&self, nonce: &str) -> Option<Timestamp> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(nonce).ok()?;
        let (time, mac) = bytes.split_first_chunk::<8>()?;
        let tag = hmac::sign(&self.0, time);
        let expected = &tag.as_ref()[..MAC_LEN];
        aws_lc_rs::constant_time::verify_slices_are_equal(expected, mac).ok()?;
        Some(Timestamp::from_secs(u64::from_be_bytes(*time)))
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_214_row_221_a_nonce_is_known_again_by_whoever_has_the_key_until_it_is_old() {
        let made = Timestamp::from_secs(1_000_000);
        let master = MasterKey::new([1; 32]);
        let nonce = Nonces::of_realm(&master, "r").make(made);
        let other_node = Nonces::of_realm(&MasterKey::new([1; 32]), "r");
        let secs = Duration::from_secs;
        for (at, expected) in [
            (made, NonceState::Fresh),
            (made - secs(149), NonceState::Fresh),
            (made - secs(151), NonceState::Bad),
            (made + secs(149), NonceState::Fresh),
            (made + secs(150), NonceState::Ageing),
            (made + secs(299), NonceState::Ageing),
            (made + secs(300), NonceState::Bad),
        ] {
            assert_eq!(other_node.state(&nonce, at), expected, "{at:?}");
        }
        let state = |nonces: &Nonces, nonce: &str| nonces.state(nonce, made);
        assert_eq!(state(&Nonces::of_realm(&master, "s"), &nonce), NonceState::Bad);
        let other = Nonces::of_realm(&MasterKey::new([2; 32]), "r");
        assert_eq!(state(&other, &nonce), NonceState::Bad);
        for bad in ["", "AAAA", &nonce[1..], &nonce[..31], &format!("{nonce}AAAA")] {
            assert_eq!(state(&other_node, bad), NonceState::Bad, "{bad}");
        }
    }
}
