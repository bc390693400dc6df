//! What does not go together within one realm file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokenry_core::jose::Algorithm;
use tokenry_core::realm::{ClientAuthentication, Dialect, Ed25519Name, Profile, Rotate};
use tokenry_core::request::GrantType;

use super::written::{
    Signing, Texts, Written, WrittenClient, WrittenEndpoint, WrittenRealm, WrittenRefresh,
    access_or_default,
};
use crate::diagnostic::{did_you_mean, quoted};
use crate::document::{At, Field, Notes};
use crate::duration;

/// From here on an access token deserves a warning in a FAPI 2.0 realm, whose tokens are to be short-lived.
const FAPI_ACCESS: Duration = Duration::from_secs(900);

/// From here on an access token deserves a warning.
const LONG_ACCESS: Duration = Duration::from_secs(86400);

/// Notes everything that does not go together. What is wrong by itself is taken for unknown.
pub(super) fn check(written: &Written, notes: &Notes) {
    let Some(realm) = written.0.value() else { return };
    let access = match &realm.tokens {
        Field::Given(tokens) => access_or_default(&tokens.value.access),
        Field::Absent => access_or_default(&Field::Absent),
        Field::Wrong => None,
    };
    if let Some(tokens) = realm.tokens.value() {
        long_access(&tokens.access, notes);
        refresh(&tokens.refresh, access, notes);
        if let (
            Some(At { value: true, span }),
            Field::Absent | Field::Given(At { value: false, .. }),
        ) = (tokens.id_token.given(), &realm.password_grant)
        {
            notes.warning(span, "id_token has no effect: only the password grant gives ID tokens");
        }
        if let (Some(At { value: true, span }), Some(At { value: true, .. })) =
            (tokens.status_list.given(), tokens.opaque.given())
        {
            notes.warning(
                span,
                "status_list has no effect where tokens are opaque: what is not read names no place",
            );
        }
    }
    keys(realm, notes);
    policies(realm, notes);
    if let (Some(issuer), Some(aliases)) = (realm.issuer.value(), realm.aliases.value()) {
        for alias in aliases.iter().filter(|alias| alias.value == issuer.host()) {
            notes.warning(
                &alias.span,
                format!("alias {} is the issuer's own host", quoted(&alias.value)),
            );
        }
    }
    let mut clients = BTreeMap::new();
    for client in realm.clients.value().into_iter().flatten() {
        self::client(realm, &client.value, access, notes);
        if let Some(id) = client.value.id.given()
            && clients.insert(id.value.as_str(), &client.value).is_some()
        {
            notes.error(&id.span, format!("client {} is declared twice", quoted(&id.value)), None);
        }
    }
    let mut paths = BTreeMap::new();
    for endpoint in realm.endpoints.value().into_iter().flatten() {
        self::endpoint(realm, &endpoint.value, &clients, notes);
        if let Some(path) = endpoint.value.path.given()
            && paths.insert(path.value.as_str(), ()).is_some()
        {
            notes.error(
                &path.span,
                format!("endpoint {} is declared twice", quoted(&path.value)),
                None,
            );
        }
    }
}

fn long_access(access: &Field<Duration>, notes: &Notes) {
    if let Some(access) = access.given().filter(|access| access.value > LONG_ACCESS) {
        let message = format!(
            "access tokens of {} cannot be taken back that long by those who do not ask",
            duration::write(access.value)
        );
        notes.warning(&access.span, message);
    }
}

fn refresh(written: &Field<WrittenRefresh>, access: Option<Duration>, notes: &Notes) {
    let Some(refresh) = written.value() else { return };
    if let (Some(lifetime), Some(access)) = (refresh.lifetime.given(), access)
        && lifetime.value <= access
    {
        let message = format!(
            "a refresh token must live longer than the access token ({}), got {}",
            duration::write(access),
            duration::write(lifetime.value)
        );
        notes.error(&lifetime.span, message, None);
    }
    if let (Some(most), Some(lifetime)) = (refresh.max_lifetime.given(), refresh.lifetime.value())
        && most.value < *lifetime
    {
        let message = format!(
            "max_lifetime must be at least lifetime ({}), got {}",
            duration::write(*lifetime),
            duration::write(most.value)
        );
        notes.error(&most.span, message, None);
    }
    if let (Some(grace), Some(lifetime)) = (refresh.grace.given(), refresh.lifetime.value())
        && grace.value > *lifetime
    {
        let message = format!(
            "grace must not be longer than lifetime ({}), got {}",
            duration::write(*lifetime),
            duration::write(grace.value)
        );
        notes.error(&grace.span, message, None);
    }
    let rotates =
        refresh.policy.is_wrong() || refresh.policy.value().is_none_or(|p| *p == Rotate::Rotate);
    if let Some(grace) = refresh.grace.given().filter(|grace| !rotates && !grace.value.is_zero()) {
        notes.error(
            &grace.span,
            "grace belongs to policy `rotate` alone",
            Some("with `keep` and `reissue` a refresh token can be used again anyway".to_owned()),
        );
    }
}

fn keys(realm: &WrittenRealm, notes: &Notes) {
    let Some(keys) = realm.keys.value() else { return };
    if let (Some(announce), Some(every)) = (keys.announce.given(), keys.rotate_every.given())
        && announce.value >= every.value
    {
        let message = format!(
            "announce must be shorter than rotate_every ({}), got {}",
            duration::write(every.value),
            duration::write(announce.value)
        );
        notes.error(&announce.span, message, None);
    }
}

fn client(
    realm: &WrittenRealm,
    client: &WrittenClient,
    realm_access: Option<Duration>,
    notes: &Notes,
) {
    let id = quoted(client.id.value().map_or("?", String::as_str));
    long_access(&client.access, notes);
    let access = if matches!(client.access, Field::Absent) {
        realm_access
    } else {
        client.access.value().copied()
    };
    refresh(&client.refresh, access, notes);
    if let Some(scopes) = known_scopes(realm) {
        for scope in client.scope.value().into_iter().flatten() {
            if !scopes.contains(&scope.value.as_str()) {
                let message = format!(
                    "client {id} may have scope {}, which this realm does not have",
                    quoted(&scope.value)
                );
                notes.error(
                    &scope.span,
                    message,
                    Some(meant(&scope.value, &scopes, "add it to `scopes`")),
                );
            }
        }
    }
    if let (Some(default), false) = (client.default_scope.value(), client.scope.is_wrong()) {
        let own: Vec<&str> =
            client.scope.value().into_iter().flatten().map(|s| s.value.as_str()).collect();
        for scope in default.iter().filter(|scope| !own.contains(&scope.value.as_str())) {
            let message = format!(
                "client {id} gets scope {} by default, which it may not have",
                quoted(&scope.value)
            );
            notes.error(
                &scope.span,
                message,
                Some(meant(&scope.value, &own, "add it to its `scope`")),
            );
        }
    }
    ed25519(realm, client, &id, notes);
    grants(realm, client, &id, notes);
}

/// A key has one name for its algorithm, and the realm's clients share its keys: the realm's `signing` decides.
fn ed25519(realm: &WrittenRealm, client: &WrittenClient, id: &str, notes: &Notes) {
    let Some(At { value: own, span }) = client.signing.given() else { return };
    let of_realm = match &realm.tokens {
        Field::Wrong => return,
        Field::Absent => None,
        Field::Given(tokens) if tokens.value.signing.is_wrong() => return,
        Field::Given(tokens) => tokens.value.signing.value(),
    };
    let of_realm = of_realm.map(|signing| Ed25519Name::of(signing.name)).unwrap_or_default();
    if own.algorithm == Algorithm::EdDsa && Ed25519Name::of(own.name) != of_realm {
        let message = match of_realm {
            Ed25519Name::EdDsa => "`EdDSA`: only a realm whose own `signing` is `Ed25519` says so",
            Ed25519Name::Ed25519 => "`Ed25519`, as its realm says",
        };
        notes.warning(span, format!("tokens of client {id} will name {message}"));
    }
}

fn grants(realm: &WrittenRealm, client: &WrittenClient, id: &str, notes: &Notes) {
    let Some(grants) = client.grants.given() else { return };
    // An API may be a client for no other reason than to introspect.
    if grants.value.is_empty() && matches!(client.particulars.introspects, Field::Absent) {
        notes.error(
            &grants.span,
            format!("client {id} may use no grant at all"),
            Some("to keep it from getting tokens write `enabled = false`".to_owned()),
        );
    }
    for grant in &grants.value {
        match grant.value {
            GrantType::Password if lacks_password_grant(realm) => notes.error(
                &grant.span,
                format!("client {id} may use the password grant, which this realm does not have"),
                Some(PASSWORD_GRANT.to_owned()),
            ),
            GrantType::RefreshToken if gives_no_refresh_token(realm, client) => notes.error(
                &grant.span,
                format!("client {id} may use the refresh_token grant, but no refresh token is ever given"),
                Some("add `refresh = { lifetime = \"…\" }` to `[realm.tokens]` or to the client".to_owned()),
            ),
            _ => {}
        }
    }
}

const PASSWORD_GRANT: &str =
    "RFC 9700 forbids it; where a vendor's API has it, set `password_grant = true`";

fn lacks_password_grant(realm: &WrittenRealm) -> bool {
    match &realm.password_grant {
        Field::Absent => true,
        Field::Wrong => false,
        Field::Given(at) => !at.value,
    }
}

fn gives_no_refresh_token(realm: &WrittenRealm, client: &WrittenClient) -> bool {
    let in_realm = match &realm.tokens {
        Field::Absent => false,
        Field::Wrong => true,
        Field::Given(tokens) => !matches!(tokens.value.refresh, Field::Absent),
    };
    !in_realm && matches!(client.refresh, Field::Absent)
}

/// The scopes of the realm, unless they are unreadable.
fn known_scopes(realm: &WrittenRealm) -> Option<Vec<&str>> {
    (!realm.scopes.is_wrong())
        .then(|| realm.scopes.value().into_iter().flatten().map(|s| s.value.as_str()).collect())
}

fn meant(written: &str, known: &[&str], otherwise: &str) -> String {
    match did_you_mean(written, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => otherwise.to_owned(),
    }
}

/// Where a realm answers anyway, below its issuer.
fn own_paths(realm: &WrittenRealm) -> &'static [&'static str] {
    const OPENID: &str = "/.well-known/openid-configuration";
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    match realm.dialect.value().copied().unwrap_or_default() {
        Dialect::Rfc => &[
            "/token",
            "/introspect",
            "/revoke",
            "/revocations",
            "/register",
            "/jwks",
            OPENID,
            OAUTH,
        ],
        Dialect::Keycloak => &[
            "/protocol/openid-connect/token",
            "/protocol/openid-connect/token/introspect",
            "/protocol/openid-connect/revocations",
            "/protocol/openid-connect/revoke",
            "/protocol/openid-connect/logout",
            "/protocol/openid-connect/userinfo",
            "/protocol/openid-connect/certs",
            OPENID,
            OAUTH,
        ],
    }
}

fn endpoint(
    realm: &WrittenRealm,
    endpoint: &WrittenEndpoint,
    clients: &BTreeMap<&str, &WrittenClient>,
    notes: &Notes,
) {
    let path = quoted(endpoint.path.value().map_or("?", String::as_str));
    if let Some(at) = endpoint.path.given()
        && own_paths(realm).contains(&at.value.as_str())
    {
        let help = "this realm answers there anyway; give the endpoint another path".to_owned();
        notes.error(
            &at.span,
            format!("endpoint {path} is a standard path of this realm"),
            Some(help),
        );
    }
    let Some(grant) = endpoint.grant.given() else { return };
    match grant.value {
        GrantType::ClientCredentials => {
            // Nobody proves anything there: the client is filled in, and there is neither password nor token.
            notes.error(
                &grant.span,
                format!("endpoint {path} would give a token to everybody"),
                Some(
                    "client_credentials belongs to the token endpoint, where clients authenticate"
                        .to_owned(),
                ),
            );
            return;
        }
        GrantType::Password if lacks_password_grant(realm) => notes.error(
            &grant.span,
            format!("endpoint {path} serves the password grant, which this realm does not have"),
            Some(PASSWORD_GRANT.to_owned()),
        ),
        _ => {}
    }
    let Some(id) = endpoint.client.given() else { return };
    let Some(client) = clients.get(id.value.as_str()) else {
        // A client whose own identifier is unreadable may be the one that is meant.
        let mut declared = realm.clients.value().into_iter().flatten();
        if !realm.clients.is_wrong() && declared.all(|c| c.value.id.given().is_some()) {
            let known: Vec<&str> = clients.keys().copied().collect();
            let message = format!(
                "endpoint {path} is made for client {}, which this file does not declare",
                quoted(&id.value)
            );
            notes.error(
                &id.span,
                message,
                Some(meant(&id.value, &known, "declare it in `[[realm.clients]]`")),
            );
        }
        return;
    };
    let may =
        client.grants.value().is_none_or(|grants| grants.iter().any(|g| g.value == grant.value));
    if !may {
        let message = format!(
            "endpoint {path} serves the {} grant, which client {} may not use",
            grant.value,
            quoted(&id.value)
        );
        notes.error(
            &grant.span,
            message,
            Some(format!("add `{}` to the client's `grants`", grant.value)),
        );
    }
}

/// What a FAPI 2.0 realm must not say (its §5.3.2.1), and what is named twice.
fn policies(realm: &WrittenRealm, notes: &Notes) {
    let policies = &realm.policies;
    if policies.profile.value() == Some(&Profile::Fapi2) {
        fapi(realm, notes);
    }
    let scopes = known_scopes(realm);
    let mut identifiers = BTreeSet::new();
    for resource in policies.resources.value().into_iter().flatten() {
        own_scopes(&resource.value.scopes, scopes.as_deref(), "a resource", notes);
        if let Some(identifier) = resource.value.identifier.given()
            && !identifiers.insert(identifier.value.as_str())
        {
            let message = format!("resource {} is declared twice", quoted(&identifier.value));
            notes.error(&identifier.span, message, None);
        }
    }
    let (mut names, mut issuers) = (BTreeSet::new(), BTreeSet::new());
    for trust in policies.trusts.value().into_iter().flatten() {
        own_scopes(&trust.value.scopes, scopes.as_deref(), "a trusted issuer", notes);
        for (known, named) in [(&mut names, &trust.value.name), (&mut issuers, &trust.value.issuer)]
        {
            if let Some(name) = named.given()
                && !known.insert(name.value.as_str())
            {
                let message = format!("trusted issuer {} is declared twice", quoted(&name.value));
                notes.error(&name.span, message, None);
            }
        }
        if let (Some(jwks), Some(_)) = (trust.value.jwks.given(), trust.value.jwks_uri.given()) {
            notes.error(&jwks.span, "an issuer has its keys either here or at `jwks_uri`", None);
        }
        let spiffe = trust.value.issuer.given().filter(|i| i.value.starts_with("spiffe://"));
        if let (Some(issuer), Field::Absent, Field::Absent) =
            (spiffe, &trust.value.jwks, &trust.value.jwks_uri)
        {
            notes.error(
                &issuer.span,
                "a trust domain has no metadata that names its keys",
                Some("`jwks_uri` says where its bundle is, `jwks` what is in it".to_owned()),
            );
        }
    }
    if let Some(registration) = policies.registration.value() {
        own_scopes(&registration.scope, scopes.as_deref(), "registration", notes);
        own_scopes(&registration.scopes, scopes.as_deref(), "registration", notes);
    }
}

fn own_scopes(written: &Texts, known: Option<&[&str]>, what: &str, notes: &Notes) {
    let Some(known) = known else { return };
    let scopes = written.value().into_iter().flatten();
    for scope in scopes.filter(|scope| !known.contains(&scope.value.as_str())) {
        let message =
            format!("{what} names scope {}, which this realm does not have", quoted(&scope.value));
        notes.error(&scope.span, message, Some(meant(&scope.value, known, "add it to `scopes`")));
    }
}

fn fapi(realm: &WrittenRealm, notes: &Notes) {
    if let Some(on) = realm.password_grant.given().filter(|on| on.value) {
        notes.error(&on.span, "FAPI 2.0 has no password grant", None);
    }
    if let Some(optional) = realm
        .client_authentication
        .given()
        .filter(|given| given.value == ClientAuthentication::Optional)
    {
        notes.error(&optional.span, "FAPI 2.0 has no clients that do not authenticate", None);
    }
    let tokens = realm.tokens.value();
    if let Some(access) =
        tokens.and_then(|tokens| tokens.access.given()).filter(|access| access.value > FAPI_ACCESS)
    {
        let message = format!(
            "access tokens of {} are long for FAPI 2.0: a client that has a key can ask again",
            duration::write(access.value)
        );
        notes.warning(&access.span, message);
    }
    let of_clients = realm.clients.value().into_iter().flatten().map(|c| &c.value.signing);
    for signing in tokens.map(|tokens| &tokens.signing).into_iter().chain(of_clients) {
        let refused = |given: &&At<Signing>| !given.value.algorithm.is_of_fapi();
        if let Some(signing) = signing.given().filter(refused) {
            notes.error(
                &signing.span,
                format!("FAPI 2.0 does not sign with {}", signing.value.name),
                Some("it admits PS256, ES256 and EdDSA (Ed25519)".to_owned()),
            );
        }
    }
}
