//! What an access token is for (RFC 8707), and what follows from that.

use std::time::Duration;

use crate::realm::Resource;
use crate::request::excerpt;
use crate::{Client, Realm, Refusal, Scope};

/// What an access token is to be for.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// `aud`.
    pub(super) audience: Vec<String>,
    /// The scope that means something there; `None`: any.
    scopes: Option<Scope>,
    /// How long the token may live at most.
    pub(super) access: Option<Duration>,
}

impl Target {
    /// What a client's tokens are for that asks for `resources`: one of those that it may have, or by default all.
    ///
    /// `within` is what an earlier grant was for, where this one comes from it. A client that asks where its realm has
    /// declared no resources has what it has by default: clients of some kinds always ask.
    pub(super) fn of(
        realm: &Realm,
        client: &Client,
        resources: &[String],
        within: Option<&[String]>,
    ) -> Result<Self, Refusal> {
        let by_default = match within {
            None => audience(realm, client),
            Some(within) => still(client, within)?,
        };
        let mut target = Self { audience: Vec::new(), ..Self::default() };
        for resource in resources {
            if !is_absolute(resource) && !by_default.contains(resource) {
                return Err(Refusal::InvalidTarget(excerpt(resource)));
            }
            let declared = realm.resources.iter().find(|own| same(&own.identifier, resource));
            let allowed = by_default.iter().find(|own| same(own, resource));
            let may_have = within.is_none() && client.audience.is_empty();
            match (declared, allowed) {
                (Some(declared), Some(_)) => target.take(declared),
                (Some(declared), None) if may_have => target.take(declared),
                (None, Some(own)) => target.add(own, None),
                (None, None) if realm.resources.is_empty() => {}
                _ => return Err(Refusal::InvalidTarget(excerpt(resource))),
            }
        }
        if target.audience.len() > 1 && !realm.several_resources {
            return Err(Refusal::SeveralTargets);
        }
        if target.audience.is_empty() {
            // Who does not ask for a resource gets no more of it than who does.
            for own in &by_default {
                match realm.resources.iter().find(|declared| declared.identifier == *own) {
                    Some(declared) => target.take(declared),
                    None => target.add(own, None),
                }
            }
        }
        Ok(target)
    }

    /// The same for who must name what is known: "If the authorization server is unwilling or unable to issue a token
    /// for any target service indicated [...], the invalid_target error code SHOULD be used" (RFC 8693 §2.2.2).
    pub(super) fn exactly(
        realm: &Realm,
        client: &Client,
        resources: &[String],
    ) -> Result<Self, Refusal> {
        let target = Self::of(realm, client, resources, None)?;
        let named = |resource: &&String| !target.audience.iter().any(|own| same(own, resource));
        match resources.iter().find(named) {
            Some(unknown) => Err(Refusal::InvalidTarget(excerpt(unknown))),
            None => Ok(target),
        }
    }

    fn take(&mut self, resource: &Resource) {
        self.add(&resource.identifier, resource.scopes.as_ref());
        self.access = [self.access, resource.access].into_iter().flatten().min();
    }

    fn add(&mut self, audience: &str, scopes: Option<&Scope>) {
        if self.audience.iter().any(|own| own == audience) {
            return;
        }
        self.scopes = match (self.audience.is_empty(), self.scopes.take(), scopes) {
            (true, _, scopes) => scopes.cloned(),
            (false, Some(own), Some(more)) => Some(own.tokens().chain(more.tokens()).collect()),
            (false, ..) => None,
        };
        self.audience.push(audience.to_owned());
    }

    /// The part of a scope that means something here; refused where nothing of it does.
    pub(super) fn narrowed(&self, scope: Scope) -> Result<Scope, Refusal> {
        let Some(scopes) = &self.scopes else { return Ok(scope) };
        let narrowed: Scope = scope.tokens().filter(|token| scopes.contains(token)).collect();
        if narrowed.is_empty() && !scope.is_empty() {
            return Err(Refusal::NoScopeThere(self.audience.join(" ")));
        }
        Ok(narrowed)
    }
}

/// What of an earlier grant's audience the client may still have. Where it has an audience of its own, what it lost since is
/// lost; a realm that calls its APIs by other names now ends no grant.
fn still(client: &Client, within: &[String]) -> Result<Vec<String>, Refusal> {
    let may_have = |own: &&String| client.audience.is_empty() || client.audience.contains(own);
    let still: Vec<String> = within.iter().filter(may_have).cloned().collect();
    match (still.is_empty(), within.first()) {
        (true, Some(lost)) => Err(Refusal::InvalidTarget(excerpt(lost))),
        _ => Ok(still),
    }
}

/// The `aud` of a client's access tokens: its own, that of its realm, or the issuer (RFC 9068 §3 wants one).
fn audience(realm: &Realm, client: &Client) -> Vec<String> {
    match (client.audience.is_empty(), realm.audience.is_empty()) {
        (false, _) => client.audience.clone(),
        (true, false) => realm.audience.clone(),
        (true, true) => vec![realm.issuer.as_str().to_owned()],
    }
}

/// "Its value MUST be an absolute URI [...] The URI MUST NOT include a fragment component" (RFC 8707 §2).
pub fn is_absolute(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let begins = scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    let of_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    begins
        && scheme.bytes().all(of_scheme)
        && !matches!(rest, "" | "/" | "//")
        && rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

/// Clients write the identifier of a server with a slash at the end and without; both mean one.
fn same(own: &str, asked: &str) -> bool {
    let bare = |uri: &'_ str| uri.strip_suffix('/').map_or(uri.len(), str::len);
    own[..bare(own)] == asked[..bare(asked)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::grant::scope_by_default;
    use crate::realm::TokenPolicy;

    const A: &str = "https://a.example";
    const B: &str = "https://b.example/mcp";

    fn realm() -> Realm {
        let tokens = TokenPolicy::new(Duration::from_secs(300));
        let resource = |identifier: &str, scopes: &str, access| Resource {
            identifier: identifier.into(),
            scopes: Some(scopes.parse().unwrap()),
            access,
        };
        Realm {
            audience: vec!["https://default.example".into()],
            resources: vec![
                resource(A, "read", Some(Duration::from_secs(60))),
                resource(B, "write", None),
            ],
            ..Realm::new("r", "https://auth.example".parse().unwrap(), tokens)
        }
    }

    fn client() -> Client {
        Client::new("r", "c", Timestamp::EPOCH)
    }

    fn target(realm: &Realm, client: &Client, resources: &[&str]) -> Result<Target, Refusal> {
        let resources: Vec<_> = resources.iter().map(|one| (*one).to_owned()).collect();
        Target::of(realm, client, &resources, None)
    }

    #[test]
    fn row_135_a_resource_is_an_absolute_uri_and_known() {
        for (resource, good) in [
            (A, true),
            (B, true),
            ("https://default.example", true),
            ("https://a.example#part", false),
            ("a.example", false),
            ("/mcp", false),
            ("https://c.example", false),
            ("https://", false),
            ("https:", false),
            ("", false),
            ("1a:b", false),
            ("https://a.example/ b", false),
        ] {
            let found = target(&realm(), &client(), &[resource]);
            assert_eq!(found.is_ok(), good, "{resource}: {found:?}");
            assert!(good || matches!(found, Err(Refusal::InvalidTarget(_))), "{resource}");
        }
    }

    #[test]
    fn row_135_also_where_nothing_is_declared_a_resource_is_an_absolute_uri() {
        // Here being unknown is no reason to refuse, so that the form alone decides.
        let none = Realm { resources: vec![], ..realm() };
        for (resource, good) in [
            ("https://c.example", true),
            ("urn:c", true),
            ("https://c.example#part", false),
            ("https://c.example#", false),
            ("c.example", false),
            ("/mcp", false),
            ("https:", false),
            ("", false),
            ("1a:b", false),
            ("https://c.example/ b", false),
        ] {
            let found = target(&none, &client(), &[resource]);
            assert_eq!(found.is_ok(), good, "{resource}: {found:?}");
            assert!(good || matches!(found, Err(Refusal::InvalidTarget(_))), "{resource}");
        }
    }

    #[test]
    fn row_136_a_token_for_a_resource_is_for_nothing_else() {
        let found = target(&realm(), &client(), &[A]).unwrap();
        assert_eq!(found.audience, [A]);
        assert_eq!(found.access, Some(Duration::from_secs(60)));
        assert_eq!(found.narrowed("read write".parse().unwrap()).unwrap().as_str(), "read");
        assert!(found.narrowed("write".parse().unwrap()).is_err());
        assert_eq!(found.narrowed(Scope::empty()), Ok(Scope::empty()));
        let by_default = target(&realm(), &client(), &[]).unwrap();
        assert_eq!(by_default.audience, ["https://default.example"]);
        assert!(by_default.narrowed("write".parse().unwrap()).is_ok());
    }

    #[test]
    fn row_136_a_client_with_an_audience_of_its_own_has_no_other() {
        let own = Client { audience: vec![B.into(), "urn:x".into()], ..client() };
        assert_eq!(target(&realm(), &own, &[B]).unwrap().audience, [B]);
        assert_eq!(target(&realm(), &own, &["urn:x"]).unwrap().audience, ["urn:x"]);
        assert!(target(&realm(), &own, &[A]).is_err());
        // What an earlier grant was for is all that comes from it.
        let within = [B.to_owned()];
        let refreshed =
            |resource: &str| Target::of(&realm(), &client(), &[resource.to_owned()], Some(&within));
        assert_eq!(refreshed(B).unwrap().audience, [B]);
        assert!(refreshed(A).is_err());
    }

    #[test]
    fn row_136_who_does_not_ask_for_a_resource_gets_no_more_of_it() {
        let by_default = Realm { audience: vec![A.into()], ..realm() };
        let found = target(&by_default, &client(), &[]).unwrap();
        assert_eq!(found.audience, [A]);
        assert_eq!(found.access, Some(Duration::from_secs(60)));
        assert_eq!(found.narrowed("read write".parse().unwrap()).unwrap().as_str(), "read");
        let refreshed = Target::of(&realm(), &client(), &[], Some(&[A.to_owned()])).unwrap();
        assert_eq!(refreshed.access, Some(Duration::from_secs(60)));
    }

    #[test]
    fn an_audience_that_the_client_lost_is_lost_to_its_refresh_tokens() {
        let within = [A.to_owned(), B.to_owned()];
        let of = |realm: &Realm, client: &Client| {
            Target::of(realm, client, &[], Some(&within)).map(|target| target.audience)
        };
        let several = Realm { several_resources: true, ..realm() };
        assert_eq!(of(&several, &client()).unwrap(), [A, B]);
        let own = Client { audience: vec![B.into()], ..client() };
        assert_eq!(of(&several, &own).unwrap(), [B]);
        let other = Client { audience: vec!["urn:x".into()], ..client() };
        assert!(of(&several, &other).is_err());
    }

    #[test]
    fn row_137_a_slash_at_the_end_and_realms_without_resources_do_no_harm() {
        let slash = format!("{A}/");
        assert_eq!(target(&realm(), &client(), &[&slash]).unwrap().audience, [A]);
        let none = Realm { resources: vec![], ..realm() };
        let found = target(&none, &client(), &["https://mcp.example/x"]).unwrap();
        assert_eq!(found.audience, ["https://default.example"]);
        let found = target(&none, &client(), &["https://default.example/"]).unwrap();
        assert_eq!(found.audience, ["https://default.example"]);
        assert!(target(&none, &client(), &["mcp"]).is_err());
        // Who always asks asks at a refresh, too.
        let asked = ["https://mcp.example/x".to_owned()];
        let within = ["https://default.example".to_owned()];
        let found = Target::of(&none, &client(), &asked, Some(&within)).unwrap();
        assert_eq!(found.audience, within);
    }

    #[test]
    fn row_138_one_token_is_for_one_resource_unless_the_realm_says_otherwise() {
        assert_eq!(target(&realm(), &client(), &[A, B]).unwrap_err(), Refusal::SeveralTargets);
        assert_eq!(target(&realm(), &client(), &[A, A]).unwrap().audience, [A]);
        let several = Realm { several_resources: true, ..realm() };
        let found = target(&several, &client(), &[A, B]).unwrap();
        assert_eq!(found.audience, [A, B]);
        assert_eq!(found.narrowed("read write".parse().unwrap()).unwrap().as_str(), "read write");
        let any = target(&several, &client(), &[A, "https://default.example"]).unwrap();
        assert!(any.narrowed("write".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_client_whose_audience_knows_none_of_its_scopes_is_told_so() {
        let resource = |identifier: &str, scopes: &str| serde_json::json!({ "identifier": identifier, "scopes": scopes, "access": null });
        let realm: Realm = serde_json::from_value(serde_json::json!({
            "name": "r",
            "issuer": "https://r.example",
            "tokens": { "access": { "secs": 300, "nanos": 0 } },
            "resources": [
                resource("https://orders.example", "orders.read"),
                resource("https://bare.example", ""),
            ],
        }))
        .unwrap();
        let nothing = |name: &str| Err(Refusal::NoScopeThere(name.into()));
        for (scope, audience, expected) in [
            ("orders.read", "https://orders.example", Ok("orders.read")),
            ("orders.read other", "https://orders.example", Ok("orders.read")),
            ("", "https://orders.example", Ok("")),
            ("other", "https://elsewhere.example", Ok("other")),
            ("other", "https://orders.example", nothing("https://orders.example")),
            ("other", "https://bare.example", nothing("https://bare.example")),
        ] {
            let scope = scope.parse().unwrap();
            let audience = vec![audience.to_owned()];
            let client = Client { scope, audience, ..Client::new("r", "c", Timestamp::EPOCH) };
            let found = scope_by_default(&realm, &client);
            let expected = expected.map(|scope| scope.parse::<Scope>().unwrap());
            assert_eq!(found, expected, "{client:?}");
        }
    }
}
