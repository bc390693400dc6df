//! What a caller pays for a token that is there.

use std::future::ready;
use std::hint::black_box;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use tokenry_client::{Credentials, Keeper, Provider, Transport, TransportError};
use tokenry_core::Secret;

use super::Bench;
use crate::clock::now;
use crate::problem::{Problem, Result};
use crate::report::Line;
use crate::rounds::Spread;

/// What a token with its header may cost, in nanoseconds.
const TARGET: f64 = 60.0;

/// How many tokens one measurement takes: 50 ms or so.
const CALLS: u32 = 1_000_000;

/// How often in a round: the least of many is what the machine can do, the median what it does.
const REPEATS: usize = 5;

/// A token of common length.
const ACCESS_TOKEN_LENGTH: usize = 800;

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let keeper =
        keeper(|_: Request<Bytes>| ready(Ok::<_, TransportError>(Response::new(answer()))))?;
    keeper.token().await.map_err(|error| Problem::new(error.to_string()))?;
    let header = HeaderValue::try_from("a".repeat(ACCESS_TOKEN_LENGTH))?;
    let bare = ArcSwap::from_pointee(header);
    let (mut kept, mut whole, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.settings.rounds * REPEATS {
        kept.push(nanos(|| keeper.try_header()));
        whole.push(nanos(|| keeper.try_token().map(|token| token.header().clone())));
        floor.push(nanos(|| HeaderValue::clone(&bare.load())));
    }
    let Spread { median, min, max } = Spread::of(&kept);
    let what = "the header of a token that is there";
    let measured = format!("{median:.1} ns ({min:.1}–{max:.1})");
    let target = format!("≤ {TARGET} ns");
    bench.report.add(Line::judged("token", what, measured, target, median <= TARGET));
    let Spread { median, min, max } = Spread::of(&whole);
    let what = "the token itself, and its header";
    bench.report.add(Line::told("token", what, format!("{median:.1} ns ({min:.1}–{max:.1})")));
    let Spread { median, min, max } = Spread::of(&floor);
    let what = "the same of an arc-swap with a header in it, which looks at no clock";
    bench.report.add(Line::told("token", what, format!("{median:.1} ns ({min:.1}–{max:.1})")));
    Ok(())
}

/// What one call takes.
fn nanos<T>(call: impl Fn() -> T) -> f64 {
    let began = now();
    for _ in 0..CALLS {
        black_box(call());
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

/// What a token endpoint answers.
pub(super) fn answer() -> Bytes {
    let token = "a".repeat(ACCESS_TOKEN_LENGTH);
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#);
    Bytes::from(body)
}

/// A keeper with a server in memory.
pub(super) fn keeper(transport: impl Transport + 'static) -> Result<Keeper> {
    let provider = Provider::at("https://as.example/token")
        .map_err(|error| Problem::new(error.to_string()))?;
    Keeper::builder(provider, Credentials::client("bench", Secret::new("bench")))
        .transport(transport)
        .build()
        .map_err(|error| Problem::new(error.to_string()))
}
