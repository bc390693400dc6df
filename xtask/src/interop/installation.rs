//! The server that foreign clients meet: an installation made with the `tokenry` command, and facts about it.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{quietly, target};
use crate::{Problem, root};

/// The realms: name, dialect, and the path of the issuer.
const REALMS: [(&str, &str, &str); 2] =
    [("machines", "rfc", "machines"), ("vendor", "keycloak", "realms/vendor")];

/// Declared in the realm files: an identifier and a secret of which no two libraries send the same bytes.
const ODD: (&str, &str) = ("odd+id%2F&=;/~", "s+e c%r&t=:ä-%41-0123456789");

/// Another secret of the same client: in visible ASCII, as some libraries want it. Raw, it is good form encoding too.
const PRINTABLE: &str = "s+e c%41r&t=:-0123456789";

/// The user of the password grant.
const USER: (&str, &str) = ("ada", "pä ss+w&rd=%41");

/// The clients that have keys, as the facts and the realm files call them.
const SIGNERS: [(&str, &str); 2] = [("signer", "signer"), ("oldSigner", "old-signer")];

/// What their keys sign with: what libraries take where nobody says, and what is better.
const KEYS: [&str; 2] = ["RS256", "ES256"];

/// An installation; its folder goes with it.
pub(super) struct Installation {
    folder: PathBuf,
    /// What trusts its certificate.
    pub(super) authority: PathBuf,
    /// What a client is told, as JSON.
    pub(super) facts: PathBuf,
}

impl Installation {
    /// Makes it: configuration, master key, certificate, realms, clients, credentials.
    pub(super) fn make() -> Result<Self, Problem> {
        let folder = target().join(format!("run-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let (authority, facts) = (folder.join("ca.pem"), folder.join("facts.json"));
        let made = Self { folder, authority, facts };
        made.tokenry(&["init", "."])?;
        let port = free_port()?;
        made.configure(port)?;
        let mut realms = Vec::new();
        for (name, dialect, path) in REALMS {
            made.apply(name, port)?;
            let issuer = format!("https://localhost:{port}/{path}");
            realms.push(made.realm(name, dialect, &issuer)?);
        }
        let authority = json_text(&made.authority.display().to_string());
        let facts = format!("{{\"authority\":{authority},\"realms\":[{}]}}", realms.join(","));
        made.write("facts.json", &facts)?;
        Ok(made)
    }

    fn tokenry(&self, args: &[&str]) -> Result<String, Problem> {
        quietly(self.command().args(args))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(root().join("target/debug/tokenry"));
        command.current_dir(&self.folder).env("TOKENRY_OUTPUT", "json").stdin(Stdio::null());
        for name in ["TOKENRY_CONFIG", "TOKENRY_LOG"] {
            command.env_remove(name);
        }
        command
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Problem> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn read(&self, name: &str) -> Result<String, Problem> {
        read(&self.folder.join(name))
    }

    /// What `init` wrote, with ports that are free.
    fn configure(&self, port: u16) -> Result<(), Problem> {
        let written = self.read("tokenry.toml")?;
        let config = written
            .replace("127.0.0.1:8443", &format!("127.0.0.1:{port}"))
            .replace("127.0.0.1:9090", "127.0.0.1:0");
        self.write("tokenry.toml", &config)
    }

    fn apply(&self, realm: &str, port: u16) -> Result<(), Problem> {
        let file = format!("{realm}.realm.toml");
        let text = read(&root().join("interop").join(&file))?;
        self.write(&file, &text.replace("localhost:8443", &format!("localhost:{port}")))?;
        self.tokenry(&["apply", &file]).map(|_| ())
    }

    /// Gives the clients of a realm their credentials; the facts about it.
    fn realm(&self, name: &str, dialect: &str, issuer: &str) -> Result<String, Problem> {
        let mut facts = format!(
            "{{\"name\":{},\"dialect\":{},\"issuer\":{},\"audience\":\"https://api.example\"",
            json_text(name),
            json_text(dialect),
            json_text(issuer)
        );
        for client in ["service", "teller", "api"] {
            let file = format!("{name}-{client}.secret");
            self.tokenry(&["client", "secret", "add", name, client, "--to", &file])?;
            let secret = self.read(&file)?;
            facts.push_str(&with_secret(client, client, secret.trim_end()));
        }
        for (client, secret) in [("odd", ODD.1), ("printable", PRINTABLE)] {
            self.write("imported.secret", secret)?;
            let from = ["--import-from", "imported.secret"];
            self.tokenry(&[&["client", "secret", "add", name, ODD.0][..], &from].concat())?;
            facts.push_str(&with_secret(client, ODD.0, secret));
        }
        self.write("user.password", USER.1)?;
        self.tokenry(&["user", "add", name, USER.0, "--password-from", "user.password"])?;
        let (user, password) = (json_text(USER.0), json_text(USER.1));
        facts.push_str(&format!(",\"user\":{{\"name\":{user},\"password\":{password}}}"));
        for (member, client) in SIGNERS {
            let keys = self.keys(name, client)?;
            facts.push_str(&format!(",\"{member}\":{{\"id\":\"{client}\",\"keys\":[{keys}]}}"));
        }
        facts.push('}');
        Ok(facts)
    }

    /// Makes the keys of a client.
    fn keys(&self, realm: &str, client: &str) -> Result<String, Problem> {
        let mut keys = Vec::new();
        for algorithm in KEYS {
            let file = format!("{realm}-{client}-{algorithm}.pem");
            let how = ["--generate-to", &file, "--algorithm", algorithm];
            let said =
                self.tokenry(&[&["client", "key", "add", realm, client][..], &how].concat())?;
            let kid = member(&said, "kid").ok_or("`tokenry client key add` names no `kid`")?;
            let pem = json_text(&self.read(&file)?);
            keys.push(format!("{{\"algorithm\":\"{algorithm}\",\"kid\":\"{kid}\",\"pem\":{pem}}}"));
        }
        Ok(keys.join(","))
    }

    /// Starts the server, and waits until it listens.
    pub(super) fn serve(&self) -> Result<Server, Problem> {
        let log = target().join("server.log");
        let file = std::fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let mut command = self.command();
        command.arg("serve").stdout(Stdio::piped()).stderr(file);
        let child = command.spawn().map_err(|error| format!("tokenry cannot be run: {error}"))?;
        let mut server = Server { child, log };
        let mut line = String::new();
        if let Some(stdout) = server.child.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        if !line.contains("listening") {
            return Err(format!("the server did not start: {}", read(&server.log)?));
        }
        Ok(server)
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A server that runs; it ends with this value.
pub(super) struct Server {
    child: Child,
    pub(super) log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A port that nobody has: an issuer names it before the server listens there.
fn free_port() -> Result<u16, Problem> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| format!("no port is free: {error}"))
}

/// A client as a member of the facts.
fn with_secret(name: &str, id: &str, secret: &str) -> String {
    format!(",\"{name}\":{{\"id\":{},\"secret\":{}}}", json_text(id), json_text(secret))
}

/// RFC 8259 §7.
fn json_text(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// A text member of what `tokenry` answered: a flat object without escapes.
fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\""))?;
    rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_two_meanings_in_json_is_escaped() {
        assert_eq!(json_text("a\"b\\c\nä"), "\"a\\\"b\\\\c\\u000aä\"");
    }

    #[test]
    fn a_member_is_found_by_its_whole_name() {
        let json = r#"{"skid":"no","kid": "yes","n":1}"#;
        assert_eq!(member(json, "kid"), Some("yes"));
        assert_eq!(member(json, "n"), None);
        assert_eq!(member(json, "id"), None);
    }
}
