//! Keycloak: `POST /realms/{realm}/protocol/openid-connect/token`.

use std::sync::Mutex;

use super::*;
use crate::provider::ClientAuthentication;

const ISSUER: &str = "https://sso.acme.example/realms/machines";

/// How long a session lives that nobody uses.
const IDLE: u64 = 1800;

fn provider() -> Provider {
    named("keycloak", &[("host", "sso.acme.example"), ("realm", "machines")])
}

/// A realm's sessions: each refresh token that is good, and until when.
#[derive(Default)]
struct Sessions(Mutex<Vec<(String, tokenry_core::Timestamp)>>);

impl Sessions {
    fn begin(&self, token: &str, asked: &Asked) {
        self.0.lock().unwrap().push((token.to_owned(), asked.at + secs(IDLE)));
    }

    fn end_all(&self) {
        self.0.lock().unwrap().clear();
    }

    /// Why a refresh token is not taken.
    fn check(&self, token: &str, asked: &Asked) -> Result<(), &'static str> {
        let sessions = self.0.lock().unwrap();
        match sessions.iter().find(|(own, _)| own == token) {
            None => Err("Session not active"),
            Some((_, until)) if *until <= asked.at => Err("Token is not active"),
            Some(_) => Ok(()),
        }
    }
}

struct Realm {
    lifetime: u64,
    /// Whether client credentials bring a refresh token: not, unless the client is set so.
    refresh: bool,
    keys: Option<Assertions>,
}

const USUAL: Realm = Realm { lifetime: 300, refresh: false, keys: None };

fn realm(settings: Realm) -> (Vendor, Arc<Sessions>) {
    let Realm { lifetime, refresh, mut keys } = settings;
    let sessions: Arc<Sessions> = Arc::default();
    let own = sessions.clone();
    let answers = move |asked: &Asked, n| {
        let path = asked.url.strip_prefix(ISSUER).unwrap_or_default();
        if path != "/protocol/openid-connect/token" {
            return json(404, &json!({ "error": "Realm does not exist" }));
        }
        match &mut keys {
            Some(keys) => {
                if let Err(what) = keys.check(asked) {
                    return error(400, "invalid_client", &format!("signed JWT: {what}"));
                }
            }
            None => {
                let client = post(asked).or_else(|| basic(asked));
                if !is_client(client.as_ref(), "billing", "s3cret") {
                    return error(401, "unauthorized_client", "Invalid client credentials");
                }
            }
        }
        if is(asked, "grant_type", "refresh_token") {
            let token = field(asked, "refresh_token").unwrap_or_default();
            if let Err(what) = own.check(&token, asked) {
                return error(400, "invalid_grant", what);
            }
        }
        let mut body = json!({
            "access_token": format!("a{n}"), "expires_in": lifetime, "refresh_expires_in": 0,
            "token_type": "Bearer", "not-before-policy": 0, "scope": "profile email",
        });
        if refresh {
            own.begin(&format!("r{n}"), asked);
            body["refresh_token"] = format!("r{n}").into();
            body["refresh_expires_in"] = IDLE.into();
            body["session_state"] = "0b1c".into();
        }
        json(200, &body)
    };
    // It has no limits itself. What stands before it has.
    let vendor = Vendor::new(answers, |_| answer(503, "<html>Service Unavailable</html>"));
    (vendor, sessions)
}

fn client() -> Credentials {
    secret("billing", "s3cret")
}

#[tokio::test(start_paused = true)]
async fn keycloak_grants_minutes_and_no_refresh_token_as_it_comes() {
    for lifetime in [60, 300] {
        let (vendor, _) = realm(Realm { lifetime, ..USUAL });
        vendor.is_renewed(&vendor.keeper(provider(), client()), lifetime).await;
        let requests = vendor.server.requests();
        assert!(requests.iter().all(|asked| is(asked, "grant_type", "client_credentials")));
    }
}

#[tokio::test(start_paused = true)]
async fn keycloak_is_asked_with_each_newest_refresh_token_where_there_are_any() {
    let (vendor, _) = realm(Realm { refresh: true, ..USUAL });
    vendor.is_renewed(&vendor.keeper(provider(), client()), 300).await;
    let requests = vendor.server.requests();
    let presented: Vec<_> = requests.iter().map(Asked::refresh_token).collect();
    assert_eq!(presented, [None, Some("r1"), Some("r2"), Some("r3")]);
    // And its client is named there as well.
    assert!(requests.iter().all(|asked| is(asked, "client_id", "billing")));
}

#[tokio::test(start_paused = true)]
async fn keycloak_may_end_a_session_and_nobody_notices() {
    let (vendor, sessions) = realm(Realm { refresh: true, ..USUAL });
    let keeper = vendor.keeper(provider(), client());
    let first = keeper.token().await.unwrap();
    // An administrator has ended it: the API says 401, and the token endpoint 400.
    sessions.end_all();
    keeper.invalidate(&first);
    assert_eq!(text(&keeper.token().await.unwrap()), "a3");
    let requests = vendor.server.requests();
    let presented: Vec<_> = requests.iter().map(Asked::refresh_token).collect();
    assert_eq!(presented, [None, Some("r1"), None]);
}

#[tokio::test(start_paused = true)]
async fn keycloak_is_not_shown_a_refresh_token_whose_session_has_idled_out() {
    let (vendor, _) = realm(Realm { refresh: true, ..USUAL });
    let keeper = vendor.keeper(provider(), client());
    keeper.token().await.unwrap();
    pass(secs(4 * IDLE)).await;
    let before = vendor.server.count();
    keeper.token().await.unwrap();
    let requests = vendor.server.requests();
    assert_eq!(requests.len(), before + 1);
    assert_eq!(requests.last().unwrap().refresh_token(), None);
}

#[tokio::test(start_paused = true)]
async fn keycloak_refuses_a_wrong_secret_as_unauthorized_client_and_takes_the_second() {
    let (vendor, _) = realm(USUAL);
    assert_eq!(
        vendor.refusal(provider(), secret("billing", "old-one")).await,
        "the server refused the credentials: 401 unauthorized_client (Invalid client credentials)"
    );
    let two = secret("billing", "old-one").or_secret(Secret::new("s3cret"));
    vendor.keeper(provider(), two).token().await.unwrap();
    let basic = provider().with_client_authentication(ClientAuthentication::Basic);
    vendor.keeper(basic, client()).token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn keycloak_takes_assertions_for_its_issuer() {
    let own = key(Algorithm::Es256);
    let (vendor, _) =
        realm(Realm { keys: Some(Assertions::new("billing", ISSUER, &own)), ..USUAL });
    let credentials = Credentials::private_key("billing", own);
    vendor.is_renewed(&vendor.keeper(provider(), credentials.clone()), 300).await;
    let elsewhere = provider().with_issuer("https://sso.acme.example/realms/other");
    let refusal = vendor.refusal(elsewhere, credentials).await;
    assert!(refusal.ends_with("400 invalid_client (signed JWT: audience)"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn keycloak_may_end_a_token_early() {
    let (vendor, _) = realm(USUAL);
    vendor.may_end_a_token_early(&vendor.keeper(provider(), client())).await;
}

#[tokio::test(start_paused = true)]
async fn keycloak_may_be_away_for_as_long_as_a_token_is_good() {
    let (vendor, _) = realm(USUAL);
    let keeper = vendor.keeper(provider(), client());
    let first = keeper.token().await.unwrap();
    vendor.busy.store(true, Ordering::SeqCst);
    pass(secs(265)).await;
    assert!(vendor.server.count() > 1);
    assert_eq!(text(&keeper.try_token().unwrap()), text(&first));
    vendor.busy.store(false, Ordering::SeqCst);
    pass(secs(30)).await;
    assert_ne!(text(&keeper.token().await.unwrap()), text(&first));
}
