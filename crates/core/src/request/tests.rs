//! Token requests, good and bad.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::grant::MAX_RESOURCES;
use super::*;
use crate::assertion::ASSERTION_TYPE;
use crate::refusal::ErrorCode::{
    self, InvalidClient, InvalidRequest, InvalidScope, UnsupportedGrantType,
};

const FORM: &[u8] = b"application/x-www-form-urlencoded";

fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

fn parse(authorization: Option<&str>, body: &str) -> Result<TokenRequest, ErrorCode> {
    TokenRequest::parse(&Received {
        content_type: Some(FORM),
        authorization: authorization.map(str::as_bytes),
        body: body.as_bytes(),
        ..Received::default()
    })
    .map_err(|refusal| refusal.code())
}

fn grant(body: &str) -> Result<Grant, ErrorCode> {
    parse(None, body)?.grant.map_err(|refusal| refusal.code())
}

#[test]
fn each_grant_holds_its_own_parameters() {
    let cases = [
        ("grant_type=client_credentials", Ok(Grant::ClientCredentials { asked: Asked::default() })),
        (
            "grant_type=client_credentials&scope=b+a",
            Ok(Grant::ClientCredentials {
                asked: Asked { scope: Some("a b".parse().unwrap()), ..Asked::default() },
            }),
        ),
        (
            "grant_type=password&username=u&password=p",
            Ok(Grant::Password {
                username: "u".into(),
                password: Secret::new("p"),
                asked: Asked::default(),
            }),
        ),
        (
            "grant_type=refresh_token&refresh_token=r",
            Ok(Grant::RefreshToken { refresh_token: Secret::new("r"), asked: Asked::default() }),
        ),
        ("grant_type=refresh_token", Err(InvalidRequest)),
        ("grant_type=password&username=u", Err(InvalidRequest)),
        ("grant_type=client_credentials&scope=%22", Err(InvalidScope)),
    ];
    for (body, expected) in cases {
        assert_eq!(grant(body), expected, "{body}");
    }
}

#[test]
fn row_007_row_008_a_parameter_is_sent_once() {
    for name in ONCE {
        let body = format!(
            "grant_type=client_credentials&{name}=client_credentials&{name}=client_credentials"
        );
        let refused = match parse(None, &body) {
            Ok(request) => request.grant.unwrap_err().code(),
            Err(code) => code,
        };
        assert_eq!(refused, InvalidRequest, "{name}");
    }
}

#[test]
fn row_009_resources_and_audiences_may_be_several() {
    let Ok(Grant::ClientCredentials { asked }) =
        grant("grant_type=client_credentials&resource=urn:a&resource=https%3A%2F%2Fb&audience=c")
    else {
        panic!("refused");
    };
    assert_eq!(asked.resources, ["urn:a", "https://b"]);
    let exchange = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=s\
         &subject_token_type=urn:ietf:params:oauth:token-type:access_token";
    let several = format!("{exchange}&audience=a&resource=urn:b&audience=c");
    let Ok(Grant::TokenExchange(exchange)) = grant(&several) else { panic!("refused") };
    assert_eq!(exchange.asked.resources, ["urn:b", "a", "c"]);
    let many = "&resource=urn:a".repeat(MAX_RESOURCES + 1);
    assert_eq!(grant(&format!("grant_type=client_credentials{many}")), Err(InvalidRequest));
}

#[test]
fn row_077_row_125_row_126_a_token_and_its_type_come_together() {
    const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
    const EXCHANGE: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange";
    let bearer = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer";
    assert_eq!(grant(bearer), Err(InvalidRequest));
    assert!(grant(&format!("{bearer}&assertion=a")).is_ok());
    let subject = format!("&subject_token=s&subject_token_type={JWT}");
    let actor = format!("{subject}&actor_token=a&actor_token_type={JWT}");
    for (parameters, good) in [
        (subject.as_str(), true),
        (&actor, true),
        (&format!("{subject}&requested_token_type={JWT}"), true),
        (&format!("{subject}&requested_token_type=urn:ietf:params:oauth:token-type:saml2"), false),
        ("", false),
        ("&subject_token=s", false),
        (&format!("&subject_token_type={JWT}"), false),
        (&format!("{subject}&actor_token=a"), false),
        (&format!("{subject}&actor_token_type={JWT}"), false),
        (
            "&subject_token=s&subject_token_type=urn:ietf:params:oauth:token-type:refresh_token",
            false,
        ),
    ] {
        let asked = grant(&format!("{EXCHANGE}{parameters}"));
        assert_eq!(asked.is_ok(), good, "{parameters}: {asked:?}");
        assert!(good || asked == Err(InvalidRequest), "{parameters}");
    }
}

#[test]
fn row_010_row_011_what_is_unknown_is_ignored() {
    assert!(grant("grant_type=client_credentials&foo=1&foo=2").is_ok());
}

#[test]
fn row_012_an_empty_parameter_is_no_parameter() {
    assert_eq!(
        grant("grant_type=client_credentials&scope=+%20+"),
        Ok(Grant::ClientCredentials { asked: Asked::default() })
    );
    assert_eq!(
        grant("grant_type=client_credentials&scope=&username=&password=&code=&scope="),
        Ok(Grant::ClientCredentials { asked: Asked::default() })
    );
}

#[test]
fn row_013_row_014_a_grant_type_is_needed_and_must_be_known() {
    assert_eq!(grant("scope=a"), Err(InvalidRequest));
    assert_eq!(grant("grant_type="), Err(InvalidRequest));
    assert_eq!(grant("grant_type=foo"), Err(UnsupportedGrantType));
    assert_eq!(grant("grant_type=Client_Credentials"), Err(UnsupportedGrantType));
}

#[test]
fn a_declared_endpoint_needs_no_grant_type_and_admits_no_other() {
    let at = |body: &str| {
        let received = Received {
            content_type: Some(FORM),
            body: body.as_bytes(),
            grant: Some(GrantType::RefreshToken),
            ..Received::default()
        };
        TokenRequest::parse(&received).unwrap().grant.map(|g| g.grant_type()).map_err(|r| r.code())
    };
    assert_eq!(at("refresh_token=r"), Ok(GrantType::RefreshToken));
    assert_eq!(at("refresh_token=r&grant_type=refresh_token"), Ok(GrantType::RefreshToken));
    assert_eq!(at("refresh_token=r&grant_type=client_credentials"), Err(UnsupportedGrantType));
}

#[test]
fn row_003_row_004_row_005_row_006_the_body_is_a_form() {
    let cases: [(Option<&str>, bool); 9] = [
        (Some("application/x-www-form-urlencoded"), true),
        (Some("application/x-www-form-urlencoded;charset=UTF-8"), true),
        (Some("APPLICATION/X-WWW-FORM-URLENCODED; CHARSET=utf-8"), true),
        (Some("application/x-www-form-urlencoded;"), true),
        (Some("application/x-www-form-urlencoded;charset=latin1"), false),
        (Some("application/json"), false),
        (Some("multipart/form-data; boundary=x"), false),
        (Some(""), false),
        (None, false),
    ];
    for (content_type, accepted) in cases {
        let received = Received {
            content_type: content_type.map(str::as_bytes),
            body: b"grant_type=client_credentials",
            ..Received::default()
        };
        assert_eq!(TokenRequest::parse(&received).is_ok(), accepted, "{content_type:?}");
    }
}

#[test]
fn row_016_row_017_row_018_the_url_carries_no_parameter_of_the_form() {
    for (query, accepted) in [
        ("client_id=a&client_secret=b", false),
        ("grant_type=client_credentials", false),
        ("%67rant_type=client_credentials", false),
        ("refresh_token=x", false),
        ("tenant=a", true),
    ] {
        assert_eq!(parses_with_query(query), accepted, "{query}");
    }
}

#[test]
fn row_017_no_name_of_a_parameter_of_the_form_may_stand_in_the_url() {
    for name in [
        "grant_type",
        "scope",
        "client_id",
        "client_secret",
        "username",
        "password",
        "refresh_token",
        "client_assertion",
        "client_assertion_type",
        "assertion",
        "code",
        "redirect_uri",
        "resource",
        "audience",
        "subject_token",
        "actor_token",
        "access_token",
        "token",
    ] {
        assert!(!parses_with_query(&format!("{name}=x")), "{name}");
        assert!(!parses_with_query(&format!("tenant=a&{name}=x")), "{name}");
    }
}

fn parses_with_query(query: &str) -> bool {
    let received = Received {
        content_type: Some(FORM),
        query: Some(query.as_bytes()),
        body: b"grant_type=client_credentials",
        ..Received::default()
    };
    TokenRequest::parse(&received).is_ok()
}

fn presented(authorization: Option<&str>, body: &str) -> Result<Vec<(String, String)>, ErrorCode> {
    Ok(match parse(authorization, body)?.credentials {
        Credentials::None { client_id } => {
            client_id.into_iter().map(|id| (id, String::new())).collect()
        }
        Credentials::Secret { presented, raw } => [Some(presented), raw]
            .into_iter()
            .flatten()
            .map(|p| (p.client_id, p.secret.expose().to_owned()))
            .collect(),
        Credentials::Assertion(a) => {
            vec![(a.client_id.unwrap_or_default(), a.assertion.expose().to_owned())]
        }
    })
}

#[test]
fn row_042_row_043_row_045_basic_is_read_in_both_dialects() {
    let body = "grant_type=client_credentials";
    let pairs = |all: &[(&str, &str)]| {
        Ok(all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>())
    };
    let cases = [
        (basic("a:b"), pairs(&[("a", "b")])),
        (basic("a:b:c"), pairs(&[("a", "b:c")])),
        (basic("a:"), pairs(&[("a", "")])),
        (basic("a:b").replace("Basic", "bAsIc"), pairs(&[("a", "b")])),
        (basic("cl%3Ai+ent:s%2Be+c"), pairs(&[("cl:i ent", "s+e c"), ("cl%3Ai+ent", "s%2Be+c")])),
        (basic("a:s+e c%r"), pairs(&[("a", "s+e c%r")])),
        (basic("a:ä"), pairs(&[("a", "ä")])),
        (format!("Basic {}", BASE64_STANDARD.encode(b"a:\xe4")), pairs(&[("a", "ä")])),
    ];
    for (header, expected) in cases {
        assert_eq!(presented(Some(&header), body), expected, "{header}");
    }
}

#[test]
fn row_044_row_046_a_header_that_is_not_basic_is_no_client() {
    let bad =
        ["", "Basic", "Basic ", "Basic !!", "Bearer abc", "Digest x", &basic("ab"), &basic(":b")];
    for header in bad {
        assert_eq!(
            presented(Some(header), "grant_type=client_credentials"),
            Err(InvalidClient),
            "{header}"
        );
    }
}

#[test]
fn row_039_row_040_row_041_there_is_one_client_authentication() {
    let assertion =
        "grant_type=client_credentials&client_id=a&client_assertion=x&client_assertion_type=y";
    assert_eq!(presented(None, assertion), Err(InvalidClient));
    let good = format!("client_assertion=x&client_assertion_type={ASSERTION_TYPE}");
    assert_eq!(presented(None, &good), Ok(vec![(String::new(), "x".to_owned())]));
    for half in good.split('&') {
        assert_eq!(presented(None, half), Err(InvalidRequest), "{half}");
    }
    assert_eq!(presented(None, &format!("{good}&client_assertion=y")), Err(InvalidRequest));
    assert_eq!(presented(Some(&basic("a:b")), assertion), Err(InvalidRequest));
    assert_eq!(presented(None, &format!("{assertion}&client_secret=b")), Err(InvalidRequest));
    let form = "grant_type=client_credentials&client_id=a";
    assert!(presented(Some(&basic("a:b")), form).is_ok());
    assert_eq!(presented(Some(&basic("c:b")), form), Err(InvalidRequest));
    let both = format!("{form}&client_secret=b");
    assert_eq!(presented(Some(&basic("a:b")), &both), Err(InvalidRequest));
    assert_eq!(presented(None, "client_secret=b"), Err(InvalidRequest));
}

#[test]
fn in_keycloaks_dialect_the_form_wins() {
    let (header, body) =
        (basic("a:b"), "grant_type=client_credentials&client_id=c&client_secret=d");
    let received = Received {
        content_type: Some(FORM),
        authorization: Some(header.as_bytes()),
        body: body.as_bytes(),
        dialect: Dialect::Keycloak,
        ..Received::default()
    };
    assert_eq!(TokenRequest::parse(&received).unwrap().credentials.client_id(), Some("c"));
}

#[test]
fn row_032_two_authorization_headers_are_refused() {
    let received = Received {
        content_type: Some(FORM),
        authorization: Some(b"Basic YTpi"),
        authorization_repeated: true,
        body: b"grant_type=client_credentials",
        ..Received::default()
    };
    assert_eq!(TokenRequest::parse(&received).unwrap_err().code(), InvalidRequest);
}

#[test]
fn what_was_presented_shows_no_secret() {
    let request =
        parse(Some(&basic("a:hunter2")), "grant_type=password&username=u&password=hunter3")
            .unwrap();
    let shown = format!("{request:?}");
    assert!(!shown.contains("hunter"), "{shown}");
}
