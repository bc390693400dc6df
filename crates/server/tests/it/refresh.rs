//! Refreshing, in each policy.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use tokenry_core::family::FamilyId;
use tokenry_core::realm::{ClientAuthentication, Rotate};
use tokenry_core::refresh::Sealer;
use tokenry_core::{Client, MasterKey, Realm, User};
use tokenry_store::Change;

use crate::house::{
    Answer, House, MASTER, SECRET, START, billing, client, credential, put_credential, realm,
    refusal, user,
};
use crate::watched::Watched;

const CC: &str = "grant_type=client_credentials";

fn with(policy: Rotate) -> Realm {
    let mut realm = realm();
    realm.tokens.refresh.as_mut().unwrap().policy = policy;
    realm
}

/// The family that is sealed in a refresh token of the realm.
pub(crate) fn family(token: &str) -> FamilyId {
    let sealer = Sealer::new(&MasterKey::new(MASTER), "r").unwrap();
    sealer.open(token).unwrap().family
}

async fn refresh(house: &House, token: &str) -> Answer {
    house.token(&billing(), &format!("grant_type=refresh_token&refresh_token={token}")).await
}

#[tokio::test]
async fn keep_gives_no_refresh_token_and_the_first_stays_good() {
    let house = House::of(with(Rotate::Keep)).await;
    let first = house.token(&billing(), CC).await.field("refresh_token");
    for _ in 0..3 {
        let answer = refresh(&house, &first).await;
        assert_eq!(answer.fields(), ["access_token", "token_type", "expires_in", "scope"]);
        house.clock.advance(Duration::from_secs(500));
    }
    house.clock.advance(Duration::from_secs(300));
    assert_eq!(refresh(&house, &first).await.refusal(), refusal(400, "invalid_grant"));
}

#[tokio::test]
async fn reissue_gives_a_new_one_and_leaves_the_old_one_good() {
    let house = House::of(with(Rotate::Reissue)).await;
    let first = house.token(&billing(), CC).await.field("refresh_token");
    house.clock.advance(Duration::from_secs(1000));
    let second = refresh(&house, &first).await.field("refresh_token");
    assert_ne!(first, second);
    assert_eq!(refresh(&house, &first).await.status, StatusCode::OK);
    house.clock.advance(Duration::from_secs(1000));
    assert_eq!(refresh(&house, &first).await.refusal(), refusal(400, "invalid_grant"));
    assert_eq!(refresh(&house, &second).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_117_row_118_rotation_uses_a_token_up_and_repairs_a_lost_answer() {
    let house = House::of(with(Rotate::Rotate)).await;
    let first = house.token(&billing(), CC).await.field("refresh_token");
    let second = refresh(&house, &first).await.field("refresh_token");
    house.clock.advance(Duration::from_secs(30));
    // The answer was lost; the same request gives the same successor, byte for byte.
    assert_eq!(refresh(&house, &first).await.field("refresh_token"), second);
    let third = refresh(&house, &second).await.field("refresh_token");
    // Its successor was used: whoever presents the first one now is not who holds the third.
    assert_eq!(refresh(&house, &first).await.refusal(), refusal(400, "invalid_grant"));
    assert_eq!(refresh(&house, &third).await.refusal(), refusal(400, "invalid_grant"));
    assert_eq!(refresh(&house, &second).await.refusal(), refusal(400, "invalid_grant"));
}

#[tokio::test]
async fn row_117_after_the_grace_the_family_is_revoked() {
    let house = House::of(with(Rotate::Rotate)).await;
    let first = house.token(&billing(), CC).await.field("refresh_token");
    let second = refresh(&house, &first).await.field("refresh_token");
    house.clock.advance(Duration::from_millis(30_001));
    assert_eq!(refresh(&house, &first).await.refusal(), refusal(400, "invalid_grant"));
    assert_eq!(refresh(&house, &second).await.refusal(), refusal(400, "invalid_grant"));
}

#[tokio::test]
async fn row_117_without_grace_a_token_is_good_once_even_within_the_same_instant() {
    let mut realm = with(Rotate::Rotate);
    realm.tokens.refresh.as_mut().unwrap().grace = Duration::ZERO;
    let house = House::of(realm).await;
    let first = house.token(&billing(), CC).await.field("refresh_token");
    let second = refresh(&house, &first).await.field("refresh_token");
    assert_eq!(refresh(&house, &first).await.refusal(), refusal(400, "invalid_grant"));
    assert_eq!(refresh(&house, &second).await.refusal(), refusal(400, "invalid_grant"));
}

#[tokio::test]
async fn row_118_a_hundred_at_once_get_one_successor() {
    let house = House::of(with(Rotate::Rotate)).await;
    let first = house.token(&billing(), CC).await.field("refresh_token");
    let house = Arc::new(house);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (house, first) = (house.clone(), first.clone());
            tokio::spawn(async move { refresh(&house, &first).await.field("refresh_token") })
        })
        .collect();
    let mut successors = std::collections::HashSet::new();
    for task in tasks {
        successors.insert(task.await.unwrap());
    }
    assert_eq!(successors.len(), 1);
    assert_eq!(refresh(&house, successors.iter().next().unwrap()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_119_an_idle_family_ends_and_so_does_an_old_one() {
    let mut limited = with(Rotate::Rotate);
    limited.tokens.refresh.as_mut().unwrap().max_lifetime = Some(Duration::from_secs(3000));
    let house = House::of(limited).await;
    let mut token = house.token(&billing(), CC).await.field("refresh_token");
    house.clock.advance(Duration::from_secs(1500));
    token = refresh(&house, &token).await.field("refresh_token");
    house.clock.advance(Duration::from_secs(1499));
    token = refresh(&house, &token).await.field("refresh_token");
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(refresh(&house, &token).await.refusal(), refusal(400, "invalid_grant"));
}

#[tokio::test]
async fn row_113_a_refresh_token_is_of_its_client() {
    let house = House::of(with(Rotate::Rotate)).await;
    house
        .change(vec![
            Change::PutClient(client("other")),
            put_credential("other", credential("cred-005", SECRET)),
        ])
        .await;
    let token = house.token(&billing(), CC).await.field("refresh_token");
    let stolen = house
        .token(
            &format!("other:{SECRET}"),
            &format!("grant_type=refresh_token&refresh_token={token}"),
        )
        .await;
    assert_eq!(stolen.refusal(), refusal(400, "invalid_grant"));
    assert_eq!(refresh(&house, &token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_114_row_115_a_refresh_narrows_the_access_token_and_never_the_grant() {
    let house = House::of(with(Rotate::Rotate)).await;
    let first = house.token(&billing(), CC).await.field("refresh_token");
    let narrow = house
        .token(&billing(), &format!("grant_type=refresh_token&refresh_token={first}&scope=read"))
        .await;
    assert_eq!(narrow.field("scope"), "read");
    let second = narrow.field("refresh_token");
    let wide = house
        .token(
            &billing(),
            &format!("grant_type=refresh_token&refresh_token={second}&scope=read+admin"),
        )
        .await;
    assert_eq!(wide.refusal(), refusal(400, "invalid_scope"));
    assert_eq!(refresh(&house, &second).await.field("scope"), "read write");
}

#[tokio::test]
async fn what_a_client_lost_since_is_lost_at_the_next_refresh() {
    let house = House::of(with(Rotate::Keep)).await;
    let first = house.token(&billing(), CC).await.field("refresh_token");
    let less = Client { scope: "read".parse().unwrap(), ..client("billing") };
    house.change(vec![Change::PutClient(less)]).await;
    assert_eq!(refresh(&house, &first).await.field("scope"), "read");
}

#[tokio::test]
async fn row_116_a_refresh_authenticates_its_client_unless_the_realm_says_otherwise() {
    let body = |token: &str| format!("grant_type=refresh_token&refresh_token={token}");
    let house = House::of(with(Rotate::Keep)).await;
    let token = house.token(&billing(), CC).await.field("refresh_token");
    assert_eq!(
        house.post_to("/token", &[], &body(&token)).await.refusal(),
        refusal(401, "invalid_client")
    );

    let optional =
        Realm { client_authentication: ClientAuthentication::Optional, ..with(Rotate::Keep) };
    house.change(vec![Change::PutRealm(optional)]).await;
    assert_eq!(house.post_to("/token", &[], &body(&token)).await.status, StatusCode::OK);
    let named = format!("{}&client_id=billing", body(&token));
    assert_eq!(house.post_to("/token", &[], &named).await.status, StatusCode::OK);
    for bad in [
        format!("{}&client_id=other", body(&token)),
        body("tkr_AAAA"),
        format!("{}k", body(&token)),
    ] {
        assert_eq!(
            house.post_to("/token", &[], &bad).await.refusal(),
            refusal(401, "invalid_client"),
            "{bad}"
        );
    }
    // It opens refreshes, nothing else.
    assert_eq!(
        house.post_to("/token", &[], &format!("{CC}&client_id=billing")).await.refusal(),
        refusal(401, "invalid_client")
    );
    // Credentials that are there must be right.
    assert_eq!(
        house.token("billing:wrong", &body(&token)).await.refusal(),
        refusal(401, "invalid_client")
    );
    let disabled = Client { enabled: false, ..client("billing") };
    house.change(vec![Change::PutClient(disabled)]).await;
    assert_eq!(
        house.post_to("/token", &[], &body(&token)).await.refusal(),
        refusal(401, "invalid_client")
    );
}

#[tokio::test]
async fn row_122_disabling_a_client_and_changing_a_password_end_their_families() {
    let on = Realm { password_grant: true, ..with(Rotate::Rotate) };
    let house = House::of(on).await;
    house.change(vec![Change::PutUser(user("ada", "pw"))]).await;
    let body = "grant_type=password&username=ada&password=pw";
    let token = house.token(&billing(), body).await.field("refresh_token");
    house.clock.advance(Duration::from_secs(10));
    let changed = User { not_before: START + Duration::from_secs(5), ..user("ada", "new") };
    house.change(vec![Change::PutUser(changed)]).await;
    assert_eq!(refresh(&house, &token).await.refusal(), refusal(400, "invalid_grant"));

    let token = house.token(&billing(), CC).await.field("refresh_token");
    let stale = Client { not_before: START + Duration::from_secs(11), ..client("billing") };
    house.change(vec![Change::PutClient(stale)]).await;
    assert_eq!(refresh(&house, &token).await.refusal(), refusal(400, "invalid_grant"));
}

#[tokio::test]
async fn a_family_that_is_revoked_is_dead_in_every_policy() {
    for policy in [Rotate::Keep, Rotate::Reissue, Rotate::Rotate] {
        let house = House::of(with(policy)).await;
        let token = house.token(&billing(), CC).await.field("refresh_token");
        house
            .store
            .revoke_family("r", "billing", family(&token), START, START + Duration::from_secs(9999))
            .await
            .unwrap();
        house.app.reload().await.unwrap();
        assert_eq!(
            refresh(&house, &token).await.refusal(),
            refusal(400, "invalid_grant"),
            "{policy:?}"
        );
    }
}

#[tokio::test]
async fn a_family_that_another_node_revoked_is_dead_before_the_next_snapshot() {
    let house = House::of(with(Rotate::Rotate)).await;
    let first = house.token(&billing(), CC).await.field("refresh_token");
    let second = refresh(&house, &first).await.field("refresh_token");
    let end = START + Duration::from_secs(9999);
    house.store.revoke_family("r", "billing", family(&second), START, end).await.unwrap();
    for token in [&second, &first] {
        assert_eq!(refresh(&house, token).await.refusal(), refusal(400, "invalid_grant"));
    }
}

#[tokio::test]
async fn a_family_found_misused_here_is_dead_before_the_next_snapshot_in_every_policy() {
    for policy in [Rotate::Keep, Rotate::Reissue] {
        let store = Arc::new(Watched::default());
        store.behind.store(true, Ordering::Relaxed);
        let changes = vec![
            Change::PutRealm(with(Rotate::Rotate)),
            Change::PutClient(client("billing")),
            put_credential("billing", credential("cred-001", SECRET)),
        ];
        let house = House::on(store, changes).await;
        let first = house.token(&billing(), CC).await.field("refresh_token");
        let bystander = house.token(&billing(), CC).await.field("refresh_token");
        let second = refresh(&house, &first).await.field("refresh_token");
        let newest = refresh(&house, &second).await.field("refresh_token");
        assert_eq!(refresh(&house, &first).await.refusal(), refusal(400, "invalid_grant"));

        house.change(vec![Change::PutRealm(with(policy))]).await;
        assert_eq!(
            refresh(&house, &newest).await.refusal(),
            refusal(400, "invalid_grant"),
            "{policy:?}"
        );
        assert_eq!(refresh(&house, &bystander).await.status, StatusCode::OK, "{policy:?}");
    }
}

#[tokio::test]
async fn row_120_what_is_no_refresh_token_is_an_invalid_grant() {
    let house = House::of(with(Rotate::Rotate)).await;
    let access = house.token(&billing(), CC).await.field("access_token");
    for bad in ["x", "tkr_", "tkr_AAAA", &access, &"tkr_".repeat(5000)] {
        assert_eq!(
            refresh(&house, bad).await.refusal(),
            refusal(400, "invalid_grant"),
            "{:.20}",
            bad
        );
    }
}

#[tokio::test]
async fn a_client_that_is_registered_again_is_another_client() {
    for policy in [Rotate::Keep, Rotate::Reissue, Rotate::Rotate] {
        let house = House::of(with(policy)).await;
        let token = house.token(&billing(), CC).await.field("refresh_token");
        house.clock.advance(Duration::from_secs(1));
        let again = Client { created_at: START + Duration::from_secs(1), ..client("billing") };
        house.change(vec![Change::PutClient(again)]).await;
        assert_eq!(
            refresh(&house, &token).await.refusal(),
            refusal(400, "invalid_grant"),
            "{policy:?}"
        );
    }
}
