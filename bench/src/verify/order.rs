//! What a process is to verify, and for how long: the same for us and for the peers.

use std::io::Read as _;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokenry_core::Timestamp;

use super::tokens::{AUDIENCE, ISSUER, Issuer, forgetful, holding, roomy, verify};
use crate::clock::{now, unix_seconds};
use crate::problem::{Problem, Result};
use crate::rounds::Settings;

/// Tokens between two looks at the clock.
const BATCH: usize = 32;

/// Read by the programs below `bench/peers`, too.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Order {
    issuer: String,
    audience: String,
    jwks: Box<RawValue>,
    tokens: Vec<String>,
    warmup_ms: u64,
    measure_ms: u64,
    /// A token whose key is in no key set.
    unknown: String,
}

/// What they answer: nanoseconds of one token.
#[derive(Deserialize, Serialize)]
pub(super) struct Took {
    pub(super) nanos: f64,
}

impl Order {
    pub(super) fn new(issuer: &mut Issuer, count: usize, settings: &Settings) -> Result<Self> {
        let tokens = issuer.tokens(count)?;
        let unknown = tokens.first().map(|token| with_kid(token, "unknown")).transpose()?;
        Ok(Self {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            jwks: RawValue::from_string(issuer.jwks())?,
            tokens,
            warmup_ms: settings.warmup.as_millis().try_into()?,
            measure_ms: settings.measure.as_millis().try_into()?,
            unknown: unknown.unwrap_or_default(),
        })
    }

    pub(super) fn text(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// The token with a header that names another key. Its signature is no longer good, but nobody gets that far.
pub(super) fn with_kid(token: &str, kid: &str) -> Result<String> {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    let (header, rest) = token.split_once('.').ok_or_else(|| Problem::new("no token"))?;
    let header = BASE64_URL_SAFE_NO_PAD.decode(header)?;
    let mut header: serde_json::Value = serde_json::from_slice(&header)?;
    header["kid"] = kid.into();
    Ok(format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(header.to_string())))
}

/// `check anew|again`: carries out an order with our own verifier, which remembers no token, or all of them.
pub(crate) async fn check(args: &[String]) -> Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let order: Order = serde_json::from_str(&text)?;
    let again = args.first().is_some_and(|arg| arg == "again");
    let count = order.tokens.len();
    let verifier =
        holding(
            order.jwks.get(),
            |builder| {
                if again { roomy(builder, count) } else { forgetful(builder) }
            },
        )
        .await?;
    let at = Timestamp::from_secs(unix_seconds());
    let mut batches = order.tokens.chunks(BATCH).cycle();
    let mut run = |milliseconds: u64| -> Result<f64> {
        let (began, mut verified) = (now(), 0_usize);
        while began.elapsed().as_millis() < u128::from(milliseconds) {
            let batch = batches.next().ok_or_else(|| Problem::new("no tokens"))?;
            for token in batch {
                std::hint::black_box(verify(&verifier, std::hint::black_box(token), at)?);
            }
            verified += batch.len();
        }
        Ok(began.elapsed().as_secs_f64() * 1e9 / verified.max(1) as f64)
    };
    run(order.warmup_ms)?;
    let nanos = run(order.measure_ms)?;
    println!("{}", serde_json::to_string(&Took { nanos })?);
    Ok(())
}
