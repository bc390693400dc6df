//! Other verifiers in Rust, as their documentation recommends them for an API: keys from a key set, `iss`, `aud` and
//! `exp` checked, and `typ` where they can.
//!
//! Reads an order (see `Order`) from standard input and prints one line of JSON.

use std::collections::HashMap;
use std::error::Error;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use jwt_authorizer::{Authorizer, JwtAuthorizer, Refresh, RefreshStrategy};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Tokens between two looks at the clock.
const BATCH: usize = 32;

/// How long the JWKS endpoint hangs when it is asked again.
const HANGS: Duration = Duration::from_secs(3);

/// What is to be verified, and for how long.
#[derive(Deserialize)]
struct Order {
    issuer: String,
    audience: String,
    jwks: serde_json::Value,
    tokens: Vec<String>,
    warmup_ms: u64,
    measure_ms: u64,
    /// A token whose key is in no key set.
    #[serde(default)]
    unknown: String,
}

/// The claims of the server's tokens.
#[derive(Clone, Deserialize)]
#[expect(dead_code, reason = "read, for whoever needs them")]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    iat: u64,
    jti: String,
    client_id: String,
    scope: String,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let order: Order = serde_json::from_str(&text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match std::env::args().nth(1).as_deref() {
        Some("jsonwebtoken") => jsonwebtoken(&order),
        Some("jwt-authorizer") => runtime.block_on(jwt_authorizer(&order)),
        Some("jwt-authorizer-hanging") => runtime.block_on(hanging(&order)),
        _ => Err("jsonwebtoken, jwt-authorizer or jwt-authorizer-hanging".into()),
    }
}

fn jsonwebtoken(order: &Order) -> Result<()> {
    let set: JwkSet = serde_json::from_value(order.jwks.clone())?;
    let mut keys = HashMap::new();
    for jwk in &set.keys {
        let algorithm = jwk.common.key_algorithm.ok_or("a key names no algorithm")?;
        let mut validation = Validation::new(algorithm.to_string().parse()?);
        validation.set_audience(&[&order.audience]);
        validation.set_issuer(&[&order.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let kid = jwk.common.key_id.clone().ok_or("a key has no name")?;
        keys.insert(kid, (DecodingKey::from_jwk(jwk)?, validation));
    }
    let verify = |token: &str| -> Result<Claims> {
        let header = decode_header(token)?;
        if header.typ.as_deref() != Some("at+jwt") {
            return Err("another type".into());
        }
        let (key, validation) =
            header.kid.and_then(|kid| keys.get(&kid)).ok_or("an unknown key")?;
        Ok(decode::<Claims>(token, key, validation)?.claims)
    };
    let mut work = Work::new(order);
    while let Some(tokens) = work.batch() {
        for token in tokens {
            std::hint::black_box(verify(std::hint::black_box(token))?);
        }
    }
    work.tell();
    Ok(())
}

async fn jwt_authorizer(order: &Order) -> Result<()> {
    let verifier = authorizer(order, Refresh::default()).await?;
    let mut work = Work::new(order);
    while let Some(tokens) = work.batch() {
        for token in tokens {
            std::hint::black_box(verifier.check_auth(std::hint::black_box(token)).await?);
        }
    }
    work.tell();
    Ok(())
}

/// One token with an unknown key, while others bring good ones: what the worst of these waits.
async fn hanging(order: &Order) -> Result<()> {
    // It asks again for an unknown key only when its keys are older than this: ten minutes unless told otherwise.
    let interval = Duration::from_millis(100);
    let refresh = Refresh {
        strategy: RefreshStrategy::KeyNotFound,
        refresh_interval: interval,
        retry_interval: interval,
    };
    let verifier = Arc::new(authorizer(order, refresh).await?);
    let good = order.tokens.first().ok_or("no token")?;
    verifier.check_auth(good).await?;
    let before = now();
    verifier.check_auth(good).await?;
    let before = before.elapsed();
    tokio::time::sleep(2 * interval).await;
    let (other, unknown) = (verifier.clone(), order.unknown.clone());
    let asking = tokio::spawn(async move { other.check_auth(&unknown).await.is_ok() });
    tokio::time::sleep(interval).await;
    let during = now();
    verifier.check_auth(good).await?;
    let during = during.elapsed();
    if asking.await? {
        return Err("a token with an unknown key was let in".into());
    }
    println!(r#"{{"before_ns":{},"during_ns":{}}}"#, before.as_nanos(), during.as_nanos());
    Ok(())
}

async fn authorizer(order: &Order, refresh: Refresh) -> Result<Authorizer<Claims>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/jwks", listener.local_addr()?);
    tokio::spawn(serve(listener, order.jwks.to_string()));
    let validation = jwt_authorizer::Validation::new()
        .iss(&[&order.issuer])
        .aud(&[&order.audience])
        .exp(true)
        .nbf(true);
    Ok(JwtAuthorizer::<Claims>::from_jwks_url(&url)
        .refresh(refresh)
        .validation(validation)
        .build()
        .await?)
}

/// A JWKS endpoint that answers once and hangs from then on.
async fn serve(listener: TcpListener, jwks: String) {
    let mut answered = false;
    while let Ok((stream, _)) = listener.accept().await {
        let wait = if std::mem::replace(&mut answered, true) { HANGS } else { Duration::ZERO };
        tokio::spawn(answer(stream, jwks.clone(), wait));
    }
}

async fn answer(mut stream: TcpStream, jwks: String, wait: Duration) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    tokio::time::sleep(wait).await;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{jwks}",
        jwks.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Tokens in turn, until the time is over.
struct Work<'o> {
    batches: std::iter::Cycle<std::slice::Chunks<'o, String>>,
    began: Instant,
    warmup: Duration,
    measure: Duration,
    warm: bool,
    verified: usize,
}

impl<'o> Work<'o> {
    fn new(order: &'o Order) -> Self {
        Self {
            batches: order.tokens.chunks(BATCH).cycle(),
            began: now(),
            warmup: Duration::from_millis(order.warmup_ms),
            measure: Duration::from_millis(order.measure_ms),
            warm: false,
            verified: 0,
        }
    }

    fn batch(&mut self) -> Option<&'o [String]> {
        if !self.warm && self.began.elapsed() >= self.warmup {
            (self.warm, self.verified, self.began) = (true, 0, now());
        }
        if self.warm && self.began.elapsed() >= self.measure {
            return None;
        }
        let batch = self.batches.next()?;
        self.verified += batch.len();
        Some(batch)
    }

    /// Nanoseconds of one token.
    fn tell(&self) {
        let nanos = self.began.elapsed().as_secs_f64() * 1e9 / self.verified.max(1) as f64;
        println!(r#"{{"nanos":{nanos:.1}}}"#);
    }
}
