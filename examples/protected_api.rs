//! An API that only answers callers with a good token. Run it beside `tokenry serve`:
//!
//! ```sh
//! ISSUER=https://localhost:8443 CA=ca.pem cargo run -p tokenry-verifier --example protected_api
//! curl -H "$(tokenry token --issuer https://localhost:8443 … --header)" http://127.0.0.1:8080/hello
//! ```

use std::env;
use std::error::Error;
use std::sync::Arc;

use axum::routing::get;
use axum::{Extension, Router};
use tokenry_verifier::{AccessToken, Verifier};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = env::var("ISSUER")?;
    let mut verifier = Verifier::builder(&issuer)
        .audience(env::var("AUDIENCE").unwrap_or_else(|_| issuer.clone()));
    if let Ok(file) = env::var("CA") {
        verifier = verifier.with_root_certificates(std::fs::read(file)?);
    }
    let verifier = verifier.build()?;

    let mut guard = verifier.layer().realm("example");
    if let Ok(scope) = env::var("SCOPE") {
        guard = guard.require_scope(scope.parse()?);
    }
    let app = Router::new().route("/hello", get(hello)).layer(guard);

    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("http://{}/hello wants a token of {issuer}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// Whoever gets here has a good token; its claims are at hand.
async fn hello(Extension(token): Extension<Arc<AccessToken>>) -> String {
    format!("hello {}, you may {:?}\n", token.subject().unwrap_or("nobody"), token.scope().as_str())
}
