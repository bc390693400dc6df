//! Secrets by where they are kept, as configuration says it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokenry_core::Secret;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::vault::VaultSecret;
use super::{ReadSecret, SecretError};
use crate::token::BoxFuture;

/// The longest secret that is read: twice an ML-DSA-87 key as a JWK, and any assertion.
const SECRET_LIMIT: u64 = 16 * 1024;

/// How long a command may take. A vault that asks a person for a touch needs a while.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a secret is kept.
///
/// | written | is read from | when |
/// | --- | --- | --- |
/// | `env:NAME` | an environment variable | it never changes |
/// | `file:PATH` | a file; a line break at its end is not part of it | with every request that needs it |
/// | `command:COMMAND` | what a command (`sh -c`) prints, within 30 s | with every request that needs it |
/// | `systemd:NAME` | a credential of the unit (`LoadCredential=`) | with every request that needs it |
/// | `vault:MOUNT/PATH#FIELD` | OpenBao or Vault, KV version 2 | with every request that needs it |
/// | `keyring:SERVICE/USER` | the keyring of the operating system (on Linux the kernel's), in builds with the feature `keyring` | with every request that needs it |
///
/// For a vault the environment says where it is and who asks, as its own tools have it: `BAO_ADDR`, `BAO_TOKEN`,
/// `BAO_NAMESPACE` and `BAO_CACERT`, or the same with `VAULT_`; without a token there, the file `~/.vault-token`.
///
/// Neither `Debug` nor an error shows a secret. None can be written in place of these texts, which stand in files and in
/// lists of processes.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum SecretSource {
    /// The secret itself, where a program has it from elsewhere.
    Given(Secret),
    /// `env:NAME`
    Env(String),
    /// `file:PATH`
    File(PathBuf),
    /// `command:COMMAND`
    Command(String),
    /// `systemd:NAME`
    Systemd(String),
    /// `vault:MOUNT/PATH#FIELD`
    Vault(VaultSecret),
    /// `keyring:SERVICE/USER`
    Keyring {
        /// Under which service it is kept.
        service: String,
        /// And for whom.
        user: String,
    },
}

/// Why a text names no source of a secret. It does not repeat the text, which may be the secret itself.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretSourceError {
    /// It begins with none of the words.
    #[error(
        "a secret is named by where it is kept: env:NAME, file:PATH, command:COMMAND, systemd:NAME, \
         vault:MOUNT/PATH#FIELD or keyring:SERVICE/USER"
    )]
    Unknown,
    /// What comes after the word is not as it has to be.
    #[error("{0}")]
    Malformed(&'static str),
}

impl FromStr for SecretSource {
    type Err = SecretSourceError;

    fn from_str(text: &str) -> Result<Self, SecretSourceError> {
        let malformed = SecretSourceError::Malformed;
        let (kind, rest) = text.split_once(':').ok_or(SecretSourceError::Unknown)?;
        let named = |what| if rest.is_empty() { Err(malformed(what)) } else { Ok(rest.to_owned()) };
        match kind {
            "env" => named("env: is followed by the name of a variable").map(Self::Env),
            "file" => named("file: is followed by a path").map(|path| Self::File(path.into())),
            "command" => named("command: is followed by a command").map(Self::Command),
            "systemd" => match named("systemd: is followed by the name of a credential")? {
                path if path.contains('/') || path.starts_with('.') => {
                    Err(malformed("the name of a systemd credential is no path"))
                }
                name => Ok(Self::Systemd(name)),
            },
            "vault" => VaultSecret::parse(rest)
                .map(Self::Vault)
                .ok_or(SecretSourceError::Malformed("vault: is followed by MOUNT/PATH#FIELD")),
            "keyring" => match rest.split_once('/') {
                Some((service, user)) if !service.is_empty() && !user.is_empty() => {
                    Ok(Self::Keyring { service: service.to_owned(), user: user.to_owned() })
                }
                _ => Err(malformed("keyring: is followed by SERVICE/USER")),
            },
            _ => Err(SecretSourceError::Unknown),
        }
    }
}

/// As it is written. A secret that is given shows as `given`.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("given"),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Command(command) => write!(f, "command:{command}"),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
            Self::Vault(secret) => write!(f, "vault:{secret}"),
            Self::Keyring { service, user } => write!(f, "keyring:{service}/{user}"),
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSource({self})")
    }
}

/// The member of the object that stands for a secret itself, from one process of a user to another.
const GIVEN: &str = "given";

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A map, and no struct: those can be written as lists as well.
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a text that names where a secret is kept")]
        enum Written {
            Named(String),
            Given(BTreeMap<String, String>),
        }
        match Written::deserialize(deserializer)? {
            Written::Named(text) => text.parse().map_err(serde::de::Error::custom),
            Written::Given(mut object) => match (object.remove(GIVEN), object.is_empty()) {
                (Some(given), true) => Ok(Self::Given(Secret::new(given))),
                _ => Err(serde::de::Error::custom(SecretSourceError::Unknown)),
            },
        }
    }
}

/// With the secret, where one was given: it is meant for a process of the same user, over a socket of theirs.
impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Given(secret) => BTreeMap::from([(GIVEN, secret.expose())]).serialize(serializer),
            named => serializer.collect_str(named),
        }
    }
}

impl From<Secret> for SecretSource {
    fn from(secret: Secret) -> Self {
        Self::Given(secret)
    }
}

impl ReadSecret for SecretSource {
    fn read(&self) -> BoxFuture<'_, Result<Secret, SecretError>> {
        Box::pin(async move {
            match self {
                Self::Given(secret) => Ok(secret.clone()),
                Self::Env(name) => from_env(name),
                Self::File(path) => from_file(path).await,
                Self::Command(command) => from_command(command).await,
                Self::Systemd(name) => from_file(&credential(name)?).await,
                Self::Vault(secret) => secret.read().await,
                Self::Keyring { service, user } => from_keyring(service, user).await,
            }
        })
    }
}

impl SecretSource {
    /// The same for another process: what only this one can see is read now.
    ///
    /// # Errors
    ///
    /// That it cannot be read.
    pub async fn portable(&self) -> Result<Self, SecretError> {
        match self {
            Self::File(path) => std::path::absolute(path)
                .map(Self::File)
                .map_err(|error| unreadable(&place_of(path), &error)),
            // They lie in this process's environment, or depend on it.
            Self::Env(_) | Self::Systemd(_) | Self::Command(_) | Self::Vault(_) => {
                self.read().await.map(Self::Given)
            }
            Self::Given(_) | Self::Keyring { .. } => Ok(self.clone()),
        }
    }
}

fn from_env(name: &str) -> Result<Secret, SecretError> {
    let place = format!("the variable {name}");
    let text = std::env::var(name).map_err(|error| SecretError::Unreadable {
        place: place.clone(),
        // Its own words repeat a value that is not Unicode.
        cause: match error {
            std::env::VarError::NotPresent => "it is not set",
            std::env::VarError::NotUnicode(_) => "it is not text",
        }
        .to_owned(),
    })?;
    if text.is_empty() { Err(SecretError::Empty { place }) } else { Ok(Secret::new(text)) }
}

async fn from_file(path: &Path) -> Result<Secret, SecretError> {
    let place = place_of(path);
    let file = tokio::fs::File::open(path).await.map_err(|error| unreadable(&place, &error))?;
    take(file, place).await
}

async fn from_command(command: &str) -> Result<Secret, SecretError> {
    // The first word alone, and no assignment: the others may be anything.
    let word = command.split_whitespace().next().filter(|word| !word.contains('='));
    let place = word.map_or_else(|| "the command".to_owned(), |word| format!("the command {word}"));
    let run = async {
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| unreadable(&place, &error))?;
        let Some(out) = child.stdout.take() else {
            return Err(SecretError::Empty { place: place.clone() });
        };
        let read = take(out, place.clone()).await;
        let status = child.wait().await.map_err(|error| unreadable(&place, &error))?;
        match read {
            // Nobody reads on, so that it ends badly is our doing.
            Err(error @ SecretError::NoSecret { .. }) => Err(error),
            read if status.success() => read,
            _ => {
                let cause = format!("it ended with {status}");
                Err(SecretError::Unreadable { place: place.clone(), cause })
            }
        }
    };
    tokio::time::timeout(COMMAND_TIMEOUT, run).await.unwrap_or_else(|_| {
        let cause = format!("nothing within {} s", COMMAND_TIMEOUT.as_secs());
        Err(SecretError::Unreadable { place: place.clone(), cause })
    })
}

/// Where systemd has put a credential for this unit.
fn credential(name: &str) -> Result<PathBuf, SecretError> {
    let directory =
        std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| SecretError::Unreadable {
            place: format!("the systemd credential {name}"),
            cause: "CREDENTIALS_DIRECTORY is not set; is this process a unit with LoadCredential=?"
                .to_owned(),
        })?;
    Ok(PathBuf::from(directory).join(name))
}

#[cfg(feature = "keyring")]
async fn from_keyring(service: &str, user: &str) -> Result<Secret, SecretError> {
    let place = format!("the keyring entry {service}/{user}");
    let (service, user) = (service.to_owned(), user.to_owned());
    let read = tokio::task::spawn_blocking(move || {
        keyring::Entry::new(&service, &user).and_then(|entry| entry.get_password())
    });
    match read.await {
        Ok(Ok(text)) if text.is_empty() => Err(SecretError::Empty { place }),
        Ok(Ok(text)) => Ok(Secret::new(text)),
        Ok(Err(keyring::Error::NoEntry)) => {
            Err(SecretError::Unreadable { place, cause: "it is not there".to_owned() })
        }
        // Its own words may hold what it could not read.
        Ok(Err(_)) | Err(_) => {
            Err(SecretError::Unreadable { place, cause: "the keyring says no".to_owned() })
        }
    }
}

#[cfg(not(feature = "keyring"))]
async fn from_keyring(service: &str, user: &str) -> Result<Secret, SecretError> {
    Err(SecretError::Unreadable {
        place: format!("the keyring entry {service}/{user}"),
        cause: "this program was built without the feature `keyring`".to_owned(),
    })
}

/// Reads a secret to its end, up to the limit.
async fn take(from: impl AsyncRead + Unpin, place: String) -> Result<Secret, SecretError> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    let mut from = from.take(SECRET_LIMIT + 1);
    from.read_to_end(&mut bytes).await.map_err(|error| unreadable(&place, &error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > SECRET_LIMIT) {
        let cause = format!("it is longer than {SECRET_LIMIT} bytes");
        return Err(SecretError::NoSecret { place, cause });
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Err(SecretError::NoSecret { place, cause: "it is not text".to_owned() });
    };
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err(SecretError::Empty { place }) } else { Ok(Secret::new(text)) }
}

fn place_of(path: &Path) -> String {
    format!("the file {}", path.display())
}

fn unreadable(place: &str, error: &std::io::Error) -> SecretError {
    SecretError::Unreadable { place: place.to_owned(), cause: error.to_string() }
}
