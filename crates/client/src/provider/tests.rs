use std::time::Duration;

use super::file::duration;
use super::*;

#[test]
fn every_embedded_provider_reads_and_is_called_what_its_file_is_called() {
    for name in Provider::names() {
        assert_eq!(Provider::named(name).unwrap().name(), name);
    }
    assert!(Provider::names().is_sorted());
}

#[test]
fn truphone_is_asked_in_the_environment_that_was_chosen() {
    let provider = Provider::named("truphone").unwrap();
    let path = "/auth/realms/tru-staff/protocol/openid-connect/token";
    assert_eq!(provider.token_url().to_string(), format!("https://services.truphone.com{path}"));
    assert_eq!(provider.refresh_url(), Some(provider.token_url()));
    assert!(provider.api_hosts().allows(&"https://services.truphone.com/esim/x".parse().unwrap()));

    let bit = provider.environment("bit").unwrap();
    assert_eq!(bit.token_url().to_string(), format!("https://services-bit.truphone.com{path}"));
    assert!(!bit.api_hosts().allows(&"https://services.truphone.com/esim/x".parse().unwrap()));
}

#[test]
fn an_unknown_environment_is_told_the_known_ones() {
    let error = Provider::named("truphone").unwrap().environment("moon").unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"provider "truphone" has no environment "moon"; it has bit, production"#
    );
}

#[test]
fn a_simacan_token_does_not_cross_from_production_to_staging() {
    let production = Provider::named("simacan").unwrap();
    let staging = Provider::named("simacan-staging").unwrap();
    let here = "https://trips.services.simacan.com/v1".parse().unwrap();
    let there = "https://trips-stg.services.simacan.com/v1".parse().unwrap();
    assert!(production.api_hosts().allows(&here) && !production.api_hosts().allows(&there));
    assert!(staging.api_hosts().allows(&there) && !staging.api_hosts().allows(&here));
}

#[test]
fn an_error_points_at_line_and_column() {
    let text = include_str!("../../providers/tuinly.toml")
        .replace("https://oauth.tuinly.com/token", "http://oauth.tuinly.com/token");
    assert_eq!(
        Provider::from_toml(&text).unwrap_err().to_string(),
        r#"line 7, column 7: an endpoint needs an https URL, got "http://oauth.tuinly.com/token""#
    );
    let text = include_str!("../../providers/tuinly.toml")
        .replace("lifetime = \"1h\"", "lifetime = \"1h\"\nlifetim = \"1h\"");
    let error = Provider::from_toml(&text).unwrap_err().to_string();
    assert!(error.contains("line 11, column 1") && error.contains("lifetim"), "{error}");
}

#[test]
fn a_placeholder_without_a_value_is_an_error() {
    let text = include_str!("../../providers/truphone.toml").replace("{host}/auth", "{hots}/auth");
    let error = Provider::from_toml(&text).unwrap_err().to_string();
    assert!(error.contains("does not say what {hots} is"), "{error}");
}

#[test]
fn a_url_override_takes_the_refresh_along_only_where_it_was_the_same() {
    let tuinly = Provider::named("tuinly").unwrap().with_token_url("http://localhost:1/t").unwrap();
    assert_eq!(tuinly.refresh_url().unwrap().to_string(), "http://localhost:1/t");
    let simacan =
        Provider::named("simacan").unwrap().with_token_url("http://localhost:1/t").unwrap();
    assert_ne!(simacan.refresh_url().unwrap().to_string(), "http://localhost:1/t");
}

#[test]
fn durations_have_one_unit() {
    assert_eq!(duration("30m"), Some(Duration::from_secs(1800)));
    assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
    for text in ["", "h", "1", "1.5h", "-1s", "1h30m", "é"] {
        assert_eq!(duration(text), None, "{text}");
    }
}

#[test]
fn a_password_is_sent_every_30_s_at_most_unless_the_provider_says_otherwise() {
    let text = include_str!("../../providers/simacan.toml").replace("interval = \"30s\"\n", "");
    assert_eq!(Provider::from_toml(&text).unwrap().obtain.interval, PASSWORD_INTERVAL);
    let provider = Provider::at("https://as.example/token").unwrap();
    assert_eq!(provider.obtain.interval, Duration::ZERO);
    let provider = provider.with_grant(CredentialsGrant::Password);
    assert_eq!(provider.obtain.interval, PASSWORD_INTERVAL);
}

#[test]
fn row_270_a_file_can_say_the_issuer_and_that_clients_have_keys() {
    let text = include_str!("../../providers/truphone.toml")
        .replace("\n[obtain]", "issuer = \"https://{host}/auth\"\n\n[obtain]")
        .replace("client_authentication = \"post\"", "client_authentication = \"private_key_jwt\"");
    let provider = Provider::from_toml(&text).unwrap();
    assert_eq!(provider.issuer(), Some("https://services.truphone.com/auth"));
    assert_eq!(provider.client_authentication(), ClientAuthentication::PrivateKeyJwt);
    let bit = provider.environment("bit").unwrap();
    assert_eq!(bit.issuer(), Some("https://services-bit.truphone.com/auth"));
}

#[test]
fn a_file_can_say_the_grace_and_where_to_revoke() {
    let text = include_str!("../../providers/truphone.toml").replace(
        "expired_status = 400",
        "grace = \"30s\"\nrevocation_url = \"https://{host}/revoke\"",
    );
    let provider = Provider::from_toml(&text).unwrap();
    assert_eq!(provider.refresh_grace(), Some(Duration::from_secs(30)));
    assert_eq!(provider.revocation_url().unwrap(), "https://services.truphone.com/revoke");
    let bit = provider.environment("bit").unwrap();
    assert_eq!(bit.revocation_url().unwrap(), "https://services-bit.truphone.com/revoke");

    let silent = Provider::named("truphone").unwrap();
    assert_eq!((silent.refresh_grace(), silent.revocation_url()), (None, None));
    let told = silent.with_refresh_grace(Duration::from_secs(5));
    let told = told.with_revocation_url("https://as.example/revoke").unwrap();
    assert_eq!(told.refresh_grace(), Some(Duration::from_secs(5)));
    assert_eq!(told.revocation_url().unwrap(), "https://as.example/revoke");
    assert_eq!(told.without_refresh().revocation_url(), None);

    for (good, wrong) in
        [("grace = \"30s\"", "grace = \"30\""), ("https://{host}/r", "http://{host}/r")]
    {
        let error = Provider::from_toml(&text.replace(good, wrong)).unwrap_err().to_string();
        assert!(error.starts_with("line "), "{error}");
    }
}
