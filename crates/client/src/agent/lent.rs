//! What a process may lend.

use serde::Deserialize as _;

use super::agent::AgentFault;
use super::protocol::{AgentError, Trouble, Written};
use crate::token::BoxFuture;
use crate::{Keeper, KeeperConfig, SecretSource};

/// A keeper as it goes to the agent, with the secrets that it has at this moment.
pub(super) async fn write(config: &KeeperConfig) -> Result<Written, AgentFault> {
    let unlendable = |cause: &dyn std::fmt::Display| AgentFault::Unlendable(cause.to_string());
    check_use(config).map_err(|what| unlendable(&what))?;
    if config.dpop || config.dpop_key.is_some() {
        return Err(unlendable(&"the key of a bound token does not leave who made it"));
    }
    let mut portable = config.portable().await.map_err(|error| unlendable(&error))?;
    // Where the token may go is for the process to see to, and makes no other token.
    portable.api_hosts.clear();
    serde_json::to_value(portable).map(Written).map_err(|error| unlendable(&error))
}

/// Builds the keeper that a process lent. `trusted` says that the process could read the agent's own files as well.
pub(super) fn build(
    written: Written,
    trusted: bool,
) -> BoxFuture<'static, Result<Keeper, AgentError>> {
    Box::pin(async move {
        let not_lendable = |what: String| AgentError::new(Trouble::NotLendable, what);
        // serde's words may repeat a value, which may be a secret.
        let config: KeeperConfig = KeeperConfig::deserialize(&written.0)
            .map_err(|_| not_lendable("this is no keeper that this version knows".to_owned()))?;
        check_use(&config).and_then(|()| check_reach(&config, trusted)).map_err(not_lendable)?;
        config.build().await.map_err(|error| not_lendable(error.to_string()))
    })
}

/// That it is something that one process can do for others.
fn check_use(config: &KeeperConfig) -> Result<(), String> {
    if config.refresh_token_file.is_some() {
        // It has one owner, and the process that lends goes on to be it where the agent fails.
        return Err("a refresh token that is stored in a file cannot be lent".to_owned());
    }
    Ok(())
}

/// That the agent sees no more for it than the process that lends it could see itself, and the same.
fn check_reach(config: &KeeperConfig, trusted: bool) -> Result<(), String> {
    let one = [
        &config.private_key,
        &config.client_certificate_key,
        &config.assertion,
        &config.password,
        &config.dpop_key,
    ];
    for source in config.client_secret.iter().chain(one.into_iter().flatten()) {
        let may = match source {
            SecretSource::Given(_) => true,
            SecretSource::File(path) => trusted && path.is_absolute(),
            SecretSource::Keyring { .. } => trusted,
            // They mean something else in the agent's environment.
            _ => false,
        };
        if !may {
            return Err(format!("{source} cannot be lent: the agent does not read it for others"));
        }
    }
    let files = config.client_certificate.iter().chain(&config.cacert);
    let provider = config.provider.iter().filter(|name| crate::Provider::is_path(name));
    for path in files.cloned().chain(provider.map(Into::into)) {
        if !trusted || !path.is_absolute() {
            let path = path.display();
            return Err(format!("{path} cannot be lent: the agent does not read it for others"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    async fn built(config: &Value, trusted: bool) -> Result<(), Trouble> {
        let outcome = build(Written(config.clone()), trusted).await;
        outcome.map(|_| ()).map_err(|error| {
            assert!(!error.message.contains("canary"), "{error}");
            error.kind
        })
    }

    fn with(member: &str, value: Value) -> Value {
        let mut config = json!({
            "token_url": "https://as.example/token",
            "client_id": "acme",
            "client_secret": { "given": "canary" },
        });
        config[member] = value;
        config
    }

    #[tokio::test]
    async fn the_agent_reads_nothing_for_a_process_that_the_process_could_not_read() {
        let no = Err(Trouble::NotLendable);
        for (member, value, of_owner, of_others) in [
            ("scope", json!("a"), Ok(()), Ok(())),
            ("client_secret", json!("file:/s"), Ok(()), no),
            ("client_secret", json!("file:s"), no, no),
            ("client_secret", json!("env:SECRET"), no, no),
            ("client_secret", json!("command:cat /etc/shadow"), no, no),
            ("client_secret", json!("systemd:secret"), no, no),
            ("client_secret", json!("vault:kv/a#b"), no, no),
            ("client_secret", json!("keyring:a/b"), Ok(()), no),
            ("client_secret", json!([{ "given": "canary" }, "env:SECRET"]), no, no),
            ("cacert", json!("ca.pem"), no, no),
            ("refresh_token_file", json!("/r"), no, no),
            ("more", json!("canary"), no, no),
            ("client_secret", json!("canary"), no, no),
        ] {
            let config = with(member, value);
            assert_eq!(built(&config, true).await, of_owner, "{config}");
            assert_eq!(built(&config, false).await, of_others, "{config}");
        }
    }

    #[tokio::test]
    async fn the_agent_reads_no_password_for_a_process_that_could_not_read_it() {
        for (password, of_owner) in [
            ("file:/p", Ok(())),
            ("file:p", Err(Trouble::NotLendable)),
            ("env:P", Err(Trouble::NotLendable)),
        ] {
            let mut config = with("username", json!("anna"));
            config["password"] = json!(password);
            assert_eq!(built(&config, true).await, of_owner, "{password}");
            assert_eq!(built(&config, false).await, Err(Trouble::NotLendable), "{password}");
        }
    }

    #[tokio::test]
    async fn the_agent_reads_no_certificate_for_a_process_that_could_not_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let authority = rcgen::generate_simple_self_signed(["as.example".to_owned()]).unwrap();
        std::fs::write(&path, authority.cert.pem()).unwrap();
        let config = with("cacert", json!(path));
        assert_eq!(built(&config, true).await, Ok(()));
        assert_eq!(built(&config, false).await, Err(Trouble::NotLendable));
    }

    #[tokio::test]
    async fn what_has_one_owner_is_not_lent() {
        for (member, value) in [
            ("dpop", json!(true)),
            ("dpop_key", json!({ "given": "canary" })),
            ("refresh_token_file", json!("/r")),
        ] {
            let config: KeeperConfig = serde_json::from_value(with(member, value)).unwrap();
            let written = write(&config).await.map(|_| ());
            assert!(matches!(written, Err(AgentFault::Unlendable(_))), "{member}");
        }
        // Where the token goes makes no other keeper.
        let hosts = with("api_hosts", json!(["api.example"]));
        let config: KeeperConfig = serde_json::from_value(hosts).unwrap();
        assert_eq!(write(&config).await.unwrap().0.get("api_hosts"), None);
    }

    #[tokio::test]
    async fn what_is_lent_has_its_secrets_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "s").unwrap();
        let config: KeeperConfig = serde_json::from_value(with(
            "client_secret",
            json!([format!("file:{}", path.display()), format!("command:cat {}", path.display())]),
        ))
        .unwrap();
        let written = write(&config).await.unwrap();
        let secrets = &written.0["client_secret"];
        assert_eq!(secrets[0], json!(format!("file:{}", path.display())));
        assert_eq!(secrets[1], json!({ "given": "s" }));
        assert_eq!(built(&written.0, true).await, Ok(()));
    }
}
