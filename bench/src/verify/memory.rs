//! What remembering tokens takes, in a process that does nothing else: by how much its resident memory grows.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokenry_core::Timestamp;

use super::Bench;
use super::tokens::{Issuer, remembering, verify};
use crate::clock::unix_seconds;
use crate::problem::{Problem, Result};
use crate::process::{Launch, own_resident};
use crate::report::{Line, thousands};

/// Tokens that are remembered.
const TOKENS: usize = 100_000;

/// Tokens that are verified before anything is counted, so that buffers and arenas are there.
const FIRST: usize = 1_000;

/// One in so many is kept, and looked for at the end.
const SAMPLE: usize = 1_000;

/// How long it may take: a signature and its check for each token.
const TIME: Duration = Duration::from_secs(120);

/// What the process tells.
#[derive(Deserialize, Serialize)]
struct Told {
    /// Bytes.
    grown: u64,
    token_length: usize,
    /// Of the sample.
    remembered: usize,
}

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let output = Launch::own("remember").on(&bench.settings.server_core).output(None, TIME).await?;
    let told: Told = serde_json::from_str(&output)?;
    if told.remembered == 0 {
        return Err(Problem::new("it remembers no token"));
    }
    let share = told.remembered as f64 / (TOKENS / SAMPLE) as f64;
    bench.report.add(Line::told(
        "memory",
        format!(
            "resident memory for each remembered token ({} different ones of {} bytes)",
            thousands(TOKENS as f64),
            told.token_length
        ),
        format!(
            "{} bytes; {:.0} MiB in all with room for as many, of which {:.0} % are remembered",
            thousands(told.grown as f64 / TOKENS as f64 / share),
            told.grown as f64 / f64::from(1 << 20),
            share * 100.0
        ),
    ));
    Ok(())
}

/// `remember`: remembers tokens, and says what that took.
pub(crate) async fn remember() -> Result<()> {
    let mut issuer = Issuer::new("ES256")?;
    let at = Timestamp::from_secs(unix_seconds());
    let first = issuer.verifier(|builder| remembering(builder, FIRST)).await?;
    for _ in 0..FIRST {
        verify(&first, &issuer.token()?, at)?;
    }
    let before = own_resident();
    let verifier = issuer.verifier(|builder| remembering(builder, TOKENS)).await?;
    let mut sample = Vec::with_capacity(TOKENS / SAMPLE);
    for i in 0..TOKENS {
        // Each token is gone before the next is made: only what the verifier keeps of it stays.
        let token = issuer.token()?;
        let verified = verify(&verifier, &token, at)?;
        if i % SAMPLE == 0 {
            sample.push((token, verified));
        }
    }
    let grown = own_resident().saturating_sub(before);
    let mut remembered = 0;
    for (token, verified) in &sample {
        remembered += usize::from(Arc::ptr_eq(&verify(&verifier, token, at)?, verified));
    }
    let token_length = sample.first().map_or(0, |(token, _)| token.len());
    println!("{}", serde_json::to_string(&Told { grown, token_length, remembered })?);
    Ok(())
}
