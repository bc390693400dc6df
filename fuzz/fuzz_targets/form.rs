//! A token request: content type, query, `Authorization` and body, a line each; the body is what is left.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenry_core::TokenRequest;
use tokenry_core::request::{Grant, GrantType, Received};

fuzz_target!(|data: &[u8]| {
    let mut lines =
        data.splitn(4, |b| *b == b'\n').map(|line| Some(line).filter(|l| !l.is_empty()));
    let mut line = || lines.next().flatten();
    let received = Received {
        content_type: line(),
        query: line(),
        authorization: line(),
        body: line().unwrap_or_default(),
        ..Received::default()
    };
    let Ok(request) = TokenRequest::parse(&received) else { return };
    let Ok(grant) = request.grant else { return };

    // Row 7: nothing that names its grant a second time is a request, whatever the second name is.
    let twice = [received.body, b"&grant_type=password"].concat();
    assert!(!is_good(&Received { body: &twice, ..received }), "grant_type was sent twice");

    // Row 16: a secret in the URL is refused, whatever else is good.
    let query = [received.query.unwrap_or_default(), b"&client_secret=x"].concat();
    assert!(!is_good(&Received { query: Some(&query), ..received }), "a secret in the URL");

    // A declared endpoint serves its own grant and no other.
    for declared in GrantType::ALL {
        let served = is_good(&Received { grant: Some(declared), ..received });
        assert_eq!(served, declared == grant.grant_type(), "{declared}");
    }

    // What was understood means the same when it is written out again.
    let form = write(&grant);
    let again = Received {
        content_type: Some(b"application/x-www-form-urlencoded"),
        body: form.as_bytes(),
        ..Received::default()
    };
    assert_eq!(TokenRequest::parse(&again).expect("a form").grant.as_ref(), Ok(&grant), "{form}");
});

fn is_good(received: &Received<'_>) -> bool {
    TokenRequest::parse(received).is_ok_and(|request| request.grant.is_ok())
}

fn write(grant: &Grant) -> String {
    let mut form = format!("grant_type={}", grant.grant_type());
    let mut add = |name: &str, value: &str| {
        form.push_str(&format!("&{name}="));
        value.bytes().for_each(|b| form.push_str(&format!("%{b:02x}")));
    };
    let asked = match grant {
        Grant::ClientCredentials { asked } => asked,
        Grant::Password { username, password, asked } => {
            add("username", username);
            add("password", password.expose());
            asked
        }
        Grant::RefreshToken { refresh_token, asked } => {
            add("refresh_token", refresh_token.expose());
            asked
        }
        Grant::JwtBearer { assertion, asked } => {
            add("assertion", assertion.expose());
            asked
        }
        Grant::TokenExchange(exchange) => {
            add("subject_token", exchange.subject.token.expose());
            add("subject_token_type", exchange.subject.kind.as_str());
            if let Some(actor) = &exchange.actor {
                add("actor_token", actor.token.expose());
                add("actor_token_type", actor.kind.as_str());
            }
            &exchange.asked
        }
        other => panic!("a grant this target does not know: {other:?}"),
    };
    // A scope of spaces alone has no tokens; written out it would be no parameter at all.
    if let Some(scope) = &asked.scope {
        add("scope", if scope.is_empty() { " " } else { scope.as_str() });
    }
    asked.resources.iter().for_each(|resource| add("resource", resource));
    form
}
