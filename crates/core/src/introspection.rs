//! Whether a token that somebody presents is good, and who may know it (RFC 7662, RFC 7009).

use crate::binding::Binding;
use crate::family::FamilyId;
use crate::grant::{self, Standing};
use crate::jose::Claims;
use crate::jose::claims::Audience;
use crate::jose::claims::typ_is;
use crate::jose::jws::Verified;
use crate::opaque::StoredToken;
use crate::realm::Dialect;
use crate::refresh::RefreshToken;
use crate::request::{Credentials, Received};
use crate::{Client, Realm, Refusal, Secret, Timestamp};

/// A request about a token: what introspection and revocation are sent.
#[derive(Debug)]
pub struct TokenInquiry {
    /// Who the client says it is.
    pub credentials: Credentials,
    /// The token; or what is wrong with the request, to be told to an authenticated client alone.
    pub token: Result<Secret, Refusal>,
}

impl TokenInquiry {
    /// Reads headers and form. The token stands in the parameter `name`.
    ///
    /// `token_type_hint` is not looked at: each kind of token is known by its form.
    pub fn parse(received: &Received<'_>, name: &'static str) -> Result<Self, Refusal> {
        let form = received.form()?;
        let repeated = received.repeated(&form).or_else(|| form.first_repeated(&[name]));
        let token = match (repeated, form.get(name)) {
            (Some(name), _) => Err(Refusal::RepeatedParameter(name)),
            (None, None) => Err(Refusal::MissingParameter(name)),
            (None, Some(token)) => Ok(Secret::new(token)),
        };
        Ok(Self { credentials: Credentials::from_form(&form, received)?, token })
    }
}

/// An access token of the realm that it is presented to, its signature checked.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// Its `jti`.
    pub id: FamilyId,
    /// The family of refresh tokens that it came with, if it came with one.
    pub family: Option<FamilyId>,
    /// The client that it was issued to.
    pub client: String,
    /// Whom it is about.
    pub about: About,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires_at: Timestamp,
    /// Everything that it says.
    pub claims: Claims,
}

/// Whom an access token is about, by its `sub`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum About {
    /// The client that it was issued to.
    Client,
    /// The user of this subject, which is a UUID.
    User(String),
    /// Another client. One that is named by a UUID would be looked for among the users, and its token not be good.
    OtherClient(String),
    /// Somebody whom another issuer knows.
    Foreign(String),
}

impl About {
    fn read(subject: &str, is_client: bool) -> Self {
        let named = subject.to_owned();
        if is_client {
            Self::Client
        } else if subject.contains(':') {
            Self::Foreign(named)
        } else if subject.parse::<FamilyId>().is_ok() {
            Self::User(named)
        } else {
            Self::OtherClient(named)
        }
    }
}

/// What is known of an access token beyond what it says itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Whether it or its family was revoked.
    pub revoked: bool,
    /// Its client, where that still exists.
    pub client: Option<&'a Client>,
    /// The user that it is about, where it is about one and the user still exists.
    pub user: Option<&'a crate::User>,
    /// The other client that it is about, where it is about one that still exists.
    pub other_client: Option<&'a Client>,
}

impl AccessToken {
    /// Reads what one of the realm's keys has signed. `None`: it is no access token of this realm, but an ID token, an
    /// answer, or something that the realm does not write.
    pub fn read(token: &Verified<'_>, realm: &Realm) -> Option<Self> {
        if realm.dialect == Dialect::Rfc {
            typ_is(token.header().typ(), "at+jwt").then_some(())?;
        }
        Self::of_claims(token.claims().ok()?, realm)
    }

    /// Reads what an opaque token stands for.
    pub fn stored(token: &StoredToken, realm: &Realm) -> Option<Self> {
        Self::of_claims(Claims::parse(token.claims.as_bytes()).ok()?, realm)
    }

    fn of_claims(claims: Claims, realm: &Realm) -> Option<Self> {
        let text = |name: &str| claims.other.get(name).and_then(serde_json::Value::as_str);
        let (client, is_client) = match realm.dialect {
            Dialect::Rfc => {
                let client = claims.client_id.clone()?;
                (client.clone(), claims.sub.as_ref() == Some(&client))
            }
            Dialect::Keycloak => {
                matches!(text("typ"), Some("Bearer" | "DPoP")).then_some(())?;
                (text("azp")?.to_owned(), claims.client_id.is_some())
            }
        };
        if claims.iss.as_deref() != Some(realm.issuer.as_str()) {
            return None;
        }
        Some(Self {
            id: claims.jti.as_deref()?.parse().ok()?,
            family: text("sid").and_then(|sid| sid.parse().ok()),
            about: About::read(claims.sub.as_deref()?, is_client),
            issued_at: claims.iat?,
            expires_at: claims.exp?,
            client,
            claims,
        })
    }

    /// The keys that it is good with alone. `None`: it says so in a way that nobody here has written.
    pub fn binding(&self) -> Option<Binding> {
        self.claims.cnf.as_ref().map_or(Some(Binding::NONE), Binding::from_cnf)
    }

    /// Whether it is good with a DPoP proof alone.
    pub fn is_bound_to_key(&self) -> bool {
        self.binding().is_some_and(|binding| binding.key.is_some())
    }

    /// Whether it is good at `now`.
    pub fn is_active(&self, known: Known<'_>, realm: &Realm, now: Timestamp) -> bool {
        let Some(client) = known.client.filter(|client| client.enabled) else { return false };
        let of_subject = match (&self.about, known.user, known.other_client) {
            (About::Client | About::Foreign(_), ..) => Timestamp::EPOCH,
            (About::User(id), Some(user), _) if user.subject == *id && user.enabled => {
                user.good_since()
            }
            (About::OtherClient(id), _, Some(other)) if other.id == *id && other.enabled => {
                other.good_since()
            }
            (About::User(_) | About::OtherClient(_), ..) => return false,
        };
        // As the feed tells it: who follows and who asks must hear the same.
        let good_since = realm.good_since().max(client.good_since()).max(of_subject);
        !known.revoked && now < self.expires_at && good_since <= self.issued_at
    }
}

/// Whether a refresh token is good at `now`, as far as what it says and `standing` tell: the checks of a refresh.
pub fn refresh_token_is_active(
    token: &RefreshToken,
    client: &Client,
    standing: Standing<'_>,
    realm: &Realm,
    now: Timestamp,
) -> bool {
    client.enabled
        && grant::is_good(client, token, standing, realm, now).is_ok()
        && grant::refresh_policy(realm, client).is_some()
}

/// Whether `caller` may know of a token of `client` for `audience`.
///
/// RFC 7662 §4 has the server decide, so that nobody finds out about tokens of others. A caller knows of its own
/// tokens, of those that are for it (`aud` names its identifier), and of those for the audiences that it is registered
/// to introspect. Keycloak tells every client.
pub fn may_know(
    caller: &Client,
    client: &str,
    audience: Option<&Audience>,
    dialect: Dialect,
) -> bool {
    let is_its = |one: &str| {
        one == caller.id || caller.particulars().introspects.iter().any(|own| own == one)
    };
    dialect == Dialect::Keycloak
        || caller.id == client
        || caller.particulars().introspects.iter().any(|own| own == "*")
        || audience.is_some_and(|audience| audience.iter().any(is_its))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::particulars::Particulars;

    fn caller(introspects: &[&str]) -> Client {
        let introspects = introspects.iter().map(|one| (*one).to_owned()).collect();
        let particulars = Particulars { introspects, ..Particulars::default() }.boxed();
        Client { particulars, ..Client::new("r", "api", Timestamp::EPOCH) }
    }

    #[test]
    fn row_178_a_caller_knows_of_its_own_tokens_and_of_those_for_it() {
        let one = Audience::One("https://a.example".into());
        let two = Audience::Many(vec!["https://b.example".into(), "api".into()]);
        let cases = [
            (caller(&[]), "billing", Some(&one), false),
            (caller(&[]), "billing", None, false),
            (caller(&[]), "api", Some(&one), true),
            (caller(&[]), "billing", Some(&two), true),
            (caller(&["https://a.example"]), "billing", Some(&one), true),
            (caller(&["https://a.example/"]), "billing", Some(&one), false),
            (caller(&["https://c.example"]), "billing", Some(&one), false),
            (caller(&["*"]), "billing", None, true),
        ];
        for (caller, client, audience, expected) in cases {
            let known = may_know(&caller, client, audience, Dialect::Rfc);
            assert_eq!(known, expected, "{:?} {client} {audience:?}", caller.particulars);
            assert!(may_know(&caller, client, audience, Dialect::Keycloak));
        }
    }

    #[test]
    fn row_151_only_what_says_to_be_an_access_token_of_the_realm_is_one() {
        use crate::jose::jws::Compact;
        use crate::jose::{Algorithm, SigningKey, VerifyingKey, generate};
        let bytes = generate(Algorithm::EdDsa).unwrap();
        let key = SigningKey::from_pkcs8(Algorithm::EdDsa, bytes.as_bytes()).unwrap();
        let realm = |dialect: &str| -> Realm {
            serde_json::from_value(serde_json::json!({
                "name": "r",
                "issuer": "https://r.example",
                "dialect": dialect,
                "tokens": { "access": { "secs": 300, "nanos": 0 } },
            }))
            .unwrap()
        };
        let claims = |issuer: &str, typ: &str| {
            serde_json::json!({
                "iss": issuer, "sub": "a", "client_id": "a", "azp": "a", "exp": 2, "iat": 1, "typ": typ,
                "jti": "00000000-0000-4000-8000-000000000000",
            })
        };
        let own = "https://r.example";
        let cases = [
            ("rfc", "at+jwt", claims(own, ""), true),
            ("rfc", "application/at+jwt", claims(own, ""), true),
            ("rfc", "JWT", claims(own, "Bearer"), false),
            ("rfc", "token-introspection+jwt", claims(own, ""), false),
            ("rfc", "at+jwt", claims("https://r.example/", ""), false),
            ("keycloak", "JWT", claims(own, "Bearer"), true),
            ("keycloak", "JWT", claims(own, "ID"), false),
            ("keycloak", "JWT", claims("https://other.example", "Bearer"), false),
        ];
        for (dialect, typ, claims, is_one) in cases {
            let mut text = String::new();
            key.sign_compact(&key.header(typ), claims.to_string().as_bytes(), &mut text).unwrap();
            let compact = Compact::parse(&text).unwrap();
            let verified = compact.verify(&VerifyingKey::from(key.public_jwk())).unwrap();
            let read = AccessToken::read(&verified, &realm(dialect));
            assert_eq!(read.is_some(), is_one, "{dialect} {typ} {claims}");
        }
    }

    #[test]
    fn row_185_an_inquiry_needs_one_token() {
        let token = |body: &str| {
            let received = Received {
                content_type: Some(b"application/x-www-form-urlencoded"),
                body: body.as_bytes(),
                ..Received::default()
            };
            TokenInquiry::parse(&received, "token").unwrap().token
        };
        assert_eq!(token("token=a"), Ok(Secret::new("a")));
        assert_eq!(token("token=a&token_type_hint=nonsense"), Ok(Secret::new("a")));
        assert_eq!(token("token="), Err(Refusal::MissingParameter("token")));
        assert_eq!(token("token=a&token=a"), Err(Refusal::RepeatedParameter("token")));
        let twice = "token=a&client_id=b&client_id=b";
        assert_eq!(token(twice), Err(Refusal::RepeatedParameter("client_id")));
    }
}
