//! How many instructions the steps of a token request take, counted by callgrind: a number that no noise touches.
//!
//! `cargo xtask bench instructions` runs it, and fails where a step takes more than [`SLACK_PERCENT`] above what is
//! written beside it. The numbers are those of a release build on x86-64 with AVX2: AWS-LC chooses its code by processor,
//! and valgrind shows it neither AVX-512 nor the SHA extensions.
//!
//! Who makes a step cheaper lowers its number; who makes it dearer on purpose says why in the commit.

#![expect(missing_docs, unused_qualifications, reason = "the macros of gungraun write it so")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up ends")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokenry_core::client::{
    AuthenticatedClient, Credential, CredentialKind, authenticate, generate_secret,
};
use tokenry_core::grant::{Circumstances, Issue, Refresh, client_credentials};
use tokenry_core::jose::{Algorithm, PreparedHeader, SigningKey, generate};
use tokenry_core::master::Pepper;
use tokenry_core::realm::{RefreshPolicy, Rotate, TokenPolicy};
use tokenry_core::refresh::{RefreshToken, Sealer};
use tokenry_core::request::{Asked, Credentials, GrantType, Presented, Received};
use tokenry_core::{
    Binding, Client, MasterKey, Realm, Refusal, Scope, Secret, Timestamp, TokenRequest,
};
use tokenry_server::{App, Body, Clock, Limits};
use tokenry_store::{Change, Memory, Store as _};
use tokio::runtime::Runtime;

/// How much a count may grow before it is a regression. Compilers, allocators and the seeds of hash maps move it by
/// less; a step that does something more moves it by more.
const SLACK_PERCENT: u64 = 5;

/// A step that took this many instructions when it was last looked at.
fn took(instructions: u64) -> LibraryBenchmarkConfig {
    let limit = instructions + instructions * SLACK_PERCENT / 100;
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

// What the steps work on. Each is made before the count begins, and leaked, so that its end is not counted either.

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const MASTER: [u8; 32] = [42; 32];
const BODY: &[u8] = b"grant_type=client_credentials&scope=read+write";
const FORM: &str = "application/x-www-form-urlencoded";
const CLAIMS: &[u8] = br#"{"iss":"https://auth.example","sub":"billing","aud":"https://api.example","exp":1700000300,"iat":1700000000,"jti":"3f8e4f3c-1f0e-4c55-9f0a-0a8d0b2f7c11","client_id":"billing","scope":"read write"}"#;

fn kept<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn pepper() -> Pepper {
    MasterKey::new(MASTER).pepper()
}

/// The secret of the client, with its identifier, as `tokenry client add` makes them.
fn secret() -> (String, Secret) {
    generate_secret(&[7; 38])
}

fn basic() -> String {
    let (_, secret) = secret();
    format!("Basic {}", BASE64_STANDARD.encode(format!("billing:{}", secret.expose())))
}

fn realm() -> Realm {
    let tokens =
        TokenPolicy { signing: Algorithm::EdDsa, ..TokenPolicy::new(Duration::from_secs(300)) };
    Realm {
        audience: vec!["https://api.example".into()],
        scopes: "read write".parse().unwrap(),
        ..Realm::new("r", "https://auth.example".parse().unwrap(), tokens)
    }
}

/// [`realm`], where client credentials come with a refresh token that lives on when it is used.
fn keeping_realm() -> Realm {
    let mut realm = realm();
    realm.tokens.refresh = Some(RefreshPolicy {
        lifetime: Duration::from_secs(1800),
        max_lifetime: None,
        policy: Rotate::Keep,
        grace: Duration::ZERO,
        client_credentials: true,
    });
    realm
}

/// [`realm`], where a token is given again for a minute.
fn reusing_realm() -> Realm {
    let mut realm = realm();
    realm.tokens.reuse = Some(Duration::from_secs(60));
    realm
}

fn credential() -> Credential {
    let (id, secret) = secret();
    let digest = pepper().digest(secret.expose());
    Credential {
        id,
        label: String::new(),
        kind: CredentialKind::Secret { digest },
        not_before: Timestamp::EPOCH,
        expires_at: None,
        created_at: NOW,
    }
}

fn client() -> Client {
    Client {
        grants: GrantType::ALL.into(),
        scope: "read write".parse().unwrap(),
        credentials: vec![credential()],
        ..Client::new("r", "billing", Timestamp::EPOCH)
    }
}

fn received() -> &'static Received<'static> {
    kept(Received {
        content_type: Some(FORM.as_bytes()),
        authorization: Some(kept(basic()).as_bytes()),
        body: BODY,
        ..Received::default()
    })
}

struct Proving {
    presented: Presented,
    client: Arc<Client>,
    pepper: Pepper,
}

impl Proving {
    fn authenticate(&self) -> Result<AuthenticatedClient, Refusal> {
        authenticate(&self.presented, Some(&self.client), &self.pepper, NOW)
    }
}

fn proving() -> &'static Proving {
    let Credentials::Secret { presented, .. } =
        Credentials::from_basic(basic().as_bytes()).unwrap()
    else {
        unreachable!("Basic carries a secret")
    };
    kept(Proving { presented, client: Arc::new(client()), pepper: pepper() })
}

struct Deciding {
    client: AuthenticatedClient,
    circumstances: Circumstances<'static>,
}

fn deciding_in(realm: Realm) -> &'static Deciding {
    let circumstances =
        Circumstances { realm: kept(realm), now: NOW, proven: Binding::NONE, random: [7; 26] };
    kept(Deciding { client: proving().authenticate().unwrap(), circumstances })
}

fn deciding() -> (&'static Deciding, Scope) {
    (deciding_in(realm()), "read write".parse().unwrap())
}

struct Sealing {
    sealer: Sealer,
    token: RefreshToken,
    text: Secret,
}

fn sealing() -> &'static Sealing {
    let Deciding { client, circumstances } = deciding_in(keeping_realm());
    let Refresh::Give(token) =
        client_credentials(client, Asked::default(), circumstances).unwrap().refresh
    else {
        unreachable!("the realm gives refresh tokens")
    };
    let sealer = Sealer::new(&MasterKey::new(MASTER), "r").unwrap();
    let text = sealer.seal(&token);
    kept(Sealing { sealer, token, text })
}

struct Signing {
    key: SigningKey,
    header: PreparedHeader,
}

/// EdDSA: the one algorithm of ours whose signature draws nothing at random, so that it always takes the same.
fn signing() -> &'static Signing {
    let pkcs8 = generate(Algorithm::EdDsa).unwrap();
    let key = SigningKey::from_pkcs8(Algorithm::EdDsa, pkcs8.as_bytes()).unwrap();
    let header = key.header("at+jwt");
    kept(Signing { key, header })
}

/// A whole server, without a socket.
struct Serving {
    runtime: Runtime,
    app: Arc<App>,
}

/// It is always [`NOW`].
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

impl Serving {
    fn answer(&self, request: Request<Bytes>) -> Response<Body> {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (parts, body) = request.into_parts();
        self.runtime.block_on(self.app.handle(&parts, &body, &peer.into(), "bench"))
    }

    /// The text of the answer to a request that is granted.
    fn granted(&self, request: Request<Bytes>) -> String {
        let (head, body) = self.answer(request).into_parts();
        assert_eq!(head.status, StatusCode::OK);
        let body = self.runtime.block_on(body.collect()).unwrap();
        String::from_utf8(body.to_bytes().into()).unwrap()
    }
}

fn post(body: impl Into<Bytes>) -> Request<Bytes> {
    Request::post("/token")
        .header("host", "auth.example")
        .header("content-type", FORM)
        .header("authorization", basic())
        .body(body.into())
        .unwrap()
}

/// A server that has answered once: its random generator is seeded, and what it reuses is there.
fn serving(realm: Realm) -> (&'static Serving, Request<Bytes>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let app = runtime.block_on(async {
        let store = Arc::new(Memory::new());
        let (realm_name, client) = ("r".to_owned(), client());
        let credential = Change::PutCredential {
            realm: realm_name,
            client: client.id.clone(),
            credential: credential(),
        };
        let changes = vec![Change::PutRealm(realm), Change::PutClient(client), credential];
        store.change(changes, None, Timestamp::EPOCH).await.unwrap();
        App::start(store, MasterKey::new(MASTER), Arc::new(Still), Limits::default()).await
    });
    let serving = kept(Serving { runtime, app: app.unwrap() });
    serving.granted(post(BODY));
    (serving, post(BODY))
}

fn serving_refresh() -> (&'static Serving, Request<Bytes>) {
    let (serving, first) = serving(keeping_realm());
    let answer: serde_json::Value = serde_json::from_str(&serving.granted(first)).unwrap();
    let token = answer["refresh_token"].as_str().unwrap();
    let refresh = || post(format!("grant_type=refresh_token&refresh_token={token}"));
    serving.granted(refresh());
    (serving, refresh())
}

// The steps of `core`.

#[library_benchmark(config = took(6_265))]
#[bench::basic(received())]
fn parse(received: &Received<'_>) -> Result<TokenRequest, Refusal> {
    TokenRequest::parse(black_box(received))
}

#[library_benchmark(config = took(8_208))]
#[bench::one_credential(proving())]
fn authenticate_client(proving: &Proving) -> Result<AuthenticatedClient, Refusal> {
    black_box(proving).authenticate()
}

#[library_benchmark(config = took(730))]
#[bench::client_credentials(deciding())]
fn decide((deciding, scope): (&Deciding, Scope)) -> Result<Issue, Refusal> {
    let asked = Asked { scope: Some(black_box(scope)), resources: Vec::new() };
    client_credentials(&deciding.client, asked, &deciding.circumstances)
}

#[library_benchmark(config = took(11_151))]
#[bench::refresh_token(sealing())]
fn seal(sealing: &Sealing) -> Secret {
    sealing.sealer.seal(black_box(&sealing.token))
}

#[library_benchmark(config = took(4_659))]
#[bench::refresh_token(sealing())]
fn open(sealing: &Sealing) -> Result<RefreshToken, Refusal> {
    sealing.sealer.open(black_box(sealing.text.expose()))
}

#[library_benchmark(config = took(129_245))]
#[bench::eddsa(signing())]
fn sign_compact(signing: &Signing) -> String {
    let mut token = String::new();
    signing.key.sign_compact(&signing.header, black_box(CLAIMS), &mut token).unwrap();
    token
}

library_benchmark_group!(
    name = core,
    benchmarks = [parse, authenticate_client, decide, seal, open, sign_compact]
);

// Whole requests: from the headers to the body of the answer, without the socket.

#[library_benchmark(config = took(24_016))]
#[bench::client_credentials(serving(reusing_realm()))]
fn answer_again((serving, request): (&Serving, Request<Bytes>)) -> Response<Body> {
    serving.answer(black_box(request))
}

#[library_benchmark(config = took(155_688))]
#[bench::client_credentials_eddsa(serving(realm()))]
fn answer_signed((serving, request): (&Serving, Request<Bytes>)) -> Response<Body> {
    serving.answer(black_box(request))
}

#[library_benchmark(config = took(165_559))]
#[bench::keep_eddsa(serving_refresh())]
fn answer_refresh((serving, request): (&Serving, Request<Bytes>)) -> Response<Body> {
    serving.answer(black_box(request))
}

library_benchmark_group!(name = server, benchmarks = [answer_again, answer_signed, answer_refresh]);

main!(library_benchmark_groups = [core, server]);
