//! A running `tokenry serve` with the vendors' realms from `examples/`, and an API behind the verifier.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use axum::routing::get;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokenry_verifier::Verifier;
use tokio_rustls::TlsAcceptor;

/// The hosts that the vendors' documents name.
pub(crate) const HOSTS: [&str; 6] = [
    "services.truphone.com",
    "services-bit.truphone.com",
    "auth-service.services.simacan.com",
    "auth-service-stg.services.simacan.com",
    "oauth.tuinly.com",
    "graphql.tuinly.com",
];

pub(crate) const REALMS: [&str; 4] =
    ["truphone.toml", "simacan-production.toml", "simacan-staging.toml", "tuinly.toml"];

/// The server as a process, in a folder of its own; it ends with this value.
pub(crate) struct Running {
    folder: TempDir,
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Running {
    /// Installs and starts the server with every realm of `examples/` and a credential for each.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut init = vec!["init", "."];
        for host in HOSTS {
            init.extend(["--host", host]);
        }
        succeed(tokenry(folder.path(), &init));
        configure(folder.path());
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let files: Vec<String> =
            REALMS.iter().map(|name| examples.join(name).display().to_string()).collect();
        let mut apply = vec!["apply"];
        apply.extend(files.iter().map(String::as_str));
        succeed(tokenry(folder.path(), &apply));
        for arguments in [
            ["client", "secret", "add", "truphone", "truphone", "--to", "truphone.secret"]
                .as_slice(),
            &["client", "secret", "add", "tuinly", "tuinly", "--to", "tuinly.secret"],
            &["user", "add", "simacan-production", "carrier", "--to", "production.password"],
            &["user", "add", "simacan-staging", "carrier", "--to", "staging.password"],
        ] {
            succeed(tokenry(folder.path(), arguments));
        }
        let (child, address) = serve(folder.path(), environment);
        Self { folder, child, address }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What a file of the installation holds, without the line break at its end.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap().trim_end().to_owned()
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    /// Kills the server as a crash would, and starts it again on the same store.
    pub(crate) fn crash_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.address) = serve(self.folder.path(), &[]);
    }

    /// Starts an API that accepts the tokens of an issuer; gives its address.
    pub(crate) async fn api(&self, issuer: &str) -> SocketAddr {
        let verifier = self.verifier(issuer);
        while !verifier.is_ready() {
            tokio::task::yield_now().await;
        }
        let router = axum::Router::new().fallback(|| async { "welcome" }).layer(verifier.layer());
        self.serve_api(router).await
    }

    /// Starts an API that needs a scope, and describes itself as this resource (RFC 9728).
    pub(crate) async fn api_that_needs(
        &self,
        issuer: &str,
        resource: &str,
        scope: &str,
    ) -> SocketAddr {
        let verifier = self.verifier(issuer);
        let metadata = verifier.resource_metadata(resource).unwrap();
        let layer = verifier.layer().require_scope(scope.parse().unwrap());
        let (url, path) = (metadata.url().to_owned(), metadata.path().to_owned());
        let router = axum::Router::new()
            .fallback(|| async { "welcome" })
            .layer(layer.resource_metadata(url))
            .route(&path, get(async move || metadata.response::<axum::body::Body>()));
        self.serve_api(router).await
    }

    fn verifier(&self, issuer: &str) -> Verifier {
        let pem = self.read("ca.pem");
        let host = issuer.trim_start_matches("https://").split('/').next().unwrap();
        Verifier::builder(issuer)
            .audience(issuer)
            .accept_legacy_typ()
            .with_root_certificates(pem.as_bytes())
            .connect_to(host, self.address)
            .build()
            .unwrap()
    }

    async fn serve_api(&self, router: axum::Router) -> SocketAddr {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(self.read("server.pem").as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.read("server.key").as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = TlsListener { tcp, tls: TlsAcceptor::from(Arc::new(config)) };
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the command in a folder.
pub(crate) fn tokenry(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tokenry"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("TOKENRY_CONFIG")
        .env_remove("TOKENRY_OUTPUT")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn succeed(output: Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Any free port, and no admin listener.
fn configure(folder: &Path) {
    let path = folder.join("tokenry.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("admin")).map(|line| {
        if line.trim_start().starts_with("listen") { "listen = \"127.0.0.1:0\"" } else { line }
    });
    let text: Vec<&str> = lines.collect();
    std::fs::write(&path, text.join("\n")).unwrap();
}

/// Starts the server and waits until it says where it listens.
fn serve(folder: &Path, environment: &[(&str, &str)]) -> (Child, SocketAddr) {
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tokenry"))
        .args(["serve", "--output", "json"])
        .current_dir(folder)
        .env_remove("TOKENRY_CONFIG")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let Ok(json) = serde_json::from_str::<serde_json::Value>(&line) else {
        panic!("it did not start: {}", std::fs::read_to_string(folder.join("log")).unwrap());
    };
    let url = json["listening"].as_str().unwrap();
    (child, url.trim_start_matches("https://").parse().unwrap())
}

struct TlsListener {
    tcp: tokio::net::TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, address)) = self.tcp.accept().await
                && let Ok(stream) = self.tls.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
