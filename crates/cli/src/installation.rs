//! The store and the master key that a configuration names, opened together.

use std::sync::Arc;

use tokenry_core::realm::Realm;
use tokenry_core::{Client, MasterKey};
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
    /// They are refused if anything else changed in between: a command takes milliseconds, so that running it again is
    /// no hardship, and a lost change would be.
    pub(crate) async fn change_unchanged(
        &self,
        changes: Vec<Change>,
    ) -> Result<Revision, Diagnostic> {
        self.change(changes, Some(self.snapshot.revision))
            .await
            .map_err(|error| store_failed(&error))
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
