//! Microsoft Entra ID: `POST /{tenant}/oauth2/v2.0/token`.

use super::*;
use crate::provider::Assertion;

const URL: &str = "https://login.microsoftonline.com/acme.example/oauth2/v2.0/token";
const APP: &str = "6731de76-14a6-49ae-97bc-6eba6914391e";
const CERTIFICATE: &[u8] = b"the certificate's DER";

fn provider() -> Provider {
    named("entra", &[("tenant", "acme.example"), ("resource", "https://graph.microsoft.com")])
}

/// An error in the manner of the house: a number in the description, and the rest for support.
fn aadsts(status: u16, code: &str, number: u32, what: &str) -> Response<Bytes> {
    let description = format!(
        "AADSTS{number}: {what}\r\nTrace ID: 0000aaaa-11bb-cccc-dd22-eeeeee333333\r\nCorrelation ID: \
         aaaa0000-bb11-2222-33cc-444444dddddd\r\nTimestamp: 1970-01-12 13:46:40Z"
    );
    json(
        status,
        &json!({ "error": code, "error_description": description, "error_codes": [number],
                 "timestamp": "1970-01-12 13:46:40Z",
                 "trace_id": "0000aaaa-11bb-cccc-dd22-eeeeee333333" }),
    )
}

/// What is wrong with how a request says that it is of this application.
fn refused(asked: &Asked, keys: &mut Option<Assertions>) -> Option<Response<Bytes>> {
    if !is(asked, "client_id", APP) {
        return Some(aadsts(400, "invalid_request", 900_144, "'client_id' is missing."));
    }
    let Some(assertion) = field(asked, "client_assertion") else {
        let known = is(asked, "client_secret", "s3cret~.-_");
        let wrong = || aadsts(401, "invalid_client", 7_000_215, "Invalid client secret provided.");
        return (!known).then(wrong);
    };
    let claims = part(&assertion, 1);
    if claims["iss"] != APP {
        // Of a platform that the application trusts: known by issuer, subject and audience, to the letter.
        let known = claims["iss"] == "https://kubernetes.acme.example"
            && claims["sub"] == "system:serviceaccount:billing:billing"
            && claims["aud"] == "api://AzureADTokenExchange";
        let wrong = || aadsts(401, "invalid_client", 700_213, "No matching federated identity.");
        return (!known).then(wrong);
    }
    let header = part(&assertion, 0);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, CERTIFICATE);
    if header["x5t#S256"] != BASE64_URL_SAFE_NO_PAD.encode(digest) || header["typ"] != "JWT" {
        return Some(aadsts(401, "invalid_client", 700_027, "No key matches the assertion."));
    }
    match keys.as_mut().map(|keys| keys.check(asked)) {
        Some(Ok(_)) => None,
        wrong => {
            let what = wrong.and_then(Result::err).unwrap_or("no key");
            Some(aadsts(401, "invalid_client", 50_027, &format!("Invalid JWT: {what}.")))
        }
    }
}

/// A directory with one application, and what it says of its tokens' lives.
fn directory(key: Option<&SigningKey>, expires_in: Value) -> Vendor {
    let mut keys = key.map(|key| Assertions::new(APP, URL, key));
    let answers = move |asked: &Asked, n| {
        if asked.url != URL {
            return answer(404, "");
        }
        if let Some(refusal) = refused(asked, &mut keys) {
            return refusal;
        }
        match field(asked, "scope").as_deref() {
            Some("https://graph.microsoft.com/.default") => json(
                200,
                &json!({ "token_type": "Bearer", "expires_in": expires_in,
                         "ext_expires_in": expires_in, "access_token": format!("a{n}") }),
            ),
            Some(scope) if scope.ends_with("/.default") => {
                aadsts(400, "invalid_target", 500_011, "The resource was not found.")
            }
            _ => aadsts(400, "invalid_scope", 1_002_012, "The scope does not end in /.default."),
        }
    };
    Vendor::new(answers, |_| {
        let busy = aadsts(429, "temporarily_unavailable", 90_055, "Too many requests.");
        with_header(busy, "retry-after", BUSY)
    })
}

fn app() -> Credentials {
    secret(APP, "s3cret~.-_")
}

#[tokio::test(start_paused = true)]
async fn entra_grants_an_hour_but_for_a_second_and_nothing_is_refreshed() {
    // Version 1.0 writes numbers as text, and so do some clouds.
    for expires_in in [json!(3599), json!("3599")] {
        let directory = directory(None, expires_in);
        directory.is_renewed(&directory.keeper(provider(), app()), 3599).await;
        for asked in directory.server.requests() {
            assert!(is(&asked, "grant_type", "client_credentials"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn entra_refuses_with_a_number_and_it_is_shown() {
    let directory = directory(None, json!(3599));
    let wrong = directory.refusal(provider(), secret(APP, "old-one")).await;
    let begins =
        "the server refused the credentials: 401 invalid_client (AADSTS7000215: Invalid client";
    assert!(wrong.starts_with(begins), "{wrong}");
    assert!(wrong.contains("provided.  Trace ID: 0000aaaa") && !wrong.contains('?'), "{wrong}");
    let scope = directory.refusal(provider().with_scope("User.Read"), app()).await;
    assert!(scope.contains("400 invalid_scope (AADSTS1002012: "), "{scope}");
    let other = named("entra", &[("tenant", "acme.example"), ("resource", "api://other")]);
    let other = directory.refusal(other, app()).await;
    assert!(other.contains("400 invalid_target (AADSTS500011: "), "{other}");

    let two = secret(APP, "old-one").or_secret(Secret::new("s3cret~.-_"));
    directory.keeper(provider(), two).token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn entra_takes_assertions_for_its_token_endpoint_that_name_the_certificate() {
    let own = key(Algorithm::Ps256);
    let directory = directory(Some(&own), json!(3599));
    let credentials = Credentials::private_key_of_certificate(APP, own, CERTIFICATE);
    let keeper = directory.keeper(provider(), credentials.clone());
    directory.is_renewed(&keeper, 3599).await;

    let (good, usual) = (provider().assertion, Assertion::default());
    for (assertion, number) in [
        (Assertion { client_id: usual.client_id, ..good }, "AADSTS900144: "),
        (Assertion { typ: usual.typ, ..good }, "AADSTS700027: "),
        (Assertion { audience: usual.audience, ..good }, "AADSTS50027: Invalid JWT: audience."),
    ] {
        let changed = Provider { assertion, ..provider() };
        let refusal = directory.refusal(changed, credentials.clone()).await;
        assert!(refusal.contains(number), "{refusal}");
    }
    let nameless = Credentials::private_key(APP, key(Algorithm::Es256));
    let refusal = directory.refusal(provider(), nameless).await;
    assert!(refusal.contains("AADSTS700027"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn entra_takes_the_token_of_a_platform_that_the_application_trusts() {
    let directory = directory(None, json!(3599));
    let projected = |subject: &str| {
        let claims = json!({ "iss": "https://kubernetes.acme.example", "sub": subject,
                             "aud": "api://AzureADTokenExchange" });
        let encoded = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let (header, claims) = (encoded(json!({ "alg": "RS256", "kid": "k" })), encoded(claims));
        Credentials::assertion(APP, Secret::new(format!("{header}.{claims}.c2ln")))
    };
    let known = projected("system:serviceaccount:billing:billing");
    directory.keeper(provider(), known).token().await.unwrap();
    let unknown = projected("system:serviceaccount:billing:Billing");
    let refusal = directory.refusal(provider(), unknown).await;
    assert!(refusal.contains("401 invalid_client (AADSTS700213: "), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn entra_may_end_a_token_early() {
    let directory = directory(None, json!(3599));
    directory.may_end_a_token_early(&directory.keeper(provider(), app())).await;
}

#[tokio::test(start_paused = true)]
async fn entra_is_left_alone_for_as_long_as_it_says() {
    let directory = directory(None, json!(3599));
    directory.is_left_alone_while_busy(&directory.keeper(provider(), app()), 3599).await;
}
