//! Realms and clients in the words of a realm file, to be compared and shown.

use tokenry_core::realm::{
    CertificatePolicy, ClientAuthentication, Dialect, Endpoint, Profile, Realm, RefreshPolicy,
    RegistrationPolicy, Resource, Rotate, Trust, TrustedKeys,
};
use tokenry_core::scope::Scope;
use tokenry_core::{Client, Particulars};

use crate::duration;

/// Fields in the words of a realm file; `None` where there is nothing to write.
pub(super) type Fields = Vec<(&'static str, Option<String>)>;

pub(super) fn realm_fields(realm: &Realm) -> Fields {
    // Taken apart completely, so that a new field cannot be forgotten here.
    let Realm {
        name: _,
        issuer,
        aliases,
        dialect,
        tokens,
        audience,
        scopes,
        password_grant,
        client_authentication,
        endpoints,
        keys,
        resources,
        several_resources,
        dpop,
        certificates,
        trusts,
        registration,
        profile,
        not_before: _,
        ended_before: _,
        created_at: _,
    } = realm;
    vec![
        ("issuer", Some(issuer.to_string())),
        ("aliases", list(aliases)),
        (
            "dialect",
            Some(match dialect {
                Dialect::Rfc => "rfc".to_owned(),
                Dialect::Keycloak => "keycloak".to_owned(),
            }),
        ),
        ("scopes", scope(scopes)),
        ("audience", list(audience)),
        ("password_grant", Some(password_grant.to_string())),
        ("client_authentication", Some(authentication(*client_authentication).to_owned())),
        ("tokens.access", Some(duration::write(tokens.access))),
        ("tokens.refresh", tokens.refresh.as_ref().map(refresh)),
        ("tokens.signing", Some(tokens.signing_name().to_owned())),
        ("tokens.id_token", Some(tokens.id_token.to_string())),
        ("tokens.reuse", tokens.reuse.map(duration::write)),
        ("keys.rotate_every", Some(duration::write(keys.rotate_every))),
        ("keys.announce", Some(duration::write(keys.announce))),
        ("keys.linger", Some(duration::write(keys.linger))),
        ("tokens.opaque", switch(tokens.opaque)),
        ("tokens.status_list", switch(tokens.status_list)),
        ("profile", (*profile == Profile::Fapi2).then(|| "fapi2".to_owned())),
        ("resources", list(&resources.iter().map(resource).collect::<Vec<_>>())),
        ("several_resources", switch(*several_resources)),
        ("dpop.required", switch(dpop.required)),
        ("dpop.nonce", switch(dpop.nonce)),
        ("certificates", certificates.as_ref().map(self::certificates)),
        ("trusts", list(&trusts.iter().map(trust).collect::<Vec<_>>())),
        ("registration", registration.as_ref().map(self::registration)),
        ("endpoints", list(&endpoints.iter().map(endpoint).collect::<Vec<_>>())),
    ]
}

pub(super) fn client_fields(client: &Client) -> Fields {
    let Client {
        realm: _,
        id: _,
        enabled,
        grants,
        scope: own_scope,
        default_scope,
        audience,
        access,
        refresh: own_refresh,
        signing,
        reuse,
        client_authentication,
        particulars: _,
        not_before: _,
        ended_before: _,
        created_at: _,
        credentials: _,
    } = client;
    let Particulars {
        introspects,
        dpop_bound,
        certificate_bound,
        legacy_audience,
        jwks_uri,
        registered: _,
        opaque,
    } = client.particulars();
    vec![
        ("enabled", Some(enabled.to_string())),
        ("grants", list(&grants.iter().map(|grant| grant.to_string()).collect::<Vec<_>>())),
        ("scope", scope(own_scope)),
        (
            "default_scope",
            default_scope.as_ref().map(|s| scope(s).unwrap_or_else(|| "[]".to_owned())),
        ),
        ("audience", list(audience)),
        ("access", access.map(duration::write)),
        ("refresh", own_refresh.as_deref().map(refresh)),
        ("signing", signing.map(|s| s.to_string())),
        ("reuse", reuse.map(duration::write)),
        ("client_authentication", client_authentication.map(|a| authentication(a).to_owned())),
        ("introspects", list(introspects)),
        ("dpop_bound", switch(*dpop_bound)),
        ("certificate_bound", switch(*certificate_bound)),
        ("legacy_audience", switch(*legacy_audience)),
        ("jwks_uri", jwks_uri.clone()),
        ("opaque", opaque.map(|opaque| opaque.to_string())),
    ]
}

/// What is off unless a file turns it on.
fn switch(on: bool) -> Option<String> {
    on.then(|| "true".to_owned())
}

fn resource(resource: &Resource) -> String {
    let Resource { identifier, scopes, access } = resource;
    let mut text = identifier.clone();
    if let Some(scopes) = scopes {
        text.push_str(&format!(" (scopes {scopes})"));
    }
    if let Some(access) = access {
        text.push_str(&format!(" (access {})", duration::write(*access)));
    }
    text
}

/// What is long is told by its length and its beginning: that something changes is what a plan must show.
fn certificates(policy: &CertificatePolicy) -> String {
    let CertificatePolicy { authorities, revocation_lists, origin } = policy;
    let mut text = format!("authorities {}", digest(authorities));
    if !revocation_lists.is_empty() {
        text.push_str(&format!(", revocation lists {}", digest(revocation_lists)));
    }
    if let Some(origin) = origin {
        text.push_str(&format!(", at {origin}"));
    }
    text
}

/// How many texts there are, and a few digits that change with them.
fn digest(texts: &[String]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    texts.hash(&mut hasher);
    format!("{} ({:08x})", texts.len(), hasher.finish() >> 32)
}

fn trust(trust: &Trust) -> String {
    let Trust { name, issuer, keys, audience, scopes } = trust;
    let mut text = format!("{name} ({issuer}");
    match keys {
        TrustedKeys::Discovered => {}
        TrustedKeys::JwksUri(url) => text.push_str(&format!(", keys at {url}")),
        TrustedKeys::Jwks(set) => {
            text.push_str(&format!(", keys {}", digest(std::slice::from_ref(set))));
        }
    }
    if !audience.is_empty() {
        text.push_str(&format!(", audience {}", audience.join(" ")));
    }
    if !scopes.is_empty() {
        text.push_str(&format!(", scopes {scopes}"));
    }
    text + ")"
}

fn registration(policy: &RegistrationPolicy) -> String {
    let RegistrationPolicy { scope, scopes } = policy;
    format!("with scope {scope}, for scopes {scopes}")
}

fn list(items: &[String]) -> Option<String> {
    (!items.is_empty()).then(|| items.join(", "))
}

fn scope(scope: &Scope) -> Option<String> {
    list(&scope.tokens().map(str::to_owned).collect::<Vec<_>>())
}

const fn authentication(authentication: ClientAuthentication) -> &'static str {
    match authentication {
        ClientAuthentication::Required => "required",
        ClientAuthentication::Optional => "optional",
    }
}

fn refresh(refresh: &RefreshPolicy) -> String {
    let RefreshPolicy { lifetime, max_lifetime, policy, grace, client_credentials } = refresh;
    let mut parts = vec![match policy {
        Rotate::Keep => "keep".to_owned(),
        Rotate::Reissue => "reissue".to_owned(),
        Rotate::Rotate => format!("rotate with grace {}", duration::write(*grace)),
    }];
    parts.push(format!("lifetime {}", duration::write(*lifetime)));
    if let Some(most) = max_lifetime {
        parts.push(format!("at most {}", duration::write(*most)));
    }
    if *client_credentials {
        parts.push("also for client_credentials".to_owned());
    }
    parts.join(", ")
}

fn endpoint(endpoint: &Endpoint) -> String {
    let Endpoint { path, grant, client, token_type, invalid_grant_status } = endpoint;
    let mut text = format!("{path} ({grant} for {client}");
    if let Some(token_type) = token_type {
        text.push_str(&format!(", token_type {token_type}"));
    }
    if let Some(status) = invalid_grant_status {
        text.push_str(&format!(", invalid_grant {status}"));
    }
    text + ")"
}
