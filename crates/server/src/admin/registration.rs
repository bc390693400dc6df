//! A client's registration as JSON says it, in the words of a realm file; and whether it fits its realm.

use std::time::Duration;

use tokenry_core::jose::Algorithm;
use tokenry_core::realm::limits::{DEFAULT_GRACE, MAX_ACCESS, MAX_GRACE, MAX_LIFETIME, MAX_REUSE};
use tokenry_core::realm::{ClientAuthentication, Profile, RefreshPolicy, Rotate};
use tokenry_core::request::GrantType;
use tokenry_core::{Client, Particulars, Realm, Scope, Timestamp, duration};

use super::members::Members;
use super::problem::{Problem, quoted};
use crate::fetch::is_fetchable;

const SECOND: Duration = Duration::from_secs(1);

/// The longest audience, in bytes, as in realm files.
const MAX_AUDIENCE: usize = 500;

/// The longest URL, in bytes, as in realm files.
const MAX_URL: usize = 500;

/// What the server says of a client, and nobody sets.
const READ_ONLY: [&str; 4] = ["created_at", "not_before", "credentials", "registered"];

/// The client that a body means.
///
/// What the server alone knows of it is taken from `old`, the client as it is stored. As with realm files, a client
/// that somebody disabled stays so where the body does not say otherwise.
pub(super) fn read(
    body: &[u8],
    realm: &Realm,
    id: &str,
    old: Option<&Client>,
    now: Timestamp,
) -> Result<Client, Problem> {
    let mut members = Members::parse(body)?;
    same(&mut members, "realm", &realm.name);
    same(&mut members, "id", id);
    for name in READ_ONLY {
        if members.forget(name) {
            members.refuse(name, "the server says this; nobody sets it");
        }
    }
    let mut client = Client::new(&realm.name, id, old.map_or(now, |old| old.created_at));
    client.enabled =
        members.boolean("enabled").unwrap_or_else(|| old.is_none_or(|old| old.enabled));
    client.grants = grants(&mut members);
    client.scope = scope(&mut members, "scope").unwrap_or_default();
    client.default_scope = scope(&mut members, "default_scope");
    client.audience = audiences(&mut members, "audience").unwrap_or_default();
    client.access = members.duration("access", SECOND..=MAX_ACCESS);
    client.refresh = members.object("refresh", refresh).map(Box::new);
    client.signing = signing(&mut members);
    client.reuse = members.duration("reuse", Duration::ZERO..=MAX_REUSE);
    client.client_authentication = members.choice("client_authentication", &AUTHENTICATION);
    let registered = old.and_then(|old| old.particulars().registered.clone());
    client.particulars = Particulars { registered, ..particulars(&mut members) }.boxed();
    client.not_before = old.map_or(Timestamp::EPOCH, |old| old.not_before);
    client.credentials = old.map(|old| old.credentials.clone()).unwrap_or_default();
    fits(&client, realm, &mut members);
    members.end()?;
    if ends_refresh_tokens(old, &client, realm) {
        client.not_before = client.not_before.max(now);
    }
    Ok(client)
}

/// How client authentication at a refresh is written.
pub(super) const AUTHENTICATION: [(&str, ClientAuthentication); 2] =
    [("required", ClientAuthentication::Required), ("optional", ClientAuthentication::Optional)];

/// How refresh policies are written.
pub(super) const ROTATE: [(&str, Rotate); 3] =
    [("keep", Rotate::Keep), ("reissue", Rotate::Reissue), ("rotate", Rotate::Rotate)];

/// What was read can be sent back: names that the path has already are good if they are the same.
fn same(members: &mut Members, name: &str, value: &str) {
    let must = format!("{}, as in the path", quoted(value));
    let _ = members.text(name, &must, |text| text == value);
}

fn grants(members: &mut Members) -> tokenry_core::request::GrantSet {
    let known = GrantType::ALL.map(GrantType::short_name);
    let must = format!("one of {}", known.map(quoted).join(", "));
    let find = |name: &str| GrantType::ALL.into_iter().find(|grant| grant.short_name() == name);
    let written = members.list("grants", &must, |name| find(name).is_some());
    if written.is_none() {
        members.missing("grants");
    }
    written.unwrap_or_default().iter().filter_map(|name| find(name)).collect()
}

fn scope(members: &mut Members, name: &str) -> Option<Scope> {
    let must = "one scope of visible ASCII without `\"` and `\\`";
    let good =
        |text: &str| !text.is_empty() && !text.contains(' ') && text.parse::<Scope>().is_ok();
    Some(members.list(name, must, good)?.iter().map(String::as_str).collect())
}

fn audiences(members: &mut Members, name: &str) -> Option<Vec<String>> {
    members.list(name, "a name or URL of 1 to 500 visible ASCII characters", |text| {
        (1..=MAX_AUDIENCE).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    })
}

/// Under any of its names; tokens have the one that the realm has chosen.
fn signing(members: &mut Members) -> Option<Algorithm> {
    let named = Algorithm::ALL.into_iter().flat_map(|a| a.names().iter().map(move |n| (*n, a)));
    members.choice("signing", &named.collect::<Vec<_>>())
}

fn refresh(members: &mut Members) -> Option<RefreshPolicy> {
    let policy = members.choice("policy", &ROTATE).unwrap_or_default();
    let lifetime = members.duration("lifetime", SECOND..=MAX_LIFETIME);
    let max_lifetime = members.duration("max_lifetime", SECOND..=MAX_LIFETIME);
    let grace = members.duration("grace", Duration::ZERO..=MAX_GRACE);
    let client_credentials = members.boolean("client_credentials").unwrap_or_default();
    let Some(lifetime) = lifetime else {
        members.missing("lifetime");
        return None;
    };
    if grace.is_some_and(|grace| !grace.is_zero() && policy != Rotate::Rotate) {
        members.refuse("grace", "belongs to policy `rotate` alone");
    }
    let default = if policy == Rotate::Rotate { DEFAULT_GRACE } else { Duration::ZERO };
    let grace = grace.unwrap_or_else(|| default.min(lifetime));
    let at_most = duration::write(lifetime);
    if grace > lifetime {
        members.refuse("grace", format!("must not be longer than lifetime ({at_most})"));
    }
    if max_lifetime.is_some_and(|most| most < lifetime) {
        members.refuse("max_lifetime", format!("must be at least lifetime ({at_most})"));
    }
    Some(RefreshPolicy { lifetime, max_lifetime, policy, grace, client_credentials })
}

fn particulars(members: &mut Members) -> Particulars {
    Particulars {
        introspects: audiences(members, "introspects").unwrap_or_default(),
        dpop_bound: members.boolean("dpop_bound").unwrap_or_default(),
        certificate_bound: members.boolean("certificate_bound").unwrap_or_default(),
        legacy_audience: members.boolean("legacy_audience").unwrap_or_default(),
        jwks_uri: members.text("jwks_uri", "an https URL to fetch keys from", |url| {
            url.len() <= MAX_URL && is_fetchable(url)
        }),
        opaque: members.boolean("opaque"),
        registered: None,
    }
}

/// Notes what is good by itself, and not in this realm.
fn fits(client: &Client, realm: &Realm, members: &mut Members) {
    for scope in client.scope.tokens().filter(|scope| !realm.scopes.contains(scope)) {
        members.refuse("scope", format!("this realm has no scope {}", quoted(scope)));
    }
    let default = client.default_scope.iter().flat_map(Scope::tokens);
    for scope in default.filter(|scope| !client.scope.contains(scope)) {
        let detail = format!("the client may not have scope {} at all", quoted(scope));
        members.refuse("default_scope", detail);
    }
    let grants = client.grants;
    // An API may be a client for no other reason than to introspect.
    if grants.is_empty() && client.particulars().introspects.is_empty() && members.are_good() {
        members.refuse("grants", "without any, disable the client instead");
    }
    if grants.contains(GrantType::Password) && !realm.password_grant {
        members.refuse("grants", "this realm has no password grant");
    }
    let refresh = client.refresh.as_deref();
    let gives = refresh.or(realm.tokens.refresh.as_ref()).is_some();
    if grants.contains(GrantType::RefreshToken) && !gives && members.are_good() {
        members.refuse("grants", "this realm gives no refresh tokens, and `refresh` is not set");
    }
    let access = client.access.unwrap_or(realm.tokens.access);
    if refresh.is_some_and(|refresh| refresh.lifetime <= access) {
        let access = duration::write(access);
        members.refuse("refresh.lifetime", format!("must be longer than access ({access})"));
    }
    if realm.profile == Profile::Fapi2 && client.signing.is_some_and(|own| !own.is_of_fapi()) {
        members.refuse("signing", "this realm is of FAPI 2.0: PS256, ES256 or EdDSA");
    }
}

/// Whether refresh tokens that were used up would be good again, so that all that were given must end.
fn ends_refresh_tokens(old: Option<&Client>, new: &Client, realm: &Realm) -> bool {
    let of_realm = realm.tokens.refresh.as_ref();
    let policy = |client: &Client| client.refresh.as_deref().or(of_realm).cloned();
    old.is_some_and(|old| RefreshPolicy::stops_rotating(policy(old).as_ref(), policy(new).as_ref()))
}
