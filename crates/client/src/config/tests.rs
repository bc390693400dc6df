//! What a configuration makes, and what it is told when it makes nothing.

use tokenry_core::Secret;
use tokenry_core::jose::{Algorithm, generate};

use super::*;

fn config(toml: &str) -> KeeperConfig {
    toml::from_str(toml).unwrap()
}

async fn error(toml: &str) -> String {
    config(toml).build().await.unwrap_err().to_string()
}

fn pem(algorithm: Algorithm) -> String {
    use base64::Engine as _;
    let der = generate(algorithm).unwrap();
    let text = base64::prelude::BASE64_STANDARD.encode(der.as_bytes());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

#[tokio::test]
async fn each_way_to_prove_a_client_makes_a_keeper() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.pem");
    std::fs::write(&key, pem(Algorithm::Es256)).unwrap();
    let url = "token_url = 'https://as.example/token'\n";
    for toml in [
        format!("{url}client_id = 'a'\nclient_secret = 'file:/s'"),
        format!("{url}client_id = 'a'\nclient_secret = ['file:/s', 'env:SECOND']"),
        format!("{url}client_id = 'a'\nclient_secret = 'file:/s'\nfollow_revocations = true"),
        format!(
            "{url}client_id = 'a'\nassertion = 'file:/token'\nresource = 'https://api.example'"
        ),
        format!("{url}username = 'anna'\npassword = 'file:/p'"),
        format!(
            "{url}username = 'anna'\npassword = 'file:/p'\nclient_id = 'a'\nclient_secret = 'file:/s'\ndpop = true"
        ),
        "provider = 'truphone'\nenvironment = 'bit'\nclient_id = 'a'\nclient_secret = 'file:/s'"
            .to_owned(),
        format!(
            "{url}client_id = 'a'\nclient_secret = 'file:/s'\ndpop_key = 'file:{}'",
            key.display()
        ),
    ] {
        let follows = toml.contains("follow_revocations");
        let keeper =
            config(&toml).build().await.map_err(|error| format!("{toml}: {error}")).unwrap();
        assert_eq!(keeper.phase(), crate::machine::Phase::Empty);
        assert_eq!(keeper.metrics().feed.is_some(), follows);
    }
}

#[tokio::test]
async fn a_private_key_is_known_by_its_kind_or_by_what_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    for (made, said, expected) in [
        (Algorithm::Es256, None, Ok("ES256")),
        (Algorithm::EdDsa, None, Ok("EdDSA")),
        (Algorithm::EdDsa, Some("Ed25519"), Ok("EdDSA")),
        (Algorithm::Rs256, None, Ok("RS256")),
        (Algorithm::Rs256, Some("PS256"), Ok("PS256")),
        (Algorithm::Rs256, Some("ES256"), Err("not a key for ES256")),
        (Algorithm::Rs256, Some("none"), Err("unknown")),
    ] {
        std::fs::write(&path, pem(made)).unwrap();
        let key = key::read("private_key", &SecretSource::File(path.clone()), said).await;
        match (key, expected) {
            (Ok(key), Ok(name)) => assert_eq!(key.algorithm().as_str(), name),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (read, _) => panic!("{made} as {said:?}: {read:?}"),
        }
    }
    std::fs::write(&path, "canary").unwrap();
    let error = key::read("private_key", &SecretSource::File(path), None).await.unwrap_err();
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[tokio::test]
async fn what_is_missing_or_too_much_is_named() {
    let url = "token_url = 'https://as.example/token'\n";
    let client = "client_id = 'a'\nclient_secret = 'file:/s'\n";
    for (toml, expected) in [
        (client.to_owned(), "one of provider, issuer and token_url"),
        (format!("{url}{client}provider = 'tuinly'"), "only one"),
        (url.to_owned(), "client_id"),
        (format!("{url}client_id = 'a'"), "client_secret"),
        (format!("{url}client_secret = 'file:/s'"), "client_id: client_secret is whose?"),
        (
            format!("{url}{client}assertion = 'file:/t'"),
            "assertion: a client proves itself in one way",
        ),
        (format!("{url}{client}username = 'anna'"), "password"),
        (format!("{url}{client}password = 'file:/p'"), "username"),
        (format!("{url}{client}client_certificate = '/c'"), "client_certificate_key"),
        (format!("{url}{client}cacert = '/nowhere.pem'"), "cacert: /nowhere.pem"),
        (format!("{url}{client}connect_to = ['x']"), "connect_to: written HOST:PORT:ADDR:PORT2"),
        (format!("{client}provider = 'nobody'"), "no provider is called \"nobody\""),
        (format!("{client}provider = 'auth0'"), "needs parameters: audience ("),
        (format!("{client}provider = 'cognito'\nparameters.domain = 'a/b'"), "is no host"),
        (format!("{url}{client}environment = 'x'"), "environment: it is one of a provider"),
        (format!("{url}{client}parameters = {{ a = 'b' }}"), "parameters: they fill in"),
        (format!("{url}{client}resource = 'x'"), "resource"),
        (format!("{client}token_url = 'http://as.example/token'"), "https"),
    ] {
        let error = error(&toml).await;
        assert!(error.contains(expected), "{toml}: {error}");
    }
}

#[test]
fn a_secret_that_is_written_out_is_not_taken_nor_shown() {
    for toml in [
        "client_secret = 'canary'",
        "client_secret = ['canary']",
        "client_secret = [['canary']]",
        "password = 'canary'",
        "password = ['canary']",
        "password = { canary = 'canary' }",
    ] {
        let error = toml::from_str::<KeeperConfig>(toml).unwrap_err();
        assert!(!error.message().contains("canary"), "{error}");
    }
    assert!(toml::from_str::<KeeperConfig>("client_secret = ['env:A', 'env:B', 'env:C']").is_err());
    assert!(toml::from_str::<KeeperConfig>("client_sceret = 'env:A'").is_err());
}

#[tokio::test]
async fn what_goes_to_another_process_means_the_same_there() {
    let config = KeeperConfig {
        client_secret: vec!["command:echo s3cret".parse().unwrap(), "file:second".parse().unwrap()],
        cacert: Some("ca.pem".into()),
        provider: Some("./mine.toml".to_owned()),
        ..KeeperConfig::default()
    };
    let portable = config.portable().await.unwrap();
    let json = serde_json::to_string(&portable).unwrap();
    let there: KeeperConfig = serde_json::from_str(&json).unwrap();
    assert_eq!(there, portable);
    assert_eq!(there.client_secret[0], SecretSource::Given(Secret::new("s3cret")));
    assert!(matches!(&there.client_secret[1], SecretSource::File(path) if path.is_absolute()));
    assert!(there.cacert.unwrap().is_absolute());
    assert!(there.provider.unwrap().starts_with('/'));
    assert!(!format!("{portable:?}").contains("s3cret"));
}
