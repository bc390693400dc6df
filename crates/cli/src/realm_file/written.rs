//! A realm file as written: every key with its place.

use std::time::Duration;

use tokenry_core::Client;
use tokenry_core::client::is_client_id;
use tokenry_core::jose::Algorithm;
use tokenry_core::realm::limits::{DEFAULT_GRACE, MAX_ACCESS, MAX_GRACE, MAX_LIFETIME, MAX_REUSE};
use tokenry_core::realm::{
    ClientAuthentication, Dialect, Ed25519Name, Endpoint, Issuer, IssuerError, KeyPolicy, Profile,
    Realm, RefreshPolicy, Rotate, TokenPolicy, is_host, is_name, is_path,
};
use tokenry_core::request::GrantType;
use tokenry_core::scope::Scope;

use super::policies::{self, WrittenParticulars, WrittenPolicies};
use super::{Declaration, DeclaredClient, UNTOUCHED};
use crate::document::{At, Field, Table, Value};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// How long an access token lives where the file does not say.
const DEFAULT_ACCESS: Duration = Duration::from_secs(300);

/// A list of texts.
pub(super) type Texts = Field<Vec<At<String>>>;

/// `[realm]`
#[derive(Debug)]
pub(super) struct Written(pub(super) Field<WrittenRealm>);

#[derive(Debug)]
pub(super) struct WrittenRealm {
    pub(super) name: Field<String>,
    pub(super) issuer: Field<Issuer>,
    pub(super) aliases: Texts,
    pub(super) dialect: Field<Dialect>,
    pub(super) password_grant: Field<bool>,
    pub(super) scopes: Texts,
    pub(super) audience: Texts,
    pub(super) client_authentication: Field<ClientAuthentication>,
    pub(super) tokens: Field<WrittenTokens>,
    pub(super) keys: Field<WrittenKeys>,
    pub(super) endpoints: Field<Vec<At<WrittenEndpoint>>>,
    pub(super) clients: Field<Vec<At<WrittenClient>>>,
    pub(super) policies: WrittenPolicies,
}

/// `[realm.tokens]`
#[derive(Debug)]
pub(super) struct WrittenTokens {
    pub(super) access: Field<Duration>,
    pub(super) refresh: Field<WrittenRefresh>,
    pub(super) signing: Field<Signing>,
    pub(super) id_token: Field<bool>,
    pub(super) reuse: Field<Duration>,
    pub(super) opaque: Field<bool>,
    pub(super) status_list: Field<bool>,
}

/// `signing = "…"`: an algorithm under one of its names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signing {
    pub(super) algorithm: Algorithm,
    pub(super) name: &'static str,
}

/// `refresh = { … }`
#[derive(Debug)]
pub(super) struct WrittenRefresh {
    pub(super) lifetime: Field<Duration>,
    pub(super) max_lifetime: Field<Duration>,
    pub(super) policy: Field<Rotate>,
    pub(super) grace: Field<Duration>,
    pub(super) client_credentials: Field<bool>,
}

/// `[realm.keys]`
#[derive(Debug)]
pub(super) struct WrittenKeys {
    pub(super) rotate_every: Field<Duration>,
    pub(super) announce: Field<Duration>,
    pub(super) linger: Field<Duration>,
}

/// `[[realm.endpoints]]`
#[derive(Debug)]
pub(super) struct WrittenEndpoint {
    pub(super) path: Field<String>,
    pub(super) grant: Field<GrantType>,
    pub(super) client: Field<String>,
    pub(super) token_type: Field<String>,
    pub(super) invalid_grant_status: Field<u16>,
}

/// `[[realm.clients]]`
#[derive(Debug)]
pub(super) struct WrittenClient {
    pub(super) id: Field<String>,
    pub(super) grants: Field<Vec<At<GrantType>>>,
    pub(super) scope: Texts,
    pub(super) default_scope: Texts,
    pub(super) audience: Texts,
    pub(super) access: Field<Duration>,
    pub(super) refresh: Field<WrittenRefresh>,
    pub(super) signing: Field<Signing>,
    pub(super) reuse: Field<Duration>,
    pub(super) client_authentication: Field<ClientAuthentication>,
    pub(super) particulars: WrittenParticulars,
    pub(super) enabled: Field<bool>,
}

impl Written {
    pub(super) fn read(root: &Table<'_>) -> Self {
        Self(root.required_table("realm", |t| WrittenRealm {
            name: t.required("name", name),
            issuer: t.required("issuer", issuer),
            aliases: t.optional("aliases", |v| v.list(host)),
            dialect: t.optional("dialect", |v| {
                v.choice(&[("rfc", Dialect::Rfc), ("keycloak", Dialect::Keycloak)])
            }),
            password_grant: t.optional("password_grant", Value::boolean),
            scopes: t.optional("scopes", |v| v.list(scope_token)),
            audience: t.optional("audience", |v| v.list(audience)),
            client_authentication: t.optional("client_authentication", client_authentication),
            tokens: t.table("tokens", |t| WrittenTokens {
                access: t.optional("access", access),
                refresh: t.table("refresh", refresh),
                signing: t.optional("signing", signing),
                id_token: t.optional("id_token", Value::boolean),
                reuse: t.optional("reuse", reuse),
                opaque: t.optional("opaque", Value::boolean),
                status_list: t.optional("status_list", Value::boolean),
            }),
            keys: t.table("keys", |t| WrittenKeys {
                rotate_every: t.optional("rotate_every", |v| v.duration(HOUR..=MAX_LIFETIME)),
                announce: t.optional("announce", |v| v.duration(Duration::ZERO..=MAX_LIFETIME)),
                linger: t.optional("linger", |v| v.duration(Duration::ZERO..=MAX_LIFETIME)),
            }),
            endpoints: t.tables("endpoints", endpoint),
            clients: t.tables("clients", client),
            policies: policies::read(t),
        }))
    }

    /// What it means. `None` where something was wrong, which has been reported.
    pub(super) fn into_declaration(self) -> Option<Declaration> {
        let realm = self.0.into_value()?;
        let name = realm.name.into_value()?;
        // FAPI 2.0 §5.3.2.1: "shall not use refresh token rotation except in extraordinary circumstances"
        let rotate = match realm.policies.profile.value() {
            Some(Profile::Fapi2) => Rotate::Keep,
            _ => Rotate::Rotate,
        };
        let clients = realm
            .clients
            .into_value()
            .unwrap_or_default()
            .into_iter()
            .map(|c| meant_client(c.value, &name, rotate))
            .collect::<Option<_>>()?;
        let endpoints = realm.endpoints.into_value().unwrap_or_default();
        let tokens = meant_tokens(realm.tokens.into_value(), rotate)?;
        let mut meant = Realm {
            aliases: texts(realm.aliases).unwrap_or_default(),
            dialect: realm.dialect.into_value().unwrap_or_default(),
            audience: texts(realm.audience).unwrap_or_default(),
            scopes: scope(realm.scopes).unwrap_or_default(),
            password_grant: realm.password_grant.into_value().unwrap_or_default(),
            client_authentication: realm.client_authentication.into_value().unwrap_or_default(),
            endpoints: endpoints
                .into_iter()
                .map(|e| meant_endpoint(e.value))
                .collect::<Option<_>>()?,
            keys: meant_keys(realm.keys.into_value()),
            not_before: UNTOUCHED,
            created_at: UNTOUCHED,
            ..Realm::new(name, realm.issuer.into_value()?, tokens)
        };
        policies::apply(realm.policies, &mut meant)?;
        let realm = meant;
        Some(Declaration { realm, clients })
    }
}

fn refresh(t: &Table<'_>) -> WrittenRefresh {
    WrittenRefresh {
        lifetime: t.required("lifetime", |v| v.duration(SECOND..=MAX_LIFETIME)),
        max_lifetime: t.optional("max_lifetime", |v| v.duration(SECOND..=MAX_LIFETIME)),
        policy: t.optional("policy", |v| {
            v.choice(&[
                ("keep", Rotate::Keep),
                ("reissue", Rotate::Reissue),
                ("rotate", Rotate::Rotate),
            ])
        }),
        grace: t.optional("grace", |v| v.duration(Duration::ZERO..=MAX_GRACE)),
        client_credentials: t.optional("client_credentials", Value::boolean),
    }
}

fn endpoint(t: &Table<'_>) -> WrittenEndpoint {
    WrittenEndpoint {
        path: t.required("path", |v| {
            v.matching("a path such as `/auth/refresh`, of plain segments", is_path)
        }),
        grant: t.required("grant", grant),
        client: t.required("client", client_id),
        token_type: t.optional("token_type", |v| {
            v.matching("`Bearer` in upper or lower case", |text| {
                text.eq_ignore_ascii_case("bearer")
            })
        }),
        invalid_grant_status: t
            .optional("invalid_grant_status", |v| u16::try_from(v.integer(400..=499)?).ok()),
    }
}

fn client(t: &Table<'_>) -> WrittenClient {
    WrittenClient {
        id: t.required("id", client_id),
        grants: t.required("grants", |v| v.list(grant)),
        scope: t.optional("scope", |v| v.list(scope_token)),
        default_scope: t.optional("default_scope", |v| v.list(scope_token)),
        audience: t.optional("audience", |v| v.list(audience)),
        access: t.optional("access", access),
        refresh: t.table("refresh", refresh),
        signing: t.optional("signing", signing),
        reuse: t.optional("reuse", reuse),
        client_authentication: t.optional("client_authentication", client_authentication),
        particulars: policies::read_particulars(t),
        enabled: t.optional("enabled", Value::boolean),
    }
}

fn name(v: &Value<'_>) -> Option<String> {
    v.matching("1 to 100 of `A-Z a-z 0-9 . _ - @`", is_name)
}

fn client_id(v: &Value<'_>) -> Option<String> {
    v.matching("1 to 200 visible ASCII characters without `:`", is_client_id)
}

fn host(v: &Value<'_>) -> Option<String> {
    v.matching("a host name in lower case, without port", is_host)
}

pub(super) fn scope_token(v: &Value<'_>) -> Option<String> {
    v.matching("one scope of visible ASCII without `\"` and `\\`", |text| {
        !text.is_empty() && !text.contains(' ') && text.parse::<Scope>().is_ok()
    })
}

pub(super) fn audience(v: &Value<'_>) -> Option<String> {
    v.matching("a name or URL of 1 to 500 visible ASCII characters", |text| {
        (1..=500).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    })
}

fn issuer(v: &Value<'_>) -> Option<Issuer> {
    let text = v.text_that("an https URL")?;
    let (must, help) = match text.parse() {
        Ok(issuer) => return Some(issuer),
        Err(IssuerError::NotHttps) => {
            ("an https URL", Some("http is admitted for localhost, 127.0.0.1 and [::1] alone"))
        }
        Err(IssuerError::QueryOrFragment) => ("a URL without query and fragment", None),
        Err(IssuerError::Host) => {
            ("a URL with a host name in lower case and an optional port", None)
        }
        Err(IssuerError::Path) => {
            ("a URL with a path of plain segments, without `/` at the end", None)
        }
    };
    v.must(must, help)
}

pub(super) fn access(v: &Value<'_>) -> Option<Duration> {
    v.duration(SECOND..=MAX_ACCESS)
}

fn grant(v: &Value<'_>) -> Option<GrantType> {
    v.choice(&GrantType::ALL.map(|grant| (grant.short_name(), grant)))
}

fn signing(v: &Value<'_>) -> Option<Signing> {
    let names: Vec<_> = Algorithm::all_names().map(|name| (name, name)).collect();
    let name = v.choice(&names)?;
    Some(Signing { algorithm: name.parse().ok()?, name })
}

fn client_authentication(v: &Value<'_>) -> Option<ClientAuthentication> {
    v.choice(&[
        ("required", ClientAuthentication::Required),
        ("optional", ClientAuthentication::Optional),
    ])
}

pub(super) fn texts(list: Texts) -> Option<Vec<String>> {
    Some(list.into_value()?.into_iter().map(|at| at.value).collect())
}

pub(super) fn scope(list: Texts) -> Option<Scope> {
    Some(texts(list)?.iter().map(String::as_str).collect())
}

fn meant_tokens(tokens: Option<WrittenTokens>, rotate: Rotate) -> Option<TokenPolicy> {
    let Some(written) = tokens else { return Some(TokenPolicy::new(DEFAULT_ACCESS)) };
    let signing = written.signing.into_value();
    Some(TokenPolicy {
        refresh: match written.refresh.into_value() {
            Some(written) => Some(meant_refresh(written, rotate)?),
            None => None,
        },
        signing: signing.map_or(Algorithm::Es256, |written| written.algorithm),
        ed25519: signing.map(|written| Ed25519Name::of(written.name)).unwrap_or_default(),
        id_token: written.id_token.into_value().unwrap_or_default(),
        reuse: written.reuse.into_value().filter(|window| !window.is_zero()),
        opaque: written.opaque.into_value().unwrap_or_default(),
        status_list: written.status_list.into_value().unwrap_or_default(),
        ..TokenPolicy::new(written.access.into_value().unwrap_or(DEFAULT_ACCESS))
    })
}

fn meant_refresh(written: WrittenRefresh, rotate: Rotate) -> Option<RefreshPolicy> {
    let policy = written.policy.into_value().unwrap_or(rotate);
    let grace = if policy == Rotate::Rotate { DEFAULT_GRACE } else { Duration::ZERO };
    let lifetime = written.lifetime.into_value()?;
    Some(RefreshPolicy {
        lifetime,
        max_lifetime: written.max_lifetime.into_value(),
        policy,
        grace: written.grace.into_value().unwrap_or_else(|| grace.min(lifetime)),
        client_credentials: written.client_credentials.into_value().unwrap_or_default(),
    })
}

fn meant_keys(written: Option<WrittenKeys>) -> KeyPolicy {
    let default = KeyPolicy::default();
    let Some(written) = written else { return default };
    KeyPolicy {
        rotate_every: written.rotate_every.into_value().unwrap_or(default.rotate_every),
        announce: written.announce.into_value().unwrap_or(default.announce),
        linger: written.linger.into_value().unwrap_or(default.linger),
    }
}

fn meant_endpoint(written: WrittenEndpoint) -> Option<Endpoint> {
    Some(Endpoint {
        path: written.path.into_value()?,
        grant: written.grant.into_value()?,
        client: written.client.into_value()?,
        token_type: written.token_type.into_value(),
        invalid_grant_status: written.invalid_grant_status.into_value(),
    })
}

fn meant_client(written: WrittenClient, realm: &str, rotate: Rotate) -> Option<DeclaredClient> {
    let says_enabled = written.enabled.value().is_some();
    let refresh = match written.refresh.into_value() {
        Some(refresh) => Some(meant_refresh(refresh, rotate)?),
        None => None,
    };
    let client = Client {
        realm: realm.to_owned(),
        id: written.id.into_value()?,
        enabled: written.enabled.into_value().unwrap_or(true),
        grants: written.grants.into_value()?.into_iter().map(|at| at.value).collect(),
        scope: scope(written.scope).unwrap_or_default(),
        default_scope: scope(written.default_scope),
        audience: texts(written.audience).unwrap_or_default(),
        access: written.access.into_value(),
        refresh: refresh.map(Box::new),
        signing: written.signing.into_value().map(|written| written.algorithm),
        reuse: written.reuse.into_value(),
        client_authentication: written.client_authentication.into_value(),
        particulars: policies::particulars(written.particulars),
        not_before: UNTOUCHED,
        ended_before: UNTOUCHED,
        created_at: UNTOUCHED,
        credentials: Vec::new(),
    };
    Some(DeclaredClient { client, says_enabled })
}

fn reuse(value: &Value<'_>) -> Option<Duration> {
    value.duration(Duration::ZERO..=MAX_REUSE)
}

/// The access lifetime that holds where `written` does not say.
pub(super) fn access_or_default(written: &Field<Duration>) -> Option<Duration> {
    match written {
        Field::Absent => Some(DEFAULT_ACCESS),
        Field::Wrong => None,
        Field::Given(at) => Some(at.value),
    }
}
