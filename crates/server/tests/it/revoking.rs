//! A token that an operator ends in the store, beside a running server: as its client would have.

use std::time::Duration;

use tokenry_core::family::FamilyId;
use tokenry_core::{MasterKey, Realm};
use tokenry_server::{RevokedKind, RevokedToken, revoke_token};
use tokenry_store::Change;

use crate::house::{
    House, MASTER, SECRET, basic, billing, client, credential, put_credential, realm,
};

const CC: &str = "grant_type=client_credentials";

impl House {
    async fn ended_by_operator(&self, text: &str) -> Option<RevokedToken> {
        let master = MasterKey::new(MASTER);
        let ended = revoke_token(&*self.store, &master, text, self.app.now()).await.unwrap();
        self.app.reload().await.unwrap();
        ended
    }

    async fn ended_by_client(&self, token: &str) {
        let form = format!("token={token}");
        let header = basic(&billing());
        let answer = self.post_to("/revoke", &[("authorization", &header)], &form).await;
        assert_eq!(answer.status.as_u16(), 200);
    }

    async fn introspected(&self, token: &str) -> bool {
        let header = basic(&billing());
        let form = format!("token={token}");
        let answer = self.post_to("/introspect", &[("authorization", &header)], &form).await;
        answer.json()["active"].as_bool().unwrap()
    }

    /// What was told, but for which token of its kind.
    async fn told(&self) -> Vec<(String, Option<String>, tokenry_core::Timestamp)> {
        let rows = self.store.revocations(None, 100).await.unwrap();
        rows.into_iter().map(|row| (row.realm, row.client, row.revocation.until)).collect()
    }
}

fn realms() -> [(&'static str, Realm); 3] {
    let (mut opaque, mut listed) = (realm(), realm());
    opaque.tokens.opaque = true;
    listed.tokens.status_list = true;
    [("plain", realm()), ("opaque", opaque), ("listed", listed)]
}

#[tokio::test]
async fn what_an_operator_ends_ends_as_if_its_client_had() {
    for (name, realm) in realms() {
        for (field, kind) in
            [("access_token", RevokedKind::Access), ("refresh_token", RevokedKind::Refresh)]
        {
            let case = format!("{field}, {name}");
            let (ours, theirs) = (House::of(realm.clone()).await, House::of(realm.clone()).await);
            let granted = ours.token(&billing(), CC).await;
            let token = granted.field(field);
            assert!(ours.introspected(&token).await, "{case}");
            let ended = ours.ended_by_operator(&token).await.unwrap();
            assert_eq!((ended.realm.as_str(), ended.client.as_str()), ("r", "billing"), "{case}");
            assert_eq!((ended.kind, ended.had_ended), (kind, false), "{case}");
            assert!(!ours.introspected(&token).await, "{case}");
            // What ends with it, and until when that is told.
            let granted_there = theirs.token(&billing(), CC).await;
            theirs.ended_by_client(&granted_there.field(field)).await;
            assert_eq!(ours.told().await, theirs.told().await, "{case}");
            for other in ["access_token", "refresh_token"] {
                let goes_on = ours.introspected(&granted.field(other)).await;
                assert_eq!(
                    goes_on,
                    theirs.introspected(&granted_there.field(other)).await,
                    "{case}"
                );
            }
            assert!(ours.ended_by_operator(&token).await.unwrap().had_ended, "{case}");
        }
    }
}

#[tokio::test]
async fn what_is_no_token_of_the_store_ends_nothing() {
    let house = House::of(realm()).await;
    let granted = house.token(&billing(), CC).await;
    let (access, refresh) = (granted.field("access_token"), granted.field("refresh_token"));
    // Of the same issuer by what they say, and made by others.
    let elsewhere = House::of(realm()).await.token(&billing(), CC).await.field("access_token");
    let (head, signature) = access.rsplit_once('.').unwrap();
    let (_, other) = elsewhere.rsplit_once('.').unwrap();
    let forged = [
        format!("{head}.{other}"),
        format!("{head}."),
        format!("{head}x.{signature}"),
        elsewhere,
        format!("{refresh}A"),
        format!("tka_{}", "A".repeat(64)),
        SECRET.to_owned(),
        String::new(),
    ];
    for text in forged {
        assert_eq!(house.ended_by_operator(&text).await, None, "{text}");
    }
    assert_eq!(house.told().await, []);
    assert!(house.introspected(&access).await);
}

#[tokio::test]
async fn a_token_is_ended_in_its_own_realm() {
    let other = Realm {
        name: "other".into(),
        issuer: "https://auth.example/other".parse().unwrap(),
        ..realm()
    };
    let mut changes = vec![Change::PutRealm(realm()), Change::PutRealm(other)];
    for realm in ["r", "other"] {
        changes.push(Change::PutClient(tokenry_core::Client {
            realm: realm.into(),
            ..client("billing")
        }));
        let credential = credential("cred-001", SECRET);
        changes.push(match put_credential("billing", credential) {
            Change::PutCredential { client, credential, .. } => {
                Change::PutCredential { realm: realm.into(), client, credential }
            }
            other => other,
        });
    }
    let house = House::with(changes).await;
    let header = basic(&billing());
    let granted = house.post_to("/other/token", &[("authorization", &header)], CC).await;
    for field in ["access_token", "refresh_token"] {
        let ended = house.ended_by_operator(&granted.field(field)).await.unwrap();
        assert_eq!((ended.realm.as_str(), ended.had_ended), ("other", false), "{field}");
    }
}

#[tokio::test]
async fn what_is_over_anyway_is_not_told() {
    let house = House::of(realm()).await;
    let granted = house.token(&billing(), CC).await;
    house.clock.advance(Duration::from_secs(300));
    let access = house.ended_by_operator(&granted.field("access_token")).await.unwrap();
    assert!(access.had_ended && house.told().await.is_empty());
    // With its family it has ended, too.
    let granted = house.token(&billing(), CC).await;
    let family: FamilyId =
        house.ended_by_operator(&granted.field("refresh_token")).await.unwrap().id;
    let access = house.ended_by_operator(&granted.field("access_token")).await.unwrap();
    assert!(access.had_ended && access.id != family);
    // A client that is gone has no tokens that are good.
    let gone = House::of(realm()).await;
    let access = gone.token(&billing(), CC).await.field("access_token");
    gone.change(vec![Change::RemoveClient { realm: "r".into(), client: "billing".into() }]).await;
    assert!(gone.ended_by_operator(&access).await.is_some());
}
