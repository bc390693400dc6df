//! Tokens with made-up keys while the JWKS endpoint hangs: what good tokens notice of it, and what the issuer does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokenry_core::Timestamp;
use tokenry_verifier::{BoxFuture, FetchError, Fetched, KeySource, Rejection, Verifier};

use super::order::with_kid;
use super::tokens::{AUDIENCE, ISSUER, Issuer, forgetful, ready, verify};
use super::{Bench, peers, told};
use crate::clock::{now, unix_seconds};
use crate::problem::{Problem, Result};
use crate::report::{Line, thousands};
use crate::rounds::Spread;

/// How much longer a good token may take meanwhile, at the median.
const TARGET: f64 = 1.1;

/// Tokens with a `kid` of their own each.
const UNKNOWN: usize = 1_000;

/// How long good tokens are measured, with the others and without.
const SPAN: Duration = Duration::from_secs(2);

/// Good tokens that are verified in turn.
const TOKENS: usize = 1_024;

/// What one round shows.
struct Round {
    calm: Latencies,
    attacked: Latencies,
    /// Beyond the first.
    fetches: usize,
    /// Of the tokens with made-up keys: answered with 503, since nobody can say that they are bad.
    unavailable: usize,
}

/// In nanoseconds.
struct Latencies {
    p50: f64,
    p99: f64,
    most: f64,
}

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..bench.settings.rounds {
        rounds.push(round().await?);
    }
    report(bench, &rounds);
    let line = match peers::hanging(bench).await {
        Ok(stall) => Line::told(
            "jwks",
            format!(
                "{}: one good token, while another waits for an endpoint that hangs for 3 s",
                stall.name
            ),
            format!("{:.2} s; before {:.0} µs", stall.during_ns / 1e9, stall.before_ns / 1e3),
        ),
        Err(problem) => Line::blank("jwks", "jwt-authorizer", problem.to_string()),
    };
    bench.report.add(line);
    Ok(())
}

fn report(bench: &mut Bench, rounds: &[Round]) {
    let ratio = |of: fn(&Latencies) -> f64| {
        Spread::of(&rounds.iter().map(|r| of(&r.attacked) / of(&r.calm)).collect::<Vec<_>>())
    };
    let micros =
        |of: fn(&Round) -> f64| Spread::of(&rounds.iter().map(of).collect::<Vec<_>>()).median / 1e3;
    let what = format!(
        "a good token while {} with made-up keys wait for an endpoint that hangs, over the same without them",
        thousands(UNKNOWN as f64)
    );
    let p50 = ratio(|latencies| latencies.p50);
    bench.report.add(Line::judged(
        "jwks",
        format!("{what}: median"),
        format!(
            "{}; {:.2} µs and {:.2} µs",
            told(p50, 3),
            micros(|r| r.attacked.p50),
            micros(|r| r.calm.p50)
        ),
        format!("≤ {TARGET}"),
        p50.median <= TARGET,
    ));
    bench.report.add(Line::told(
        "jwks",
        format!("{what}: 99 of 100"),
        format!(
            "{}; {:.2} µs and {:.2} µs; the longest of all {:.0} µs and {:.0} µs",
            told(ratio(|latencies| latencies.p99), 3),
            micros(|r| r.attacked.p99),
            micros(|r| r.calm.p99),
            rounds.iter().map(|r| r.attacked.most).fold(0.0, f64::max) / 1e3,
            rounds.iter().map(|r| r.calm.most).fold(0.0, f64::max) / 1e3,
        ),
    ));
    let fetches = rounds.iter().map(|r| r.fetches).max().unwrap_or_default();
    let unavailable = rounds.iter().map(|r| r.unavailable).min().unwrap_or_default();
    bench.report.add(Line::judged(
        "jwks",
        format!("fetches that {} made-up keys cause", thousands(UNKNOWN as f64)),
        format!("{fetches}; {} of their senders are told 503", thousands(unavailable as f64)),
        "1",
        rounds.iter().all(|round| round.fetches == 1),
    ));
}

async fn round() -> Result<Round> {
    let mut issuer = Issuer::new("RS256")?;
    let good: Arc<[String]> = issuer.tokens(TOKENS)?.into();
    let unknown: Vec<String> = (0..UNKNOWN)
        .map(|i| with_kid(&good[i % TOKENS], &format!("made-up-{i}")))
        .collect::<Result<_>>()?;
    let fetches = Arc::new(AtomicUsize::new(0));
    let source = AnswersOnce { jwks: issuer.jwks().into(), fetches: fetches.clone() };
    let builder = Verifier::builder(ISSUER).audience(AUDIENCE).key_source(source);
    let verifier = forgetful(builder).build()?;
    ready(&verifier).await?;
    // Once for nothing: the thread starts, and everything is read into the caches.
    apart(&verifier, &good).await?;
    let calm = apart(&verifier, &good).await?;
    let attacked = tokio::spawn({
        let (verifier, good) = (verifier.clone(), good.clone());
        async move { apart(&verifier, &good).await }
    });
    let mut waiting = Vec::with_capacity(UNKNOWN);
    let mut every = tokio::time::interval(SPAN / u32::try_from(UNKNOWN)?);
    for token in unknown {
        every.tick().await;
        let verifier = verifier.clone();
        let at = Timestamp::from_secs(unix_seconds());
        waiting.push(tokio::spawn(async move { verifier.verify(&token, at).await.err() }));
    }
    let attacked = attacked.await??;
    let mut unavailable = 0;
    for one in waiting {
        unavailable += usize::from(matches!(one.await?, Some(Rejection::Unavailable { .. })));
    }
    // The first of all is not theirs.
    let fetches = fetches.load(Ordering::Relaxed).saturating_sub(1);
    Ok(Round { calm, attacked, fetches, unavailable })
}

/// Good tokens on a thread that does nothing else, as another worker of a server would verify them.
async fn apart(verifier: &Verifier, tokens: &Arc<[String]>) -> Result<Latencies> {
    let (verifier, tokens) = (verifier.clone(), tokens.clone());
    tokio::task::spawn_blocking(move || latencies(&verifier, &tokens)).await?
}

fn latencies(verifier: &Verifier, tokens: &[String]) -> Result<Latencies> {
    let at = Timestamp::from_secs(unix_seconds());
    let mut all = Vec::new();
    let began = now();
    for token in tokens.iter().cycle() {
        let before = now();
        if before.duration_since(began) >= SPAN {
            break;
        }
        verify(verifier, token, at)?;
        all.push(before.elapsed().as_nanos() as f64);
    }
    all.sort_by(f64::total_cmp);
    let at = |share: usize| all.get(all.len() * share / 100).copied();
    let (Some(p50), Some(p99), Some(most)) = (at(50), at(99), all.last().copied()) else {
        return Err(Problem::new("no token was verified"));
    };
    Ok(Latencies { p50, p99, most })
}

/// Keys that come once; whoever asks again waits for ever.
struct AnswersOnce {
    jwks: Bytes,
    fetches: Arc<AtomicUsize>,
}

impl KeySource for AnswersOnce {
    fn fetch<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::result::Result<Fetched, FetchError>> {
        let first = self.fetches.fetch_add(1, Ordering::Relaxed) == 0;
        let fetched = Fetched { body: self.jwks.clone(), max_age: None };
        Box::pin(async move {
            if !first {
                std::future::pending::<()>().await;
            }
            Ok(fetched)
        })
    }
}
