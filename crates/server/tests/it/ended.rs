//! What is issued after tokens have ended is none of those, by whatever asks: the feed or introspection.

use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use tokenry_core::jose::Claims;
use tokenry_core::revocation::Marks;
use tokenry_core::{Client, Realm, Timestamp, User};
use tokenry_store::Change;

use crate::house::{
    Answer, House, SECRET, START, basic, billing, client, credential, put_credential, realm, user,
};

const CC: &str = "grant_type=client_credentials";
const PASSWORD: &str = "grant_type=password&username=ann&password=pw";

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn open() -> Realm {
    Realm { password_grant: true, ..realm() }
}

fn changes(realm: Realm) -> Vec<Change> {
    vec![
        Change::PutRealm(realm),
        Change::PutClient(client("billing")),
        put_credential("billing", credential("cred-001", SECRET)),
        Change::PutUser(user("ann", "pw")),
    ]
}

impl House {
    /// Whether the feed ends a token.
    async fn is_told_ended(&self, token: &str) -> bool {
        let claims = token.split('.').nth(1).unwrap();
        let claims = Claims::parse(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let text = |name: &str| claims.other.get(name).and_then(serde_json::Value::as_str);
        let marks = Marks {
            jti: claims.jti.as_deref(),
            family: text("sid"),
            client: claims.client_id.as_deref(),
            subject: claims.sub.as_deref(),
            issued_at: claims.iat,
            kid: None,
        };
        let rows = self.store.revocations(None, 100).await.unwrap();
        rows.iter().any(|row| row.revocation.ended.covers(&marks))
    }

    async fn is_active(&self, token: &str) -> bool {
        let form = format!("token={token}");
        let answer =
            self.post_to("/introspect", &[("authorization", &basic(&billing()))], &form).await;
        answer.json()["active"].as_bool().unwrap()
    }

    /// A token that was just issued: it lives as long as any, and nobody calls it ended.
    async fn good(&self, answer: &Answer, case: &str) -> String {
        let token = answer.field("access_token");
        let claims = self.verify(&token, "/jwks").await;
        let now = self.app.now().trunc_to_secs();
        assert_eq!(answer.json()["expires_in"], 300, "{case}");
        assert_eq!(claims.exp, Some(now + Duration::from_secs(300)), "{case}");
        let (at, latest) = (claims.iat.unwrap(), now + Duration::from_secs(2));
        assert!(now <= at && at <= latest, "{case}: {at:?}");
        assert!(!self.is_told_ended(&token).await, "{case}: {at:?}");
        assert!(self.is_active(&token).await, "{case}: {at:?}");
        token
    }
}

fn revoked(now: Timestamp) -> Vec<Change> {
    vec![Change::PutClient(Client { not_before: now, ..client("billing") })]
}

fn disabled_and_enabled() -> Vec<Change> {
    let disabled = Client { enabled: false, ..client("billing") };
    vec![Change::PutClient(disabled), Change::PutClient(client("billing"))]
}

#[tokio::test]
async fn what_is_issued_after_others_have_ended_has_not_ended() {
    type Ends = fn(Timestamp) -> Vec<Change>;
    let cases: [(&str, Ends); 7] = [
        ("the client's tokens are revoked", revoked),
        ("the client is disabled and enabled", |_| disabled_and_enabled()),
        ("the client is removed and added", |now| {
            let (realm, id) = ("r".into(), "billing".into());
            vec![
                Change::RemoveClient { realm, client: id },
                Change::PutClient(Client { created_at: now, ..client("billing") }),
                put_credential("billing", credential("cred-001", SECRET)),
            ]
        }),
        ("the password changes", |now| {
            vec![Change::PutUser(User { not_before: now, ..user("ann", "pw") })]
        }),
        ("the user is disabled and enabled", |_| {
            let disabled = User { enabled: false, ..user("ann", "pw") };
            vec![Change::PutUser(disabled), Change::PutUser(user("ann", "pw"))]
        }),
        ("all tokens of the realm are revoked", |now| {
            vec![Change::PutRealm(Realm { not_before: now, ..open() })]
        }),
        ("the realm is removed and added", |now| {
            let anew = changes(Realm { created_at: now, ..open() });
            [vec![Change::RemoveRealm { realm: "r".into() }], anew].concat()
        }),
    ];
    for (case, ends) in cases {
        for after in [0, 1, 300, 998] {
            let house = House::with(changes(open())).await;
            house.clock.advance(millis(after));
            let case = format!("{case} after {after} ms");
            let old = house.token(&billing(), PASSWORD).await;
            let (old, refresh) = (old.field("access_token"), old.field("refresh_token"));
            house.clock.advance(millis(1));
            house.change(ends(house.app.now())).await;
            house.app.look_after_keys().await.unwrap();
            assert!(house.is_told_ended(&old).await && !house.is_active(&old).await, "{case}");
            // About itself and about a user, as the cause concerns the one or the other.
            for body in [CC, PASSWORD] {
                house.good(&house.token(&billing(), body).await, &case).await;
            }
            // Who was merely disabled goes on.
            let form = format!("grant_type=refresh_token&refresh_token={refresh}");
            let refreshed = house.token(&billing(), &form).await;
            assert_eq!(refreshed.status == 200, case.contains("enabled"), "{case}");
            if refreshed.status == 200 {
                house.good(&refreshed, &case).await;
            }
        }
    }
}

#[tokio::test]
async fn what_was_told_stays_so_after_the_client_is_enabled_again() {
    let house = House::with(changes(open())).await;
    let old = house.token(&billing(), CC).await.field("access_token");
    house.clock.advance(millis(1_500));
    let younger = house.token(&billing(), CC).await.field("access_token");
    house.change(disabled_and_enabled()).await;
    house.clock.advance(Duration::from_secs(60));
    for token in [old, younger] {
        assert!(house.is_told_ended(&token).await);
        assert!(!house.is_active(&token).await);
    }
    // By whatever way it is changed later, and by a node that reads it anew.
    house
        .change(vec![Change::PutClient(Client {
            scope: "read".parse().unwrap(),
            ..client("billing")
        })])
        .await;
    let stored = house.store.client("r", "billing").await.unwrap().unwrap();
    assert_eq!(stored.ended_before, Timestamp::from_secs(START.as_secs() + 3));
    assert_eq!(stored.not_before, Timestamp::EPOCH, "refresh tokens go on");
    house.good(&house.token(&billing(), CC).await, "a minute later").await;
}

#[tokio::test]
async fn a_reused_token_is_none_that_has_ended() {
    let mut reusing = realm();
    reusing.tokens.reuse = Some(Duration::from_secs(60));
    reusing.tokens.refresh = None;
    for (case, ends) in
        [("revoked", revoked as fn(_) -> _), ("enabled", |_| disabled_and_enabled())]
    {
        let house = House::of(reusing.clone()).await;
        house.clock.advance(millis(300));
        let old = house.token(&billing(), CC).await.field("access_token");
        house.change(ends(house.app.now())).await;
        let first = house.good(&house.token(&billing(), CC).await, case).await;
        assert_ne!(first, old);
        // It is given again for as long as ever, with what is left of it.
        house.clock.advance(Duration::from_secs(59));
        let again = house.token(&billing(), CC).await;
        assert_eq!(again.field("access_token"), first, "{case}");
        assert_eq!(again.json()["expires_in"], 241, "{case}");
        assert!(!house.is_told_ended(&first).await);
        house.clock.advance(Duration::from_secs(1));
        assert_ne!(house.token(&billing(), CC).await.field("access_token"), first, "{case}");
    }
}

#[tokio::test]
async fn an_exchanged_token_about_somebody_who_was_ended_is_none_of_those() {
    let house = House::with(changes(open())).await;
    house.clock.advance(millis(300));
    let changed = User { not_before: house.app.now(), ..user("ann", "pw") };
    house.change(vec![Change::PutUser(changed)]).await;
    let about_ann = house.token(&billing(), PASSWORD).await.field("access_token");
    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={about_ann}\
         &subject_token_type=urn:ietf:params:oauth:token-type:access_token"
    );
    house.good(&house.token(&billing(), &form).await, "exchanged").await;
}

#[tokio::test]
async fn id_tokens_are_of_now_for_who_compares_clocks() {
    let mut realm = open();
    realm.tokens.id_token = true;
    let house = House::with(changes(realm)).await;
    house.clock.advance(millis(300));
    house.change(disabled_and_enabled()).await;
    let id_token = house.token(&billing(), PASSWORD).await.field("id_token");
    assert_eq!(house.verify(&id_token, "/jwks").await.iat, Some(START));
}

#[tokio::test]
async fn nobody_gets_a_token_that_is_far_ahead_or_has_ended() {
    let house = House::with(changes(open())).await;
    // By another node, whose clock is wrong.
    house.change(revoked(START + Duration::from_secs(3600))).await;
    let answer = house.token(&billing(), CC).await;
    assert_eq!(answer.refusal(), (503, "temporarily_unavailable".into()));
    assert_eq!(answer.headers["retry-after"], "1");
    house.clock.advance(Duration::from_secs(3598));
    house.good(&house.token(&billing(), CC).await, "an hour later").await;
}
