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
    read(&path)
        .map(|(settings, _)| settings)
        .map_err(|found| found.0.iter().map(|it: &Diagnostic| it.message.clone()).collect())
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
    let (settings, questionable) = read(&example).unwrap();
    assert!(questionable.0.is_empty(), "{questionable:?}");
    assert_eq!(settings.rules.len(), 3);
    let text = std::fs::read_to_string(example).unwrap();
    let all = uncommented(&text);
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
    assert_eq!(asked.opaque_prefix.as_deref(), Some("tka_"));
    assert_eq!(feed.max_silence, Some(Duration::from_secs(15)));
    assert!(!format!("{settings:?}").contains("sesame"));
    let lists = settings.issuers[0].status_lists.as_ref().unwrap();
    assert_eq!(lists.allow_uri_prefixes, ["https://status.example/lists"]);
}

/// The example with all that is commented out in it.
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if rest.contains(" = ") || rest.starts_with('[') => rest.to_owned() + "\n",
        _ => line.to_owned() + "\n",
    };
    text.lines().map(line).collect()
}

/// The keys of a table in Markdown, each with the table that it stands in: `[server] listen`.
fn told(text: &str) -> std::collections::BTreeSet<String> {
    let mut keys = std::collections::BTreeSet::new();
    for cell in text.lines().filter_map(|line| line.trim_start_matches("//! ").split('|').nth(1)) {
        let mut table = "";
        for name in cell.split('`').skip(1).step_by(2) {
            let (of, key) = name.rsplit_once(' ').unwrap_or((table, name));
            table = of;
            // Of a table alone the keys follow.
            if of.is_empty() && name != "[headers]" {
                continue;
            }
            keys.insert(format!("{of} {key}").trim().to_owned());
        }
    }
    keys
}

/// The keys of a file, in the same way.
fn written(text: &str) -> std::collections::BTreeSet<String> {
    let mut table = "";
    let mut keys = std::collections::BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('[') {
            table = line.split(" #").next().unwrap_or_default().trim();
        } else if let Some((key, _)) = line.split_once(" = ") {
            // The names of headers are the operator's own.
            let of_headers = table == "[headers]";
            keys.insert(if of_headers { table.to_owned() } else { format!("{table} {key}") });
        }
    }
    keys
}

#[test]
fn every_key_stands_in_the_example_and_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let document = read("docs/forward-auth.md");
    let table = document.split("\n## Every key\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = told(table).into_iter().filter(|key| key.starts_with('['));
    let known: Vec<String> = rows.collect();
    let example: Vec<String> =
        written(&uncommented(&read("examples/verify.toml"))).into_iter().collect();
    assert_eq!(known, example, "docs/forward-auth.md, and examples/verify.toml");
    let own: Vec<String> =
        told(include_str!("../file.rs")).into_iter().filter(|key| key.starts_with('[')).collect();
    assert_eq!(own, known, "the head of file.rs, and docs/forward-auth.md");
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
        (
            "[[issuers]]\nissuer = \"http://b.example\"\naudiences = [\"b\"]\n",
            "issuer must be an https URL",
        ),
        (
            "[[issuers]]\nissuer = \"https://b.example\"\naudiences = [\"b\"]\njwks_uri = \"http://b.example\"\n",
            "jwks_uri must be an https URL",
        ),
        ("cacert = \"nonce.key\"\n", "nonce.key holds no certificates in PEM"),
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

/// Two issuers that are asked about tokens.
fn two(first: &str, second: &str) -> String {
    let asked = |more: &str| {
        format!(
            "[issuers.introspection]\nclient_id = \"a\"\nclient_secret = {{ file = \"orders-api.secret\" }}\n{more}"
        )
    };
    let other = "[[issuers]]\nissuer = \"https://b.example\"\naudiences = [\"api\"]\n";
    format!("{GOOD}{}{other}{}", asked(first), asked(second))
}

#[test]
fn a_token_is_shown_to_its_own_issuer_alone() {
    let (a, b, of_both) =
        ("opaque_prefix = \"a_\"\n", "opaque_prefix = \"b_\"\n", "opaque_prefix = \"a_b_\"\n");
    assert!(of(&two(a, b)).is_ok());
    for (first, second) in [("", ""), (a, ""), ("", b), (a, a), (a, of_both), (of_both, a)] {
        let found = of(&two(first, second)).unwrap_err();
        assert!(
            found.iter().any(|it| it.contains("of `https://a.example`, or of `https://b.example`")),
            "{found:?}"
        );
    }
}

#[test]
fn whoever_cannot_tell_two_issuers_apart_is_warned() {
    let warned = |headers: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verify.toml");
        let other = "[[issuers]]\nissuer = \"https://b.example\"\naudiences = [\"api\"]\n";
        std::fs::write(&path, format!("{GOOD}{other}{headers}")).unwrap();
        read(&path).unwrap().1.0.len()
    };
    assert_eq!(warned(""), 0);
    assert_eq!(warned("[headers]\nX-Token-Subject = \"sub\"\n"), 1);
    assert_eq!(warned("[headers]\nX-Token-Subject = \"sub\"\nX-From = \"iss\"\n"), 0);
}
