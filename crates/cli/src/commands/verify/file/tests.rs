//! Files that are good, and what is said about others.

use super::*;
use crate::diagnostic::Diagnostic;

const GOOD: &str = "[proxy]\nkind = \"nginx\"\n[[issuers]]\nissuer = \"https://a.example\"\naudiences = [\"api\"]\n";

fn of(text: &str) -> Result<Settings, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("verify.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.path().join("nonce.key"), "ab".repeat(32) + "\n").unwrap();
    std::fs::write(folder.path().join("orders-api.secret"), "sesame\n").unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    read(&path).map_err(|found| found.0.iter().map(|it: &Diagnostic| it.message.clone()).collect())
}

#[test]
fn little_has_to_be_said_and_the_rest_is_safe() {
    let settings = of(GOOD).unwrap();
    assert_eq!(settings.server.listen.to_string(), DEFAULT_LISTEN);
    assert_eq!(settings.proxy, Proxy::Nginx);
    assert_eq!(settings.headers, ClaimHeaders::default());
    assert!(settings.rules.is_empty() && settings.cache.max_age.is_none());
    let [issuer] = settings.issuers.as_slice() else { panic!("{settings:?}") };
    assert!(!issuer.legacy_typ && !issuer.allow_plain_http && issuer.algorithms.is_none());
}

#[test]
fn the_example_is_good_and_has_every_key() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/verify.toml");
    let settings = read(&example).unwrap();
    assert_eq!(settings.rules.len(), 3);
    let text = std::fs::read_to_string(example).unwrap();
    let uncommented = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if rest.contains(" = ") || rest.starts_with('[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    let all: String = text.lines().map(|line| uncommented(line) + "\n").collect();
    let all = all.replace("\"nginx\"", "\"envoy\"").replace("cacert = \"private-ca.pem\"\n", "");
    let settings = of(&all).unwrap();
    assert_eq!(settings.proxy, Proxy::Envoy { path_prefix: "/verify".to_owned() });
    assert_eq!(settings.dpop.nonce_key, Some([0xab; 32]));
    assert_eq!(settings.issuers[0].connect_to[0].0, "auth.example");
    assert_eq!(settings.cache.max_age, Some(Duration::from_secs(5)));
    let asked = settings.issuers[0].introspection.as_ref().unwrap();
    assert_eq!(asked.client_id, "orders-api");
    assert_eq!(asked.ttl, Some(Duration::from_secs(10)));
    let feed = settings.issuers[0].feed.as_ref().unwrap();
    assert_eq!(feed.client_id, "orders-api");
    assert!(!format!("{settings:?}").contains("sesame"));
    let lists = settings.issuers[0].status_lists.as_ref().unwrap();
    assert_eq!(lists.allow_uri_prefixes, ["https://status.example/lists"]);
}

#[test]
fn each_mistake_is_told() {
    for (more, told) in [
        ("[server]\nlisten = \"0.0.0.0:1\"\n", "0.0.0.0:1 is no address of this machine alone"),
        ("[[rules]]\npath = \"/a/../b\"\n", "path must be a path such as"),
        ("[[rules]]\npath = \"/a\"\nmethods = [\"get\"]\n", "methods must be a method"),
        ("[[rules]]\npath = \"/a\"\nscopes = [\"a b\"]\n", "scopes must be a scope"),
        ("[[rules]]\npath = \"/a\"\n[[rules]]\npath = \"/a/\"\n", "another rule before"),
        ("[headers]\nConnection = \"sub\"\n", "`Connection` can be no header"),
        ("[headers]\nX_User = \"sub\"\n", "write `-` instead of `_`"),
        ("[headers]\nX-A = \"cnf\"\n", "X-A must be the name of a claim"),
        ("[headers]\nX-A = \"/aud/0\"\n", "X-A must be the name of a claim"),
        ("[headers]\nX-A = \"sub\"\nx-a = \"jti\"\n", "stands here twice"),
        ("[dpop]\nnonces = true\n", "need resource_urls"),
        (
            "[dpop]\nresource_urls = [\"https://a\"]\nnonce_key = \"nonce.key\"\n",
            "not `nonces = true`",
        ),
        ("[cache]\nmax_age = \"1h\"\n", "max_age must be from"),
        ("[[issuers]]\nissuer = \"https://a.example\"\naudiences = [\"b\"]\n", "stands here twice"),
        (
            "[[issuers]]\nissuer = \"https://b.example\"\naudiences = []\n",
            "audiences must be a list of one",
        ),
        ("[isuers]\n", "unknown key"),
        ("[issuers.feed]\nclient_id = \"a\"\n", "client_secret is missing"),
        (
            "[issuers.feed]\nclient_id = \"a\"\nclient_secret = \"sesame\"\n",
            "a secret is named by where it is kept",
        ),
        (
            "[issuers.feed]\nclient_id = \"a\"\nclient_secret = { file = \"empty\" }\n",
            "empty is empty",
        ),
        (
            "[issuers.feed]\nclient_id = \"a\"\nclient_secret = { file = \"nonce.key\", env = \"A\" }\n",
            "a secret is named by where it is kept",
        ),
        (
            "[issuers.feed]\nclient_id = \"a\"\nclient_secret = { file = \"nonce.key\" }\nwhen_behind = \"introspect\"\n",
            "needs `[issuers.introspection]`",
        ),
        (
            "[issuers.status_lists]\nallow_uri_prefixes = [\"status.example\"]\n",
            "allow_uri_prefixes must be an https URL",
        ),
        ("[issuers.status_lists]\nttl = \"1m\"\n", "unknown key"),
    ] {
        let found = of(&format!("{GOOD}{more}")).unwrap_err();
        assert!(found.iter().any(|it| it.contains(told)), "{told}: {found:?}");
        assert!(!found.iter().any(|it| it.contains("sesame")), "{found:?}");
    }
    let prefix = GOOD.replace("[[issuers]]", "path_prefix = \"/verify\"\n[[issuers]]");
    assert!(of(&prefix).unwrap_err()[0].contains("path_prefix is Envoy's"));
}

#[test]
fn an_address_of_the_network_is_one_that_was_meant() {
    let open = "[server]\nlisten = \"0.0.0.0:9180\"\nopen_to_network = true\n";
    assert!(of(&format!("{GOOD}{open}")).is_ok());
}
