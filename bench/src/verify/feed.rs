//! How long a revoked token is still let in, at many followers of two nodes whose connections are cut meanwhile.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokenry_core::Timestamp;
use tokenry_test_server::Relay;
use tokenry_verifier::{FeedSettings, Rejection, Verifier};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};

use super::tokens::{Failed, verify};
use super::{Bench, told};
use crate::clock::{now, unix_seconds};
use crate::load::connection::{Connection, Target};
use crate::load::{Plan, request};
use crate::problem::{Doing as _, Problem, Result};
use crate::report::{Line, thousands};
use crate::rounds::Spread;
use crate::tokenry::{Binary, Installation, Realm, Serve, Server, plan};

/// Followers; every other one follows the second node.
const FOLLOWERS: usize = 50;

/// How long a revoked token may be good at any of them, for 99 of 100, in milliseconds.
const TARGET: f64 = 1_000.0;

/// How often a token is revoked: every hundredth second one at either node in turn.
const REVOKE_EVERY: Duration = Duration::from_millis(10);

/// How often each follower is asked about each token that was revoked: what the measured times are rounded up to.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Tokens that are revoked while nobody can follow.
const MISSED: usize = 50;

/// How long nobody can follow.
const OUTAGE: Duration = Duration::from_secs(2);

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The realm, and how its tokens are known.
const REALM: &str = "feed";
const ISSUER: &str = "https://localhost/feed";
const FOLLOWER: &str = "
[[realm.clients]]
id = \"api\"
grants = []
introspects = [\"https://localhost/feed\"]
";

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokenry = Binary::build(folder.path(), None).await?;
    let installation = tokenry.install(folder.path()).await?;
    let realm =
        Realm { name: REALM, signing: "ES256", tokens: "", refreshes: false, others: FOLLOWER };
    installation.realms(&[realm]).await?;
    let secret = installation.secret(REALM, "api").await?;
    let core = &bench.settings.server_core;
    let how = Serve { cores: core, tls: true, log_kept: false };
    let nodes = [installation.serve(how).await?, installation.serve(how).await?];
    let mut scene = Scene::new(&installation, &nodes, &secret).await?;
    let count = (bench.settings.measure.as_millis() / REVOKE_EVERY.as_millis()) as usize;
    let mut rounds = Vec::new();
    for _ in 0..bench.settings.rounds {
        rounds.push(Delays::of(scene.round(count).await?)?);
    }
    report(bench, count, &rounds);
    let outage = scene.outage().await?;
    bench.report.add(Line::told(
        "feed",
        format!(
            "{MISSED} tokens are revoked while no follower reaches a node for {} s: from then on, until all are refused by all",
            OUTAGE.as_secs()
        ),
        format!("{:.0} ms", millis(outage)),
    ));
    for node in nodes {
        node.process.end().await;
    }
    Ok(())
}

fn report(bench: &mut Bench, count: usize, rounds: &[Delays]) {
    let over = |of: fn(&Delays) -> f64| Spread::of(&rounds.iter().map(of).collect::<Vec<_>>());
    let p99 = over(|delays| delays.p99);
    bench.report.add(Line::judged(
        "feed",
        format!(
            "from the request to revoke a token until a follower refuses it, {} tokens and {FOLLOWERS} followers a round, \
             all of whose connections are cut once in it: 99 of 100",
            thousands(count as f64)
        ),
        format!(
            "{} ms; the median {} ms, the longest of all {:.0} ms",
            told(p99, 0),
            told(over(|delays| delays.p50), 1),
            over(|delays| delays.most).max
        ),
        format!("≤ {TARGET} ms"),
        p99.max <= TARGET,
    ));
}

/// Two nodes of one store, those who follow them, and somebody who revokes tokens.
struct Scene {
    relays: [Relay; 2],
    followers: Vec<Verifier>,
    clients: [Client; 2],
}

impl Scene {
    async fn new(installation: &Installation, nodes: &[Server; 2], secret: &str) -> Result<Self> {
        let authority = std::fs::read(installation.path().join("ca.pem"))?;
        let [first, second] = nodes;
        let relays = [Relay::start(first.address).await?, Relay::start(second.address).await?];
        let follower = |relay: &Relay| -> Result<Verifier> {
            let builder = Verifier::builder(ISSUER)
                .audience(ISSUER)
                .with_root_certificates(authority.as_slice())
                .connect_to("localhost", relay.address())
                .feed(FeedSettings::client("api", secret));
            Ok(builder.build()?)
        };
        let followers: Vec<Verifier> =
            relays.iter().cycle().take(FOLLOWERS).map(follower).collect::<Result<_>>()?;
        let clients =
            [Client::new(installation, first).await?, Client::new(installation, second).await?];
        let scene = Self { relays, followers, clients };
        scene.until_all_follow().await?;
        Ok(scene)
    }

    async fn until_all_follow(&self) -> Result<()> {
        let follows = |verifier: &Verifier| {
            let metrics = verifier.metrics();
            verifier.is_ready()
                && metrics.issuers.iter().all(|it| it.feed.as_ref().is_some_and(|it| it.following))
        };
        let waiting = async {
            while !self.followers.iter().all(follows) {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(PATIENCE, waiting).await.map_err(|_| {
            let metrics = self.followers.iter().find(|it| !follows(it)).map(Verifier::metrics);
            Problem::new(format!("a follower does not follow: {metrics:?}"))
        })
    }

    /// So many tokens, each of which every follower has found good, and remembers.
    async fn tokens(&mut self, count: usize) -> Result<Vec<String>> {
        let mut tokens = Vec::with_capacity(count);
        for _ in 0..count {
            tokens.push(self.clients[0].obtain().await?);
        }
        let at = Timestamp::from_secs(unix_seconds());
        for token in &tokens {
            for follower in &self.followers {
                verify(follower, token, at)?;
            }
        }
        Ok(tokens)
    }

    /// How long each revoked token was let in by each follower. In the middle of it, all connections are cut.
    async fn round(&mut self, count: usize) -> Result<Vec<Duration>> {
        self.until_all_follow().await?;
        let tokens = self.tokens(count).await?;
        let (sender, mut revoked) = mpsc::unbounded_channel();
        let [first, second] = &mut self.clients;
        let revoking = async {
            let mut every = interval(REVOKE_EVERY);
            for (number, token) in tokens.iter().enumerate() {
                every.tick().await;
                if number == count / 2 {
                    self.relays.iter().for_each(Relay::cut);
                }
                let asked = now();
                let node = if number % 2 == 0 { &mut *first } else { &mut *second };
                node.revoke(token).await?;
                sender.send((token.as_str(), asked))?;
            }
            drop(sender);
            Ok(())
        };
        let watching = watch(&self.followers, &mut revoked);
        let ((), delays) = tokio::try_join!(revoking, watching)?;
        if delays.len() != count * FOLLOWERS {
            return Err(Problem::new("a token was not watched"));
        }
        Ok(delays)
    }

    /// From when the nodes can be reached again, until everything that was revoked meanwhile is refused by all.
    async fn outage(&mut self) -> Result<Duration> {
        self.until_all_follow().await?;
        let tokens = self.tokens(MISSED).await?;
        let targets: Vec<_> = self.clients.iter().map(|client| client.node).collect();
        self.relays.iter().for_each(Relay::close);
        let began = now();
        for token in &tokens {
            self.clients[0].revoke(token).await?;
        }
        sleep(OUTAGE.saturating_sub(began.elapsed())).await;
        let at = Timestamp::from_secs(unix_seconds());
        for (follower, token) in self.followers.iter().zip(&tokens) {
            verify(follower, token, at).doing("a token that nobody could know of")?;
        }
        let back = now();
        for (relay, target) in self.relays.iter().zip(targets) {
            relay.lead(target);
        }
        let (sender, mut revoked) = mpsc::unbounded_channel();
        tokens.iter().try_for_each(|token| sender.send((token.as_str(), back)))?;
        drop(sender);
        let delays = watch(&self.followers, &mut revoked).await?;
        delays.into_iter().max().ok_or_else(|| Problem::new("nothing was revoked"))
    }
}

/// Asks all followers about each token that was revoked, until all refuse it; gives how long each has let it in.
async fn watch(
    followers: &[Verifier],
    revoked: &mut mpsc::UnboundedReceiver<(&str, Instant)>,
) -> Result<Vec<Duration>> {
    let mut looks = interval(LOOK_EVERY);
    let mut pending = Vec::new();
    let mut delays = Vec::new();
    let began = now();
    while !(pending.is_empty() && revoked.is_closed() && revoked.is_empty()) {
        looks.tick().await;
        while let Ok((token, asked)) = revoked.try_recv() {
            pending.push((token, asked, followers.iter().collect::<Vec<_>>()));
        }
        let at = Timestamp::from_secs(unix_seconds());
        for (token, asked, followers) in &mut pending {
            let mut problem = None;
            followers.retain(|follower| match verify(follower, token, at) {
                Ok(_) => true,
                Err(Failed::Rejected(Rejection::Revoked)) => {
                    delays.push(asked.elapsed());
                    false
                }
                Err(other) => {
                    problem = Some(Problem::from(other));
                    false
                }
            });
            problem.map_or(Ok(()), Err)?;
        }
        pending.retain(|(.., followers)| !followers.is_empty());
        if began.elapsed() > PATIENCE {
            return Err(Problem::new("a revoked token was not refused within a minute"));
        }
    }
    Ok(delays)
}

/// In milliseconds.
struct Delays {
    p50: f64,
    p99: f64,
    most: f64,
}

impl Delays {
    fn of(mut all: Vec<Duration>) -> Result<Self> {
        all.sort();
        let at = |share: usize| all.get(all.len() * share / 100).copied().map(millis);
        match (at(50), at(99), all.last().copied().map(millis)) {
            (Some(p50), Some(p99), Some(most)) => Ok(Self { p50, p99, most }),
            _ => Err(Problem::new("nothing was revoked")),
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Obtains and revokes tokens at one node.
struct Client {
    node: std::net::SocketAddr,
    connection: Connection,
    credentials: String,
}

impl Client {
    async fn new(installation: &Installation, node: &Server) -> Result<Self> {
        let node = node.address;
        let tls = Some(installation.trust());
        let target = Target::new(&Plan { tls, ..plan(node, installation.asking(REALM)?) })?;
        let connection = Connection::open(&target).await?;
        Ok(Self { node, connection, credentials: installation.credentials(REALM)? })
    }

    async fn post(&mut self, endpoint: &str, form: &str) -> Result<&[u8]> {
        let request = request::posted(&format!("/{REALM}/{endpoint}"), &self.credentials, form);
        let answer = self.connection.exchange(request.as_bytes()).await?;
        match answer.status {
            200 => Ok(self.connection.body()),
            status => Err(Problem::new(format!("/{endpoint} answers {status}"))),
        }
    }

    async fn obtain(&mut self) -> Result<String> {
        let body = self.post("token", "grant_type=client_credentials").await?;
        let answer: Value = serde_json::from_slice(body)?;
        let token = answer["access_token"].as_str();
        token.map(str::to_owned).ok_or_else(|| Problem::new("no token"))
    }

    async fn revoke(&mut self, token: &str) -> Result<()> {
        self.post("revoke", &format!("token={token}")).await.map(drop)
    }
}
