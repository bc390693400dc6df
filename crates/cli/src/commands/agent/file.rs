//! The agent's file.
//!
//! ```toml
//! [agent]
//! socket = "/run/tokenry/agent.sock"     # where it listens
//! listen = "127.0.0.1:8791"              # for containers, named tokens alone
//! secret_file = "/run/tokenry/secret"    # what they have to show; beside the socket, unless said
//! lend_users = ["deploy", 1001]          # who may lend it keepers, besides its own user and root
//! lend_groups = []
//!
//! [tokens.billing]                       # a keeper, and who may have its tokens besides
//! provider = "truphone"
//! client_id = "billing"
//! client_secret = "file:billing.secret"
//! follow_revocations = true              # another token as soon as the issuer says that one is revoked
//! allow_users = ["billing"]
//! allow_groups = []
//! ```
//!
//! Paths are relative to the file. A group lets in the processes that run as it, and its members.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenry_client::agent::{Access, AgentServer, AgentServerBuilder};
use tokenry_client::{KeeperConfig, Provider, SecretSource};

use crate::diagnostic::{Diagnostic, Diagnostics, Source, plain, quoted};

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AgentFile {
    agent: Settings,
    tokens: BTreeMap<String, toml::Table>,
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    socket: Option<PathBuf>,
    listen: Option<SocketAddr>,
    secret_file: Option<PathBuf>,
    lend_users: Vec<Who>,
    lend_groups: Vec<Who>,
}

/// A user or a group.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a name or a number")]
enum Who {
    Number(u32),
    Name(String),
}

impl AgentFile {
    pub(super) fn read(path: &Path) -> Result<Self, Diagnostic> {
        let source = Source::read(path)?;
        let mut file: Self = toml::from_str(&source.text).map_err(|error| {
            let diagnostic = Diagnostic::error(error.message().replace('\n', " "));
            // A secret may stand where it does not belong.
            match error.span() {
                Some(span) => diagnostic.at(&source, span).hide_source(),
                None => diagnostic,
            }
        })?;
        file.path = path.to_owned();
        Ok(file)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.tokens.keys().map(String::as_str).collect()
    }

    pub(super) fn socket(&self) -> Option<PathBuf> {
        self.agent.socket.as_deref().map(|path| self.anchor(path))
    }

    pub(super) const fn listen(&self) -> Option<SocketAddr> {
        self.agent.listen
    }

    /// Where the loopback listener's secret goes.
    pub(super) fn secret_file(&self, socket: &Path) -> PathBuf {
        let own = self.agent.secret_file.as_deref().map(|path| self.anchor(path));
        own.unwrap_or_else(|| socket.with_extension("secret"))
    }

    /// An agent with the tokens of the file, or everything that is wrong with them.
    pub(super) async fn server(&self, owner: u32) -> Result<AgentServerBuilder, Diagnostics> {
        let mut diagnostics = Diagnostics::default();
        let mut builder = AgentServer::builder(owner);
        match access(&self.agent.lend_users, &self.agent.lend_groups) {
            Ok(lending) => builder = builder.lending(lending),
            Err(error) => diagnostics.push(self.wrong("[agent]", &error)),
        }
        for (name, table) in &self.tokens {
            match self.token(builder, name, table).await {
                Ok(with) => builder = with,
                Err((without, error)) => {
                    builder = without;
                    diagnostics.push(self.wrong(&format!("[tokens.{name}]"), &error));
                }
            }
        }
        if diagnostics.has_errors() { Err(diagnostics) } else { Ok(builder) }
    }

    async fn token(
        &self,
        builder: AgentServerBuilder,
        name: &str,
        table: &toml::Table,
    ) -> Result<AgentServerBuilder, (AgentServerBuilder, String)> {
        match self.parse(table) {
            Ok((config, access)) if config.issuer.is_some() => {
                // What needs no network is looked at now, and the issuer when somebody asks.
                match config.transport().await {
                    Ok(_) => Ok(builder.configured(name, config, access)),
                    Err(error) => Err((builder, error.to_string())),
                }
            }
            Ok((config, access)) => match config.build().await {
                Ok(keeper) => Ok(builder.named(name, keeper, access)),
                Err(error) => Err((builder, error.to_string())),
            },
            Err(error) => Err((builder, error)),
        }
    }

    fn parse(&self, table: &toml::Table) -> Result<(KeeperConfig, Access), String> {
        let mut table = table.clone();
        let mut who = |key: &str| -> Result<Vec<Who>, String> {
            let value = table.remove(key).unwrap_or_else(|| toml::Value::Array(Vec::new()));
            value.try_into().map_err(|_| format!("{key}: a list of names and numbers is needed"))
        };
        let access = access(&who("allow_users")?, &who("allow_groups")?)?;
        let config = KeeperConfig::deserialize(table);
        let mut config = config.map_err(|error| error.message().replace('\n', " "))?;
        self.anchor_all(&mut config);
        Ok((config, access))
    }

    /// Makes the paths of a keeper relative to the file.
    fn anchor_all(&self, config: &mut KeeperConfig) {
        let secrets = config
            .client_secret
            .iter_mut()
            .chain(&mut config.private_key)
            .chain(&mut config.client_certificate_key)
            .chain(&mut config.assertion)
            .chain(&mut config.password)
            .chain(&mut config.dpop_key);
        for secret in secrets {
            if let SecretSource::File(path) = secret {
                *path = self.anchor(path);
            }
        }
        let paths =
            [&mut config.client_certificate, &mut config.refresh_token_file, &mut config.cacert];
        for path in paths.into_iter().flatten() {
            *path = self.anchor(path);
        }
        if let Some(name) = config.provider.as_mut().filter(|name| Provider::is_path(name)) {
            *name = self.anchor(Path::new(name)).display().to_string();
        }
    }

    fn anchor(&self, path: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }

    fn wrong(&self, place: &str, what: &str) -> Diagnostic {
        Diagnostic::error(format!("{}: {place} {what}", self.path.display()))
    }
}

/// Who these are, by number.
fn access(users: &[Who], groups: &[Who]) -> Result<Access, String> {
    let mut access = Access::default();
    for user in users {
        access.users.insert(match user {
            Who::Number(number) => *number,
            Who::Name(name) => {
                let found = nix::unistd::User::from_name(name).map_err(unknown)?;
                found.ok_or_else(|| format!("there is no user {}", quoted(name)))?.uid.as_raw()
            }
        });
    }
    for group in groups {
        let (number, members) = resolve_group(group)?;
        access.groups.insert(number);
        access.users.extend(members);
    }
    Ok(access)
}

/// A group's number, and its members. They are looked up once: who joins later is let in after a restart.
fn resolve_group(group: &Who) -> Result<(u32, BTreeSet<u32>), String> {
    use nix::unistd::{Gid, Group, User};
    let found = match group {
        Who::Number(number) => match Group::from_gid(Gid::from_raw(*number)).map_err(unknown)? {
            Some(group) => group,
            // A number needs no name.
            None => return Ok((*number, BTreeSet::new())),
        },
        Who::Name(name) => Group::from_name(name)
            .map_err(unknown)?
            .ok_or_else(|| format!("there is no group {}", quoted(name)))?,
    };
    let mut members = BTreeSet::new();
    for name in &found.mem {
        // A member that is no user any more is nobody.
        members.extend(User::from_name(name).map_err(unknown)?.map(|user| user.uid.as_raw()));
    }
    Ok((found.gid.as_raw(), members))
}

fn unknown(error: nix::errno::Errno) -> String {
    format!("users and groups cannot be looked up: {}", plain(&error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (tempfile::TempDir, Result<AgentFile, Diagnostic>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        let file = AgentFile::read(&path);
        (folder, file)
    }

    #[tokio::test]
    async fn a_file_names_tokens_and_who_may_have_them() {
        let (folder, file) = read(
            "[agent]\nsocket = 'agent.sock'\nlend_users = ['root', 1001]\n\
             [tokens.billing]\ntoken_url = 'https://as.example/token'\nclient_id = 'billing'\n\
             client_secret = 'file:secret'\nallow_users = [1002]\nallow_groups = ['root']\n\
             [tokens.later]\nissuer = 'https://nowhere.invalid'\nclient_id = 'a'\nclient_secret = 'file:s'\n",
        );
        let file = file.unwrap();
        assert_eq!(file.names(), ["billing", "later"]);
        assert_eq!(file.socket().unwrap(), folder.path().join("agent.sock"));
        let (config, access) = file.parse(&file.tokens["billing"]).unwrap();
        assert_eq!(config.client_secret, [SecretSource::File(folder.path().join("secret"))]);
        assert!(access.users.contains(&1002) && access.groups.contains(&0));
        // An issuer that is not there does not keep the agent from starting.
        assert!(file.server(1000).await.unwrap().build().unwrap().is_for_others());
    }

    #[tokio::test]
    async fn everything_that_is_wrong_is_told_at_once_and_no_secret_with_it() {
        for (text, expected) in [
            ("[agent]\nmore = 1\n", "unknown field `more`"),
            ("[agent]\nlisten = 'canary'\n", "invalid socket address"),
            ("canary", "expected"),
        ] {
            let error = read(text).1.unwrap_err();
            let shown = Diagnostics::from(error).text(&annotate_snippets::Renderer::plain());
            assert!(shown.contains(expected) && !shown.contains("canary\n"), "{shown}");
        }
        let (_folder, file) = read(
            "[agent]\nlend_groups = ['no-such-group']\n\
             [tokens.a]\nclient_id = 'a'\n[tokens.b]\ntoken_url = 'https://a.example'\nmore = 1\n\
             [tokens.c]\nallow_users = ['no-such-user']\n[tokens.d]\nallow_users = 1\n",
        );
        let errors = file.unwrap().server(1000).await.unwrap_err().0;
        let shown: Vec<String> = errors.iter().map(|error| error.message.clone()).collect();
        assert_eq!(shown.len(), 5, "{shown:?}");
        for (shown, expected) in shown.iter().zip([
            "[agent] there is no group `no-such-group`",
            "[tokens.a] one of provider, issuer and token_url",
            "[tokens.b] unknown field `more`",
            "[tokens.c] there is no user `no-such-user`",
            "[tokens.d] allow_users: a list",
        ]) {
            assert!(shown.contains(expected), "{shown}");
        }
    }
}
