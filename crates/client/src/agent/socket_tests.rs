//! Real sockets: made, refused, replaced, and asked by a thousand at once.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::testing::{builder, keeper};
use super::{
    Access, Agent, AgentFault, AgentListener, AgentServer, AgentSource, ListenError, own_user,
};
use crate::TokenSource as _;
use crate::testing::Server;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

/// An agent of this user.
fn agent(server: &Server) -> AgentServer {
    AgentServer::builder(own_user())
        .named("billing", keeper(server, "acme", "right"), Access::default())
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_goes_with_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenry/agent.sock");
    let listener = AgentListener::bind(&path, false).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    drop(listener);
    assert!(!path.exists());
    let path = folder.path().join("public/agent.sock");
    let _listener = AgentListener::bind(&path, true).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o666, 0o755));
}

#[tokio::test]
async fn a_living_agent_is_an_error_and_a_dead_ones_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let listener = AgentListener::bind(&path, false).unwrap();
    assert!(matches!(AgentListener::bind(&path, false), Err(ListenError::Running { .. })));
    drop(listener);
    // A crash leaves the socket, and nobody behind it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(AgentListener::bind(&path, false).unwrap());
    // Somebody listens who knows nothing of locks.
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(AgentListener::bind(&path, false), Err(ListenError::Running { .. })));
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(AgentListener::bind(&file, false), Err(ListenError::NoSocket { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[tokio::test]
async fn a_folder_that_others_may_change_is_no_place_for_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    for (mode, good) in [(0o777, false), (0o770, false), (0o1777, true), (0o755, true)] {
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(mode)).unwrap();
        let bound = AgentListener::bind(&shared.join("agent.sock"), false);
        let refused = matches!(bound, Err(ListenError::Shared { .. }));
        assert_eq!(refused, !good, "{mode:o}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_at_once_are_one_token_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let server = Server::granting(300);
    let agent = agent(&server);
    let listener = AgentListener::bind(&path, false).unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let ended = async {
            let _ = ended.await;
        };
        agent.serve(listener, ended).await;
    });
    let mut processes = JoinSet::new();
    for _ in 0..1000 {
        let source = AgentSource::named(Agent::at(&path), "billing");
        processes.spawn(async move { source.token().await.unwrap().access_token().clone() });
    }
    while let Some(token) = processes.join_next().await {
        assert_eq!(token.unwrap().expose(), "a1");
    }
    assert_eq!(server.count(), 1);
    let tokens = Agent::at(&path).tokens().await.unwrap();
    assert_eq!((tokens.len(), tokens[0].asked), (1, 1000));
    end.send(()).unwrap();
    serving.await.unwrap();
    assert!(!path.exists());
    let gone = Agent::at(&path).tokens().await;
    assert!(matches!(gone, Err(AgentFault::Unreachable { .. })), "{gone:?}");
}

#[tokio::test]
async fn the_loopback_listener_gives_named_tokens_to_who_has_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, "s3cret\n").unwrap();
    let server = Server::granting(300);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let agent = builder(&server)
        .named("billing", keeper(&server, "acme", "right"), Access::default())
        .loopback(tokenry_core::Secret::new("s3cret"), [address.to_string()])
        .build()
        .unwrap();
    let serving = tokio::spawn(async move {
        agent.serve_loopback(listener, std::future::pending()).await;
    });
    let found = Agent::loopback(&format!("http://{address}"), &secret_file).unwrap();
    assert!(!found.takes_lent_keepers());
    let source = AgentSource::named(found, "billing");
    assert_eq!(source.token().await.unwrap().access_token().expose(), "a1");
    std::fs::write(&secret_file, "another").unwrap();
    let found = Agent::loopback(&format!("http://{address}"), &secret_file).unwrap();
    assert!(matches!(found.tokens().await, Err(AgentFault::Said(_))));
    serving.abort();
}

#[tokio::test]
async fn who_waits_when_the_agent_ends_is_sent_away_soon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    // A server that never answers.
    let hung = crate::testing::builder_of(
        crate::Provider::at("https://as.example/token").unwrap(),
        crate::Credentials::client("acme", tokenry_core::Secret::new("right")),
        &Server::granting(300),
    )
    .transport(|_| std::future::pending());
    let agent = AgentServer::builder(own_user())
        .named("billing", hung.build().unwrap(), Access::default())
        .build()
        .unwrap();
    let listener = AgentListener::bind(&path, false).unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let ended = async {
            let _ = ended.await;
        };
        agent.serve(listener, ended).await;
    });
    let source = AgentSource::named(Agent::at(&path), "billing");
    let waiting = tokio::spawn(async move { source.token().await });
    while Agent::at(&path).tokens().await.unwrap()[0].asked == 0 {
        tokio::task::yield_now().await;
    }
    end.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(60), serving).await.unwrap().unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(crate::Error::Agent(_))));
}
