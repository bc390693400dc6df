//! The store and the master key that a configuration names, opened together.

use std::sync::Arc;

use tokenry_core::client::{Credential, MAX_CREDENTIALS};
use tokenry_core::realm::Realm;
use tokenry_core::{Client, MasterKey, User};
use tokenry_store::{Change, OpenError, Revision, Snapshot, Store, StoreError};

use crate::args::Global;
use crate::config::{Config, master_key};
use crate::diagnostic::{Diagnostic, Diagnostics, did_you_mean, quoted};
use crate::edge;
use crate::output::Output;

/// The store and the master key, which belong together.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) master: MasterKey,
    /// What the store held when it was opened.
    pub(crate) snapshot: Snapshot,
}

/// How much of the store is read when it is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read {
    /// All of it.
    Whole,
    /// All but clients, of which there may be a million.
    Outline,
}

/// How often a change is tried while others change the store: a server makes keys as soon as it sees a new realm, a busy one
/// revokes tokens all the time, and scripts run many commands at once.
pub(crate) const ATTEMPTS: usize = 10;

/// Whether what a change builds on is now as it was before.
fn builds_on(change: &Change, before: &Snapshot, now: &Snapshot) -> bool {
    let same_realm = |realm: &str| find_realm(before, realm) == find_realm(now, realm);
    // Its credentials are looked at where they matter.
    let same_client = |realm: &str, id: &str| {
        let registration = |snapshot| {
            find_client(snapshot, realm, id)
                .map(|client| Client { credentials: Vec::new(), ..client.clone() })
        };
        same_realm(realm) && registration(before) == registration(now)
    };
    let same_user = |realm: &str, name: &str| {
        let find = |snapshot: &Snapshot| {
            snapshot.users.iter().find(|user| user.realm == realm && user.name == name).cloned()
        };
        same_realm(realm) && find(before) == find(now)
    };
    match change {
        Change::PutRealm(realm) => same_realm(&realm.name),
        // Whoever removes it was told how much is in it.
        Change::RemoveRealm { realm } => {
            let clients = |snapshot: &Snapshot| -> Vec<Client> {
                snapshot.clients.iter().filter(|client| client.realm == *realm).cloned().collect()
            };
            let users = |snapshot: &Snapshot| -> Vec<User> {
                snapshot.users.iter().filter(|user| user.realm == *realm).cloned().collect()
            };
            same_realm(realm) && clients(before) == clients(now) && users(before) == users(now)
        }
        Change::PutClient(client) => same_client(&client.realm, &client.id),
        Change::RemoveClient { realm, client } => same_client(realm, client),
        // Others may come and go beside it, as long as there is room and none of them is the same.
        Change::PutCredential { realm, client, credential } => {
            let is_other =
                |own: &Credential| own.id != credential.id && own.kind != credential.kind;
            same_client(realm, client)
                && find_client(now, realm, client).is_some_and(|client| {
                    client.credentials.len() < MAX_CREDENTIALS
                        && client.credentials.iter().all(is_other)
                })
        }
        Change::RemoveCredential { realm, client, credential } => {
            let find = |snapshot| {
                let credentials = &find_client(snapshot, realm, client)?.credentials;
                credentials.iter().find(|own| own.id == *credential).cloned()
            };
            same_client(realm, client) && find(before) == find(now)
        }
        Change::PutUser(user) => same_user(&user.realm, &user.name),
        Change::RemoveUser { realm, user } => same_user(realm, user),
        Change::PutMasterKeyCheck(_) | Change::PutKey(_) | Change::RemoveKey { .. } => false,
    }
}

fn find_realm<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s Realm> {
    snapshot.realms.iter().find(|realm| realm.name == name)
}

fn find_client<'s>(snapshot: &'s Snapshot, realm: &str, id: &str) -> Option<&'s Client> {
    snapshot.clients.iter().find(|client| client.realm == realm && client.id == id)
}

impl Installation {
    /// Reads the configuration and opens what it names.
    pub(crate) async fn open(global: &Global, output: Output) -> Result<Self, Diagnostics> {
        let mut diagnostics = Diagnostics::default();
        let opened = Self::open_noting(global, Read::Whole, &mut diagnostics).await;
        match opened {
            Some(opened) => {
                output.complain(&diagnostics);
                Ok(opened)
            }
            None => Err(diagnostics),
        }
    }

    /// The same, noting everything that is wrong.
    pub(crate) async fn open_noting(
        global: &Global,
        read: Read,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let config = Config::read(&global.config, diagnostics)?;
        let master = master_key::load(&config).map_err(|error| diagnostics.push(error)).ok();
        let (store, snapshot) =
            open_store(&config, read).await.map_err(|error| diagnostics.push(error)).ok()?;
        let master = master?;
        if snapshot.master_key_check.is_some_and(|check| check != master.check()) {
            diagnostics.push(wrong_master_key(&config));
            return None;
        }
        Some(Self { config, store, master, snapshot })
    }

    /// Makes changes; from now on the store knows its master key.
    pub(crate) async fn change(
        &self,
        mut changes: Vec<Change>,
        expected: Option<Revision>,
    ) -> Result<Revision, StoreError> {
        if self.snapshot.master_key_check.is_none() {
            changes.insert(0, Change::PutMasterKeyCheck(self.master.check()));
        }
        self.store.change(changes, expected, edge::now()).await
    }

    /// Makes changes that build on what was read.
    ///
    /// They are refused if that has changed in between: a command takes milliseconds, so that running it again is no
    /// hardship, and a lost change would be. What else has changed does not matter; it is read anew to see that.
    pub(crate) async fn change_unchanged(
        &self,
        changes: Vec<Change>,
    ) -> Result<Revision, Diagnostic> {
        let mut expected = self.snapshot.revision;
        for _ in 1..ATTEMPTS {
            match self.change(changes.clone(), Some(expected)).await {
                Err(StoreError::Conflict) => {
                    let now = self.store.load().await.map_err(|error| store_failed(&error))?;
                    let same_key = now.master_key_check.is_none_or(|it| it == self.master.check());
                    let same = |change| builds_on(change, &self.snapshot, &now);
                    if !same_key || !changes.iter().all(same) {
                        break;
                    }
                    expected = now.revision;
                }
                other => return other.map_err(|error| store_failed(&error)),
            }
        }
        Err(store_failed(&StoreError::Conflict))
    }

    /// Undoes a change whose outcome nobody has seen; gives the error with what became of it.
    ///
    /// With `expected`, only if nothing else has changed since that revision.
    pub(crate) async fn undo(
        &self,
        undo: Change,
        expected: Option<Revision>,
        unseen: Diagnostic,
        what: &str,
    ) -> Diagnostic {
        match self.store.change(vec![undo], expected, edge::now()).await {
            Ok(_) => unseen.help(format!("nobody has seen it, so {what} was taken back")),
            Err(error) => unseen
                .help(format!("nobody has seen it, and {what} could not be taken back: {error}")),
        }
    }

    /// The realm of this name.
    pub(crate) fn realm(&self, name: &str) -> Result<&Realm, Diagnostic> {
        let realms = &self.snapshot.realms;
        realms.iter().find(|realm| realm.name == name).ok_or_else(|| {
            let known = realms.iter().map(|realm| realm.name.as_str());
            not_there(
                &format!("realm {}", quoted(name)),
                name,
                known,
                "declare it in a realm file and `tokenry apply` that",
            )
        })
    }

    /// The client with this identifier.
    pub(crate) fn client(&self, realm: &str, id: &str) -> Result<&Client, Diagnostic> {
        self.realm(realm)?;
        let of_realm = || self.snapshot.clients.iter().filter(|client| client.realm == realm);
        of_realm().find(|client| client.id == id).ok_or_else(|| {
            let known = of_realm().map(|client| client.id.as_str());
            let what = format!("client {} in realm {}", quoted(id), quoted(realm));
            not_there(&what, id, known, "`tokenry client list` shows those there are")
        })
    }
}

/// The error about something that was named and is not there.
pub(crate) fn not_there<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
    otherwise: &str,
) -> Diagnostic {
    let error = Diagnostic::error(format!("there is no {what}"));
    match did_you_mean(name, known) {
        Some(meant) => error.help(format!("did you mean `{meant}`?")),
        None => error.help(otherwise),
    }
}

/// The error about a store that failed.
pub(crate) fn store_failed(error: &StoreError) -> Diagnostic {
    let diagnostic = Diagnostic::error(error.to_string());
    match error {
        StoreError::Conflict => diagnostic.help("nothing was changed; run the command again"),
        StoreError::Unavailable(_) => diagnostic.help("nothing was changed; try again later"),
        _ => diagnostic,
    }
}

async fn open_store(config: &Config, read: Read) -> Result<(Arc<dyn Store>, Snapshot), Diagnostic> {
    let at = &config.store.span;
    let store = tokenry_store::open_existing(&config.store.value).await.map_err(|error| {
        match &error {
            // A path with a typing mistake must not look like a server without realms.
            OpenError::Missing { path } => config
                .error(at, format!("there is no store at {}", path.display()))
                .help("correct the path, or make an empty one with `tokenry init --store`"),
            _ => config.error(at, error.to_string()),
        }
    })?;
    let snapshot = match read {
        Read::Whole => store.load().await,
        Read::Outline => store.outline().await,
    };
    Ok((store, snapshot.map_err(|error| config.error(at, error.to_string()))?))
}

fn wrong_master_key(config: &Config) -> Diagnostic {
    config
        .error(&config.master_key.span, "this is not the master key that the store was made with")
        .help("put the right one back: without it neither client secrets nor signing keys of this store can be used")
}
