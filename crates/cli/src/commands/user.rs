//! `tokenry user`: the users of the password grant.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::Subcommand;
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

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Registers a user. Without --password-from a password is generated and printed, this once.
    Add {
        /// The realm.
        realm: String,
        /// The user's name, `username` on the wire.
        name: String,
        /// Take the password from a file, or from standard input if it is `-`.
        #[arg(long, value_name = "FILE")]
        password_from: Option<PathBuf>,
    },
    /// Gives a user another password. Tokens from before are no longer refreshed.
    Password {
        /// The realm.
        realm: String,
        /// The user's name.
        name: String,
        /// Take the password from a file, or from standard input if it is `-`.
        #[arg(long, value_name = "FILE")]
        password_from: Option<PathBuf>,
    },
    /// Lists users.
    List {
        /// Only those of this realm.
        realm: Option<String>,
    },
    /// Removes a user. Its refresh tokens are no longer good.
    Remove {
        /// The realm.
        realm: String,
        /// The user's name.
        name: String,
    },
}

pub(crate) async fn run(command: &Command, global: &Global, output: Output) -> Outcome {
    let installation = Installation::open(global, output).await?;
    match command {
        Command::Add { realm, name, password_from } => {
            add(&installation, realm, name, password_from.as_deref(), output).await?;
        }
        Command::Password { realm, name, password_from } => {
            password(&installation, realm, name, password_from.as_deref(), output).await?;
        }
        Command::List { realm } => list(&installation, realm.as_deref(), output)?,
        Command::Remove { realm, name } => {
            user(&installation, realm, name)?;
            let change = Change::RemoveUser { realm: realm.clone(), user: name.clone() };
            installation.change_unchanged(vec![change]).await?;
            let json = json!({ "removed": { "realm": realm, "user": name } });
            output.answer(&json, || format!("removed user {name} of realm {realm}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(
    installation: &Installation,
    realm: &str,
    name: &str,
    password_from: Option<&Path>,
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
    let password = Password::read_or_generate(password_from)?;
    let now = edge::now();
    let subject = hyphenated(&uuid_v7(now, edge::random()?));
    let user = User {
        realm: realm.to_owned(),
        name: name.to_owned(),
        subject: String::from_utf8_lossy(&subject).into_owned(),
        password: password.hash()?,
        enabled: true,
        not_before: Timestamp::EPOCH,
        created_at: now,
    };
    let json = json!({ "realm": realm, "user": name, "subject": user.subject });
    installation.change_unchanged(vec![Change::PutUser(user)]).await?;
    password.answer(json, &format!("registered user {name} in realm {realm}"), output);
    Ok(())
}

async fn password(
    installation: &Installation,
    realm: &str,
    name: &str,
    password_from: Option<&Path>,
    output: Output,
) -> Result<(), Diagnostic> {
    let user = user(installation, realm, name)?;
    let password = Password::read_or_generate(password_from)?;
    let changed = User { password: password.hash()?, not_before: edge::now(), ..user.clone() };
    let json = json!({ "realm": realm, "user": name, "subject": changed.subject });
    installation.change_unchanged(vec![Change::PutUser(changed)]).await?;
    password.answer(json, &format!("user {name} of realm {realm} has another password"), output);
    Ok(())
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
    });
    Ok(())
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

/// A password, and whether somebody knows it already.
struct Password {
    secret: Secret,
    generated: bool,
}

impl Password {
    fn read_or_generate(from: Option<&Path>) -> Result<Self, Diagnostic> {
        Ok(match from {
            Some(path) => {
                Self { secret: edge::read_secret(path, "the password")?, generated: false }
            }
            None => {
                let random: [u8; 24] = edge::random()?;
                Self { secret: Secret::new(BASE64_URL_SAFE_NO_PAD.encode(random)), generated: true }
            }
        })
    }

    fn hash(&self) -> Result<PasswordHash, Diagnostic> {
        tokenry_server::password::hash(&self.secret, edge::random()?)
            .map_err(|error| Diagnostic::error(error.to_string()))
    }

    fn answer(&self, mut json: Value, text: &str, output: Output) {
        if self.generated {
            json["password"] = json!(self.secret.expose());
            output.note(&format!("{text}; the password is not shown again:"));
            output.answer(&json, || self.secret.expose().to_owned());
        } else {
            output.answer(&json, || text.to_owned());
        }
    }
}
