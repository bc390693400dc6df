//! The server that foreign clients meet: an installation made with the `tokenry` command, and facts about it.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::openssl::Openssl;
use super::{quietly, target};
use crate::{Problem, root};

/// A realm of `interop/`, and the clients in it.
struct Realm {
    name: &'static str,
    dialect: &'static str,
    profile: &'static str,
    /// The path of the issuer.
    path: &'static str,
    /// The clients that have a secret.
    secrets: &'static [&'static str],
    /// The clients that have keys, as the facts and the realm files call them, and what those sign with.
    signers: &'static [(&'static str, &'static str)],
    algorithms: &'static [&'static str],
}

/// What libraries take where nobody says, and what is better.
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

const REALMS: [Realm; 3] = [
    Realm {
        name: "machines",
        dialect: "rfc",
        profile: "standard",
        path: "machines",
        secrets: &["service", "teller", "api", "opaque", "edwards", "gateway", "registrar"],
        signers: &[("signer", "signer"), ("oldSigner", "old-signer")],
        algorithms: &ALGORITHMS,
    },
    Realm {
        name: "vendor",
        dialect: "keycloak",
        profile: "standard",
        path: "realms/vendor",
        secrets: &["service", "teller", "api", "opaque", "edwards"],
        signers: &[("signer", "signer"), ("oldSigner", "old-signer")],
        algorithms: &ALGORITHMS,
    },
    Realm {
        name: "strict",
        dialect: "rfc",
        profile: "fapi2",
        path: "strict",
        secrets: &[],
        signers: &[("signer", "signer")],
        algorithms: &["PS256", "ES256", "EdDSA"],
    },
];

/// Declared in the realm files: an identifier and a secret of which no two libraries send the same bytes.
const ODD: (&str, &str) = ("odd+id%2F&=;/~", "s+e c%r&t=:ä-%41-0123456789");

/// Another secret of the same client: in visible ASCII, as some libraries want it. Raw, it is good form encoding too.
const PRINTABLE: &str = "s+e c%41r&t=:-0123456789";

/// The user of the password grant.
const USER: (&str, &str) = ("ada", "pä ss+w&rd=%41");

/// The issuers that the realm files trust, and the subject of the second which is the client `pod`.
const ISSUERS: [(&str, &str); 2] =
    [("ci", "https://ci.example"), ("cluster", "https://kubernetes.default.svc")];
const POD: &str = "system:serviceaccount:shop:pod";

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
        let jwks = made.strangers()?;
        let mut realms = Vec::new();
        for realm in &REALMS {
            made.apply(realm.name, port, &jwks)?;
            let issuer = format!("https://localhost:{port}/{}", realm.path);
            realms.push(made.realm(realm, &issuer)?);
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

    fn path(&self, name: &str) -> String {
        json_text(&self.folder.join(name).display().to_string())
    }

    /// What `init` wrote, with ports that are free, and with a look at who has a certificate.
    fn configure(&self, port: u16) -> Result<(), Problem> {
        let written = self.read("tokenry.toml")?;
        let config = written
            .replace("127.0.0.1:8443", &format!("127.0.0.1:{port}"))
            .replace("127.0.0.1:9090", "127.0.0.1:0")
            .replace("[tls]", "[tls]\nclient_certificates = true");
        self.write("tokenry.toml", &config)
    }

    /// Makes what is not Tokenry's: the key of the other issuers, an authority, and certificates of clients.
    fn strangers(&self) -> Result<String, Problem> {
        let openssl = Openssl::new(&self.folder)?;
        openssl.self_signed("authority", "authority")?;
        openssl.signed("holder", "authority")?;
        openssl.self_signed("loner", "client")?;
        openssl.key("issuer")
    }

    fn apply(&self, realm: &str, port: u16, jwks: &str) -> Result<(), Problem> {
        let file = format!("{realm}.realm.toml");
        let text = read(&root().join("interop").join(&file))?;
        let text = text
            .replace("localhost:8443", &format!("localhost:{port}"))
            .replace("AUTHORITY", &self.read("authority.pem")?)
            .replace("JWKS", jwks);
        self.write(&file, &text)?;
        self.tokenry(&["apply", &file]).map(|_| ())
    }

    /// Gives the clients of a realm their credentials; the facts about it.
    fn realm(&self, realm: &Realm, issuer: &str) -> Result<String, Problem> {
        let mut facts = format!(
            "{{\"name\":{},\"dialect\":{},\"profile\":{},\"issuer\":{},\
             \"audience\":\"https://api.example\",\"resource\":\"https://orders.example\"",
            json_text(realm.name),
            json_text(realm.dialect),
            json_text(realm.profile),
            json_text(issuer)
        );
        for client in realm.secrets {
            let file = format!("{}-{client}.secret", realm.name);
            self.tokenry(&["client", "secret", "add", realm.name, client, "--to", &file])?;
            let secret = self.read(&file)?;
            facts.push_str(&with_secret(client, client, secret.trim_end()));
        }
        for (member, client) in realm.signers {
            let keys = self.keys(realm, client)?;
            facts.push_str(&format!(",\"{member}\":{{\"id\":\"{client}\",\"keys\":[{keys}]}}"));
        }
        let subject = ["--subject-dn", "CN=holder,O=Example"];
        facts.push_str(&self.with_certificate(realm, "holder", subject)?);
        if realm.profile == "standard" {
            facts.push_str(&self.ordinary(realm)?);
        }
        facts.push('}');
        Ok(facts)
    }

    /// What a realm of the strict profile has not.
    fn ordinary(&self, realm: &Realm) -> Result<String, Problem> {
        let name = realm.name;
        let mut facts = self.with_certificate(realm, "loner", ["--self-signed", "loner.pem"])?;
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
        let known = ["--trust", "cluster", "--subject", POD];
        self.tokenry(&[&["client", "subject", "add", name, "pod"][..], &known].concat())?;
        facts.push_str(&format!(",\"pod\":{{\"id\":\"pod\",\"subject\":\"{POD}\"}}"));
        let pem = json_text(&self.read("issuer.key")?);
        for (member, issuer) in ISSUERS {
            facts.push_str(&format!(
                ",\"{member}\":{{\"issuer\":\"{issuer}\",\"kid\":\"issuer\",\"pem\":{pem}}}"
            ));
        }
        Ok(facts)
    }

    /// Registers the certificate of a client.
    fn with_certificate(
        &self,
        realm: &Realm,
        client: &str,
        how: [&str; 2],
    ) -> Result<String, Problem> {
        let add = ["client", "certificate", "add", realm.name, client];
        self.tokenry(&[&add[..], &how].concat())?;
        let (certificate, key) =
            (self.path(&format!("{client}.pem")), self.path(&format!("{client}.key")));
        Ok(format!(
            ",\"{client}\":{{\"id\":\"{client}\",\"certificate\":{certificate},\"key\":{key}}}"
        ))
    }

    /// Makes the keys of a client.
    fn keys(&self, realm: &Realm, client: &str) -> Result<String, Problem> {
        let mut keys = Vec::new();
        for algorithm in realm.algorithms {
            let file = format!("{}-{client}-{algorithm}.pem", realm.name);
            let how = ["--generate-to", &file, "--algorithm", algorithm];
            let said =
                self.tokenry(&[&["client", "key", "add", realm.name, client][..], &how].concat())?;
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
