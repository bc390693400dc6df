//! Whole tokens, made of any bytes: signed by the issuer, by others or by nobody, and damaged afterwards.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::ISSUERS;
use super::choices::Choices;
use super::keys::Key;
use super::parts::Part;

/// A text that may be a token.
pub(super) struct Forged {
    pub(super) text: String,
    /// The token that the key of an issuer has signed, and which one: no other text may be accepted.
    pub(super) signed: Option<(String, &'static str)>,
}

/// The most changes to one token.
const MAX_EDITS: usize = 12;
/// The longest token, and what it must not be longer than.
const LONGEST: usize = 16 * 1024;

/// The places of the keys that tokens name. RSA signs slowly, so it has its turn less often.
const NAMED: [usize; 16] = [0, 1, 3, 0, 1, 3, 0, 1, 3, 5, 5, 5, 2, 4, 6, 7];

/// How a token is signed.
#[derive(Clone, Copy)]
enum Signer<'k> {
    Key(&'k Key),
    /// HMAC with what everybody knows of a key (CVE-2015-9235).
    PublicAsSecret {
        key: &'k Key,
        der: bool,
    },
    Nobody,
    /// The key, but another token.
    Elsewhere(&'k Key),
}

/// Makes a token. Without any choices it is a good one.
pub(super) fn forge(choices: &mut Choices<'_>, keys: &[Key], jti: &str) -> Forged {
    let named = &keys[NAMED[choices.below(NAMED.len())]];
    let signer = choices.byte();
    let damage = [choices.byte(), choices.byte(), choices.byte()];
    let second = signer >= 128;
    let (signer, alg) = match usize::from(signer % 24) {
        at @ 8..=15 => (Signer::Key(&keys[at - 8]), None),
        16 => (Signer::PublicAsSecret { key: named, der: second }, Some("HS256")),
        17 => (Signer::PublicAsSecret { key: named, der: second }, None),
        18 => (Signer::Nobody, second.then_some("none")),
        19 => (Signer::Elsewhere(named), None),
        _ => (Signer::Key(named), None),
    };
    let alg = alg.unwrap_or_else(|| named.signing.public_jwk().algorithm().as_str());
    let mut header = Part::header(alg, named.kid);
    let mut claims = Part::claims(ISSUERS[0], jti);
    for _ in 0..MAX_EDITS {
        if choices.is_empty() {
            break;
        }
        match choices.below(12) {
            0..=4 => claims.edit_claim(choices),
            5..=8 => header.edit_header(choices, keys),
            9 => claims.edit_any(choices),
            10 => header.edit_any(choices),
            _ => match choices.below(3) {
                0 => header.edit_text(choices),
                1 => claims.edit_text(choices),
                _ => fill(&header, &mut claims, choices),
            },
        }
    }
    let input = format!("{}.{}", encode(&header.write()), encode(&claims.write()));
    let signature = sign(signer, &input);
    let token = format!("{input}.{}", encode(&signature));
    let signed = match signer {
        Signer::Key(key) => key.issuer.map(|issuer| (token.clone(), issuer)),
        _ => None,
    };
    Forged { text: damaged(&token, damage), signed }
}

/// A token that names a key which nobody has.
pub(super) fn unknown(issuer: &str) -> String {
    let header = Part::header("EdDSA", Some("nobody's"));
    format!("{}.{}.", encode(&header.write()), encode(&Part::claims(issuer, "j-1").write()))
}

/// Makes the token just as long as one may be, a little less, or a little more.
fn fill(header: &Part, claims: &mut Part, choices: &mut Choices<'_>) {
    // What is signed with Ed25519 or ES256 has 64 bytes of signature.
    let rest = encode(&header.write()).len() + 2 + encode(&[0; 64]).len();
    let target = (LONGEST - 4 + choices.below(9)).saturating_sub(rest);
    let len = claims.write().len();
    claims.lengthen((target * 3 / 4).saturating_sub(len));
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn sign(signer: Signer<'_>, input: &str) -> Vec<u8> {
    match signer {
        Signer::Key(key) => key.signing.sign(input.as_bytes()).unwrap(),
        Signer::Elsewhere(key) => {
            let other = format!("{input}{}", encode(b"{}"));
            key.signing.sign(other.as_bytes()).unwrap()
        }
        Signer::PublicAsSecret { key, der } => {
            let secret = if der { key.signing.public_der().unwrap() } else { key.jwk().into() };
            let secret = jsonwebtoken::EncodingKey::from_secret(&secret);
            let algorithm = jsonwebtoken::Algorithm::HS256;
            let mac = jsonwebtoken::crypto::sign(input.as_bytes(), &secret, algorithm).unwrap();
            BASE64_URL_SAFE_NO_PAD.decode(mac).unwrap()
        }
        Signer::Nobody => Vec::new(),
    }
}

/// The text of a token after an accident, or an attempt.
fn damaged(token: &str, [kind, at, with]: [u8; 3]) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let &[header, payload, signature] = parts.as_slice() else { return token.to_owned() };
    let part = usize::from(at) % 3;
    let join = |part: usize, new: &str| {
        let mut parts = [header, payload, signature];
        parts[part] = new;
        parts.join(".")
    };
    let bytes = || BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    match kind % 32 {
        // A bit of the signature.
        1 => {
            let mut bytes = bytes();
            let len = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(usize::from(at) % len) {
                *byte ^= 1 << (with % 8);
            }
            join(2, &encode(&bytes))
        }
        2 => {
            let mut bytes = bytes();
            bytes.truncate(bytes.len().saturating_sub(usize::from(at)));
            join(2, &encode(&bytes))
        }
        3 => join(2, &encode(&[&bytes()[..], &vec![with; usize::from(at)]].concat())),
        4 => join(2, &encode(&[&vec![with; usize::from(at)], &bytes()[..]].concat())),
        5 => join(part, &format!("{}{}", parts[part], "=".repeat(1 + usize::from(with % 3)))),
        // What a full padding would be.
        6 => join(part, &format!("{:=<1$}", parts[part], parts[part].len().div_ceil(4) * 4)),
        7 => join(part, &with_stray_bits(parts[part])),
        8 => join(part, &parts[part].replace('-', "+").replace('_', "/")),
        9 => format!("{token}.{}", if with % 2 == 0 { "" } else { signature }),
        10 => format!("{header}.{payload}"),
        11 => format!("{payload}.{header}.{signature}"),
        12 => join(part, ""),
        13..=15 => changed(token, at, with, kind % 32 - 13),
        16 => join(
            part,
            &format!("{}{}", parts[part], ["\n", " ", "\r\n", "\0", "%3D"][usize::from(with) % 5]),
        ),
        17 => format!("{}{token}", [" ", "\n", "Bearer ", "\u{feff}"][usize::from(with) % 4]),
        18 => token.to_ascii_lowercase(),
        // ECDSA as others write it.
        19 => join(2, &encode(&[&[0x30, 0x44, 2, 0x20], &bytes()[..]].concat())),
        _ => token.to_owned(),
    }
}

/// The token with a character exchanged (0), inserted (1) or taken away (2).
pub(super) fn changed(token: &str, at: u8, with: u8, how: u8) -> String {
    const CHARS: &[u8] = b"AQgwBCZaz09-_.=+/ \n%~";
    let mut bytes = token.as_bytes().to_vec();
    // All over the token, the last characters more often.
    let at = if at >= 240 {
        bytes.len().saturating_sub(usize::from(255 - at) + 1)
    } else {
        bytes.len() * usize::from(at) / 240
    };
    let with = CHARS[usize::from(with) % CHARS.len()];
    match how % 3 {
        0 if at < bytes.len() => bytes[at] = with,
        1 => bytes.insert(at.min(bytes.len()), with),
        _ if at < bytes.len() => drop(bytes.remove(at)),
        _ => {}
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The same bytes in another writing, if the last character leaves bits over.
fn with_stray_bits(part: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let unused = part.len() % 4 >= 2;
    let next = part.bytes().last().and_then(|last| {
        let at = ALPHABET.iter().position(|char| *char == last)?;
        ALPHABET.get(at + 1).copied()
    });
    match (unused, next) {
        (true, Some(next)) => format!("{}{}", &part[..part.len() - 1], char::from(next)),
        _ => part.to_owned(),
    }
}
