//! The decisions by tables. The whole path runs, from the bytes received to the decision.

use crate::client::{Credential, CredentialKind, authenticate};
use crate::realm::{ClientAuthentication, Rotate, TokenPolicy};
use crate::refresh::Sealer;
use crate::request::{Asked, Credentials, Grant, Received};
use crate::user::PasswordHash;
use crate::{MasterKey, Particulars, Secret, TokenRequest, User};

use super::*;

/// A realm with its clients and its one user, at [`NOW`] unless a test says otherwise.
struct House {
    realm: Realm,
    clients: Vec<Client>,
    user: Option<User>,
    revoked: bool,
    proven: Binding,
    now: Timestamp,
}

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_250);
const ISSUER: &str = "https://id.example/r";

impl House {
    /// `billing` may do everything, `reader` nothing; both have the secret `s3cret`. The user `ada` has `pa55`.
    fn new() -> Self {
        Self {
            realm: Realm {
                scopes: "read write".parse().unwrap(),
                password_grant: true,
                ..Realm::new(
                    "r",
                    ISSUER.parse().unwrap(),
                    TokenPolicy {
                        refresh: Some(policy(Rotate::Rotate)),
                        ..TokenPolicy::new(secs(300))
                    },
                )
            },
            clients: vec![client("billing", &GrantType::ALL), client("reader", &[])],
            user: Some(user("0190")),
            revoked: false,
            proven: Binding::NONE,
            now: NOW,
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut house = Self::new();
        change(&mut house);
        house
    }

    fn billing(&mut self) -> &mut Client {
        &mut self.clients[0]
    }

    fn at(&mut self, after: Duration) -> &mut Self {
        self.now = NOW + after;
        self
    }

    /// The form with `billing`'s credentials.
    fn ask(&self, form: &str) -> Result<Issue, Refusal> {
        self.ask_as("client_id=billing&client_secret=s3cret", form)
    }

    fn ask_as(&self, credentials: &str, form: &str) -> Result<Issue, Refusal> {
        let body = format!("{form}&{credentials}");
        let request = TokenRequest::parse(&Received {
            content_type: Some(b"application/x-www-form-urlencoded"),
            body: body.as_bytes(),
            ..Received::default()
        })?;
        let client = self.authenticate(&request)?;
        self.decide(&client, request.grant?)
    }

    fn authenticate(&self, request: &TokenRequest) -> Result<AuthenticatedClient, Refusal> {
        match (&request.credentials, &request.grant) {
            (Credentials::Secret { presented, .. }, _) => {
                let client = self.client(&presented.client_id);
                authenticate(presented, client.as_ref(), &master().pepper(), self.now)
            }
            (Credentials::None { .. }, Ok(Grant::RefreshToken { refresh_token, .. })) => {
                let token = sealer().open(refresh_token.expose())?;
                let client = self.client(&token.client).ok_or(Refusal::UnknownClient)?;
                let required = self.realm.client_authentication;
                AuthenticatedClient::by_refresh_token(&client, &token, required)
            }
            (Credentials::None { .. } | Credentials::Assertion(_), _) => {
                Err(Refusal::NoCredentials)
            }
        }
    }

    fn decide(&self, client: &AuthenticatedClient, grant: Grant) -> Result<Issue, Refusal> {
        let circumstances = self.circumstances();
        match grant {
            Grant::ClientCredentials { asked } => client_credentials(client, asked, &circumstances),
            Grant::Password { username, password: presented, asked } => {
                AuthenticatedUser::may_be_asked(&self.realm, client)?;
                let user = self.user.as_ref().filter(|user| user.name == username);
                let right = user.is_some_and(|u| presented.matches(u.password.as_phc()));
                password(client, AuthenticatedUser::checked(user, right)?, asked, &circumstances)
            }
            Grant::RefreshToken { refresh_token: text, asked } => {
                let token = sealer().open(text.expose())?;
                let standing = Standing { revoked: self.revoked, user: self.user.as_ref() };
                refresh_token(client, token, standing, asked, &circumstances)
            }
            other => panic!("{other:?} is tested elsewhere"),
        }
    }

    fn circumstances(&self) -> Circumstances<'_> {
        Circumstances {
            realm: &self.realm,
            now: self.now,
            proven: self.proven,
            random: std::array::from_fn(|i| i as u8),
        }
    }

    fn client(&self, id: &str) -> Option<Arc<Client>> {
        self.clients.iter().find(|client| client.id == id).cloned().map(Arc::new)
    }
}

fn client(id: &str, grants: &[GrantType]) -> Client {
    let credential = Credential {
        id: "k1".into(),
        label: String::new(),
        kind: CredentialKind::Secret { digest: master().pepper().digest("s3cret") },
        not_before: Timestamp::EPOCH,
        expires_at: None,
        created_at: Timestamp::EPOCH,
    };
    Client {
        grants: grants.iter().copied().collect(),
        scope: "read write".parse().unwrap(),
        credentials: vec![credential],
        ..Client::new("r", id, Timestamp::EPOCH)
    }
}

fn user(subject: &str) -> User {
    User {
        realm: "r".into(),
        name: "ada".into(),
        subject: subject.into(),
        password: PasswordHash::from_phc("pa55".into()),
        enabled: true,
        not_before: Timestamp::EPOCH,
        ended_before: Timestamp::EPOCH,
        created_at: Timestamp::EPOCH,
    }
}

fn policy(policy: Rotate) -> RefreshPolicy {
    RefreshPolicy {
        lifetime: secs(1800),
        max_lifetime: None,
        policy,
        grace: secs(30),
        client_credentials: false,
    }
}

fn master() -> MasterKey {
    MasterKey::new([3; 32])
}

fn sealer() -> Sealer {
    Sealer::new(&master(), "r").unwrap()
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The refresh token of an answer, as the client keeps it.
fn given(issue: &Issue) -> Secret {
    match &issue.refresh {
        Refresh::Give(token) => sealer().seal(token),
        other => panic!("no refresh token was given: {other:?}"),
    }
}

fn refresh_form(token: &Secret) -> String {
    format!("grant_type=refresh_token&refresh_token={}", token.expose())
}

fn code(result: Result<Issue, Refusal>) -> Result<String, &'static str> {
    result.map(|issue| issue.scope.to_string()).map_err(|refusal| refusal.code().as_str())
}

const CLIENT_CREDENTIALS: &str = "grant_type=client_credentials";
const PASSWORD: &str = "grant_type=password&username=ada&password=pa55";
const BILLING: &str = "client_id=billing&client_secret=s3cret";

/// One row per rule.
#[test]
fn row_102_row_105_row_106_row_107_row_108_what_is_granted_and_what_is_refused() {
    let cases = [
        (BILLING, "", Ok("read write")),
        (BILLING, "&scope=", Ok("read write")),
        (BILLING, "&scope=read", Ok("read")),
        (BILLING, "&scope=write++read+write", Ok("read write")),
        (BILLING, "&scope=Read", Err("invalid_scope")),
        (BILLING, "&scope=read+admin", Err("invalid_scope")),
        (BILLING, "&scope=%22", Err("invalid_scope")),
        (BILLING, "&scope=read&scope=read", Err("invalid_request")),
        ("client_id=billing&client_secret=wrong", "", Err("invalid_client")),
        ("client_id=billing", "", Err("invalid_client")),
        ("client_id=nobody&client_secret=s3cret", "", Err("invalid_client")),
        ("client_id=nobody&client_secret=s3cret", "&scope=%22", Err("invalid_client")),
        ("client_id=reader&client_secret=s3cret", "", Err("unauthorized_client")),
    ];
    let house = House::new();
    for (credentials, rest, expected) in cases {
        let got = code(house.ask_as(credentials, &format!("{CLIENT_CREDENTIALS}{rest}")));
        assert_eq!(got, expected.map(str::to_owned), "{credentials} {rest}");
    }
}

#[test]
fn row_107_without_a_question_a_client_gets_its_default_scope() {
    let house = House::with(|h| h.billing().default_scope = Some("read".parse().unwrap()));
    assert_eq!(code(house.ask(CLIENT_CREDENTIALS)), Ok("read".into()));
    // The default is what is given, not what may be asked for.
    let both = format!("{CLIENT_CREDENTIALS}&scope=write");
    assert_eq!(code(house.ask(&both)), Ok("write".into()));
}

#[test]
fn openid_is_dropped_where_a_client_has_no_such_scope() {
    let cases = [
        ("read write", "openid", "read write"),
        ("read write", "openid+read", "read"),
        ("openid read", "openid+read", "openid read"),
        ("openid read", "openid", "openid"),
        ("", "openid", ""),
    ];
    for (may_have, asked, expected) in cases {
        let house = House::with(|h| h.billing().scope = may_have.parse().unwrap());
        let got = house.ask(&format!("{CLIENT_CREDENTIALS}&scope={asked}")).unwrap();
        assert_eq!(got.scope.as_str(), expected, "{may_have}: {asked}");
        assert!(!got.id_token, "there is nobody an ID token could be about");
    }
}

#[test]
fn row_103_only_a_client_with_a_credential_of_its_own_may_use_client_credentials() {
    let house = House::new();
    let endpoint = crate::realm::Endpoint {
        path: "/token".into(),
        grant: GrantType::ClientCredentials,
        client: "billing".into(),
        token_type: None,
        invalid_grant_status: None,
    };
    let billing = house.client("billing").unwrap();
    let anybody = AuthenticatedClient::by_endpoint(&billing, &endpoint).unwrap();
    let refused =
        client_credentials(&anybody, Asked::default(), &house.circumstances()).unwrap_err();
    assert_eq!(refused, Refusal::NoCredentials);
}

#[test]
fn row_104_client_credentials_give_a_refresh_token_only_where_a_policy_says_so() {
    let given = |realm: bool, client: Option<bool>, may_refresh: bool| {
        let house = House::with(|h| {
            let of = |on| RefreshPolicy { client_credentials: on, ..policy(Rotate::Reissue) };
            h.realm.tokens.refresh = Some(of(realm));
            h.billing().refresh = client.map(of).map(Box::new);
            if !may_refresh {
                h.billing().grants.remove(GrantType::RefreshToken);
            }
        });
        house.ask(CLIENT_CREDENTIALS).unwrap().refresh != Refresh::None
    };
    let cases = [
        ((false, None, true), false),
        ((true, None, true), true),
        ((false, Some(true), true), true),
        ((true, Some(false), true), false),
        ((true, None, false), false),
        ((true, Some(true), false), false),
    ];
    for ((realm, client, may_refresh), expected) in cases {
        assert_eq!(given(realm, client, may_refresh), expected, "{realm} {client:?} {may_refresh}");
    }
}

#[test]
fn a_first_refresh_token_says_what_was_granted() {
    let house = House::with(|h| h.realm.audience = vec!["api".into()]);
    let issue = house.ask(&format!("{PASSWORD}&scope=read")).unwrap();
    let Refresh::Give(token) = issue.refresh else { panic!("{:?}", issue.refresh) };
    let random = std::array::from_fn(|i| i as u8 + 16);
    let expected = RefreshToken {
        family: FamilyId::new(NOW, random),
        generation: 0,
        client: "billing".into(),
        subject: Subject::User { name: "ada".into(), id: "0190".into() },
        scope: "read".parse().unwrap(),
        audience: vec!["api".into()],
        binding: Binding::NONE,
        started_at: NOW,
        issued_at: NOW,
        expires_at: NOW + secs(1800),
    };
    assert_eq!(token, expected);
    assert_eq!(issue.jti, std::array::from_fn(|i| i as u8));
}

#[test]
fn row_148_a_token_lives_as_long_as_its_client_or_its_realm_says() {
    for (own, expected) in [(None, 300), (Some(secs(60)), 60), (Some(secs(7200)), 7200)] {
        let issue = House::with(|h| h.billing().access = own).ask(CLIENT_CREDENTIALS).unwrap();
        assert_eq!(issue.issued_at, NOW.trunc_to_secs(), "whole seconds");
        assert_eq!(issue.expires_at, issue.issued_at + secs(expected));
        assert_eq!(issue.lifetime(), secs(expected));
    }
}

#[test]
fn row_143_the_audience_is_the_clients_or_the_realms_or_the_issuer() {
    let (own, of_realm) = (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]);
    let cases = [
        (vec![], vec![], vec![ISSUER.to_owned()]),
        (vec![], of_realm.clone(), of_realm.clone()),
        (own.clone(), vec![], own.clone()),
        (own.clone(), of_realm, own),
    ];
    for (client, realm, expected) in cases {
        let house = House::with(|h| {
            h.billing().audience.clone_from(&client);
            h.realm.audience.clone_from(&realm);
        });
        let got = house.ask(CLIENT_CREDENTIALS).unwrap().audience;
        assert_eq!(got, expected, "{client:?} {realm:?}");
    }
}

#[test]
fn row_144_a_client_may_have_an_algorithm_of_its_own() {
    let house = House::with(|h| h.billing().signing = Some(Algorithm::Rs256));
    assert_eq!(house.ask(CLIENT_CREDENTIALS).unwrap().algorithm, Algorithm::Rs256);
    assert_eq!(House::new().ask(CLIENT_CREDENTIALS).unwrap().algorithm, Algorithm::Es256);
}

#[test]
fn row_109_row_110_row_112_who_gets_a_token_for_a_password() {
    type Change = fn(&mut House);
    let cases: [(&str, &str, Change, Result<&str, Refusal>); 8] = [
        ("right", PASSWORD, |_| (), Ok("read write")),
        (
            "wrong",
            "grant_type=password&username=ada&password=x",
            |_| (),
            Err(Refusal::WrongPassword),
        ),
        (
            "unknown user",
            "grant_type=password&username=eve&password=pa55",
            |_| (),
            Err(Refusal::WrongPassword),
        ),
        (
            "disabled user",
            PASSWORD,
            |h| h.user.as_mut().unwrap().enabled = false,
            Err(Refusal::UserDisabled),
        ),
        (
            "a disabled user and a wrong password",
            "grant_type=password&username=ada&password=x",
            |h| h.user.as_mut().unwrap().enabled = false,
            Err(Refusal::WrongPassword),
        ),
        (
            "a realm without the grant",
            PASSWORD,
            |h| h.realm.password_grant = false,
            Err(Refusal::UnsupportedGrant("password".into())),
        ),
        (
            "a client without the grant",
            PASSWORD,
            |h| h.billing().grants.remove(GrantType::Password),
            Err(Refusal::GrantNotAllowed),
        ),
        (
            "a scope beyond the client's",
            "grant_type=password&username=ada&password=pa55&scope=admin",
            |_| (),
            Err(Refusal::ScopeNotAllowed("admin".into())),
        ),
    ];
    for (name, form, change, expected) in cases {
        let got = House::with(change).ask(form).map(|issue| issue.scope.to_string());
        assert_eq!(got, expected.map(str::to_owned), "{name}");
    }
}

#[test]
fn row_110_an_unknown_user_a_disabled_one_and_a_wrong_password_have_one_code() {
    for refusal in [Refusal::WrongPassword, Refusal::UserDisabled] {
        assert_eq!(refusal.code().as_str(), "invalid_grant");
    }
}

#[test]
fn an_id_token_is_given_with_a_password_where_the_realm_or_the_scope_asks_for_it() {
    let cases = [
        (false, "", false),
        (false, "&scope=openid", true),
        (false, "&scope=read", false),
        (true, "", true),
        (true, "&scope=read", true),
    ];
    for (realm, scope, expected) in cases {
        let house = House::with(|h| h.realm.tokens.id_token = realm);
        let issue = house.ask(&format!("{PASSWORD}{scope}")).unwrap();
        assert_eq!(issue.id_token, expected, "{realm} {scope}");
        assert!(!issue.scope.contains(OPENID), "it is no access right of this client");

        let again = house.ask(&format!("{}{scope}", refresh_form(&given(&issue)))).unwrap();
        assert_eq!(again.id_token, expected, "on refresh: {realm} {scope}");
    }
}

#[test]
fn a_client_of_its_own_gets_no_id_token_from_a_refresh() {
    let house = House::with(|h| {
        h.realm.tokens.id_token = true;
        h.realm.tokens.refresh =
            Some(RefreshPolicy { client_credentials: true, ..policy(Rotate::Keep) });
    });
    let first = given(&house.ask(CLIENT_CREDENTIALS).unwrap());
    let again = house.ask(&format!("{}&scope=openid", refresh_form(&first))).unwrap();
    assert!(!again.id_token);
    assert_eq!(again.subject, Subject::Client);
}

#[test]
fn keep_answers_without_a_refresh_token() {
    let mut house = House::with(|h| h.realm.tokens.refresh = Some(policy(Rotate::Keep)));
    let first = given(&house.ask(PASSWORD).unwrap());
    for after in [10, 20, 1799] {
        let issue = house.at(secs(after)).ask(&refresh_form(&first)).unwrap();
        assert_eq!(issue.refresh, Refresh::None);
        assert_eq!(issue.issued_at, (NOW + secs(after)).trunc_to_secs());
    }
}

#[test]
fn reissue_gives_a_new_refresh_token_of_the_same_generation_and_leaves_the_old_one_good() {
    let mut house = House::with(|h| h.realm.tokens.refresh = Some(policy(Rotate::Reissue)));
    let issue = house.ask(PASSWORD).unwrap();
    let Refresh::Give(old) = &issue.refresh else { panic!("{:?}", issue.refresh) };
    let first = given(&issue);
    for after in [10, 20] {
        let issue = house.at(secs(after)).ask(&refresh_form(&first)).unwrap();
        let at = NOW + secs(after);
        let new = RefreshToken { issued_at: at, expires_at: at + secs(1800), ..old.clone() };
        assert_eq!(issue.refresh, Refresh::Give(new));
    }
}

#[test]
fn row_117_rotate_asks_the_store_to_use_the_token_up() {
    let mut house = House::new();
    let issue = house.ask(PASSWORD).unwrap();
    let Refresh::Give(old) = &issue.refresh else { panic!("{:?}", issue.refresh) };
    let at = NOW + secs(60);
    let again = house.at(secs(60)).ask(&refresh_form(&given(&issue))).unwrap();
    let rotation = Rotation {
        realm: "r".into(),
        client: old.client.clone(),
        family: old.family,
        presented: 0,
        now: at,
        grace: secs(30),
        expires_at: at + secs(1800),
    };
    let policy = policy(Rotate::Rotate);
    assert_eq!(again.refresh, Refresh::Rotate { presented: old.clone(), rotation, policy });
}

#[test]
fn what_is_remembered_of_a_family_outlives_the_presented_token() {
    let mut house = House::new();
    let issue = house.ask(PASSWORD).unwrap();
    let Refresh::Give(old) = &issue.refresh else { panic!("{:?}", issue.refresh) };
    // The lifetime was shortened since: the successor ends before the token it comes from.
    let shorter = RefreshPolicy { lifetime: secs(60), ..policy(Rotate::Rotate) };
    house.realm.tokens.refresh = Some(shorter);
    let again = house.at(secs(1)).ask(&refresh_form(&given(&issue))).unwrap();
    let Refresh::Rotate { rotation, .. } = &again.refresh else { panic!("{:?}", again.refresh) };
    assert_eq!(rotation.expires_at, old.expires_at);
    assert_eq!(old.expires_at, NOW + secs(1800));
}

#[test]
fn row_121_the_policy_of_a_client_wins_over_that_of_its_realm() {
    let house = House::with(|h| h.billing().refresh = Some(Box::new(policy(Rotate::Keep))));
    let first = given(&house.ask(PASSWORD).unwrap());
    assert_eq!(house.ask(&refresh_form(&first)).unwrap().refresh, Refresh::None);
}

#[test]
fn row_119_a_refresh_token_ends_when_idle_and_when_its_family_is_too_old() {
    let mut house = House::with(|h| {
        let max_lifetime = Some(secs(3000));
        h.realm.tokens.refresh = Some(RefreshPolicy { max_lifetime, ..policy(Rotate::Reissue) });
    });
    let first = given(&house.ask(PASSWORD).unwrap());
    let idle = house.at(secs(1800)).ask(&refresh_form(&first)).unwrap_err();
    assert_eq!(idle, Refusal::RefreshTokenExpired);

    let second = house.at(secs(1799)).ask(&refresh_form(&first)).map(|i| given(&i)).unwrap();
    assert!(house.at(secs(2999)).ask(&refresh_form(&second)).is_ok());
    let old = house.at(secs(3000)).ask(&refresh_form(&second)).unwrap_err();
    assert_eq!(old, Refusal::RefreshTokenExpired);
}

#[test]
fn row_113_a_refresh_token_of_another_client_is_refused() {
    let house = House::with(|h| h.clients.push(client("other", &GrantType::ALL)));
    let first = given(&house.ask(PASSWORD).unwrap());
    let refused = house.ask_as("client_id=other&client_secret=s3cret", &refresh_form(&first));
    assert_eq!(refused.unwrap_err(), Refusal::RefreshTokenOfAnotherClient);
}

#[test]
fn row_114_row_115_a_refresh_narrows_the_access_token_and_never_the_grant() {
    let house = House::with(|h| {
        h.billing().scope = "admin read write".parse().unwrap();
        h.realm.tokens.refresh = Some(policy(Rotate::Reissue));
    });
    let first = given(&house.ask(&format!("{PASSWORD}&scope=read+write")).unwrap());
    let cases = [
        ("", Ok("read write")),
        ("&scope=read", Ok("read")),
        ("&scope=openid", Ok("read write")),
        ("&scope=openid+read", Ok("read")),
        ("&scope=read+admin", Err("invalid_scope")),
    ];
    for (scope, expected) in cases {
        let issue = house.ask(&format!("{}{scope}", refresh_form(&first)));
        if let Ok(Issue { refresh: Refresh::Give(token), .. }) = &issue {
            assert_eq!(token.scope.as_str(), "read write", "{scope}");
        }
        assert_eq!(code(issue), expected.map(str::to_owned), "{scope}");
    }
}

#[test]
fn what_a_client_lost_since_the_grant_is_lost_to_its_refresh_tokens() {
    let mut house = House::new();
    let first = given(&house.ask(PASSWORD).unwrap());
    house.billing().scope = "read".parse().unwrap();
    assert_eq!(code(house.ask(&refresh_form(&first))), Ok("read".into()));
    let asked = format!("{}&scope=write", refresh_form(&first));
    assert_eq!(code(house.ask(&asked)), Err("invalid_scope"));
}

#[test]
fn a_refresh_keeps_the_audience_of_the_grant() {
    let mut house = House::with(|h| h.realm.audience = vec!["before".into()]);
    let first = given(&house.ask(PASSWORD).unwrap());
    house.realm.audience = vec!["after".into()];
    assert_eq!(house.ask(&refresh_form(&first)).unwrap().audience, ["before"]);
}

#[test]
fn row_116_a_refresh_without_client_authentication_is_for_those_who_may() {
    use ClientAuthentication::{Optional, Required};
    let cases = [
        (Required, None, false),
        (Optional, None, true),
        (Required, Some(Optional), true),
        (Optional, Some(Required), false),
    ];
    for (realm, client, expected) in cases {
        let house = House::with(|h| {
            h.realm.client_authentication = realm;
            h.billing().client_authentication = client;
        });
        let first = given(&house.ask(PASSWORD).unwrap());
        let got = code(house.ask_as("", &refresh_form(&first)));
        let expected = if expected { Ok("read write".to_owned()) } else { Err("invalid_client") };
        assert_eq!(got, expected, "{realm:?} {client:?}");
        // Whoever sends a secret is held to it.
        let wrong = house.ask_as("client_id=billing&client_secret=wrong", &refresh_form(&first));
        assert_eq!(wrong.unwrap_err(), Refusal::WrongSecret);
    }
}

#[test]
fn row_122_what_ends_a_refresh_token() {
    type Change = fn(&mut House);
    const LATER: Timestamp = Timestamp::from_millis(NOW.as_millis() + 1);
    fn ada(house: &mut House) -> &mut User {
        house.user.as_mut().unwrap()
    }
    let cases: [(&str, Change, Option<Refusal>); 14] = [
        ("nothing", |_| (), None),
        ("its family was revoked", |h| h.revoked = true, Some(Refusal::FamilyRevoked)),
        ("realm, a moment later", |h| h.realm.not_before = LATER, Some(Refusal::RefreshTokenStale)),
        ("realm, at that very time", |h| h.realm.not_before = NOW, None),
        ("client", |h| h.billing().not_before = LATER, Some(Refusal::RefreshTokenStale)),
        ("user", |h| ada(h).not_before = LATER, Some(Refusal::RefreshTokenStale)),
        ("the user is disabled", |h| ada(h).enabled = false, Some(Refusal::UserDisabled)),
        ("the user is gone", |h| h.user = None, Some(Refusal::UserDisabled)),
        ("the user is another one", |h| h.user = Some(user("0191")), Some(Refusal::UserDisabled)),
        ("the client is disabled", |h| h.billing().enabled = false, Some(Refusal::ClientDisabled)),
        ("the client is gone", |h| _ = h.clients.remove(0), Some(Refusal::UnknownClient)),
        (
            "the client may not refresh any more",
            |h| h.billing().grants.remove(GrantType::RefreshToken),
            Some(Refusal::GrantNotAllowed),
        ),
        (
            "the realm has no refresh tokens any more",
            |h| h.realm.tokens.refresh = None,
            Some(Refusal::GrantNotAllowed),
        ),
        (
            "the client may not use passwords any more",
            |h| h.billing().grants.remove(GrantType::Password),
            None,
        ),
    ];
    for (name, change, expected) in cases {
        let mut house = House::new();
        let first = given(&house.ask(PASSWORD).unwrap());
        change(house.at(secs(10)));
        assert_eq!(house.ask(&refresh_form(&first)).err(), expected, "{name}");
    }
}

#[test]
fn a_token_of_the_client_itself_does_not_depend_on_users() {
    let mut house = House::with(|h| {
        h.realm.tokens.refresh =
            Some(RefreshPolicy { client_credentials: true, ..policy(Rotate::Reissue) });
    });
    let first = given(&house.ask(CLIENT_CREDENTIALS).unwrap());
    house.user = None;
    assert_eq!(house.ask(&refresh_form(&first)).unwrap().subject, Subject::Client);
}

#[test]
fn row_120_what_nobody_issued_is_no_refresh_token() {
    for text in ["x", "tkr_", "tkr_AAAA", "eyJhbGciOiJub25lIn0.e30."] {
        let got = House::new().ask(&refresh_form(&Secret::new(text)));
        assert_eq!(got.unwrap_err(), Refusal::NotARefreshToken, "{text}");
    }
}

fn bound() -> (Binding, Binding) {
    let key = Binding { key: Some([1; 32]), ..Binding::NONE };
    let certificate = Binding { certificate: Some([2; 32]), ..Binding::NONE };
    (key, certificate)
}

fn particular(change: impl FnOnce(&mut Particulars)) -> Option<Box<Particulars>> {
    let mut particulars = Particulars::default();
    change(&mut particulars);
    particulars.boxed()
}

#[test]
fn row_090_row_194_a_token_is_bound_to_what_was_proved() {
    let (key, certificate) = bound();
    let both = Binding { key: key.key, certificate: certificate.certificate };
    let issued = |proven, by_certificate| {
        let house = House::with(|h| {
            h.proven = proven;
            h.billing().particulars = particular(|p| p.certificate_bound = by_certificate);
        });
        house.ask(CLIENT_CREDENTIALS).map(|issue| issue.binding)
    };
    assert_eq!(issued(Binding::NONE, false), Ok(Binding::NONE));
    assert_eq!(issued(key, false), Ok(key));
    // Who merely presents a certificate goes on with a bearer token, unless registered so (RFC 8705 §3.4).
    assert_eq!(issued(certificate, false), Ok(Binding::NONE));
    assert_eq!(issued(certificate, true), Ok(certificate));
    assert_eq!(issued(both, true), Ok(both));
    assert_eq!(issued(Binding::NONE, true), Err(Refusal::NoCertificate));
}

#[test]
fn row_219_a_client_or_realm_that_wants_proofs_gives_nothing_without_one() {
    let (key, certificate) = bound();
    for (client, realm, proven, expected) in [
        (true, false, key, Ok(key)),
        (true, false, Binding::NONE, Err(Refusal::NoProof)),
        (true, false, certificate, Err(Refusal::NoProof)),
        (false, true, Binding::NONE, Err(Refusal::NoProof)),
        (false, true, key, Ok(key)),
    ] {
        let house = House::with(|h| {
            h.proven = proven;
            h.realm.dpop.required = realm;
            h.billing().particulars = particular(|p| p.dpop_bound = client);
        });
        assert_eq!(house.ask(CLIENT_CREDENTIALS).map(|issue| issue.binding), expected);
    }
}

#[test]
fn row_094_row_217_row_218_a_refresh_token_is_bound_where_it_alone_stands_for_the_client() {
    let (key, _) = bound();
    for (authentication, expected) in
        [(ClientAuthentication::Required, Binding::NONE), (ClientAuthentication::Optional, key)]
    {
        let mut house = House::with(|h| {
            h.proven = key;
            h.realm.client_authentication = authentication;
        });
        let Refresh::Give(token) = house.ask(PASSWORD).unwrap().refresh else { panic!("none") };
        assert_eq!(token.binding, expected);
        let text = sealer().seal(&token);
        let refresh = format!("grant_type=refresh_token&refresh_token={}", text.expose());
        assert!(house.ask(&refresh).is_ok());
        for other in [Binding::NONE, Binding { key: Some([9; 32]), ..Binding::NONE }] {
            house.proven = other;
            let refreshed = house.ask(&refresh).map(|issue| issue.binding);
            let bound = authentication == ClientAuthentication::Optional;
            assert_eq!(refreshed, if bound { Err(Refusal::WrongKey) } else { Ok(other) });
        }
    }
}
