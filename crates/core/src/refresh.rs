//! Refresh tokens: sealed, not stored.
//!
//! A refresh token is [`PREFIX`] and the base64url of 12 bytes of nonce, the encrypted content and 16 bytes of tag
//! (AES-256-GCM-SIV under a key of the realm). Nobody can read or change what it says, and the database holds
//! nothing from which one could be made.
//!
//! Sealing is deterministic: the nonce is a MAC of the content, which is different for every token, since it names
//! family, generation and time. So the successor of a rotation can be made again, byte for byte, by whoever knows
//! the token before it and the time of the rotation.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::binding::Binding;
use crate::family::FamilyId;
use crate::master::RefreshKeys;
use crate::realm::RefreshPolicy;
use crate::{MasterKey, Refusal, Scope, Secret, Timestamp};

/// What every refresh token begins with, so that secret scanners find a leaked one.
pub const PREFIX: &str = "tkr_";

/// The longest refresh token that is looked at, in characters. Ours have a few hundred.
const MAX_LEN: usize = 8 * 1024;

/// The version of the content's encoding, without a binding and with one.
const VERSION: u8 = 1;
const BOUND: u8 = 2;

/// What a refresh token says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefreshToken {
    /// All refresh tokens that come from one grant have the same.
    pub family: FamilyId,
    /// How many rotations lie behind it.
    pub generation: u32,
    /// The client it was issued to.
    pub client: String,
    /// Whom its access tokens are about.
    pub subject: Subject,
    /// The scope of the grant, which a refresh may narrow but never widen.
    pub scope: Scope,
    /// The `aud` of its access tokens.
    pub audience: Vec<String>,
    /// The keys that it is good with alone.
    pub binding: Binding,
    /// When the family began.
    pub started_at: Timestamp,
    /// When this token was issued.
    pub issued_at: Timestamp,
    /// When this token ceases to be good.
    pub expires_at: Timestamp,
}

/// Whom a token is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// The client itself.
    Client,
    /// A user.
    User {
        /// The name, by which the user is found again.
        name: String,
        /// The `sub`.
        id: String,
    },
    /// Another client, or somebody whom another issuer knows.
    Other {
        /// The `sub`.
        id: String,
    },
}

impl RefreshToken {
    /// The token that follows this one, as of `issued_at`, under a policy.
    pub fn successor(&self, generation: u32, issued_at: Timestamp, policy: &RefreshPolicy) -> Self {
        Self {
            generation,
            issued_at,
            expires_at: expiry(issued_at, self.started_at, policy),
            ..self.clone()
        }
    }
}

/// When a refresh token of a family that began at `started_at` ceases to be good.
pub fn expiry(issued_at: Timestamp, started_at: Timestamp, policy: &RefreshPolicy) -> Timestamp {
    let idle = issued_at + policy.lifetime;
    policy.max_lifetime.map_or(idle, |max| idle.min(started_at + max))
}

/// When no refresh token of a family can be good any more, if none is issued after `now`, and one that is known expires
/// at `expires_at`.
pub fn family_end(
    now: Timestamp,
    expires_at: Timestamp,
    policy: Option<&RefreshPolicy>,
) -> Timestamp {
    let lifetime = policy.map_or(Duration::ZERO, |p| p.lifetime);
    expires_at.max(now + lifetime)
}

/// Seals and opens the refresh tokens of a realm.
pub struct Sealer {
    keys: RefreshKeys,
    realm: String,
}

impl Sealer {
    /// The sealer of a realm. `None` where the keys cannot be derived, which aws-lc never refuses.
    pub fn new(master: &MasterKey, realm: &str) -> Option<Self> {
        Some(Self { keys: master.refresh_key(realm)?, realm: realm.to_owned() })
    }

    /// The text of a refresh token. The same token gives the same text.
    pub fn seal(&self, token: &RefreshToken) -> Secret {
        let mut content = Vec::with_capacity(256);
        encode(token, &mut content);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&hmac::sign(&self.keys.nonce, &content).as_ref()[..NONCE_LEN]);
        let aad = Aad::from(self.realm.as_bytes());
        let unique = Nonce::assume_unique_for_key(nonce);
        // Sealing fails only beyond 2^36 bytes. Without a tag the text opens nowhere.
        let _ = self.keys.seal.seal_in_place_append_tag(unique, aad, &mut content);
        let mut text =
            String::with_capacity(PREFIX.len() + (NONCE_LEN + content.len()) * 4 / 3 + 4);
        text.push_str(PREFIX);
        content.splice(..0, nonce);
        BASE64_URL_SAFE_NO_PAD.encode_string(&content, &mut text);
        Secret::new(text)
    }

    /// Opens what [`seal`](Self::seal) made in this realm; whether it is still good is not looked at.
    pub fn open(&self, text: &str) -> Result<RefreshToken, Refusal> {
        if text.len() > MAX_LEN {
            return Err(Refusal::NotARefreshToken);
        }
        self.decrypt(text).ok_or(Refusal::NotARefreshToken)
    }

    fn decrypt(&self, text: &str) -> Option<RefreshToken> {
        let mut sealed = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (nonce, body) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        let aad = Aad::from(self.realm.as_bytes());
        let content =
            self.keys.seal.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, body).ok()?;
        decode(content)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({:?}, ..)", self.realm)
    }
}

/// Fixed-width numbers first, then texts with two bytes of length before each; all big-endian. A binding stands before
/// all: which keys there are, and 32 bytes for each.
fn encode(token: &RefreshToken, out: &mut Vec<u8>) {
    if token.binding.is_none() {
        out.push(VERSION);
    } else {
        let Binding { key, certificate } = &token.binding;
        out.push(BOUND);
        out.push(u8::from(key.is_some()) | u8::from(certificate.is_some()) << 1);
        out.extend(key.iter().chain(certificate).flatten());
    }
    out.extend_from_slice(&token.family.0);
    out.extend_from_slice(&token.generation.to_be_bytes());
    for at in [token.started_at, token.issued_at, token.expires_at] {
        out.extend_from_slice(&at.as_millis().to_be_bytes());
    }
    let mut text = |text: &str| {
        // Everything that is sealed was limited to far less when it was registered or requested.
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
    };
    text(&token.client);
    text(token.scope.as_str());
    let (name, id) = match &token.subject {
        Subject::Client => ("", ""),
        Subject::User { name, id } => (name.as_str(), id.as_str()),
        Subject::Other { id } => ("", id.as_str()),
    };
    text(name);
    text(id);
    for audience in &token.audience {
        text(audience);
    }
}

fn decode(content: &[u8]) -> Option<RefreshToken> {
    let mut rest = Reader(content);
    let binding = match rest.take()? {
        [VERSION] => Binding::NONE,
        [BOUND] => {
            let [which @ 1..=3] = rest.take()? else { return None };
            let key = if which & 1 == 0 { None } else { Some(rest.take()?) };
            let certificate = if which & 2 == 0 { None } else { Some(rest.take()?) };
            Binding { key, certificate }
        }
        _ => return None,
    };
    let family = FamilyId(rest.take()?);
    let generation = u32::from_be_bytes(rest.take()?);
    let mut time = || Some(Timestamp::from_millis(u64::from_be_bytes(rest.take()?)));
    let (started_at, issued_at, expires_at) = (time()?, time()?, time()?);
    let client = rest.text()?.to_owned();
    let scope = rest.text()?.parse().ok()?;
    let (name, id) = (rest.text()?, rest.text()?);
    let subject = match (name, id) {
        (_, "") => Subject::Client,
        // No user has an empty name.
        ("", id) => Subject::Other { id: id.to_owned() },
        (name, id) => Subject::User { name: name.to_owned(), id: id.to_owned() },
    };
    let mut audience = Vec::new();
    while !rest.0.is_empty() {
        audience.push(rest.text()?.to_owned());
    }
    Some(RefreshToken {
        family,
        generation,
        client,
        subject,
        scope,
        audience,
        binding,
        started_at,
        issued_at,
        expires_at,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(u16::from_be_bytes(self.take()?));
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        std::str::from_utf8(head).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> RefreshToken {
        RefreshToken {
            family: FamilyId([9; 16]),
            generation: 3,
            client: "billing".into(),
            subject: Subject::User { name: "ada".into(), id: "0190".into() },
            scope: "read write".parse().unwrap(),
            audience: vec!["https://api.example".into(), "b".into()],
            binding: Binding::NONE,
            started_at: Timestamp::from_secs(100),
            issued_at: Timestamp::from_millis(200_001),
            expires_at: Timestamp::from_secs(300),
        }
    }

    fn sealer() -> Sealer {
        Sealer::new(&MasterKey::new([1; 32]), "r").unwrap()
    }

    #[test]
    fn a_sealed_token_opens_to_itself_and_shows_nothing() {
        let text = sealer().seal(&token());
        assert!(text.expose().starts_with(PREFIX));
        assert!(text.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        assert_eq!(sealer().open(text.expose()), Ok(token()));
        let for_client = RefreshToken { subject: Subject::Client, audience: vec![], ..token() };
        assert_eq!(sealer().open(sealer().seal(&for_client).expose()), Ok(for_client));
        let for_other = RefreshToken { subject: Subject::Other { id: "ci:a".into() }, ..token() };
        assert_eq!(sealer().open(sealer().seal(&for_other).expose()), Ok(for_other));
        let (a, b) = (Some([1; 32]), Some([2; 32]));
        for (key, certificate) in [(a, None), (None, b), (a, b)] {
            let bound = RefreshToken { binding: Binding { key, certificate }, ..token() };
            assert_eq!(sealer().open(sealer().seal(&bound).expose()), Ok(bound));
        }
    }

    #[test]
    fn row_118_the_same_token_is_sealed_byte_for_byte_alike() {
        assert_eq!(sealer().seal(&token()), sealer().seal(&token()));
        let later = RefreshToken { issued_at: Timestamp::from_millis(200_002), ..token() };
        assert_ne!(sealer().seal(&token()), sealer().seal(&later));
    }

    #[test]
    fn a_token_opens_only_in_its_realm_and_under_its_master_key() {
        let text = sealer().seal(&token());
        for other in [
            Sealer::new(&MasterKey::new([1; 32]), "s").unwrap(),
            Sealer::new(&MasterKey::new([2; 32]), "r").unwrap(),
        ] {
            assert_eq!(other.open(text.expose()), Err(Refusal::NotARefreshToken));
        }
    }

    #[test]
    fn a_changed_token_does_not_open() {
        let text = sealer().seal(&token());
        for i in PREFIX.len()..text.expose().len() {
            let mut changed = text.expose().as_bytes().to_vec();
            changed[i] = if changed[i] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(sealer().open(&changed), Err(Refusal::NotARefreshToken), "at {i}");
        }
        for end in 0..text.expose().len() {
            assert!(sealer().open(&text.expose()[..end]).is_err(), "cut at {end}");
        }
        assert!(sealer().open(&format!("{}k", text.expose())).is_err());
    }

    #[test]
    fn content_of_another_version_does_not_open() {
        let mut content = Vec::new();
        encode(&token(), &mut content);
        assert_eq!(content[0], VERSION);
        assert_eq!(decode(&content), Some(token()));
        for version in [0, 3, 255] {
            content[0] = version;
            assert_eq!(decode(&content), None, "version {version}");
        }
    }

    #[test]
    fn a_family_lives_no_longer_than_its_limit() {
        let policy = RefreshPolicy {
            lifetime: Duration::from_secs(60),
            max_lifetime: Some(Duration::from_secs(100)),
            policy: crate::realm::Rotate::Rotate,
            grace: Duration::ZERO,
            client_credentials: false,
        };
        let start = Timestamp::from_secs(1000);
        assert_eq!(expiry(start, start, &policy), Timestamp::from_secs(1060));
        assert_eq!(
            expiry(start + Duration::from_secs(50), start, &policy),
            Timestamp::from_secs(1100)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_content_never_panics(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&content);
        }
    }
}
