//! `tokenry user`: the users of the password grant.

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokenry_core::family::{hyphenated, uuid_v7};
use tokenry_core::realm::is_name;
use tokenry_core::user::PasswordHash;
use tokenry_core::{Secret, Timestamp, User};
use tokenry_store::Change;

use super::Outcome;
use crate::args::Global;
use crate::diagnostic::{Diagnostic, quoted};
use crate::edge;
use crate::installation::{Installation, not_there};
use crate::output::{Output, table};

/// The shortest password that is taken, in characters: NIST SP 800-63B §3.1.1.2.
const MIN_PASSWORD: usize = 8;

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Registers a user. Without --password-from a password is generated and printed, this once.
    Add {
        /// The realm.
        realm: String,
        /// The user's name, `username` on the wire.
        name: String,
        #[command(flatten)]
        origin: Origin,
    },
    /// Gives a user another password. Tokens from before are no longer good.
    ///
    /// APIs that introspect, and those that follow the revocation feed, refuse access tokens about the user at once; elsewhere
    /// these live out their life.
    Password {
        /// The realm.
        realm: String,
        /// The user's name.
        name: String,
        #[command(flatten)]
        origin: Origin,
    },
    /// Lists users.
    List {
        /// Only those of this realm.
        realm: Option<String>,
    },
    /// Keeps a user from getting tokens, until it is enabled again.
    ///
    /// Password and refresh tokens are refused meanwhile. The access tokens that there are about it are refused for good, and
    /// at once, by APIs that introspect and those that follow the revocation feed; elsewhere they live out their life.
    Disable {
        /// The realm.
        realm: String,
        /// The user's name.
        name: String,
    },
    /// Lets a user that was disabled have tokens again, also with the refresh tokens from before.
    Enable {
        /// The realm.
        realm: String,
        /// The user's name.
        name: String,
    },
    /// Removes a user. Tokens about it are no longer good.
    ///
    /// APIs that introspect, and those that follow the revocation feed, refuse access tokens about it at once; elsewhere these
    /// live out their life.
    Remove {
        /// The realm.
        realm: String,
        /// The user's name.
        name: String,
    },
}

/// Where a password comes from.
#[derive(Args, Debug)]
pub(crate) struct Origin {
    /// Take the password, of at least 8 characters, from a file, or from standard input if it is `-`.
    #[arg(long, value_name = "FILE")]
    password_from: Option<PathBuf>,
    /// Write the generated password to a new file that only you can read, instead of printing it.
    #[arg(long, value_name = "FILE", conflicts_with = "password_from")]
    to: Option<PathBuf>,
}

pub(crate) async fn run(command: &Command, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    match command {
        Command::Add { realm, name, origin } => {
            add(&installation, realm, name, origin, output).await?;
        }
        Command::Password { realm, name, origin } => {
            password(&installation, realm, name, origin, output).await?;
        }
        Command::List { realm } => list(&installation, realm.as_deref(), output)?,
        Command::Disable { realm, name } => {
            enabled(&installation, realm, name, false, output).await?;
        }
        Command::Enable { realm, name } => {
            enabled(&installation, realm, name, true, output).await?;
        }
        Command::Remove { realm, name } => {
            user(&installation, realm, name)?;
            let change = Change::RemoveUser { realm: realm.clone(), user: name.clone() };
            installation.change_unchanged(vec![change]).await?;
            let json = json!({ "removed": { "realm": realm, "user": name } });
            output.done(&json, || format!("removed user {name} of realm {realm}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(
    installation: &Installation,
    realm: &str,
    name: &str,
    origin: &Origin,
    output: Output,
) -> Result<(), Diagnostic> {
    let declared = installation.realm(realm)?;
    if !is_name(name) {
        let message = format!(
            "a user's name must be 1 to 100 of `A-Z a-z 0-9 . _ - @`, got {}",
            quoted(name)
        );
        return Err(Diagnostic::error(message));
    }
    if installation.snapshot.users.iter().any(|user| user.realm == realm && user.name == name) {
        let message = format!("realm {} has a user {} already", quoted(realm), quoted(name));
        return Err(
            Diagnostic::error(message).help("`tokenry user password` gives it another password")
        );
    }
    if !declared.password_grant {
        let message = format!(
            "realm {} has no password grant, so that its users get no tokens",
            quoted(realm)
        );
        output.complain(
            &Diagnostic::warning(message)
                .help("`password_grant = true` in its file turns it on")
                .into(),
        );
    }
    let password = Password::read_or_generate(origin)?;
    let now = edge::now();
    let subject = hyphenated(&uuid_v7(now, edge::random()?));
    let user = User {
        realm: realm.to_owned(),
        name: name.to_owned(),
        subject: String::from_utf8_lossy(&subject).into_owned(),
        password: password.hash()?,
        enabled: true,
        not_before: Timestamp::EPOCH,
        ended_before: Timestamp::EPOCH,
        created_at: now,
    };
    let json = json!({ "realm": realm, "user": name, "subject": user.subject });
    let undo = Change::RemoveUser { realm: realm.to_owned(), user: name.to_owned() };
    let text = format!("registered user {name} in realm {realm}");
    password.store(installation, user, undo, json, &text, output).await
}

async fn password(
    installation: &Installation,
    realm: &str,
    name: &str,
    origin: &Origin,
    output: Output,
) -> Result<(), Diagnostic> {
    let user = user(installation, realm, name)?;
    let password = Password::read_or_generate(origin)?;
    let changed = User { password: password.hash()?, not_before: edge::now(), ..user.clone() };
    let json = json!({ "realm": realm, "user": name, "subject": changed.subject });
    let undo = Change::PutUser(user.clone());
    let text = format!("user {name} of realm {realm} has another password");
    password.store(installation, changed, undo, json, &text, output).await
}

async fn enabled(
    installation: &Installation,
    realm: &str,
    name: &str,
    enabled: bool,
    output: Output,
) -> Result<(), Diagnostic> {
    let user = user(installation, realm, name)?;
    let changed = user.enabled != enabled;
    if changed {
        let user = User { enabled, ..user.clone() };
        installation.change_unchanged(vec![Change::PutUser(user)]).await?;
    }
    let json = json!({ "realm": realm, "user": name, "enabled": enabled, "changed": changed });
    output.done(&json, || {
        let is = if changed { "is now" } else { "was already" };
        let state = if enabled { "enabled" } else { "disabled" };
        format!("user {name} of realm {realm} {is} {state}")
    })
}

fn list(
    installation: &Installation,
    realm: Option<&str>,
    output: Output,
) -> Result<(), Diagnostic> {
    if let Some(realm) = realm {
        installation.realm(realm)?;
    }
    let wanted = |user: &&User| realm.is_none_or(|realm| user.realm == realm);
    let users: Vec<&User> = installation.snapshot.users.iter().filter(wanted).collect();
    let json: Vec<Value> = users
        .iter()
        .map(|u| {
            json!({
                "realm": u.realm,
                "user": u.name,
                "subject": u.subject,
                "enabled": u.enabled,
                "created_at": edge::date(u.created_at),
            })
        })
        .collect();
    output.answer(&json!({ "users": json }), || {
        let rows = users.iter().map(|u| {
            let enabled = if u.enabled { "yes" } else { "no" };
            [
                u.realm.clone(),
                u.name.clone(),
                u.subject.clone(),
                enabled.to_owned(),
                edge::date(u.created_at),
            ]
        });
        table(["REALM", "USER", "SUBJECT", "ENABLED", "CREATED"], rows)
    })
}

fn user<'a>(
    installation: &'a Installation,
    realm: &str,
    name: &str,
) -> Result<&'a User, Diagnostic> {
    installation.realm(realm)?;
    let of_realm = || installation.snapshot.users.iter().filter(|user| user.realm == realm);
    of_realm().find(|user| user.name == name).ok_or_else(|| {
        let what = format!("user {} in realm {}", quoted(name), quoted(realm));
        not_there(
            &what,
            name,
            of_realm().map(|u| u.name.as_str()),
            "`tokenry user list` shows those there are",
        )
    })
}

/// A password, and how it is handed over.
struct Password<'a> {
    secret: Secret,
    origin: &'a Origin,
}

impl<'a> Password<'a> {
    /// A generated one that goes to a file is written at once: one that could not be written never counts.
    fn read_or_generate(origin: &'a Origin) -> Result<Self, Diagnostic> {
        let secret = match &origin.password_from {
            Some(path) => {
                let secret = edge::read_secret(path, "the password")?;
                if secret.expose().chars().count() < MIN_PASSWORD {
                    let message = format!("the password has fewer than {MIN_PASSWORD} characters");
                    return Err(Diagnostic::error(message).help(
                        "a shorter one is soon guessed; leave --password-from out to get a generated one",
                    ));
                }
                secret
            }
            None => {
                let random: [u8; 24] = edge::random()?;
                Secret::new(BASE64_URL_SAFE_NO_PAD.encode(random))
            }
        };
        if let Some(path) = &origin.to {
            edge::hand_over(path, &secret, "the password")?;
        }
        Ok(Self { secret, origin })
    }

    fn hash(&self) -> Result<PasswordHash, Diagnostic> {
        tokenry_server::password::hash(&self.secret, edge::random()?)
            .map_err(|error| Diagnostic::error(error.to_string()))
    }

    /// Stores the user and hands its password over; one that could not be shown is taken back.
    async fn store(
        &self,
        installation: &Installation,
        user: User,
        undo: Change,
        mut json: Value,
        text: &str,
        output: Output,
    ) -> Result<(), Diagnostic> {
        let stored = installation.change_unchanged(vec![Change::PutUser(user)]).await;
        match (&self.origin.password_from, &self.origin.to) {
            (Some(_), _) => {
                stored?;
                output.done(&json, || text.to_owned())
            }
            (None, Some(path)) => {
                stored.map_err(|error| edge::take_back(path, error))?;
                json["file"] = json!(path);
                output.done(&json, || format!("{text}; wrote the password to {}", path.display()))
            }
            (None, None) => {
                let revision = stored?;
                json["password"] = json!(self.secret.expose());
                output.note(&format!("{text}; the password is not shown again:"));
                match output.reveal(&json, || self.secret.expose().to_owned()) {
                    Ok(()) => Ok(()),
                    Err(unseen) => {
                        Err(installation.undo(undo, Some(revision), unseen, "the password").await)
                    }
                }
            }
        }
    }
}
