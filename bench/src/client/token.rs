//! What a caller pays for a token that is there.

use std::hint::black_box;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use tokenry_client::{Credentials, Keeper, Provider, TransportError};
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
    let keeper = keeper()?;
    keeper.token().await.map_err(|error| Problem::new(error.to_string()))?;
    let header = HeaderValue::try_from("a".repeat(ACCESS_TOKEN_LENGTH))?;
    let bare = ArcSwap::from_pointee(header);
    let (mut kept, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.settings.rounds * REPEATS {
        kept.push(nanos(|| keeper.try_token().map(|token| token.header().clone())));
        floor.push(nanos(|| HeaderValue::clone(&bare.load())));
    }
    let Spread { median, min, max } = Spread::of(&kept);
    let what = "a token that is there, with its header";
    let measured = format!("{median:.1} ns ({min:.1}–{max:.1})");
    let target = format!("≤ {TARGET} ns");
    bench.report.add(Line::judged("token", what, measured, target, median <= TARGET));
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

/// A keeper whose server answers from memory.
fn keeper() -> Result<Keeper> {
    let body = Arc::new(Bytes::from(format!(
        r#"{{"access_token":"{}","token_type":"Bearer","expires_in":3600}}"#,
        "a".repeat(ACCESS_TOKEN_LENGTH)
    )));
    let transport = move |_: Request<Bytes>| {
        let answer = Response::new(Bytes::clone(&body));
        std::future::ready(Ok::<_, TransportError>(answer))
    };
    let made = Provider::at("https://as.example/token").map(|provider| {
        Keeper::builder(provider, Credentials::client("bench", Secret::new("bench")))
            .transport(transport)
            .build()
    });
    match made {
        Ok(Ok(keeper)) => Ok(keeper),
        Ok(Err(error)) => Err(Problem::new(error.to_string())),
        Err(error) => Err(Problem::new(error.to_string())),
    }
}
