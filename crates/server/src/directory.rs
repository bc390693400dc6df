//! What the server knows, held in memory as one snapshot: realms, users, keys, and where they answer.
//!
//! A snapshot never changes. A change makes a new one; whoever holds the old one finishes with it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use tokenry_core::dpop::Nonces;
use tokenry_core::family::FamilyId;
use tokenry_core::jose::{Algorithm, JwkSet};
use tokenry_core::key::{KeyRecord, Stage};
use tokenry_core::realm::{Dialect, Endpoint, Issuer, Trust};
use tokenry_core::refresh::Sealer;
use tokenry_core::{MasterKey, Realm, Timestamp, User};
use tokenry_store::{Revision, Snapshot, Usage};

use crate::certificate::Authorities;
use crate::dialect::Place;
use crate::document::Document;
use crate::keyring::Keyring;
use crate::metadata;
use crate::metrics::{Metrics, RealmMetrics};
use crate::password::Queue;
use crate::status_list::{Ended, StatusLists, ended};

/// One snapshot of everything.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) revision: Revision,
    /// By host name, then by path. What is in it is the operator's, so its hashing need not stand up to anybody.
    hosts: HashMap<String, HashMap<String, Route, RandomState>, RandomState>,
    realms: HashMap<String, Arc<RealmState>>,
    revoked: HashSet<(String, FamilyId)>,
    /// When a key leaves a published set, so that this snapshot is out of date by itself.
    pub(crate) stale_at: Option<Timestamp>,
}

/// What answers at a path.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) realm: Arc<RealmState>,
    pub(crate) resource: Resource,
}

/// The kinds of thing that a realm serves.
#[derive(Clone, Debug)]
pub(crate) enum Resource {
    /// Where clients authenticate; a declared endpoint brings what it declares.
    Clients(Place, Option<Arc<Endpoint>>),
    /// A JWK set or metadata.
    Document(Arc<Document>),
    /// The status lists, each under its number.
    StatusLists,
}

/// A realm with all that belongs to it.
#[derive(Debug)]
pub(crate) struct RealmState {
    pub(crate) realm: Realm,
    pub(crate) sealer: Sealer,
    /// What DPoP proofs must have in this realm, where it wants that.
    pub(crate) nonces: Nonces,
    pub(crate) keyring: Keyring,
    /// Who vouches for the certificates of its clients.
    pub(crate) authorities: Authorities,
    pub(crate) metrics: RealmMetrics,
    /// How many of its users' passwords wait to be compared.
    pub(crate) passwords: Queue,
    /// Its status lists, the same in every snapshot.
    pub(crate) status_lists: Arc<StatusLists>,
    /// What of them is revoked.
    pub(crate) ended: Ended,
    /// Where tokens are to be had.
    pub(crate) token_endpoint: String,
    /// The keys of trusted issuers that its registration holds, by the issuer's name.
    trusted_keys: HashMap<String, Arc<JwkSet>>,
    /// What its clients have of their own.
    usage: Option<Usage>,
    /// When the last access token has expired whose lifetime was made shorter since.
    outlived: Timestamp,
    users: HashMap<String, User>,
    /// The names of the users by their subjects.
    subjects: HashMap<String, String>,
}

impl RealmState {
    /// The user of this name.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// The user of this `sub`.
    pub(crate) fn user_by_subject(&self, subject: &str) -> Option<&User> {
        self.user(self.subjects.get(subject)?)
    }

    /// Scheme, host and port of every place where the realm answers.
    pub(crate) fn origins(&self) -> impl Iterator<Item = String> {
        let own = [self.realm.issuer.origin().to_owned()];
        let by_certificate = self.realm.certificates.iter().flat_map(|own| own.origin.clone());
        let aliases = self.realm.aliases.iter().map(|host| format!("https://{host}"));
        own.into_iter().chain(by_certificate).chain(aliases)
    }

    /// The keys of a trusted issuer, where they are part of its registration.
    pub(crate) fn trusted_keys(&self, name: &str) -> Option<Arc<JwkSet>> {
        self.trusted_keys.get(name).cloned()
    }

    /// The algorithms that the realm and its clients sign with.
    pub(crate) fn algorithms(&self) -> HashSet<Algorithm> {
        let clients = self.usage.iter().flat_map(|usage| usage.algorithms.iter().copied());
        clients.chain([self.realm.tokens.signing]).collect()
    }

    /// When all access tokens have expired that are issued by `now`, or were before.
    pub(crate) fn access_expired(&self, now: Timestamp) -> Timestamp {
        let clients = self.usage.as_ref().and_then(|usage| usage.longest_access);
        let longest = clients.unwrap_or_default().max(self.realm.tokens.access);
        (now + longest).max(self.outlived)
    }
}

/// A set that does not read was refused when the realm was declared; here it counts as none.
fn trusted_keys(realm: &Realm) -> HashMap<String, Arc<JwkSet>> {
    let held = |trust: &Trust| Some((trust.name.clone(), Arc::new(trust.held_keys()?)));
    realm.trusts.iter().filter_map(held).collect()
}

/// The authorities of a realm. Where they cannot be read, nobody is vouched for.
fn authorities(realm: &Realm) -> Authorities {
    let Some(policy) = &realm.certificates else { return Authorities::default() };
    Authorities::read(policy).unwrap_or_else(|error| {
        tracing::error!(realm = realm.name, %error, "no client certificate of an authority is taken");
        Authorities::default()
    })
}

impl Directory {
    /// Builds a snapshot from what is stored; keys that are open already are taken from `before`.
    pub(crate) fn build(
        stored: Snapshot,
        master: &MasterKey,
        metrics: &Metrics,
        now: Timestamp,
        before: Option<&Self>,
    ) -> Self {
        let mut usage: HashMap<String, Usage> =
            stored.usage.into_iter().map(|usage| (usage.realm.clone(), usage)).collect();
        let mut outlived: HashMap<String, Timestamp> = stored.outlived.into_iter().collect();
        let mut users: HashMap<String, HashMap<String, User>> = HashMap::new();
        for user in stored.users {
            users.entry(user.realm.clone()).or_default().insert(user.name.clone(), user);
        }
        let mut keys: HashMap<String, Vec<KeyRecord>> = HashMap::new();
        for key in stored.keys.into_iter().filter(|key| key.stage(now) != Stage::Gone) {
            keys.entry(key.realm.clone()).or_default().push(key);
        }

        let mut ended_by_realm = ended(&stored.revoked);
        let mut directory = Self {
            revision: stored.revision,
            revoked: stored.revoked.into_iter().map(|(realm, family, _)| (realm, family)).collect(),
            ..Self::default()
        };
        for realm in stored.realms {
            // A copy, so that all of a realm lies together: what the store reads lies between all else that it read.
            let realm = Realm::clone(&realm);
            let name = realm.name.clone();
            let Some(sealer) = Sealer::new(master, &name) else {
                tracing::error!(realm = name, "the realm's refresh key cannot be derived");
                continue;
            };
            let known = before.and_then(|d| d.realms.get(&name));
            let open_before = known.map(|state| &state.keyring);
            // A realm that was removed and added again counts its lists anew.
            let same = known.filter(|known| known.realm.created_at == realm.created_at);
            let status_lists = same.map(|known| Arc::clone(&known.status_lists));
            let records = keys.remove(&name).unwrap_or_default();
            let users = users.remove(&name).unwrap_or_default();
            let state = Arc::new(RealmState {
                keyring: Keyring::open(master, &realm, records, open_before),
                usage: usage.remove(&name),
                outlived: outlived.remove(&name).unwrap_or(Timestamp::EPOCH),
                status_lists: status_lists.unwrap_or_default(),
                ended: ended_by_realm.remove(&name).unwrap_or_default(),
                subjects: users.values().map(|u| (u.subject.clone(), u.name.clone())).collect(),
                users,
                metrics: metrics.of_realm(&name),
                passwords: Queue::default(),
                token_endpoint: metadata::token_endpoint(&realm),
                trusted_keys: trusted_keys(&realm),
                nonces: Nonces::of_realm(master, &name),
                authorities: authorities(&realm),
                sealer,
                realm,
            });
            directory.stale_at =
                [directory.stale_at, state.keyring.changes_at(now)].into_iter().flatten().min();
            directory.publish(&state, now);
            directory.realms.insert(name, state);
        }
        directory
    }

    /// Gives a realm its places.
    fn publish(&mut self, state: &Arc<RealmState>, now: Timestamp) {
        let realm = &state.realm;
        let jwks = Arc::new(metadata::jwks(state, now));
        let metadata = Arc::new(metadata::metadata(state));
        let mut routes = Vec::new();
        let mut at = |path: String, resource: Resource| {
            routes.push((path, Route { realm: Arc::clone(state), resource }));
        };
        let base = realm.issuer.path();
        match realm.dialect {
            Dialect::Rfc => {
                at(format!("{base}/token"), Resource::Clients(Place::Token, None));
                at(format!("{base}/introspect"), Resource::Clients(Place::Introspection, None));
                at(format!("{base}/revoke"), Resource::Clients(Place::Revocation, None));
                at(format!("{base}/revocations"), Resource::Clients(Place::Revocations, None));
                at(format!("{base}/jwks"), Resource::Document(Arc::clone(&jwks)));
                if realm.registration.is_some() {
                    let place = Resource::Clients(Place::Registration, None);
                    at(format!("{base}/register"), place);
                }
            }
            Dialect::Keycloak => {
                // `/auth` was the root of every path until Keycloak 17; clients of both kinds are about.
                let old = base.strip_prefix("/auth").filter(|rest| rest.starts_with("/realms/"));
                let new = base.starts_with("/realms/").then(|| format!("/auth{base}"));
                let about = Arc::new(metadata::keycloak_realm(state, now));
                for base in
                    [Some(base.to_owned()), old.map(str::to_owned), new].into_iter().flatten()
                {
                    at(base.clone(), Resource::Document(Arc::clone(&about)));
                    for name in ["openid-configuration", "oauth-authorization-server"] {
                        let path = format!("{base}/.well-known/{name}");
                        at(path, Resource::Document(Arc::clone(&metadata)));
                    }
                    let base = format!("{base}/protocol/openid-connect");
                    at(format!("{base}/certs"), Resource::Document(Arc::clone(&jwks)));
                    for (path, place) in [
                        ("token", Place::Token),
                        ("token/introspect", Place::Introspection),
                        ("revoke", Place::Revocation),
                        ("logout", Place::Logout),
                        ("userinfo", Place::UserInfo),
                        ("revocations", Place::Revocations),
                    ] {
                        at(format!("{base}/{path}"), Resource::Clients(place, None));
                    }
                }
            }
        }
        if realm.tokens.status_list {
            at(metadata::status_lists(realm), Resource::StatusLists);
        }
        // RFC 8414 §3.1 puts the well-known part before the path; OpenID Connect Discovery §4 after it.
        for (before, after) in [
            ("/.well-known/oauth-authorization-server", ""),
            ("/.well-known/openid-configuration", ""),
            ("", "/.well-known/openid-configuration"),
            ("", "/.well-known/oauth-authorization-server"),
        ] {
            at(format!("{before}{base}{after}"), Resource::Document(Arc::clone(&metadata)));
        }
        for endpoint in &realm.endpoints {
            let path = format!("{base}{}", endpoint.path);
            at(path, Resource::Clients(Place::Token, Some(Arc::new(endpoint.clone()))));
        }

        let by_certificate = realm.certificates.as_ref().and_then(|own| own.origin.as_deref());
        let by_certificate = by_certificate.and_then(|origin| origin.parse::<Issuer>().ok());
        let further = by_certificate.iter().map(Issuer::host);
        let hosts = realm.aliases.iter().map(String::as_str).chain([realm.issuer.host()]);
        for host in hosts.chain(further) {
            let taken = self.hosts.entry(host.to_owned()).or_default();
            for (path, route) in &routes {
                // The first realm keeps its place; which of two comes first is settled by name, and reported.
                let place = taken.entry(path.clone()).or_insert_with(|| route.clone());
                if place.realm.realm.name != realm.name {
                    tracing::error!(
                        host,
                        path,
                        realm = realm.name,
                        "another realm answers here already"
                    );
                }
            }
        }
    }

    /// What answers at a host and a path; and the last segment of the path, where that names one of many.
    pub(crate) fn find<'p>(&self, host: &str, path: &'p str) -> Option<(&Route, Option<&'p str>)> {
        let routes = self.hosts.get(host)?;
        if let Some(route) = routes.get(path) {
            return Some((route, None));
        }
        let (above, last) = path.rsplit_once('/')?;
        let route = routes.get(above)?;
        let has_many = match route.resource {
            Resource::Clients(place, _) => place == Place::Registration,
            Resource::StatusLists => true,
            Resource::Document(_) => false,
        };
        has_many.then_some((route, Some(last)))
    }

    /// Whether a path that is not found lies in a realm, where the host speaks Keycloak's dialect and so tells.
    pub(crate) fn realm_of(&self, host: &str, path: &str) -> Option<bool> {
        let routes = self.hosts.get(host)?;
        let is_keycloak = |route: &Route| route.realm.realm.dialect == Dialect::Keycloak;
        let below = path.strip_prefix("/auth").unwrap_or(path).starts_with("/realms/");
        if !below || !routes.values().any(is_keycloak) {
            return None;
        }
        let mut above = path.match_indices('/').filter_map(|(end, _)| routes.get(path.get(..end)?));
        Some(above.any(is_keycloak))
    }

    /// The realm of this name.
    pub(crate) fn realm(&self, name: &str) -> Option<&Arc<RealmState>> {
        self.realms.get(name)
    }

    /// All realms.
    pub(crate) fn realms(&self) -> impl Iterator<Item = &Arc<RealmState>> {
        self.realms.values()
    }

    /// Whether a family was revoked before this snapshot was taken.
    pub(crate) fn is_revoked(&self, realm: &str, family: FamilyId) -> bool {
        !self.revoked.is_empty() && self.revoked.contains(&(realm.to_owned(), family))
    }
}
