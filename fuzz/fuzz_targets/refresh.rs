//! Sealed refresh tokens: what opens, what does not, and what comes back.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use tokenry_core::binding::Binding;
use tokenry_core::family::FamilyId;
use tokenry_core::refresh::{PREFIX, RefreshToken, Sealer, Subject};
use tokenry_core::{MasterKey, Scope, Timestamp};

static SEALER: LazyLock<Sealer> = LazyLock::new(|| sealer("fuzz"));
static OTHER_REALM: LazyLock<Sealer> = LazyLock::new(|| sealer("other"));

fn sealer(realm: &str) -> Sealer {
    Sealer::new(&MasterKey::new([1; 32]), realm).expect("derived keys")
}

fuzz_target!(|data: &[u8]| {
    open(&String::from_utf8_lossy(data));
    open(&format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(data)));
    if let Ok(token) = token(&mut Unstructured::new(data)) {
        round_trip(&token, data);
    }
});

/// A text opens only if sealing what it says gives that very text: nobody else can have made it.
fn open(text: &str) {
    if let Ok(token) = SEALER.open(text) {
        assert_eq!(SEALER.seal(&token).expose(), text);
    }
}

fn round_trip(token: &RefreshToken, noise: &[u8]) {
    let sealed = SEALER.seal(token);
    assert_eq!(SEALER.open(sealed.expose()).as_ref(), Ok(token));
    assert!(OTHER_REALM.open(sealed.expose()).is_err(), "it opens in another realm");

    let mut changed = sealed.expose().as_bytes().to_vec();
    let at = noise.iter().fold(7, |sum: usize, b| sum.wrapping_mul(31) + usize::from(*b));
    let at = at % changed.len();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("ASCII");
    assert!(SEALER.open(&changed).is_err(), "it opens although it was changed at {at}");
}

/// A token such as could have been issued: identifiers and texts within their limits.
fn token(from: &mut Unstructured<'_>) -> Result<RefreshToken> {
    Ok(RefreshToken {
        family: FamilyId(from.arbitrary()?),
        generation: from.arbitrary()?,
        started_at: time(from)?,
        issued_at: time(from)?,
        expires_at: time(from)?,
        client: text(from)?,
        subject: match text(from)? {
            id if id.is_empty() => Subject::Client,
            id => match text(from)? {
                // No user has an empty name: that is how somebody else is told apart.
                name if name.is_empty() => Subject::Other { id },
                name => Subject::User { name, id },
            },
        },
        scope: text(from)?.parse().unwrap_or(Scope::empty()),
        binding: Binding { key: from.arbitrary()?, certificate: from.arbitrary()? },
        audience: (0..from.int_in_range(0..=8)?).map(|_| text(from)).collect::<Result<_>>()?,
    })
}

fn time(from: &mut Unstructured<'_>) -> Result<Timestamp> {
    Ok(Timestamp::from_millis(from.arbitrary()?))
}

/// At most 200 bytes: then the sealed text stays below the longest that is looked at.
fn text(from: &mut Unstructured<'_>) -> Result<String> {
    let mut text: String = from.arbitrary()?;
    text.truncate(text.floor_char_boundary(200));
    Ok(text)
}
