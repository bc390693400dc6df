//! A keeper dies at each step that anybody else could see, and the next one goes on: no session is lost, and no family
//! of refresh tokens lives on beside another.
//!
//! To die is to do nothing more to the disk or to the server: that is all that they could know of it.
//!
//! A family counts if a token of it was ever stored. One whose only answer was lost, or died with the process before it
//! was stored, has no token that anybody could present; the server knows nothing of it and it ends by itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokenry_client::{
    BoxFuture, Credentials, Keeper, Provider, RefreshTokenFile, RefreshTokenStore, StoreError,
    StoredRefreshToken, Transport, TransportError,
};
use tokenry_core::client::{Credential, CredentialKind};
use tokenry_core::family::FamilyId;
use tokenry_core::realm::{RefreshPolicy, Rotate, TokenPolicy};
use tokenry_core::refresh::Sealer;
use tokenry_core::request::GrantType;
use tokenry_core::{Client, MasterKey, Realm, Secret, Timestamp};
use tokenry_server::{App, Clock, Limits, Peer};
use tokenry_store::{Change, Memory, Store};
use tokio::sync::Notify;

const ISSUER: &str = "https://auth.example";
const SECRET: &str = "s3cret-0123456789-abcdefghijkl";
const MASTER: [u8; 32] = [42; 32];
const GRACE: Duration = Duration::from_secs(30);

/// A clock that stands still until it is wound.
#[derive(Debug)]
struct Wound(AtomicU64);

impl Clock for Wound {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Our server with one client, whose refresh tokens rotate.
#[derive(Clone)]
struct Server {
    app: Arc<App>,
    store: Arc<dyn Store>,
    clock: Arc<Wound>,
    provider: Provider,
}

impl Server {
    async fn start(grace: Duration) -> Self {
        let refresh = RefreshPolicy {
            lifetime: Duration::from_secs(86_400),
            max_lifetime: None,
            policy: Rotate::Rotate,
            grace,
            client_credentials: true,
        };
        let tokens =
            TokenPolicy { refresh: Some(refresh), ..TokenPolicy::new(Duration::from_secs(300)) };
        let digest = MasterKey::new(MASTER).pepper().digest(SECRET);
        let client =
            Client { grants: GrantType::ALL.into(), ..Client::new("r", "acme", Timestamp::EPOCH) };
        let credential = Credential {
            id: "cred-001".into(),
            label: String::new(),
            kind: CredentialKind::Secret { digest },
            not_before: Timestamp::EPOCH,
            expires_at: None,
            created_at: Timestamp::EPOCH,
        };
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let changes = vec![
            Change::PutRealm(Realm::new("r", ISSUER.parse().unwrap(), tokens)),
            Change::PutClient(client),
            Change::PutCredential { realm: "r".into(), client: "acme".into(), credential },
        ];
        store.change(changes, None, Timestamp::EPOCH).await.unwrap();
        let clock = Arc::new(Wound(AtomicU64::new(1_700_000_000_000)));
        let (master, limits) = (MasterKey::new(MASTER), Limits::default());
        let app = App::start(Arc::clone(&store), master, clock.clone(), limits).await.unwrap();
        let metadata = Request::get("https://auth.example/.well-known/oauth-authorization-server");
        let metadata = handle(&app, metadata.body(Bytes::new()).unwrap()).await;
        let mut provider = Provider::from_metadata(ISSUER, metadata.body()).unwrap();
        assert!(provider.revocation_url().is_some());
        if !grace.is_zero() {
            provider = provider.with_refresh_grace(grace);
        }
        Self { app, store, clock, provider }
    }

    fn wind(&self, by: Duration) {
        self.clock.0.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    async fn is_alive(&self, family: FamilyId) -> bool {
        let known = self.store.family("r", family).await.unwrap();
        known.is_none_or(|family| family.revoked_at.is_none())
    }

    async fn revoke(&self, family: FamilyId) {
        let now = self.clock.now();
        let until = now + Duration::from_secs(86_400);
        self.store.revoke_family("r", "acme", family, now, until).await.unwrap();
    }
}

async fn handle(app: &Arc<App>, request: Request<Bytes>) -> Response<Bytes> {
    let (mut parts, body) = request.into_parts();
    parts.headers.insert("host", "auth.example".parse().unwrap());
    parts.uri = parts.uri.path().parse().unwrap();
    let peer = Peer::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (parts, body) = app.handle(&parts, &body, &peer, "test").await.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

fn family(token: &Secret) -> FamilyId {
    let sealer = Sealer::new(&MasterKey::new(MASTER), "r").unwrap();
    sealer.open(token.expose()).unwrap().family
}

/// When a keeper dies, and whether it has.
#[derive(Default)]
struct Fate {
    /// At which step; `None`: never.
    at: Option<usize>,
    /// The steps so far.
    steps: Mutex<Vec<String>>,
    dead: AtomicBool,
    died: Notify,
}

impl Fate {
    fn at(step: usize) -> Arc<Self> {
        Arc::new(Self { at: Some(step), ..Self::default() })
    }

    /// Takes a step. False: it is the last, or was before.
    fn step(&self, name: &str) -> bool {
        self.step_or(name, || ())
    }

    /// The same, and leaves something behind if it is the last.
    fn step_or(&self, name: &str, leave: impl FnOnce()) -> bool {
        let mut steps = self.steps.lock().unwrap();
        if self.dead.load(Ordering::Relaxed) {
            return false;
        }
        if self.at == Some(steps.len()) {
            self.dead.store(true, Ordering::Relaxed);
            leave();
            self.died.notify_one();
        }
        steps.push(name.to_owned());
        !self.dead.load(Ordering::Relaxed)
    }

    fn last(&self) -> String {
        self.steps.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

/// The file of a mortal keeper.
#[derive(Clone)]
struct Disk {
    path: PathBuf,
    fate: Arc<Fate>,
    /// Of every token that was ever stored.
    families: Arc<Mutex<BTreeSet<FamilyId>>>,
}

fn gone() -> StoreError {
    StoreError::Other("nobody is here any more".to_owned())
}

impl Disk {
    fn file(&self) -> RefreshTokenFile {
        RefreshTokenFile::new(&self.path, "acme")
    }

    fn note(&self, stored: &StoredRefreshToken) {
        let tokens = stored.token.iter().chain(&stored.abandoned);
        self.families.lock().unwrap().extend(tokens.map(family));
    }
}

impl RefreshTokenStore for Disk {
    fn load(&self) -> Result<Option<StoredRefreshToken>, StoreError> {
        if self.fate.step("load") { self.file().load() } else { Err(gone()) }
    }

    fn save(&self, token: &StoredRefreshToken) -> Result<(), StoreError> {
        if !self.fate.step("save: before") {
            return Err(gone());
        }
        let new = self.path.with_extension("new");
        let half = || std::fs::write(&new, "{\"version\":2,\"own").unwrap();
        let whole = || {
            let beside = self.path.with_extension("other");
            RefreshTokenFile::new(&beside, "acme").save(token).unwrap();
            std::fs::rename(beside, &new).unwrap();
        };
        if !self.fate.step_or("save: half of the new file is written", half)
            || !self.fate.step_or("save: the new file is written, and not renamed", whole)
        {
            return Err(gone());
        }
        self.file().save(token)?;
        self.note(token);
        if self.fate.step("save: renamed") { Ok(()) } else { Err(gone()) }
    }

    fn clear(&self) -> Result<(), StoreError> {
        if !self.fate.step("clear: before") {
            return Err(gone());
        }
        self.file().clear()?;
        if self.fate.step("clear: done") { Ok(()) } else { Err(gone()) }
    }
}

/// The way of a mortal keeper to the server.
#[derive(Clone)]
struct Way {
    server: Server,
    fate: Arc<Fate>,
    /// How many answers to a refresh get lost.
    losing: Arc<AtomicU64>,
    /// How many refreshes the server has refused.
    refused: Arc<AtomicU64>,
}

impl Way {
    async fn carry(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let body = std::str::from_utf8(request.body()).unwrap();
        let is_refresh = body.contains("grant_type=refresh_token");
        let what = match request.uri().path() {
            "/revoke" => "revocation",
            _ if is_refresh => "refresh",
            _ => "credentials",
        };
        if !self.fate.step(&format!("{what}: before the server has it")) {
            std::future::pending::<()>().await;
        }
        let response = handle(&self.server.app, request).await;
        if is_refresh && !response.status().is_success() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        if !self.fate.step(&format!("{what}: before the answer arrives")) {
            std::future::pending::<()>().await;
        }
        let lost = |n: u64| n.checked_sub(1);
        if is_refresh
            && self.losing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lost).is_ok()
        {
            let host = "auth.example".to_owned();
            return Err(TransportError::Broken { host, cause: "reset".to_owned() });
        }
        Ok(response)
    }
}

impl Transport for Way {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(self.carry(request))
    }
}

/// What a keeper lives through before it dies, if it does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    /// A first token, and two refreshes.
    Refreshes,
    /// The answer to a refresh is lost.
    Loses,
    /// A refresh is refused, since its family was revoked.
    IsRefused,
}

/// One file, and the keepers that have it one after the other.
struct Session {
    server: Server,
    folder: tempfile::TempDir,
    families: Arc<Mutex<BTreeSet<FamilyId>>>,
    refused: Arc<AtomicU64>,
}

impl Session {
    fn new(server: &Server) -> Self {
        Self {
            server: server.clone(),
            folder: tempfile::tempdir().unwrap(),
            families: Arc::default(),
            refused: Arc::default(),
        }
    }

    fn keeper(&self, fate: &Arc<Fate>, losing: u64) -> Keeper {
        let path = self.folder.path().join("token");
        let families = Arc::clone(&self.families);
        let clock = Arc::clone(&self.server.clock);
        let way = Way {
            server: self.server.clone(),
            fate: Arc::clone(fate),
            losing: Arc::new(AtomicU64::new(losing)),
            refused: Arc::clone(&self.refused),
        };
        let credentials = Credentials::client("acme", Secret::new(SECRET));
        Keeper::builder(self.server.provider.clone(), credentials)
            .refresh_token_store(Disk { path, fate: Arc::clone(fate), families })
            .transport(way)
            .randomness(|| 0.5)
            .wall_clock(move || clock.now())
            .build()
            .unwrap()
    }

    async fn live(&self, life: Life, keeper: Keeper) {
        let token = keeper.token().await.unwrap();
        if life == Life::IsRefused {
            let families = self.families.lock().unwrap().clone();
            for family in families {
                self.server.revoke(family).await;
            }
            self.server.app.reload().await.unwrap();
        }
        keeper.invalidate(&token);
        let token = keeper.token().await.unwrap();
        if life == Life::Refreshes {
            keeper.invalidate(&token);
            keeper.token().await.unwrap();
        }
        // What is done behind the callers' backs.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    /// Lives until the end, or until death. Says whether it died.
    async fn run(&self, life: Life, fate: &Arc<Fate>) -> bool {
        let losing = u64::from(life == Life::Loses);
        tokio::select! {
            biased;
            () = fate.died.notified() => true,
            () = self.live(life, self.keeper(fate, losing)) => false,
        }
    }

    /// The last keeper: it has a token without a person, and can refresh it; one family is left.
    async fn recover(&self, what: &str) {
        let keeper = self.keeper(&Arc::default(), 0);
        let token = keeper.token().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        keeper.invalidate(&token);
        keeper.token().await.unwrap_or_else(|error| panic!("{what}, then: {error}"));
        let mut alive = 0;
        let families = self.families.lock().unwrap().clone();
        for family in families {
            alive += usize::from(self.server.is_alive(family).await);
        }
        assert_eq!(alive, 1, "{what}: families that live");
    }
}

const SAVED: [&str; 4] = [
    "save: before",
    "save: half of the new file is written",
    "save: the new file is written, and not renamed",
    "save: renamed",
];

const SENT: [&str; 4] = [
    "refresh: before the server has it",
    "refresh: before the answer arrives",
    "credentials: before the server has it",
    "credentials: before the answer arrives",
];

const REVOKED: [&str; 3] = [
    "revocation: before the server has it",
    "revocation: before the answer arrives",
    "clear: done",
];

#[tokio::test(start_paused = true)]
async fn row_123_a_crash_at_any_step_loses_no_session_and_leaves_one_family() {
    for grace in [GRACE, Duration::ZERO] {
        let server = Server::start(grace).await;
        let mut died_at = BTreeSet::new();
        for life in [Life::Refreshes, Life::Loses, Life::IsRefused] {
            for away in [Duration::ZERO, 2 * GRACE] {
                for step in 0.. {
                    let (session, fate) = (Session::new(&server), Fate::at(step));
                    let died = session.run(life, &fate).await;
                    let what = format!("{grace:?}, {life:?}, {away:?}, died at {}", fate.last());
                    server.wind(away);
                    session.recover(&what).await;
                    if life != Life::IsRefused {
                        // A keeper never looks like a thief.
                        assert_eq!(session.refused.load(Ordering::Relaxed), 0, "{what}");
                    }
                    if !died {
                        break;
                    }
                    died_at.insert(fate.last());
                }
            }
        }
        for step in SAVED.iter().chain(&SENT) {
            assert!(died_at.contains(*step), "{grace:?}: none died at {step}");
        }
        assert_eq!(grace.is_zero(), REVOKED.iter().all(|step| died_at.contains(*step)));
    }
}

#[tokio::test(start_paused = true)]
async fn row_123_a_crash_while_it_recovers_from_a_crash_changes_nothing() {
    for grace in [GRACE, Duration::ZERO] {
        let server = Server::start(grace).await;
        for first in 0.. {
            let mut first_died = false;
            for second in 0.. {
                let (session, fate) = (Session::new(&server), Fate::at(first));
                first_died = session.run(Life::Loses, &fate).await;
                // Where there is a grace, it is over for every other one.
                server.wind(if second % 2 == 0 { Duration::ZERO } else { 2 * GRACE });
                let again = Fate::at(second);
                let died = session.run(Life::Refreshes, &again).await;
                let what = format!("{grace:?}, died at {}, and at {}", fate.last(), again.last());
                session.recover(&what).await;
                assert_eq!(session.refused.load(Ordering::Relaxed), 0, "{what}");
                if !died {
                    break;
                }
            }
            if !first_died {
                break;
            }
        }
    }
}
