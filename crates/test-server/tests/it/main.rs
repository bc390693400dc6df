//! The server that misbehaves, as its users see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod connection;
mod faults;
mod tokens;

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use serde_json::Value;
use tokenry_test_server::{Lost, TestServer};

const SECOND: Duration = Duration::from_secs(1);
const CREDENTIALS: &str = "grant_type=client_credentials&client_id=client&client_secret=secret";

/// A token request with this form.
fn form(form: &str) -> Request<Bytes> {
    Request::post("https://as.test/token")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from(form.to_owned()))
        .unwrap()
}

async fn ask(server: &TestServer, parameters: &str) -> Result<Response<Bytes>, Lost> {
    server.answer(form(parameters)).await
}

/// Status and body of an answer in JSON.
async fn asked(server: &TestServer, parameters: &str) -> (u16, Value) {
    let answer = ask(server, parameters).await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap()
}

/// The status of the API's answer to a token.
async fn api(server: &TestServer, path: &str, token: &str) -> u16 {
    let request = Request::get(format!("https://as.test{path}"));
    let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    server.answer(request.body(Bytes::new()).unwrap()).await.unwrap().status().as_u16()
}
