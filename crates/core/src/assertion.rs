//! Client authentication by a signed assertion: `private_key_jwt` (RFC 7523 §2.2, as its revision has it).
//!
//! The client signs a JWT with its own key; the server knows the public half and no secret at all. An assertion is
//! good once: its [`Once`] has to be used up before anything is done for the client.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{AuthenticatedClient, CredentialKind, MAX_CREDENTIALS};
use crate::family::FamilyId;
use crate::foreign::ForeignToken;
use crate::jose::claims::{Audience, typ_is};
use crate::jose::jws::{Compact, Verified};
use crate::jose::{Claims, Jwk, JwkSet, VerifyingKey};
use crate::{Client, Refusal, Secret, Timestamp};

mod make;

pub use make::AssertionKey;

/// The type of an assertion that a client or an issuer has signed.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The type of a SPIFFE workload's token (draft-ietf-oauth-spiffe-client-auth §3.1).
pub const SPIFFE_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// The type of an assertion (RFC 8725 §3.11).
const TYP: &str = "client-authentication+jwt";

/// How far the clock of a client may be off. FAPI 2.0 §5.3.2.1 wants at least 10 s and admits up to 60.
const SKEW: Duration = Duration::from_secs(30);

/// How long an assertion may still be good when it is presented, and so must be remembered.
const LONGEST: Duration = Duration::from_secs(3600);

/// The longest `jti`, in bytes.
const MAX_JTI: usize = 256;

/// An assertion as presented.
#[derive(Clone, Debug)]
pub struct PresentedAssertion {
    /// The JWT.
    pub assertion: Secret,
    /// The `client_id` parameter, which need not be there (RFC 7521 §4.2).
    pub client_id: Option<String>,
}

impl PresentedAssertion {
    /// The client that it says it is of: by `client_id`, or by its `sub`. Nobody has vouched for it yet.
    ///
    /// Where another issuer has signed it, `sub` is what that issuer calls the client, so `client_id` is needed.
    pub fn named(&self) -> Result<String, Refusal> {
        if let Some(id) = &self.client_id {
            return Ok(id.clone());
        }
        let compact = Compact::parse(self.assertion.expose()).map_err(|_| bad("not a JWT"))?;
        compact.unverified_claim("sub").ok_or(bad("no subject"))
    }

    /// The key that it says it is signed with: its `kid`, if it has one.
    pub fn kid(&self) -> Option<String> {
        let compact = Compact::parse(self.assertion.expose()).ok()?;
        compact.header().kid().map(str::to_owned)
    }
}

/// Checks an assertion that another issuer has signed, against the client that it [names](PresentedAssertion::named).
///
/// It may be presented again for as long as it lives: those who hold one, such as a Kubernetes pod, get no other for each
/// request.
pub fn authenticate_federated(
    presented: &PresentedAssertion,
    client: &Arc<Client>,
    token: &ForeignToken<'_>,
    now: Timestamp,
) -> Result<AuthenticatedClient, Refusal> {
    // What an issuer's tokens can be turned into, others may hold: they are no credentials.
    if !token.trust().scopes.is_empty() {
        return Err(bad("the tokens of its issuer are grants here"));
    }
    if presented.client_id.as_ref() != Some(&client.id) {
        return Err(bad("client_id is needed where another issuer says who the client is"));
    }
    let is_it = |kind: &CredentialKind| match kind {
        CredentialKind::Federated { issuer, subject } => {
            **issuer == *token.trust().issuer && **subject == *token.subject()
        }
        _ => false,
    };
    let mut found = client.credentials.iter().filter(|c| is_it(&c.kind)).peekable();
    if found.peek().is_none() {
        return Err(bad("its issuer calls the client by another name"));
    }
    let live = found.find(|credential| credential.is_live(now)).ok_or(Refusal::SecretExpired)?;
    if !client.enabled {
        return Err(Refusal::ClientDisabled);
    }
    Ok(AuthenticatedClient::by_assertion(client, live.id.clone()))
}

/// Whether a client is known by what one of these issuers says.
pub fn is_federated(client: &Client, issuers: &[String]) -> bool {
    client.credentials.iter().any(|credential| match &credential.kind {
        CredentialKind::Federated { issuer, .. } => issuers.iter().any(|own| **issuer == **own),
        _ => false,
    })
}

/// What an assertion uses up: for as long as it could be presented again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Once {
    /// Of the client and the assertion's `jti`.
    pub id: FamilyId,
    /// When it can no longer be presented.
    pub until: Timestamp,
}

/// What a realm wants of assertions.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The names of the server of which one must be an assertion's only audience: its issuer, and for clients registered
    /// so (`legacy_audience`) its token endpoint.
    pub audiences: &'a [&'a str],
    /// Whether FAPI 2.0 holds: few algorithms, and an audience that is no array (its §5.3.2.1, §5.4.1).
    pub fapi: bool,
}

const fn bad(why: &'static str) -> Refusal {
    Refusal::BadAssertion(why)
}

/// Checks an assertion against the client that it [names](PresentedAssertion::named).
///
/// `published` are the keys of the client's `jwks_uri`, as far as they have been fetched. Without them an assertion that
/// is signed by none of its registered keys is [`Refusal::AssertionNotSigned`], and may be checked again with them.
pub fn authenticate(
    presented: &PresentedAssertion,
    client: Option<&Arc<Client>>,
    published: Option<&JwkSet>,
    terms: &Terms<'_>,
    now: Timestamp,
) -> Result<(AuthenticatedClient, Once), Refusal> {
    let client = client.ok_or(Refusal::UnknownClient)?;
    let compact = Compact::parse(presented.assertion.expose()).map_err(|_| bad("not a JWT"))?;
    if terms.fapi && !compact.header().algorithm().is_of_fapi() {
        return Err(bad("an algorithm that FAPI does not admit"));
    }
    let (credential, claims) = verified(&compact, client, published, now)?;
    let is_client = |name: Option<&String>| name.is_some_and(|name| *name == client.id);
    if !is_client(claims.iss.as_ref()) || !is_client(claims.sub.as_ref()) {
        return Err(bad("issuer and subject are not the client"));
    }
    if presented.client_id.as_ref().is_some_and(|id| *id != client.id) {
        return Err(bad("client_id is another client's"));
    }
    // The issuer alone, compared as text: an assertion for two could be passed on by one of them to the other.
    let audience = match &claims.aud {
        Some(Audience::Many(_)) if terms.fapi => None,
        audience => audience.as_ref().and_then(Audience::sole),
    };
    if !audience.is_some_and(|audience| terms.audiences.contains(&audience)) {
        return Err(bad("the audience is not this issuer alone"));
    }
    let expires_at = claims.exp.ok_or(bad("no expiry"))?;
    if expires_at + SKEW <= now {
        return Err(bad("expired"));
    }
    if expires_at > now + LONGEST + SKEW {
        return Err(bad("good for more than an hour"));
    }
    let in_future = |at: Option<Timestamp>| at.is_some_and(|at| at > now + SKEW);
    if in_future(claims.nbf) || in_future(claims.iat) {
        return Err(bad("not good yet"));
    }
    let jti = claims.jti.filter(|jti| (1..=MAX_JTI).contains(&jti.len())).ok_or(bad("no jti"))?;
    if !client.enabled {
        return Err(Refusal::ClientDisabled);
    }
    let once = Once { id: once(&client.id, &jti), until: expires_at + SKEW };
    Ok((AuthenticatedClient::by_assertion(client, credential), once))
}

/// The claims, and the credential whose key has signed them.
fn verified(
    compact: &Compact<'_>,
    client: &Client,
    published: Option<&JwkSet>,
    now: Timestamp,
) -> Result<(String, Claims), Refusal> {
    let header = compact.header();
    // RFC 8725 §3.11: a token that says to be something else is something else.
    if header.typ().is_some() && !["JWT", TYP].iter().any(|typ| typ_is(header.typ(), typ)) {
        return Err(bad("a token of another type"));
    }
    let mut expired = false;
    for credential in &client.credentials {
        let CredentialKind::PublicKey { jwk } = &credential.kind else { continue };
        let Ok(jwk) = Jwk::parse(jwk) else { continue };
        // A key is meant by its `kid`; without one each of the client's keys of this algorithm is tried.
        let meant = header.kid().is_none_or(|kid| jwk.kid() == Some(kid));
        if !meant || jwk.algorithm() != header.algorithm() {
            continue;
        }
        let Ok(verified) = compact.verify(&VerifyingKey::from(&jwk)) else { continue };
        if !credential.is_live(now) {
            expired = true;
            continue;
        }
        return Ok((credential.id.clone(), claims(&verified)?));
    }
    if expired {
        return Err(Refusal::SecretExpired);
    }
    let published = published.and_then(|set| verified_by_published(compact, set));
    let (kid, verified) = published.ok_or(Refusal::AssertionNotSigned)?;
    Ok((format!("jwks_uri:{kid}"), claims(&verified)?))
}

/// The key of the set that has signed it: that of its `kid`; without one, one of its algorithm.
fn verified_by_published<'a>(
    compact: &'a Compact<'_>,
    set: &JwkSet,
) -> Option<(String, Verified<'a>)> {
    let header = compact.header();
    let mut meant = set
        .for_algorithm(header.algorithm())
        .filter(|jwk| header.kid().is_none_or(|kid| jwk.kid() == Some(kid)))
        // Each costs a comparison, as registered ones do.
        .take(MAX_CREDENTIALS);
    meant.find_map(|jwk| {
        let verified = compact.verify(&VerifyingKey::from(jwk)).ok()?;
        Some((jwk.kid().map_or_else(|| jwk.thumbprint(), str::to_owned), verified))
    })
}

fn claims(verified: &Verified<'_>) -> Result<Claims, Refusal> {
    verified.claims().map_err(|_| bad("malformed claims"))
}

/// 128 bits of the SHA-256 of client and `jti`, told apart by how long the first is.
fn once(client: &str, jti: &str) -> FamilyId {
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        format!("assertion:{}:{client}:{jti}", client.len()).as_bytes(),
    );
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_ref()[..16]);
    FamilyId(id)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::{Credential, Proof};
    use crate::jose::{Algorithm, SigningKey, generate};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const ISSUER: &str = "https://auth.example";
    const TERMS: Terms<'_> = Terms { audiences: &[ISSUER], fapi: false };

    fn key(algorithm: Algorithm) -> SigningKey {
        SigningKey::from_pkcs8(algorithm, generate(algorithm).unwrap().as_bytes()).unwrap()
    }

    fn credential(key: &SigningKey) -> Credential {
        Credential {
            id: key.kid()[..8].to_owned(),
            label: String::new(),
            kind: CredentialKind::PublicKey { jwk: key.public_jwk().to_json().into() },
            not_before: Timestamp::EPOCH,
            expires_at: None,
            created_at: Timestamp::EPOCH,
        }
    }

    fn client(keys: &[&SigningKey]) -> Arc<Client> {
        let credentials = keys.iter().map(|key| credential(key)).collect();
        Arc::new(Client { credentials, ..Client::new("r", "billing", Timestamp::EPOCH) })
    }

    fn good() -> Value {
        let now = NOW.as_secs();
        json!({"iss": "billing", "sub": "billing", "aud": ISSUER, "exp": now + 60, "iat": now, "jti": "1"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    fn signed(key: &SigningKey, typ: &str, claims: &Value) -> PresentedAssertion {
        let mut text = String::new();
        key.sign_compact(&key.header(typ), claims.to_string().as_bytes(), &mut text).unwrap();
        PresentedAssertion { assertion: Secret::new(text), client_id: None }
    }

    fn check(presented: &PresentedAssertion, client: &Arc<Client>) -> Result<Once, Refusal> {
        authenticate(presented, Some(client), None, &TERMS, NOW).map(|(_, once)| once)
    }

    #[test]
    fn row_058_row_060_row_062_row_064_row_066_row_067_row_068_row_069_what_an_assertion_must_say()
    {
        let key = key(Algorithm::Es256);
        let client = client(&[&key]);
        let now = NOW.as_secs();
        let cases = [
            ("good", good(), true),
            ("an audience in an array of one", with("aud", json!([ISSUER])), true),
            ("two audiences", with("aud", json!([ISSUER, "https://other.example"])), false),
            ("a slash more", with("aud", json!("https://auth.example/")), false),
            ("upper case", with("aud", json!("https://Auth.example")), false),
            ("the token endpoint", with("aud", json!("https://auth.example/token")), false),
            ("no audience", without("aud"), false),
            ("no issuer", without("iss"), false),
            ("no subject", without("sub"), false),
            ("another issuer", with("iss", json!("other")), false),
            ("another subject", with("sub", json!("other")), false),
            ("no expiry", without("exp"), false),
            ("just expired, within the skew", with("exp", json!(now - 29)), true),
            ("expired", with("exp", json!(now - 30)), false),
            ("an hour", with("exp", json!(now + 3600)), true),
            ("more than an hour", with("exp", json!(now + 3631)), false),
            ("an expiry that is text", with("exp", json!((now + 60).to_string())), false),
            ("8 seconds ahead", with("iat", json!(now + 8)), true),
            ("a minute ahead", with("iat", json!(now + 61)), false),
            ("not before 8 seconds", with("nbf", json!(now + 8)), true),
            ("not before a minute", with("nbf", json!(now + 61)), false),
            ("no iat", without("iat"), true),
            ("no jti", without("jti"), false),
            ("an empty jti", with("jti", json!("")), false),
            ("a huge jti", with("jti", json!("a".repeat(257))), false),
        ];
        for (case, claims, is_good) in cases {
            let checked = check(&signed(&key, "JWT", &claims), &client);
            assert_eq!(checked.is_ok(), is_good, "{case}: {checked:?}");
        }
    }

    #[test]
    fn row_065_a_token_of_another_type_is_no_assertion() {
        let key = key(Algorithm::Es256);
        let client = client(&[&key]);
        for (typ, is_good) in [
            ("JWT", true),
            ("client-authentication+jwt", true),
            ("application/client-authentication+jwt", true),
            ("at+jwt", false),
            ("dpop+jwt", false),
            ("logout+jwt", false),
        ] {
            assert_eq!(check(&signed(&key, typ, &good()), &client).is_ok(), is_good, "{typ}");
        }
    }

    #[test]
    fn row_070_row_071_row_072_only_keys_of_the_client_are_good() {
        let keys = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Es256].map(key);
        let client = client(&[&keys[0], &keys[1], &keys[2]]);
        for key in &keys {
            assert!(check(&signed(key, "JWT", &good()), &client).is_ok());
        }
        let stranger = key(Algorithm::Es256);
        assert!(check(&signed(&stranger, "JWT", &good()), &client).is_err());
        // It says to be signed with the client's key, and is not.
        let pretender = key(Algorithm::Es256).with_kid(keys[0].kid().to_owned());
        assert!(check(&signed(&pretender, "JWT", &good()), &client).is_err());
        // Signed with the client's key under the name of another: the name is believed.
        let bytes = generate(Algorithm::Es256).unwrap();
        let own = SigningKey::from_pkcs8(Algorithm::Es256, bytes.as_bytes()).unwrap();
        let renamed = SigningKey::from_pkcs8(Algorithm::Es256, bytes.as_bytes())
            .unwrap()
            .with_kid(keys[0].kid().to_owned());
        let both = self::client(&[&keys[0], &own]);
        assert!(check(&signed(&renamed, "JWT", &good()), &both).is_err());
    }

    #[test]
    fn row_059_client_id_need_not_be_there_and_must_be_the_subject() {
        let key = key(Algorithm::Es256);
        let client = client(&[&key]);
        for (id, is_good) in [(None, true), (Some("billing"), true), (Some("other"), false)] {
            let mut presented = signed(&key, "JWT", &good());
            presented.client_id = id.map(str::to_owned);
            assert_eq!(check(&presented, &client).is_ok(), is_good, "{id:?}");
        }
    }

    #[test]
    fn row_069_an_assertion_is_named_by_client_and_jti() {
        let key = key(Algorithm::Es256);
        let client = client(&[&key]);
        let once = |claims: &Value| check(&signed(&key, "JWT", claims), &client).unwrap();
        assert_eq!(once(&good()), once(&good()));
        assert_ne!(once(&good()).id, once(&with("jti", json!("2"))).id);
        // For as long as it could be presented again.
        assert_eq!(once(&good()).until, NOW + Duration::from_secs(60) + SKEW);
        assert_ne!(super::once("a", "b:c"), super::once("a:b", "c"));
    }

    #[test]
    fn a_client_may_be_known_by_what_another_issuer_calls_it() {
        use crate::Binding;
        use crate::foreign::tests as foreign;
        let key = foreign::key(Algorithm::Es256);
        let trust = foreign::trust("https://ci.example");
        let text = foreign::signed(&key, "JWT", &foreign::good());
        let keys = foreign::keys(&[&key]);
        let token =
            ForeignToken::check(&text, &trust, &keys, &[ISSUER], &Binding::NONE, NOW).unwrap();
        let federated = |issuer: &str, subject: &str| Credential {
            kind: CredentialKind::Federated { issuer: issuer.into(), subject: subject.into() },
            ..credential(&key)
        };
        let good = || federated("https://ci.example", "job-1");
        let check = |id: Option<&str>, credential: Credential, enabled: bool| {
            let client = Client { enabled, ..Client::clone(&client(&[])) };
            let client = Arc::new(Client { credentials: vec![credential], ..client });
            let client_id = id.map(str::to_owned);
            let presented = PresentedAssertion { assertion: text.clone(), client_id };
            authenticate_federated(&presented, &client, &token, NOW).map(|_| ())
        };
        assert_eq!(check(Some("billing"), good(), true), Ok(()));
        assert_eq!(check(Some("billing"), good(), false), Err(Refusal::ClientDisabled));
        let over = Credential { expires_at: Some(NOW), ..good() };
        assert_eq!(check(Some("billing"), over, true), Err(Refusal::SecretExpired));
        for (id, credential) in [
            (None, good()),
            (Some("other"), good()),
            (Some("billing"), federated("https://ci.example", "job-2")),
            (Some("billing"), federated("https://ci.example", "job")),
            (Some("billing"), federated("https://other.example", "job-1")),
            (Some("billing"), credential(&key)),
        ] {
            let refused = check(id, credential, true).unwrap_err();
            assert!(matches!(refused, Refusal::BadAssertion(_)), "{refused:?}");
        }
    }

    #[test]
    fn row_074_each_failure_is_invalid_client() {
        let key = key(Algorithm::Es256);
        let mut disabled = Client::clone(&client(&[&key]));
        disabled.enabled = false;
        let failures = [
            authenticate(&signed(&key, "JWT", &good()), None, None, &TERMS, NOW).map(|_| ()),
            check(&signed(&key, "JWT", &good()), &Arc::new(disabled)).map(|_| ()),
            check(&signed(&key, "JWT", &without("exp")), &client(&[&key])).map(|_| ()),
            check(&signed(&key, "JWT", &good()), &client(&[])).map(|_| ()),
        ];
        for failure in failures {
            assert_eq!(failure.unwrap_err().code(), crate::refusal::ErrorCode::InvalidClient);
        }
    }

    #[test]
    fn a_key_that_is_over_is_no_longer_good() {
        let key = key(Algorithm::Es256);
        let over = Credential { expires_at: Some(NOW), ..credential(&key) };
        let client =
            Client { credentials: vec![over], ..Client::new("r", "billing", Timestamp::EPOCH) };
        let checked = check(&signed(&key, "JWT", &good()), &Arc::new(client));
        assert_eq!(checked, Err(Refusal::SecretExpired));
    }

    #[test]
    fn keys_that_the_client_publishes_are_good_as_well() {
        let keys = [Algorithm::Es256, Algorithm::Rs256, Algorithm::Es256].map(key);
        let [registered, published, unnamed] = &keys;
        let mut bare: Value = serde_json::from_str(&unnamed.public_jwk().to_json()).unwrap();
        bare.as_object_mut().unwrap().remove("kid");
        let set =
            JwkSet::new(vec![published.public_jwk().clone(), Jwk::from_value(&bare).unwrap()]);
        let (set, client) = (set.unwrap(), client(&[registered]));
        let check = |presented: &PresentedAssertion, set: Option<&JwkSet>| {
            let checked = authenticate(presented, Some(&client), set, &TERMS, NOW);
            checked.map(|(client, _)| client.proof().clone())
        };
        let by = |id: &str| Ok(Proof::Credential(id.to_owned()));
        let good = |key: &SigningKey| signed(key, "JWT", &good());

        let of_published = format!("jwks_uri:{}", published.kid());
        assert_eq!(check(&good(registered), Some(&set)), by(&registered.kid()[..8]));
        assert_eq!(check(&good(published), Some(&set)), by(&of_published));
        for set in [None, Some(&JwkSet::default())] {
            assert_eq!(check(&good(published), set), Err(Refusal::AssertionNotSigned));
        }
        // Whoever signs with a key without a name does not name it.
        assert_eq!(check(&good(unnamed), Some(&set)), Err(Refusal::AssertionNotSigned));
        let pretender = key(Algorithm::Rs256).with_kid(published.kid().to_owned());
        assert_eq!(check(&good(&pretender), Some(&set)), Err(Refusal::AssertionNotSigned));
        // What it says must be as good as with any other key.
        let expired = signed(published, "JWT", &without("exp"));
        assert_eq!(check(&expired, Some(&set)), Err(bad("no expiry")));
    }
}
