//! Tokens of other issuers that a realm trusts (RFC 7523 §3): Kubernetes service accounts, CI jobs, SPIFFE workloads, other
//! authorization servers.

use std::time::Duration;

use crate::jose::claims::typ_is;
use crate::jose::jws::Compact;
use crate::jose::{Algorithm, Claims, JwkSet, VerifyingKey};
use crate::realm::Trust;
use crate::{Binding, Realm, Secret, Timestamp};

/// How far the clock of an issuer may be off.
const SKEW: Duration = Duration::from_secs(30);

/// How long a token may still be good when it is presented. Nobody asks its issuer whether it was revoked.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The longest `sub`, in bytes: SPIFFE IDs have up to 2048, those in use far less.
const MAX_SUBJECT: usize = 1024;

/// What the issuer of a SPIFFE workload's token begins with.
const SPIFFE: &str = "spiffe://";

/// A token of a trusted issuer, checked.
#[derive(Clone, Debug)]
pub struct ForeignToken<'t> {
    trust: &'t Trust,
    subject: String,
    claims: Claims,
}

/// Why a token of another issuer is not good: for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadToken(pub &'static str);

/// Whose token it says to be, and the key that it says to be signed with. Nobody has vouched for either yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unverified {
    /// Its `iss`, and the trust domain of its `sub`, as `spiffe://…`: a JWT-SVID need not have an issuer, and is believed
    /// by its trust domain (JWT-SVID §3). One of them at least.
    pub issuers: Vec<String>,
    /// `alg`.
    pub algorithm: Algorithm,
    /// `kid`.
    pub kid: Option<String>,
}

/// Reads what a token says of its issuer. `None`: it is no JWT, or it says nothing.
pub fn unverified(token: &Secret) -> Option<Unverified> {
    let compact = Compact::parse(token.expose()).ok()?;
    let domain = compact.unverified_claim("sub").and_then(|sub| trust_domain(&sub).map(Into::into));
    let issuers: Vec<String> =
        [compact.unverified_claim("iss"), domain].into_iter().flatten().collect();
    let kid = compact.header().kid().map(str::to_owned);
    let algorithm = compact.header().algorithm();
    (!issuers.is_empty()).then_some(Unverified { issuers, algorithm, kid })
}

impl Unverified {
    /// The issuer that a realm trusts and that it may be of.
    pub fn trust<'r>(&self, realm: &'r Realm) -> Option<&'r Trust> {
        self.issuers.iter().find_map(|issuer| realm.trust(issuer))
    }
}

/// `spiffe://example.org` of `spiffe://example.org/billing`.
fn trust_domain(subject: &str) -> Option<&str> {
    let path = subject.strip_prefix(SPIFFE)?.find('/')?;
    Some(&subject[..SPIFFE.len() + path])
}

impl<'t> ForeignToken<'t> {
    /// Checks a token against the keys of the issuer that it is said to be of.
    ///
    /// `audiences` are the names of this server of which one must be the token's only audience; those that the trust
    /// names are good as well. One that is bound to a key (`cnf`) is good only where the request has `proven` to have it.
    pub fn check(
        token: &Secret,
        trust: &'t Trust,
        keys: &JwkSet,
        audiences: &[&str],
        proven: &Binding,
        now: Timestamp,
    ) -> Result<Self, BadToken> {
        let compact = Compact::parse(token.expose()).map_err(|_| BadToken("not a JWT"))?;
        let typ = compact.header().typ();
        // RFC 8725 §3.11: an access token, a proof or a logout token of that issuer is no statement to us.
        if typ.is_some() && !["JWT", "JOSE"].iter().any(|known| typ_is(typ, known)) {
            return Err(BadToken("a token of another type"));
        }
        let claims = verified(&compact, keys)?;
        let subject = claims.sub.clone().filter(|sub| (1..=MAX_SUBJECT).contains(&sub.len()));
        let subject = subject.ok_or(BadToken("no subject"))?;
        let issuer = match trust.is_spiffe() {
            true => trust_domain(&subject),
            false => claims.iss.as_deref(),
        };
        if issuer != Some(&trust.issuer) {
            return Err(BadToken("of another issuer"));
        }
        let audience = claims.aud.as_ref().and_then(|aud| aud.sole());
        let is_ours = |audience: &str| {
            audiences.contains(&audience) || trust.audience.iter().any(|own| own == audience)
        };
        if !audience.is_some_and(is_ours) {
            return Err(BadToken("the audience is not this server alone"));
        }
        let expires_at = claims.exp.ok_or(BadToken("no expiry"))?;
        if expires_at + SKEW <= now {
            return Err(BadToken("expired"));
        }
        if expires_at > now + LONGEST + SKEW {
            return Err(BadToken("good for more than a day"));
        }
        if [claims.nbf, claims.iat].into_iter().flatten().any(|at| at > now + SKEW) {
            return Err(BadToken("not good yet"));
        }
        let binding = claims.cnf.as_ref().map_or(Some(Binding::NONE), Binding::from_cnf);
        if !binding.is_some_and(|binding| binding.is_proved_by(proven)) {
            return Err(BadToken("bound to a key that the request does not prove to have"));
        }
        Ok(Self { trust, subject, claims })
    }

    /// The issuer's registration.
    pub const fn trust(&self) -> &'t Trust {
        self.trust
    }

    /// `sub`, as its issuer names it.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `sub` in tokens of this realm: with the name of the issuer before it. The colon keeps it apart from clients, whose
    /// identifiers have none, and from users, whose subjects are UUIDs (RFC 9700 §4.15).
    pub fn local_subject(&self) -> String {
        format!("{}:{}", self.trust.name, self.subject)
    }

    /// Everything that it says.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }
}

/// The claims, if one of the keys has signed them: the one that is named, or without a name any of its algorithm.
fn verified(compact: &Compact<'_>, keys: &JwkSet) -> Result<Claims, BadToken> {
    let header = compact.header();
    let meant = |key: &&crate::jose::Jwk| {
        header.kid().is_none_or(|kid| key.kid() == Some(kid))
            && key.algorithm() == header.algorithm()
    };
    for key in keys.keys().iter().filter(meant) {
        if let Ok(verified) = compact.verify(&VerifyingKey::from(key)) {
            return verified.claims().map_err(|_| BadToken("malformed claims"));
        }
    }
    Err(BadToken("not signed by a key of its issuer"))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Scope;
    use crate::jose::{SigningKey, generate};
    use crate::realm::TrustedKeys;

    pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const US: &str = "https://auth.example";
    const THEM: &str = "https://ci.example";

    pub(crate) fn key(algorithm: Algorithm) -> SigningKey {
        SigningKey::from_pkcs8(algorithm, generate(algorithm).unwrap().as_bytes()).unwrap()
    }

    pub(crate) fn keys(keys: &[&SigningKey]) -> JwkSet {
        JwkSet::new(keys.iter().map(|key| key.public_jwk().clone()).collect()).unwrap()
    }

    pub(crate) fn trust(issuer: &str) -> Trust {
        Trust {
            name: "ci".into(),
            issuer: issuer.into(),
            keys: TrustedKeys::Discovered,
            audience: vec!["urn:us".into()],
            scopes: Scope::empty(),
        }
    }

    pub(crate) fn signed(key: &SigningKey, typ: &str, claims: &Value) -> Secret {
        let mut text = String::new();
        key.sign_compact(&key.header(typ), claims.to_string().as_bytes(), &mut text).unwrap();
        Secret::new(text)
    }

    pub(crate) fn good() -> Value {
        json!({ "iss": THEM, "sub": "job-1", "aud": US, "exp": NOW.as_secs() + 600 })
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

    #[test]
    fn row_075_row_076_what_a_token_of_another_issuer_must_say() {
        let key = key(Algorithm::Rs256);
        let (trust, keys) = (trust(THEM), keys(&[&key]));
        let now = NOW.as_secs();
        let token_endpoint = "https://auth.example/token";
        let cases = [
            ("good", good(), true),
            ("for the token endpoint", with("aud", json!(token_endpoint)), true),
            ("for what was agreed", with("aud", json!(["urn:us"])), true),
            ("for another", with("aud", json!("https://other.example")), false),
            ("for two", with("aud", json!([US, "https://other.example"])), false),
            ("for nobody", without("aud"), false),
            ("of another issuer", with("iss", json!("https://ci.example/")), false),
            ("of nobody", without("iss"), false),
            ("about nobody", without("sub"), false),
            ("about an empty name", with("sub", json!("")), false),
            ("about an endless name", with("sub", json!("a".repeat(1025))), false),
            ("without an end", without("exp"), false),
            ("just over", with("exp", json!(now - 29)), true),
            ("over", with("exp", json!(now - 30)), false),
            ("for more than a day", with("exp", json!(now + 90_000)), false),
            ("not yet", with("nbf", json!(now + 31)), false),
            ("from the future", with("iat", json!(now + 31)), false),
        ];
        for (case, claims, is_good) in cases {
            let token = signed(&key, "JWT", &claims);
            let checked = ForeignToken::check(
                &token,
                &trust,
                &keys,
                &[US, token_endpoint],
                &Binding::NONE,
                NOW,
            );
            assert_eq!(checked.is_ok(), is_good, "{case}: {checked:?}");
        }
        for (typ, is_good) in [("JWT", true), ("at+jwt", false), ("dpop+jwt", false)] {
            let token = signed(&key, typ, &good());
            let checked = ForeignToken::check(&token, &trust, &keys, &[US], &Binding::NONE, NOW);
            assert_eq!(checked.is_ok(), is_good, "{typ}");
        }
    }

    #[test]
    fn row_075_a_token_is_signed_by_a_key_of_its_issuer() {
        let (own, other) = (key(Algorithm::Es256), key(Algorithm::Es256));
        let trust = trust(THEM);
        let check = |token: &Secret, keys: &JwkSet| {
            ForeignToken::check(token, &trust, keys, &[US], &Binding::NONE, NOW).is_ok()
        };
        let token = signed(&own, "JWT", &good());
        assert!(check(&token, &keys(&[&other, &own])));
        assert!(!check(&token, &keys(&[&other])));
        assert!(!check(&token, &JwkSet::new(vec![]).unwrap()));
        // Under the name of another key it is not tried with its own.
        let renamed = own.with_kid("renamed".into());
        assert!(!check(&token, &keys(&[&renamed])));
    }

    #[test]
    fn row_250_a_bound_token_of_another_issuer_is_good_with_its_key_alone() {
        let key = key(Algorithm::Es256);
        let (trust, keys) = (trust(THEM), keys(&[&key]));
        let own = Binding { key: Some([1; 32]), ..Binding::NONE };
        let jkt = own.members().next().unwrap().1;
        let check = |cnf: Value, proven: &Binding| {
            let token = signed(&key, "JWT", &with("cnf", cnf));
            ForeignToken::check(&token, &trust, &keys, &[US], proven, NOW).is_ok()
        };
        assert!(check(json!({ "jkt": jkt }), &own));
        assert!(!check(json!({ "jkt": jkt }), &Binding::NONE));
        assert!(!check(json!({ "kid": "a" }), &own));
    }

    #[test]
    fn a_workload_is_believed_by_its_trust_domain_alone() {
        let key = key(Algorithm::Es256);
        let (trust, keys) = (trust("spiffe://prod.example"), keys(&[&key]));
        let svid = |sub: &str| {
            let exp = NOW.as_secs() + 300;
            signed(&key, "JWT", &json!({ "sub": sub, "aud": [US], "exp": exp, "iss": THEM }))
        };
        let check = |sub: &str| {
            ForeignToken::check(&svid(sub), &trust, &keys, &[US], &Binding::NONE, NOW).is_ok()
        };
        assert!(check("spiffe://prod.example/billing"));
        for other in [
            "spiffe://prod.example",
            "spiffe://prod.example.evil/billing",
            "spiffe://test.example/billing",
            "billing",
        ] {
            assert!(!check(other), "{other}");
        }
        let read = unverified(&svid("spiffe://prod.example/billing")).unwrap();
        assert_eq!(read.issuers, [THEM, "spiffe://prod.example"]);
        assert_eq!(unverified(&signed(&key, "JWT", &good())).unwrap().issuers, [THEM]);
        assert_eq!(unverified(&Secret::new("a.b.c")), None);
    }
}
