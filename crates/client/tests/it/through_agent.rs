//! Programs that take their tokens from the agent of their machine.

use http::StatusCode;
use tokenry_client::agent::{Access, Agent, AgentServer, AgentSource, Io, Peer};
use tokenry_client::{AllowedHosts, Bearer, BearerLayer, BoxFuture, Keeper};
use tokenry_test_server::{RefreshPolicy, TestServer};
use tower::{Layer as _, ServiceExt as _};

use crate::integration::{Api, Integration};
use crate::world::{self, HOST};

/// As much as a socket holds.
const BUFFER: usize = 64 * 1024;

/// The user that agent and program run as.
const USER: u32 = 1000;

/// A program whose HTTP client has the layer, and whose layer has the agent.
pub(crate) struct Lent(Bearer<Api>);

impl Integration for Lent {
    const NAME: &'static str = "`AgentSource`";
    const POLICIES: &'static [RefreshPolicy] = world::POLICIES.first_chunk::<2>().unwrap();
    // The key stays in the agent, which makes no proofs for others.
    const BINDS: bool = false;

    fn new(server: &TestServer, keeper: Keeper) -> Self {
        let agent = AgentServer::builder(USER).named("acme", keeper, Access::default());
        let agent = agent.build().unwrap();
        let way = Agent::dialed(move || {
            let (ours, theirs) = tokio::io::duplex(BUFFER);
            let agent = agent.clone();
            let peer = Peer::User { uid: USER, gid: USER };
            tokio::spawn(async move { agent.serve_connection(theirs, peer).await });
            Box::pin(async move { Ok(Box::new(ours) as Box<dyn Io>) })
        });
        let clock = server.clock();
        let source = AgentSource::named(way, "acme").wall_clock(move || clock.now());
        let layer = BearerLayer::new(source, AllowedHosts::new([HOST]));
        Self(layer.layer(Api(server.clone())))
    }

    fn call(&self) -> BoxFuture<'_, Result<StatusCode, String>> {
        let service = self.0.clone();
        Box::pin(async move {
            let answer = service.oneshot(world::api()).await;
            answer.map(|answer| answer.status()).map_err(|error| error.to_string())
        })
    }
}
