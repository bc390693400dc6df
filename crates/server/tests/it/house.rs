//! A server with clients in it, and a hand to talk to it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokenry_core::client::{Credential, CredentialKind};
use tokenry_core::jose::jws::Compact;
use tokenry_core::jose::{Claims, JwkSet, VerifyingKey};
use tokenry_core::realm::{RefreshPolicy, Rotate, TokenPolicy};
use tokenry_core::request::GrantType;
use tokenry_core::{Client, MasterKey, Realm, Secret, Timestamp, User};
use tokenry_server::{App, Clock, Fetch, HttpsFetch, Limits, Peer, Proxies, Ways, password};
use tokenry_store::{Change, Memory, Store};

pub(crate) const SECRET: &str = "s3cret-0123456789-abcdefghijkl";
pub(crate) const START: Timestamp = Timestamp::from_secs(1_700_000_000);
pub(crate) const MASTER: [u8; 32] = [42; 32];

/// A clock that stands still until it is wound.
#[derive(Debug)]
pub(crate) struct Wound(AtomicU64);

impl Wound {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for Wound {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) struct House {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<Wound>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) host: String,
}

/// A realm `r` at `https://auth.example` with short policies; tests change what they are about.
pub(crate) fn realm() -> Realm {
    let tokens = TokenPolicy {
        refresh: Some(RefreshPolicy {
            lifetime: Duration::from_secs(1800),
            max_lifetime: None,
            policy: Rotate::Rotate,
            grace: Duration::from_secs(30),
            client_credentials: true,
        }),
        ..TokenPolicy::new(Duration::from_secs(300))
    };
    Realm {
        audience: vec!["https://api.example".into()],
        scopes: "read write profile".parse().unwrap(),
        ..Realm::new("r", "https://auth.example".parse().unwrap(), tokens)
    }
}

/// A client that may use every grant, with the secret [`SECRET`].
pub(crate) fn client(id: &str) -> Client {
    Client {
        grants: GrantType::ALL.into(),
        scope: "read write".parse().unwrap(),
        ..Client::new("r", id, Timestamp::EPOCH)
    }
}

pub(crate) fn credential(id: &str, secret: &str) -> Credential {
    Credential {
        id: id.into(),
        label: String::new(),
        kind: CredentialKind::Secret { digest: MasterKey::new(MASTER).pepper().digest(secret) },
        not_before: Timestamp::EPOCH,
        expires_at: None,
        created_at: START,
    }
}

pub(crate) fn user(name: &str, password: &str) -> User {
    User {
        realm: "r".into(),
        name: name.into(),
        subject: format!("00000000-0000-4000-8000-{:0>12}", name.len()),
        password: password::hash(&Secret::new(password), [7; 16]).unwrap(),
        enabled: true,
        not_before: Timestamp::EPOCH,
        ended_before: Timestamp::EPOCH,
        created_at: START,
    }
}

pub(crate) fn put_credential(client: &str, credential: Credential) -> Change {
    Change::PutCredential { realm: "r".into(), client: client.into(), credential }
}

impl House {
    /// The realm with the client `billing`.
    pub(crate) async fn of(realm: Realm) -> Self {
        Self::with(vec![
            Change::PutRealm(realm),
            Change::PutClient(client("billing")),
            put_credential("billing", credential("cred-001", SECRET)),
        ])
        .await
    }

    pub(crate) async fn with(changes: Vec<Change>) -> Self {
        Self::on(Arc::new(Memory::new()), changes).await
    }

    pub(crate) async fn on(store: Arc<dyn Store>, changes: Vec<Change>) -> Self {
        Self::fetching(Arc::new(HttpsFetch::default()), store, changes).await
    }

    pub(crate) async fn fetching(
        fetch: Arc<dyn Fetch>,
        store: Arc<dyn Store>,
        changes: Vec<Change>,
    ) -> Self {
        Self::start(Proxies::default(), fetch, store, changes, Limits::default()).await
    }

    pub(crate) async fn behind(proxies: Proxies, changes: Vec<Change>) -> Self {
        let fetch = Arc::new(HttpsFetch::default());
        Self::start(proxies, fetch, Arc::new(Memory::new()), changes, Limits::default()).await
    }

    /// The house of [`of`](Self::of) with limits of its own.
    pub(crate) async fn within(limits: Limits) -> Self {
        let changes = vec![Change::PutRealm(realm()), Change::PutClient(client("billing"))];
        let fetch = Arc::new(HttpsFetch::default());
        Self::start(Proxies::default(), fetch, Arc::new(Memory::new()), changes, limits).await
    }

    pub(crate) async fn limited(limits: Limits, changes: Vec<Change>) -> Self {
        let fetch = Arc::new(HttpsFetch::default());
        Self::start(Proxies::default(), fetch, Arc::new(Memory::new()), changes, limits).await
    }

    async fn start(
        proxies: Proxies,
        fetch: Arc<dyn Fetch>,
        store: Arc<dyn Store>,
        changes: Vec<Change>,
        limits: Limits,
    ) -> Self {
        let host = changes
            .iter()
            .find_map(|change| match change {
                Change::PutRealm(realm) => Some(realm.issuer.host().to_owned()),
                _ => None,
            })
            .unwrap_or_default();
        store.change(changes, None, START).await.unwrap();
        let clock = Arc::new(Wound(AtomicU64::new(START.as_millis())));
        let master = MasterKey::new(MASTER);
        let app = {
            let strangers = Arc::clone(&fetch);
            let ways = Ways { proxies, fetch, strangers };
            App::start_behind(ways, store.clone(), master, clock.clone(), limits)
        };
        Self { app: app.await.unwrap(), clock, store, host }
    }

    pub(crate) async fn change(&self, changes: Vec<Change>) {
        self.store.change(changes, None, self.app.now()).await.unwrap();
        self.app.reload().await.unwrap();
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        self.send_as(&IpAddr::V4(Ipv4Addr::LOCALHOST).into(), request).await
    }

    pub(crate) async fn send_as(&self, peer: &Peer, request: Request<Bytes>) -> Answer {
        let (parts, body) = request.into_parts();
        let response = self.app.handle(&parts, &body, peer, "test").await;
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn post_to(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.post_as(&IpAddr::V4(Ipv4Addr::LOCALHOST).into(), path, headers, body).await
    }

    pub(crate) async fn post_as(
        &self,
        peer: &Peer,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::post(path)
            .header("host", &self.host)
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send_as(peer, request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()).await
    }

    /// To the token endpoint, with Basic.
    pub(crate) async fn token(&self, pair: &str, body: &str) -> Answer {
        self.post_to("/token", &[("authorization", &basic(pair))], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path).await
    }

    pub(crate) async fn request(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("host", &self.host);
        self.send(request.body(Bytes::new()).unwrap()).await
    }

    /// The claims of a token, checked against the keys that the realm publishes at `jwks`.
    pub(crate) async fn verify(&self, token: &str, jwks: &str) -> Claims {
        let set = JwkSet::parse(self.get(jwks).await.text.as_bytes()).unwrap();
        let compact = Compact::parse(token).unwrap();
        let jwk = set.find(compact.header().kid().unwrap()).unwrap();
        let key = VerifyingKey::from(jwk);
        compact.verify(&key).unwrap().claims().unwrap()
    }
}

pub(crate) fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

/// `billing` with its secret.
pub(crate) fn billing() -> String {
    format!("billing:{SECRET}")
}

#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {:?}", self.text))
    }

    pub(crate) fn field(&self, name: &str) -> String {
        let json = self.json();
        json[name].as_str().unwrap_or_else(|| panic!("no {name} in {json}")).to_owned()
    }

    /// The names of the members, in order of writing.
    pub(crate) fn fields(&self) -> Vec<String> {
        let json = self.json();
        let mut names: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
        names.sort_by_key(|name| self.text.find(&format!("\"{name}\":")));
        names
    }

    /// Status and error code of a refusal; panics where there is a token.
    pub(crate) fn refusal(&self) -> (u16, String) {
        assert!(!self.text.contains("access_token"), "{}", self.text);
        (self.status.as_u16(), self.field("error"))
    }
}

pub(crate) fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
