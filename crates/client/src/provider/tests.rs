use std::collections::BTreeMap;
use std::time::Duration;

use super::file::duration;
use super::*;

/// A value for each parameter of a provider that comes with the library.
fn filled(name: &str) -> BTreeMap<String, String> {
    let value = |name: &str| match name {
        "audience" | "resource" => "https://api.acme.example",
        "authorization_server" => "default",
        "domain" | "host" => "as.acme.example",
        _ => "acme",
    };
    let parameters = Provider::parameters(name).unwrap();
    parameters.into_keys().map(|name| (name.clone(), value(&name).to_owned())).collect()
}

#[test]
fn every_embedded_provider_reads_and_is_called_what_its_file_is_called() {
    for name in Provider::names() {
        let provider = Provider::named_with(name, &filled(name)).unwrap();
        assert_eq!(provider.name(), name);
        assert!(!provider.token_url().to_string().contains(['{', '}']));
        for environment in provider.environments() {
            provider.environment(environment).unwrap();
        }
    }
    assert!(Provider::names().is_sorted());
}

#[test]
fn what_is_missing_is_told_all_at_once_and_what_it_is() {
    let error = Provider::named("auth0").unwrap_err().to_string();
    assert!(error.starts_with("provider \"auth0\" needs parameters: audience ("), "{error}");
    assert!(error.contains("domain (") && error.contains("acme.eu.auth0.com"), "{error}");
    let mut parameters = filled("auth0");
    parameters.remove("domain");
    let error = Provider::named_with("auth0", &parameters).unwrap_err().to_string();
    assert!(error.contains("domain (") && !error.contains("audience"), "{error}");
}

#[test]
fn a_parameter_that_nobody_asked_for_is_a_mistake() {
    let mut parameters = filled("cognito");
    parameters.insert("domian".to_owned(), "x".to_owned());
    let error = Provider::named_with("cognito", &parameters).unwrap_err();
    assert_eq!(error.to_string(), r#"provider "cognito" has no parameter "domian"; it has domain"#);
    let parameters = BTreeMap::from([("host".to_owned(), "x.example".to_owned())]);
    let error = Provider::named_with("truphone", &parameters).unwrap_err().to_string();
    assert_eq!(error, r#"provider "truphone" has no parameter "host"; it has none"#);
}

#[test]
fn a_bad_value_names_its_parameter_and_not_itself() {
    let mut parameters = filled("auth0");
    parameters.insert("domain".to_owned(), "https://acme.eu.auth0.com/".to_owned());
    let error = Provider::named_with("auth0", &parameters).unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter \"domain\" of provider \"auth0\" is no host: letters, digits, dots and hyphens, \
         perhaps a port, no https://"
    );
}

#[test]
fn parameters_stay_when_another_environment_is_chosen() {
    let entra = Provider::named_with("entra", &filled("entra")).unwrap();
    assert_eq!(entra.token_url(), "https://login.microsoftonline.com/acme/oauth2/v2.0/token");
    assert_eq!(entra.scope(), Some("https://api.acme.example/.default"));
    let china = entra.environment("china").unwrap();
    assert_eq!(
        china.token_url(),
        "https://login.partner.microsoftonline.cn/acme/oauth2/v2.0/token"
    );
    assert_eq!(china.scope(), Some("https://api.acme.example/.default"));

    let keycloak = Provider::named_with("keycloak", &filled("keycloak")).unwrap();
    let old = keycloak.environment("auth-path").unwrap();
    assert_eq!(keycloak.issuer(), Some("https://as.acme.example/realms/acme"));
    assert_eq!(old.issuer(), Some("https://as.acme.example/auth/realms/acme"));
    let path = "/auth/realms/acme/protocol/openid-connect/";
    assert_eq!(old.token_url().path(), format!("{path}token"));
    assert_eq!(old.revocation_url().unwrap().path(), format!("{path}revoke"));
}

#[test]
fn a_file_that_contradicts_itself_is_told_where() {
    let tuinly = include_str!("../../providers/tuinly.toml");
    for (table, what) in [
        ("[parameters]\nhost = \"a\"\n[environments.x]\nhost = \"b\"", "of an environment as well"),
        ("[obtain.parameters]\ngrant_type = \"x\"", "grant_type is not for a file to say"),
        ("[obtain.parameters]\nclient_secret = \"x\"", "client_secret is not for a file to say"),
        ("[obtain.parameters]\n\"a&b\" = \"x\"", "a form has no field \"a&b\""),
        ("[obtain.parameters]\naudience = \"{x}\"", "says what {x} is"),
    ] {
        let error = Provider::from_toml(&format!("{tuinly}\n{table}\n")).unwrap_err().to_string();
        assert!(error.starts_with("line 20, column ") && error.contains(what), "{error}");
    }
    for (top, what) in [
        ("rate_limit_reset = \"x y\"", "not a header"),
        ("revocation_feed_url = \"http://as.example/f\"", "needs an https URL"),
        ("[assertion]\naudience = \"everybody\"", "everybody"),
        ("[assertion]\naudiense = \"issuer\"", "audiense"),
        ("[assertion]\ntyp = \"jwt\"", "jwt"),
    ] {
        let text = tuinly.replace("\n[obtain]", &format!("{top}\n[obtain]"));
        let error = Provider::from_toml(&text).unwrap_err().to_string();
        assert!(error.contains("line ") && error.contains(what), "{error}");
    }
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
    assert!(error.contains("says what {hots} is"), "{error}");
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
fn a_file_can_say_where_the_revocation_feed_is() {
    let text = include_str!("../../providers/truphone.toml").replacen(
        "[obtain]",
        "revocation_feed_url = \"https://{host}/feed\"\n\n[obtain]",
        1,
    );
    let provider = Provider::from_toml(&text).unwrap();
    assert_eq!(provider.revocation_feed_url().unwrap(), "https://services.truphone.com/feed");
    let bit = provider.environment("bit").unwrap();
    assert_eq!(bit.revocation_feed_url().unwrap(), "https://services-bit.truphone.com/feed");
    assert_eq!(Provider::named("truphone").unwrap().revocation_feed_url(), None);
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

#[test]
fn the_page_about_providers_has_them_all_with_their_parameters() {
    let page = include_str!("../../../../docs/providers.md");
    let mut rows = Vec::new();
    for name in Provider::names() {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} is not on the page"));
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let parameters = Provider::parameters(name).unwrap();
        let mut named: Vec<_> = cells[2]
            .split(", ")
            .map(|cell| cell.trim_matches('`'))
            .filter(|cell| *cell != "–")
            .collect();
        named.sort_unstable();
        assert_eq!(named, parameters.keys().map(String::as_str).collect::<Vec<_>>(), "{name}");
        let provider = Provider::named_with(name, &filled(name)).unwrap();
        for environment in provider.environments() {
            assert!(cells[3].contains(environment), "{name} {environment}");
        }
        rows.push(row);
    }
    let table = page.lines().skip_while(|line| !line.starts_with("| provider")).skip(2);
    assert_eq!(table.take_while(|line| line.starts_with('|')).count(), rows.len());
}

#[test]
fn the_file_on_the_page_and_the_one_in_the_documentation_read() {
    let page = include_str!("../../../../docs/providers.md");
    let on_page = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let parameters = BTreeMap::from([("domain".to_owned(), "you.acme.example".to_owned())]);
    let provider = Provider::from_toml_with(on_page, &parameters).unwrap();
    assert_eq!(provider.assertion_audience(), AssertionAudience::TokenEndpoint);

    let documented = include_str!("mod.rs").split("//! ```").nth(1).unwrap();
    let lines = documented.lines().skip(1).map(|line| line.trim_start_matches("//!"));
    let documented = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>();
    let parameters = BTreeMap::from([("realm".to_owned(), "r".to_owned())]);
    let provider = Provider::from_toml_with(&documented.join("\n"), &parameters).unwrap();
    assert_eq!(provider.token_url(), "https://auth.example.com/r/token");
    assert_eq!(provider.obtain.parameters["audience"], "https://api.example.com");
}
