//! The stage of the demo: a server with the vendors' realms, APIs behind verifiers, and a keeper for each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokenry_client::{Credentials, HttpTransport, Keeper, Provider};
use tokenry_core::client::{Credential, CredentialKind, generate_secret};
use tokenry_core::family::hyphenated;
use tokenry_core::{Client, MasterKey, Realm, Secret, Timestamp, User};
use tokenry_server::{App, Limits, SystemClock, Tls, Workers, password, random};
use tokenry_store::Change;
use tokenry_verifier::Verifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::line::Line;
use super::timeline::{Step, Timeline};
use super::{Trouble, api, shortened};
use crate::commands::init::certificates;
use crate::edge::now;
use crate::realm_file::Declaration;

/// The hosts of the vendors' documents. They are not asked for anything: every connection goes to this machine.
const HOSTS: [&str; 6] = [
    "services.truphone.com",
    "auth-service.services.simacan.com",
    "auth-service-stg.services.simacan.com",
    "demo.services.simacan.com",
    "oauth.tuinly.com",
    "graphql.tuinly.com",
];

/// The user of Simacan's realms, production and staging alike.
const USER: &str = "transport-planner";

/// All that plays.
pub(super) struct Stage {
    pub(super) truphone: Vendor,
    pub(super) simacan: Vendor,
    pub(super) tuinly: Vendor,
    /// A keeper that asks production with what staging gave it.
    pub(super) astray: Keeper,
    _folder: TempDir,
}

/// A vendor's API and the keeper that calls it.
pub(super) struct Vendor {
    pub(super) name: &'static str,
    pub(super) keeper: Keeper,
    pub(super) line: Line,
    /// What the API checks its callers with.
    pub(super) verifier: Verifier,
    /// Reaches the API.
    pub(super) http: HttpTransport,
    pub(super) url: &'static str,
}

/// What is needed to reach the server.
struct Way {
    authority: String,
    server: SocketAddr,
    tls: TlsAcceptor,
    timeline: Timeline,
}

impl Stage {
    /// Starts everything.
    pub(super) async fn set(timeline: &Timeline) -> Result<Self, Trouble> {
        timeline.heading("The stage");
        let folder = tempfile::tempdir()?;
        let master = MasterKey::new(random()?);
        let declared = shortened::realms(timeline)?;
        let mut changes = Vec::new();
        let keys = Keys::put_into(&mut changes, &declared, &master)?;
        let store =
            tokenry_store::open(&format!("sqlite:{}", folder.path().join("demo.db").display()))
                .await?;
        store.change(changes, None, now()).await?;

        let hosts = HOSTS.map(str::to_owned);
        let certificates = certificates::make(&hosts, now())?;
        let app = App::start(store, master, Arc::new(SystemClock), Limits::default()).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let way = Way {
            server: listener.local_addr()?,
            tls: api::tls(&certificates.certificate, &certificates.key)?,
            authority: certificates.authority,
            timeline: timeline.clone(),
        };
        let tls = Tls::from_pem(certificates.certificate.as_bytes(), certificates.key.as_bytes())?;
        tokio::spawn(Arc::clone(&app).upkeep(std::future::pending()));
        tokio::spawn(async move {
            let never = std::future::pending();
            tokenry_server::serve(app, listener, Some(tls), &Workers::here(), never).await;
        });

        let realm = |name: &str| {
            let found = declared.iter().find(|d| d.realm.name == name).map(|d| &d.realm);
            found.ok_or_else(|| format!("no realm {name} in the examples"))
        };
        let simacan = shortened::simacan(timeline)?;
        let stage = Self {
            truphone: way
                .vendor(
                    "truphone",
                    realm("truphone")?,
                    Provider::named("truphone")?,
                    keys.truphone,
                    "https://services.truphone.com/connect-api/ping",
                )
                .await?,
            simacan: way
                .vendor(
                    "simacan",
                    realm("simacan-production")?,
                    simacan.clone(),
                    keys.simacan,
                    "https://demo.services.simacan.com/trips",
                )
                .await?,
            tuinly: way
                .vendor(
                    "tuinly",
                    realm("tuinly")?,
                    Provider::named("tuinly")?,
                    keys.tuinly,
                    "https://graphql.tuinly.com/graphql",
                )
                .await?,
            astray: Keeper::builder(simacan, keys.staging)
                .transport(way.to_server()?)
                .patience(Duration::ZERO)
                .build()?,
            _folder: folder,
        };
        stage.wait_for_keys().await;
        timeline.say(
            "server",
            Some(Step::Started),
            &format!(
                "{} realms on SQLite at https://{}, three APIs behind the verifier",
                declared.len(),
                way.server
            ),
        );
        Ok(stage)
    }

    /// A verifier that has just begun has no keys yet.
    async fn wait_for_keys(&self) {
        let verifiers =
            [&self.truphone, &self.simacan, &self.tuinly].map(|vendor| &vendor.verifier);
        while !verifiers.iter().all(|verifier| verifier.is_ready()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Way {
    fn to_server(&self) -> Result<HttpTransport, Trouble> {
        self.to(HOSTS.into_iter(), self.server)
    }

    fn to(
        &self,
        hosts: impl Iterator<Item = &'static str>,
        address: SocketAddr,
    ) -> Result<HttpTransport, Trouble> {
        let builder = HttpTransport::builder().root_certificates(self.authority.as_bytes())?;
        Ok(hosts.fold(builder, |builder, host| builder.connect_to(host, address)).build()?)
    }

    async fn vendor(
        &self,
        name: &'static str,
        realm: &Realm,
        provider: Provider,
        credentials: Credentials,
        url: &'static str,
    ) -> Result<Vendor, Trouble> {
        let verifier = Verifier::builder(realm.issuer.as_str())
            .audience(realm.audience.first().map_or(realm.issuer.as_str(), String::as_str))
            .accept_legacy_typ()
            .leeway(Duration::ZERO)
            .with_root_certificates(self.authority.as_bytes())
            .connect_to(realm.issuer.host(), self.server)
            .build()?;
        let api = api::start(&verifier, &self.tls).await?;
        let line = Line::new(name, self.to_server()?, &self.timeline);
        let keeper = Keeper::builder(provider, credentials).transport(line.clone()).build()?;
        Ok(Vendor { name, keeper, line, verifier, http: self.to(HOSTS.into_iter(), api)?, url })
    }
}

/// What each keeper proves itself with.
struct Keys {
    truphone: Credentials,
    simacan: Credentials,
    staging: Credentials,
    tuinly: Credentials,
}

impl Keys {
    /// Registers what the realm files declare, with fresh secrets.
    fn put_into(
        changes: &mut Vec<Change>,
        declared: &[Declaration],
        master: &MasterKey,
    ) -> Result<Self, Trouble> {
        let mut clients = Vec::new();
        let mut users = Vec::new();
        for Declaration { realm, clients: declared } in declared {
            changes.push(Change::PutRealm(realm.clone()));
            for client in declared {
                let client = &client.client;
                changes.push(Change::PutClient(client.clone()));
                let (credential, secret) = secret_of(client, master)?;
                changes.push(credential);
                clients.push((realm.name.as_str(), Credentials::client(&client.id, secret)));
            }
            if realm.password_grant {
                let (user, password) = user_of(realm)?;
                changes.push(Change::PutUser(user));
                users.push((realm.name.as_str(), Credentials::password(USER, password)));
            }
        }
        let of = |all: &[(&str, Credentials)], realm: &str| {
            let found = all
                .iter()
                .find(|(name, _)| *name == realm)
                .map(|(_, credentials)| credentials.clone());
            found.ok_or_else(|| format!("nobody to be in realm {realm}"))
        };
        Ok(Self {
            truphone: of(&clients, "truphone")?,
            tuinly: of(&clients, "tuinly")?,
            simacan: of(&users, "simacan-production")?,
            staging: of(&users, "simacan-staging")?,
        })
    }
}

fn secret_of(client: &Client, master: &MasterKey) -> Result<(Change, Secret), Trouble> {
    let (id, secret) = generate_secret(&random()?);
    let credential = Credential {
        id,
        label: "demo".into(),
        kind: CredentialKind::Secret { digest: master.pepper().digest(secret.expose()) },
        not_before: Timestamp::EPOCH,
        expires_at: None,
        created_at: now(),
    };
    let change = Change::PutCredential {
        realm: client.realm.clone(),
        client: client.id.clone(),
        credential,
    };
    Ok((change, secret))
}

fn user_of(realm: &Realm) -> Result<(User, Secret), Trouble> {
    let text: String = random::<16>()?.iter().map(|b| format!("{b:02x}")).collect();
    let secret = Secret::new(text);
    let user = User {
        realm: realm.name.clone(),
        name: USER.into(),
        subject: String::from_utf8(hyphenated(&random()?).into())?,
        password: password::hash(&secret, random()?)?,
        enabled: true,
        not_before: Timestamp::EPOCH,
        ended_before: Timestamp::EPOCH,
        created_at: now(),
    };
    Ok((user, secret))
}
