//! A token nobody has seen before, against the bare check of its signature: what all the rest costs.

use std::hint::black_box;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokenry_core::Timestamp;

use super::tokens::{Issuer, forgetful, verify};
use super::{Bench, nanos, told};
use crate::clock::now;
use crate::problem::{Doing as _, Problem, Result};
use crate::report::Line;
use crate::rounds::Spread;

/// How much longer than its signature a token may take.
const TARGET: f64 = 1.15;

/// The algorithms, and whether the target is theirs.
const ALGORITHMS: [(&str, bool); 3] = [("ES256", true), ("RS256", true), ("EdDSA", false)];

/// Tokens that are verified in turn, none of them twice in a batch.
const TOKENS: usize = 1024;

/// Verifications in one batch: a millisecond or so, within which a machine hardly changes its speed.
const BATCH: usize = 32;

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    for (algorithm, judged) in ALGORITHMS {
        one(bench, algorithm, judged).await.doing(algorithm)?;
    }
    Ok(())
}

async fn one(bench: &mut Bench, algorithm: &str, judged: bool) -> Result<()> {
    let mut issuer = Issuer::new(algorithm)?;
    let tokens = issuer.tokens(TOKENS)?;
    let verifier = issuer.verifier(forgetful).await?;
    let key = bare_key(&issuer.jwks())?;
    let signed: Vec<Signed<'_>> =
        tokens.iter().map(|token| Signed::of(token)).collect::<Result<_>>()?;
    let at = Timestamp::from_secs(crate::clock::unix_seconds());

    let (mut ratios, mut whole, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.settings.rounds {
        let (mut round, mut ours, mut floor) = (Vec::new(), Vec::new(), Vec::new());
        let began = now();
        let mut batches = tokens.chunks(BATCH).zip(signed.chunks(BATCH)).cycle();
        while began.elapsed() < bench.settings.warmup + bench.settings.measure {
            let Some((tokens, signed)) = batches.next() else { break };
            let b = nanos(signed, |one| key.verify_sig(one.input, &one.signature).is_ok())?;
            let a = nanos(tokens, |token| verify(&verifier, black_box(token), at).is_ok())?;
            if began.elapsed() < bench.settings.warmup {
                continue;
            }
            round.push(a / b);
            ours.push(a);
            floor.push(b);
        }
        ratios.push(Spread::of(&round).median);
        whole.push(Spread::of(&ours).median);
        bare.push(Spread::of(&floor).median);
    }
    let (ratio, whole, bare) = (Spread::of(&ratios), Spread::of(&whole), Spread::of(&bare));
    let what = format!("a token with {algorithm}, over the bare check of its signature");
    let measured =
        format!("{}; {:.2} µs and {:.2} µs", told(ratio, 3), whole.median / 1e3, bare.median / 1e3);
    bench.report.add(if judged {
        Line::judged("signature", what, measured, format!("≤ {TARGET}"), ratio.median <= TARGET)
    } else {
        Line::told("signature", what, measured)
    });
    Ok(())
}

/// What a signature is over, and the signature.
struct Signed<'t> {
    input: &'t [u8],
    signature: Vec<u8>,
}

impl<'t> Signed<'t> {
    fn of(token: &'t str) -> Result<Self> {
        let (input, signature) = token.rsplit_once('.').ok_or_else(|| Problem::new("no token"))?;
        Ok(Self { input: input.as_bytes(), signature: BASE64_URL_SAFE_NO_PAD.decode(signature)? })
    }
}

/// The one key of a set, by the library alone.
fn bare_key(jwks: &str) -> Result<ParsedPublicKey> {
    let jwks: serde_json::Value = serde_json::from_str(jwks)?;
    let jwk = &jwks["keys"][0];
    let number = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap_or_default());
    let key = match jwk["kty"].as_str() {
        Some("EC") => {
            let point = [vec![0x04], number("x")?, number("y")?].concat();
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)?
        }
        Some("OKP") => ParsedPublicKey::new(&ED25519, number("x")?)?,
        _ => RsaPublicKeyComponents { n: number("n")?, e: number("e")? }
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)?,
    };
    Ok(key)
}
