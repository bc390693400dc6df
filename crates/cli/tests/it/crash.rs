//! `kill -9` under a load of refreshes, again and again: what was answered is never forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use tokenry_client::{HttpTransport, Transport as _};

use crate::running::Running;

const KILLS: u64 = 12;
const FAMILIES: usize = 8;
const AUTH: &str = "https://auth-service.services.simacan.com/api/v1/auth";

/// A client of Simacan's production realm.
#[derive(Clone)]
struct Simacan {
    http: HttpTransport,
    password: String,
}

impl Simacan {
    fn of(running: &Running) -> Self {
        let http = HttpTransport::builder()
            .root_certificates(running.read("ca.pem").as_bytes())
            .unwrap()
            .connect_to("auth-service.services.simacan.com", running.address)
            .build()
            .unwrap();
        Self { http, password: running.read("production.password") }
    }

    /// Status and refresh token of the answer; `None` where there was no answer.
    async fn ask(&self, path: &str, body: String) -> Option<(u16, String)> {
        let request = Request::post(format!("{AUTH}/{path}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(body))
            .unwrap();
        let response = self.http.send(request).await.ok()?;
        let json: Value = serde_json::from_slice(response.body()).ok()?;
        Some((
            response.status().as_u16(),
            json["refresh_token"].as_str().unwrap_or_default().to_owned(),
        ))
    }

    async fn login(&self) -> String {
        let body = format!("username=carrier&password={}", self.password);
        let (status, token) = self.ask("password", body).await.unwrap();
        assert_eq!(status, 200);
        token
    }

    async fn refresh(&self, token: &str) -> Option<(u16, String)> {
        self.ask("refresh", format!("refresh_token={token}")).await
    }

    /// Refreshes as long as there are answers; gives the tokens in the order they were answered.
    async fn load(
        self,
        first: String,
        answered: Arc<AtomicU64>,
        stop: Arc<AtomicBool>,
    ) -> Vec<String> {
        let mut tokens = vec![first];
        while !stop.load(Ordering::Relaxed) {
            match self.refresh(tokens.last().unwrap()).await {
                Some((200, next)) => {
                    tokens.push(next);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Some((status, _)) => panic!("a living token was answered {status}"),
                None => break,
            }
        }
        tokens
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_a_crash_holds_after_it() {
    let mut running = Running::start();
    let mut revoked: Vec<String> = Vec::new();
    for kill in 0..KILLS {
        let simacan = Simacan::of(&running);
        for token in &revoked {
            assert_eq!(simacan.refresh(token).await.unwrap().0, 401, "a revocation was lost");
        }
        // A family that is revoked, since a used token comes back, before the crash.
        let used = simacan.login().await;
        let second = simacan.refresh(&used).await.unwrap().1;
        let third = simacan.refresh(&second).await.unwrap().1;
        assert_eq!(simacan.refresh(&used).await.unwrap().0, 401);
        revoked.push(third);

        let (answered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut load = Vec::new();
        for _ in 0..FAMILIES {
            let first = simacan.login().await;
            load.push(tokio::spawn(simacan.clone().load(
                first,
                Arc::clone(&answered),
                Arc::clone(&stop),
            )));
        }
        // The moment differs from run to run and from kill to kill: after so many answers, in the midst of others.
        while answered.load(Ordering::Relaxed) < 20 + kill * 13 {
            tokio::task::yield_now().await;
        }
        running.crash_and_restart();
        stop.store(true, Ordering::Relaxed);

        let simacan = Simacan::of(&running);
        for family in load {
            let tokens = family.await.unwrap();
            let last = tokens.last().unwrap();
            let (status, next) = simacan.refresh(last).await.unwrap();
            assert_eq!(status, 200, "an answered rotation was forgotten");
            assert_ne!(&next, last);
            if let Some(used) = tokens.len().checked_sub(2).map(|i| &tokens[i]) {
                assert_eq!(
                    simacan.refresh(used).await.unwrap().0,
                    401,
                    "a used-up token works again"
                );
            }
        }
    }
}
