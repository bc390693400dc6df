//! Realm files: what should be.
//!
//! A file declares one realm, in a table `[realm]`, with its clients; several realms are several files. It is read in
//! two steps, as [`written`] and as meant ([`Declaration`]), and [`check`]ed in between. No secret belongs into it.

mod across;
mod check;
mod policies;
mod written;

use std::path::PathBuf;
use std::sync::Arc;

use tokenry_core::realm::Realm;
use tokenry_core::{Client, Timestamp};

use crate::diagnostic::{Diagnostics, Source};
use crate::document;
use written::Written;

/// What one realm file says should be.
#[derive(Clone, Debug)]
pub(crate) struct Declaration {
    /// The realm.
    pub(crate) realm: Realm,
    /// Its clients.
    pub(crate) clients: Vec<DeclaredClient>,
}

/// What a realm file says of a client.
#[derive(Clone, Debug)]
pub(crate) struct DeclaredClient {
    /// The client; its `enabled` is `true` where the file does not say.
    pub(crate) client: Client,
    /// Whether the file says if it is enabled. Where it does not, that stays as it is in the store: who disables a
    /// client in an emergency must not see it come back with the next `apply`.
    pub(crate) says_enabled: bool,
}

/// A file that was read, perhaps with mistakes.
#[derive(Debug)]
struct Draft {
    source: Arc<Source>,
    written: Written,
}

/// Files that were read, perhaps with mistakes.
#[derive(Debug, Default)]
pub(crate) struct Drafts(Vec<Draft>);

impl Drafts {
    /// Reads files. Every mistake in any of them is noted.
    pub(crate) fn read(paths: &[PathBuf], diagnostics: &mut Diagnostics) -> Self {
        let mut drafts = Vec::new();
        for path in paths {
            match Source::read(path) {
                Ok(source) => {
                    let (written, found) = document::read(&source, |root| {
                        let written = Written::read(root);
                        check::check(&written, root.notes);
                        written
                    });
                    diagnostics.append(found);
                    drafts.push(Draft { source, written });
                }
                Err(unreadable) => diagnostics.push(unreadable),
            }
        }
        Self(drafts)
    }

    /// Notes what does not go together among the files, and with the realms that are stored already.
    pub(crate) fn check_with(&self, stored: &[Realm], diagnostics: &mut Diagnostics) {
        across::check(&self.0, stored, diagnostics);
    }

    /// What the files mean, where they are free of errors.
    pub(crate) fn into_declarations(self) -> Vec<Declaration> {
        self.0.into_iter().filter_map(|draft| draft.written.into_declaration()).collect()
    }
}

/// What the text of one realm file means; `None` where it has errors.
pub(crate) fn parse(name: &str, text: &str) -> Option<Declaration> {
    let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
    let (written, found) = document::read(&source, |root| {
        let written = Written::read(root);
        check::check(&written, root.notes);
        written
    });
    if found.has_errors() { None } else { written.into_declaration() }
}

/// What a URL must be from which the server fetches.
pub(crate) const FETCHABLE: &str = "an https URL without user name and fragment";

/// What apply does not touch: it is set at run time.
const UNTOUCHED: Timestamp = Timestamp::EPOCH;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokenry_core::realm::Rotate;

    use super::*;
    use crate::document::{Notes, Table};

    /// What is wrong with a realm file of this text, without the lines themselves.
    fn problems(text: &str) -> Vec<String> {
        let source = Arc::new(Source { name: "realm.toml".to_owned(), text: text.to_owned() });
        let ((), found) = document::read(&source, |root: &Table<'_>| {
            let notes: &Notes = root.notes;
            check::check(&Written::read(root), notes);
        });
        let mut found = found.0;
        found.sort_by_key(crate::diagnostic::Diagnostic::line);
        found.iter().map(crate::diagnostic::Diagnostic::headline).collect()
    }

    fn declaration(text: &str) -> Declaration {
        assert_eq!(problems(text), Vec::<String>::new());
        let source = Arc::new(Source { name: "realm.toml".to_owned(), text: text.to_owned() });
        document::read(&source, Written::read).0.into_declaration().unwrap()
    }

    const SMALL: &str = "[realm]\nname = \"a\"\nissuer = \"https://a.example\"\n";

    #[test]
    fn a_realm_needs_a_name_and_an_issuer_and_has_defaults_for_the_rest() {
        let declared = declaration(SMALL);
        assert_eq!(declared.realm.tokens.access.as_secs(), 300);
        assert_eq!(declared.realm.tokens.refresh, None);
        assert!(!declared.realm.password_grant);
        assert!(declared.clients.is_empty());
        assert_eq!(
            problems("[realm]\n"),
            ["realm.toml:1:1: name is missing", "realm.toml:1:1: issuer is missing"]
        );
        assert_eq!(problems(""), ["realm.toml:1:1: realm is missing"]);
    }

    #[test]
    fn row_149_access_tokens_live_five_minutes_unless_said_otherwise() {
        let file = "[realm]\nname = \"r\"\nissuer = \"https://r.example\"\n";
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(declaration(file).realm.tokens.access, minutes(5));
        let longer = format!("{file}[realm.tokens]\naccess = \"15m\"\n");
        assert_eq!(declaration(&longer).realm.tokens.access, minutes(15));
        let client =
            "[[realm.clients]]\nid = \"a\"\ngrants = [\"client_credentials\"]\naccess = \"1m\"\n";
        let declared = declaration(&format!("{file}{client}"));
        assert_eq!(declared.clients[0].client.access, Some(minutes(1)));
    }

    #[test]
    fn row_121_row_292_a_fapi_realm_keeps_refresh_tokens_and_has_short_access_tokens() {
        let refresh = "[realm.tokens]\nrefresh = { lifetime = \"24h\" }\n";
        let tokens =
            |profile: &str| declaration(&format!("{SMALL}{profile}{refresh}")).realm.tokens;
        let fapi = tokens("profile = \"fapi2\"\n");
        assert_eq!(fapi.refresh.unwrap().policy, Rotate::Keep);
        assert_eq!(tokens("").refresh.unwrap().policy, Rotate::Rotate);
        assert_eq!(fapi.access, Duration::from_secs(300));
    }

    #[test]
    fn a_client_may_be_there_to_introspect_alone() {
        let declared = declaration(
            "[realm]\nname = \"r\"\nissuer = \"https://r.example\"\n\
             [[realm.clients]]\nid = \"api\"\ngrants = []\nintrospects = [\"https://api.example\"]\n",
        );
        let client = &declared.clients[0].client;
        assert!(client.grants.is_empty());
        assert_eq!(client.particulars().introspects, ["https://api.example".to_owned()]);
    }

    #[test]
    fn a_whole_realm_is_read_as_written() {
        let declared = declaration(
            r#"
            [realm]
            name = "simacan-production"
            issuer = "https://auth-service.services.simacan.com/api/v1"
            aliases = ["auth.example"]
            dialect = "keycloak"
            password_grant = true
            scopes = ["read", "write"]
            audience = ["https://api.example"]
            client_authentication = "optional"

            [realm.tokens]
            access = "1h"
            refresh = { lifetime = "24h", max_lifetime = "30d", policy = "rotate", grace = "10s", client_credentials = true }
            signing = "RS256"
            id_token = true
            status_list = true

            [realm.keys]
            rotate_every = "30d"
            announce = "2d"
            linger = "2h"

            [[realm.endpoints]]
            path = "/auth/password"
            grant = "password"
            client = "auth-api"
            token_type = "bearer"

            [[realm.endpoints]]
            path = "/auth/refresh"
            grant = "refresh_token"
            client = "auth-api"
            invalid_grant_status = 401

            [[realm.clients]]
            id = "auth-api"
            grants = ["password", "refresh_token"]
            scope = ["read", "write"]
            default_scope = ["read"]
            audience = ["x"]
            access = "10m"
            refresh = { lifetime = "1h", policy = "keep" }
            signing = "ES256"
            client_authentication = "required"
            jwks_uri = "https://keys.example/jwks.json"
            enabled = false
            "#,
        );
        let json = serde_json::to_value(&declared.realm).unwrap();
        assert_eq!(json["issuer"], "https://auth-service.services.simacan.com/api/v1");
        assert_eq!(json["aliases"], serde_json::json!(["auth.example"]));
        assert_eq!(json["dialect"], "keycloak");
        assert_eq!(json["scopes"], "read write");
        assert_eq!(json["client_authentication"], "optional");
        assert_eq!(json["tokens"]["signing"], "RS256");
        assert_eq!(json["tokens"]["id_token"], true);
        assert_eq!(json["tokens"]["status_list"], true);
        assert_eq!(json["tokens"]["refresh"]["max_lifetime"]["secs"], 30 * 86400);
        assert_eq!(json["tokens"]["refresh"]["grace"]["secs"], 10);
        assert_eq!(json["keys"]["rotate_every"]["secs"], 30 * 86400);
        assert_eq!(json["endpoints"][0]["token_type"], "bearer");
        assert_eq!(json["endpoints"][1]["invalid_grant_status"], 401);
        let client = &declared.clients[0];
        assert!(client.says_enabled && !client.client.enabled);
        let json = serde_json::to_value(&client.client).unwrap();
        assert_eq!(json["realm"], "simacan-production");
        assert_eq!(json["grants"], serde_json::json!(["password", "refresh_token"]));
        assert_eq!(json["default_scope"], "read");
        assert_eq!(json["refresh"]["policy"], "keep");
        assert_eq!(json["refresh"]["grace"]["secs"], 0);
        assert_eq!(json["access"]["secs"], 600);
        assert_eq!(json["particulars"]["jwks_uri"], "https://keys.example/jwks.json");
    }

    #[test]
    fn row_154_row_155_the_name_that_is_written_is_the_name_in_tokens() {
        for name in tokenry_core::jose::Algorithm::all_names() {
            let text = format!("{SMALL}[realm.tokens]\nsigning = \"{name}\"\n");
            let tokens = declaration(&text).realm.tokens;
            assert_eq!(tokens.signing_name(), name);
            assert_eq!(Ok(tokens.signing), name.parse());
        }
    }

    #[test]
    fn a_bad_value_is_named_with_its_place() {
        let cases = [
            ("name = \"a b\"", "4:8: name must be 1 to 100 of `A-Z a-z 0-9 . _ - @`, got `a b`"),
            ("dialect = \"keyclock\"", "4:11: dialect must be `rfc` or `keycloak`, got `keyclock`"),
            (
                "aliases = [\"A.example\"]",
                "4:12: aliases must be a host name in lower case, without port, got `A.example`",
            ),
            (
                "scopes = [\"a b\"]",
                "4:11: scopes must be one scope of visible ASCII without `\"` and `\\`, got `a b`",
            ),
            (
                "audience = [\"\"]",
                "4:13: audience must be a name or URL of 1 to 500 visible ASCII characters, got ``",
            ),
            (
                "tokens = { access = \"5\" }",
                "4:21: access must be a duration such as `30s`, `5m`, `24h` or `90d`, got `5`",
            ),
            (
                "tokens = { access = 300 }",
                "4:21: access must be a duration such as `30s`, `5m`, `24h` or `90d`, got `300`",
            ),
            (
                "tokens = { signing = \"RS265\" }",
                "4:22: signing must be `RS256`, `PS256`, `ES256`, `ES384`, `EdDSA`, `Ed25519`, `ML-DSA-44`, `ML-DSA-65` or `ML-DSA-87`, got `RS265`",
            ),
            (
                "tokens = { signing = \"none\" }",
                "4:22: signing must be `RS256`, `PS256`, `ES256`, `ES384`, `EdDSA`, `Ed25519`, `ML-DSA-44`, `ML-DSA-65` or `ML-DSA-87`, got `none`",
            ),
            ("tokens = { refresh = {} }", "4:22: lifetime is missing"),
            (
                "clients = [{ id = \"a:b\", grants = [] }]",
                "4:19: id must be 1 to 200 visible ASCII characters without `:`, got `a:b`",
            ),
            (
                "clients = [{ id = \"a\", grants = [\"client_credential\"] }]",
                "4:34: grants must be `client_credentials`, `password`, `refresh_token`, `jwt-bearer` or `token-exchange`, got `client_credential`",
            ),
            (
                "clients = [{ id = \"a\", grants = [], jwks_uri = \"http://a.example\" }]",
                "4:48: jwks_uri must be an https URL without user name and fragment, got `http://a.example`",
            ),
            (
                "endpoints = [{ path = \"x\", grant = \"refresh_token\", client = \"c\" }]",
                "4:23: path must be a path such as `/auth/refresh`, of plain segments, got `x`",
            ),
            ("issuers = 1", "4:1: unknown key `issuers`"),
        ];
        for (line, expected) in cases {
            let text = format!("[realm]\nissuer = \"https://a.example\"\n\n{line}\n");
            let found = problems(&text);
            let expected = format!("realm.toml:{expected}");
            assert!(found.contains(&expected), "{line}: {found:#?}");
        }
        let issuers = [
            ("http://a", "issuer must be an https URL, got `http://a`"),
            ("https://a/?b", "issuer must be a URL without query and fragment, got `https://a/?b`"),
            (
                "https://A",
                "issuer must be a URL with a host name in lower case and an optional port, got `https://A`",
            ),
            (
                "https://a/",
                "issuer must be a URL with a path of plain segments, without `/` at the end, got `https://a/`",
            ),
        ];
        for (issuer, expected) in issuers {
            let text = format!("[realm]\nname = \"a\"\nissuer = \"{issuer}\"\n");
            assert_eq!(problems(&text), [format!("realm.toml:3:10: {expected}")]);
        }
    }

    #[test]
    fn what_does_not_go_together_is_named_with_its_place() {
        let client = "[[realm.clients]]\nid = \"c\"\n";
        let cases = [
            (
                format!("{client}grants = [\"password\"]\n"),
                "6:11: client `c` may use the password grant, which this realm does not have",
            ),
            (
                format!("{client}grants = [\"refresh_token\"]\n"),
                "6:11: client `c` may use the refresh_token grant, but no refresh token is ever given",
            ),
            (
                format!("{client}grants = [\"client_credentials\"]\nscope = [\"a\"]\n"),
                "7:10: client `c` may have scope `a`, which this realm does not have",
            ),
            (
                format!("{client}grants = [\"client_credentials\"]\ndefault_scope = [\"a\"]\n"),
                "7:18: client `c` gets scope `a` by default, which it may not have",
            ),
            (
                format!("{client}grants = []\n{client}grants = [\"client_credentials\"]\n"),
                "8:6: client `c` is declared twice",
            ),
            (format!("{client}grants = []\n"), "6:10: client `c` may use no grant at all"),
            (
                "[[realm.endpoints]]\npath = \"/x\"\ngrant = \"refresh_token\"\nclient = \"c\"\n".to_owned(),
                "7:10: endpoint `/x` is made for client `c`, which this file does not declare",
            ),
            (
                "[[realm.endpoints]]\npath = \"/x\"\ngrant = \"client_credentials\"\nclient = \"c\"\n".to_owned(),
                "6:9: endpoint `/x` would give a token to everybody",
            ),
            (
                format!(
                    "[[realm.endpoints]]\npath = \"/x\"\ngrant = \"refresh_token\"\nclient = \"c\"\n{client}grants = [\"client_credentials\"]\n"
                ),
                "6:9: endpoint `/x` serves the refresh_token grant, which client `c` may not use",
            ),
            (
                "[[realm.endpoints]]\npath = \"/token\"\ngrant = \"refresh_token\"\nclient = \"c\"\n"
                    .to_owned(),
                "5:8: endpoint `/token` is a standard path of this realm",
            ),
            (
                "[realm.tokens]\nrefresh = { lifetime = \"5m\" }\n".to_owned(),
                "5:24: a refresh token must live longer than the access token (5m), got 5m",
            ),
            (
                "[realm.tokens]\nrefresh = { lifetime = \"2h\", max_lifetime = \"1h\" }\n".to_owned(),
                "5:45: max_lifetime must be at least lifetime (2h), got 1h",
            ),
            (
                "[realm.tokens]\nrefresh = { lifetime = \"2h\", policy = \"keep\", grace = \"1s\" }\n".to_owned(),
                "5:55: grace belongs to policy `rotate` alone",
            ),
            (
                "[realm.tokens]\nrefresh = { lifetime = \"10m\", grace = \"11m\" }\n".to_owned(),
                "5:39: grace must not be longer than lifetime (10m), got 11m",
            ),
            (
                "[realm.tokens]\naccess = \"25h\"\n".to_owned(),
                "5:10: warning: access tokens of 25h cannot be taken back that long by those who do not ask",
            ),
            (
                "[realm.tokens]\nopaque = true\nstatus_list = true\n".to_owned(),
                "6:15: warning: status_list has no effect where tokens are opaque: what is not read names no place",
            ),
            (
                "profile = \"fapi2\"\npassword_grant = true\n".to_owned(),
                "5:18: FAPI 2.0 has no password grant",
            ),
            (
                "profile = \"fapi2\"\n[realm.tokens]\nsigning = \"RS256\"\n".to_owned(),
                "6:11: FAPI 2.0 does not sign with RS256",
            ),
            (
                "profile = \"fapi2\"\n[realm.tokens]\naccess = \"16m\"\n".to_owned(),
                "6:10: warning: access tokens of 16m are long for FAPI 2.0: a client that has a key can ask again",
            ),
            (
                "[[realm.resources]]\nidentifier = \"urn:a\"\nscopes = [\"a\"]\n".to_owned(),
                "6:11: a resource names scope `a`, which this realm does not have",
            ),
            (
                "[[realm.resources]]\nidentifier = \"urn:a\"\n".repeat(2),
                "7:14: resource `urn:a` is declared twice",
            ),
            (
                "[[realm.trusts]]\nname = \"a\"\nissuer = \"spiffe://a.example\"\n".to_owned(),
                "6:10: a trust domain has no metadata that names its keys",
            ),
            (
                format!("{client}grants = [\"client_credentials\"]\nsigning = \"Ed25519\"\n"),
                "7:11: warning: tokens of client `c` will name `EdDSA`: only a realm whose own `signing` is `Ed25519` says so",
            ),
            (
                format!(
                    "[realm.tokens]\nsigning = \"Ed25519\"\n{client}grants = [\"client_credentials\"]\nsigning = \"EdDSA\"\n"
                ),
                "9:11: warning: tokens of client `c` will name `Ed25519`, as its realm says",
            ),
            (
                "[realm.keys]\nrotate_every = \"1h\"\nannounce = \"2h\"\n".to_owned(),
                "6:12: announce must be shorter than rotate_every (1h), got 2h",
            ),
        ];
        for (rest, expected) in cases {
            let found = problems(&format!("{SMALL}{rest}"));
            assert!(found.contains(&format!("realm.toml:{expected}")), "{rest}: {found:#?}");
        }
    }

    #[test]
    fn a_wrong_value_has_no_consequences() {
        // The scopes are unreadable, so nothing can be said about the client's.
        let text = format!(
            "{SMALL}scopes = 1\n[[realm.clients]]\nid = \"c\"\ngrants = [\"client_credentials\"]\nscope = [\"a\"]\n"
        );
        assert_eq!(problems(&text), ["realm.toml:4:10: scopes must be a list, got `1`"]);
        let text = text.replace("scopes = 1", "scops = [\"a\"]");
        assert_eq!(problems(&text), ["realm.toml:4:1: unknown key `scops`"]);
        let endpoint =
            "[[realm.endpoints]]\npath = \"/x\"\ngrant = \"refresh_token\"\nclient = \"c\"\n";
        let misspelt = text.replace("[[realm.clients]]", "[[realm.client]]") + endpoint;
        let expected =
            ["realm.toml:4:1: unknown key `scops`", "realm.toml:5:9: unknown key `client`"];
        assert_eq!(problems(&misspelt), expected);
        let text = text.replace("[realm]", "[realms]").replace("[[realm.", "[[realms.");
        assert_eq!(problems(&text), ["realm.toml:1:2: unknown key `realms`"]);
    }

    #[test]
    fn four_mistakes_are_four_messages() {
        let text = "[realm]\nname = \"a b\"\nissuer = \"http://a.example\"\nscops = []\n[realm.tokens]\naccess = \"5\"\n";
        assert_eq!(problems(text).len(), 4);
    }
}
