//! A token that was seen before, beside a SHA-256 of its text, by which others would find it.

use std::hint::black_box;

use aws_lc_rs::digest::{SHA256, digest};
use tokenry_core::Timestamp;

use super::tokens::{Issuer, roomy, verify};
use super::{Bench, nanos, told};
use crate::clock::{now, unix_seconds};
use crate::problem::Result;
use crate::report::{Line, thousands};
use crate::rounds::Spread;

/// What a hit may take, in nanoseconds.
const TARGET: f64 = 500.0;

/// Tokens that are sent in turn: of one client that asks all the time, and of many.
const TOKENS: [usize; 2] = [1, 10_000];

/// Hits in one batch: half a millisecond or so.
const BATCH: usize = 1_000;

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    for algorithm in ["ES256", "RS256"] {
        for count in TOKENS {
            one(bench, algorithm, count).await?;
        }
    }
    Ok(())
}

async fn one(bench: &mut Bench, algorithm: &str, count: usize) -> Result<()> {
    let mut issuer = Issuer::new(algorithm)?;
    let tokens = issuer.tokens(count)?;
    let verifier = issuer.verifier(|builder| roomy(builder, count)).await?;
    let at = Timestamp::from_secs(unix_seconds());
    for token in &tokens {
        verify(&verifier, token, at)?;
    }
    let in_turn: Vec<&str> =
        tokens.iter().map(String::as_str).cycle().take(count.max(BATCH)).collect();
    let (mut hits, mut hashes) = (Vec::new(), Vec::new());
    for _ in 0..bench.settings.rounds {
        let (mut round, mut floor) = (Vec::new(), Vec::new());
        let began = now();
        for batch in in_turn.chunks(BATCH).cycle() {
            if began.elapsed() > bench.settings.measure {
                break;
            }
            // First, so that the text is as near for the hit as that of a request which has just been read.
            floor.push(nanos(batch, |token| {
                black_box(digest(&SHA256, token.as_bytes()));
                true
            })?);
            round.push(nanos(batch, |token| verify(&verifier, token, at).is_ok())?);
        }
        hits.push(Spread::of(&round).median);
        hashes.push(Spread::of(&floor).median);
    }
    let (hit, hash) = (Spread::of(&hits), Spread::of(&hashes));
    let length = tokens.first().map_or(0, String::len);
    let of = match count {
        1 => "the same one".to_owned(),
        many => format!("{} in turn", thousands(many as f64)),
    };
    bench.report.add(Line::judged(
        "hit",
        format!("a token seen before, {algorithm}, {length} bytes, {of}"),
        format!("{} ns; its SHA-256 alone {:.0} ns", told(hit, 0), hash.median),
        format!("≤ {TARGET} ns"),
        hit.median <= TARGET,
    ));
    Ok(())
}
