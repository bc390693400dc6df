//! Whole tokens of any kind, judged by the verifier and by an oracle. The fuzz target `token` is made of the same.
//!
//! What the verifier accepts the oracle accepts, too, and reads the same from it; and the other way round.

mod choices;
mod forge;
mod json;
mod keys;
mod oracle;
mod parts;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::Value;
use tokenry_core::Timestamp;
use tokenry_core::jose::Algorithm;
use tokenry_verifier::{
    AccessToken, BoxFuture, FetchError, Fetched, Head, KeySource, Rejection, Verifier,
    VerifierBuilder,
};
use tokio::runtime::{Builder, Runtime};

use self::choices::Choices;
use self::keys::Key;
pub(crate) use self::oracle::Flaw;
use self::oracle::Said;

/// One issuer that all verifiers trust, and one that only some do.
const ISSUERS: [&str; 2] = ["https://id.example/realms/main", "https://id.example/realms/other"];
const API: &str = "https://api.example";
/// The `jti` of tokens that were revoked.
const REVOKED: &str = "revoked";
/// When tokens are judged first, in seconds since the epoch.
const NOW: u64 = 1_800_000_000;

/// When tokens are judged after that, in milliseconds from then. They expire after 300 s, and there are 10 s of leeway.
const LATER: [i64; 16] = [
    1, 999, 1000, 299_999, 300_000, 309_999, 310_000, 310_001, 3_600_000, -1, -1000, -9_999,
    -10_000, -10_001, -3_600_000, 0,
];

/// The verifiers' clock. It goes on by a second with each revocation, so that old ones make room; none ends before the
/// times at which tokens are judged.
static CLOCK: AtomicU64 = AtomicU64::new(NOW * 1000);

/// Longer than any run: after the first one nothing is fetched.
const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 100);

/// The first byte of an input that is the text of a token, and not what one is to be made of.
const AS_IT_IS: u8 = b'=';

struct World {
    runtime: Runtime,
    keys: Vec<Key>,
    /// Each with the number of issuers that it trusts.
    verifiers: Vec<(Verifier, usize)>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// A text, and what the oracle reads in it as one who trusts either issuer.
struct Case {
    text: String,
    said: [Result<Said, Flaw>; 2],
}

impl Case {
    fn new(text: String, keys: &[Key]) -> Self {
        Self { said: ISSUERS.map(|issuer| oracle::judge(&text, issuer, keys)), text }
    }

    /// What one who trusts the first issuers is told, at a time.
    fn verdict(&self, issuers: usize, now: Timestamp) -> Result<&Said, Flaw> {
        let [first, _] = &self.said;
        let good = self.said.iter().take(issuers).find_map(|said| said.as_ref().ok());
        let said = good.map_or_else(|| first.as_ref().map_err(|flaw| *flaw), Ok)?;
        said.at(now.as_millis()).map(|()| said)
    }

    fn revoke(&mut self, jti: &str) {
        for said in &mut self.said {
            if said.as_ref().is_ok_and(|said| said.claims.get("jti") == Some(&jti.into())) {
                *said = Err("revoked");
            }
        }
    }

    /// Nobody makes a good token but the issuer's own key, which signs the whole of it.
    fn is_signed_as_it_says(&self, signed: Option<&(String, &str)>) -> bool {
        self.said.iter().zip(ISSUERS).filter(|(said, _)| said.is_ok()).all(|(_, issuer)| {
            signed.is_some_and(|(token, own)| *token == self.text && *own == issuer)
        })
    }
}

/// Judges what is made of these bytes at several times, and says what the oracle said of it at first.
///
/// Panics where the two do not agree.
pub(crate) fn check(data: &[u8]) -> Result<(), Flaw> {
    let world = &*WORLD;
    if let Some((&AS_IT_IS, text)) = data.split_first() {
        let case = Case::new(String::from_utf8_lossy(text).into_owned(), &world.keys);
        world.compare(&case, 0);
        return case.verdict(1, at(0)).map(|_| ());
    }
    let mut choices = Choices::new(data);
    let later = LATER[choices.below(LATER.len())];
    let [place, with, how] = [choices.byte(), choices.byte(), choices.byte()];
    let once = (how >= 128).then(|| format!("once-{}", CLOCK.fetch_add(1000, Ordering::Relaxed)));
    let jti = once.as_deref().unwrap_or("j-1");
    let forged = forge::forge(&mut choices, &world.keys, jti);
    let mut case = Case::new(forged.text, &world.keys);
    assert!(case.is_signed_as_it_says(forged.signed.as_ref()), "{}", case.text);
    world.compare(&case, 0);
    world.compare(&case, later);

    let neighbour = forge::changed(&case.text, place, with, how);
    let neighbour = Case::new(neighbour, &world.keys);
    assert!(neighbour.is_signed_as_it_says(forged.signed.as_ref()), "{}", neighbour.text);
    world.compare(&neighbour, 0);
    // Whatever was found out about other tokens and at other times is nothing to this one.
    world.compare(&case, 0);
    let verdict = case.verdict(1, at(0)).map(|_| ());
    if let Some(once) = once {
        world.revoke(&once);
        case.revoke(&once);
        world.compare(&case, 0);
    }
    verdict
}

/// So many milliseconds after the first time.
const fn at(later: i64) -> Timestamp {
    Timestamp::from_millis((NOW * 1000).saturating_add_signed(later))
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let keys = keys::all();
        let verifiers = {
            let _guard = runtime.enter();
            let [main, other] = ISSUERS;
            // A small memory, too, in which tokens drive each other out.
            let one = trusting(Verifier::builder(main), main, &keys).cache(1024);
            let two = trusting(Verifier::builder(main), main, &keys).cache(4);
            let two = trusting(two.issuer(other), other, &keys);
            vec![(one.build().unwrap(), 1), (two.build().unwrap(), 2)]
        };
        let world = Self { runtime, keys, verifiers };
        for (verifier, issuers) in &world.verifiers {
            verifier.refuse(REVOKED, at(FOR_EVER.as_millis() as i64)).unwrap();
            // The second token with an unknown key has the keys fetched once more, and none after it.
            for issuer in &ISSUERS[..*issuers] {
                let unknown = forge::unknown(issuer);
                for _ in 0..2 {
                    let refused = world.ask(verifier, &unknown, at(0));
                    assert_eq!(refused, Err(Rejection::UnknownKey));
                }
            }
            assert!(verifier.is_ready());
        }
        world
    }

    /// Has the verifiers judge a text, too, some milliseconds after the first time.
    fn compare(&self, case: &Case, later: i64) {
        let (text, now) = (&case.text, at(later));
        for (verifier, issuers) in &self.verifiers {
            let verdict = self.ask(verifier, text, now);
            let again = self.ask(verifier, text, now);
            assert_eq!(again, verdict, "asked twice, it says something else");
            self.same_in_a_request(verifier, text, now, &verdict);
            match (&verdict, case.verdict(*issuers, now)) {
                (Ok(token), Ok(said)) => same(token, said),
                (Err(rejection), Err(_)) => {
                    let waits = matches!(rejection, Rejection::Unavailable { .. });
                    assert!(!waits, "the keys are there");
                }
                (Ok(_), Err(flaw)) => panic!("accepted in spite of: {flaw}\n{text}"),
                (Err(rejection), Ok(_)) => panic!("a good token is refused: {rejection}\n{text}"),
            }
        }
    }

    /// Revokes a token that the verifiers may remember; the others they look at once more.
    fn revoke(&self, jti: &str) {
        for (verifier, _) in &self.verifiers {
            verifier.refuse(jti, verifier.now() + Duration::from_mins(1)).unwrap();
        }
    }

    fn ask(
        &self,
        verifier: &Verifier,
        text: &str,
        now: Timestamp,
    ) -> Result<Arc<AccessToken>, Rejection> {
        self.runtime.block_on(verifier.verify(text, now))
    }

    /// The token in a header of a request.
    fn same_in_a_request(
        &self,
        verifier: &Verifier,
        text: &str,
        now: Timestamp,
        verdict: &Result<Arc<AccessToken>, Rejection>,
    ) {
        let mut request = ::http::Request::new(());
        match ::http::HeaderValue::try_from(format!("Bearer {text}")) {
            Ok(value) => request.headers_mut().insert(::http::header::AUTHORIZATION, value),
            Err(_) => return assert!(verdict.is_err(), "a token that cannot be sent"),
        };
        let admitted = self.runtime.block_on(verifier.verify_request(Head::of(&request), now));
        match (verdict, admitted) {
            (Ok(token), Ok(admitted)) => assert_eq!(admitted.token(), token),
            // White space around a token is the header's, not the token's.
            (Err(_), Ok(_)) => assert!(text.contains([' ', '\t']), "a request gets around it"),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(rejection)) => panic!("the request is refused: {rejection}"),
        }
    }
}

/// A verifier of an issuer's tokens that has its keys at hand.
fn trusting(builder: VerifierBuilder, issuer: &str, keys: &[Key]) -> VerifierBuilder {
    builder
        .audience("https://other.example")
        .audience(API)
        .algorithms([Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256])
        .key_source(Published(keys::set(keys, issuer)))
        .clock(|| Timestamp::from_millis(CLOCK.load(Ordering::Relaxed)))
        .refresh_every(FOR_EVER)
        .max_stale(FOR_EVER)
        .cooldown(FOR_EVER)
}

/// What is read from a token is what stands in it.
fn same(token: &AccessToken, said: &Said) {
    let text = |name: &str| said.claims.get(name).and_then(Value::as_str);
    assert_eq!(token.subject(), text("sub"));
    assert_eq!(token.jti(), text("jti"));
    assert_eq!(token.client_id(), text("client_id").or_else(|| text("azp")));
    assert_eq!(token.expires_at(), Timestamp::from_secs(said.exp));
    let scope: BTreeSet<String> = token.scope().tokens().map(str::to_owned).collect();
    assert_eq!(scope, said.scope);
    assert!(token.binding().is_none());
    let mut other = said.claims.clone();
    for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope"] {
        other.remove(name);
    }
    assert_eq!(token.claims().other, other);
}

/// Keys that are at hand.
struct Published(String);

impl KeySource for Published {
    fn fetch<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async { Ok(Fetched { body: self.0.clone().into(), max_age: None }) })
    }
}
