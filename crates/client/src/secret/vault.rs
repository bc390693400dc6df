//! Secrets in OpenBao or Vault: the key-value engine, version 2.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderValue, Request};
use serde::Deserialize;
use std::collections::BTreeMap;
use tokenry_core::Secret;

use super::SecretError;
use crate::{HttpTransport, Transport};

/// Where a secret lies in a vault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VaultSecret {
    mount: String,
    path: String,
    field: String,
}

impl fmt::Display for VaultSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.mount, self.path, self.field)
    }
}

/// Where the vault is, and who asks.
struct Access {
    address: String,
    token: Secret,
    namespace: Option<String>,
    cacert: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Answer {
    data: Version,
}

#[derive(Deserialize)]
struct Version {
    data: BTreeMap<String, Field>,
}

/// A field that is no text is none of ours, and no reason to refuse the others.
#[derive(Deserialize)]
#[serde(untagged)]
enum Field {
    Text(Text),
    Other(serde::de::IgnoredAny),
}

/// A secret member, so that its text is never held elsewhere.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Text(Secret);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

impl VaultSecret {
    /// Reads `MOUNT/PATH#FIELD`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (place, field) = text.rsplit_once('#')?;
        let (mount, path) = place.split_once('/')?;
        // It becomes part of a URL, as it is.
        let plain = |part: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(good)
        };
        let good = plain(mount) && path.split('/').all(plain) && !field.is_empty();
        good.then(|| Self {
            mount: mount.to_owned(),
            path: path.to_owned(),
            field: field.to_owned(),
        })
    }

    pub(super) async fn read(&self) -> Result<Secret, SecretError> {
        let access = Access::from_env(|name| std::env::var(name).ok()).map_err(|c| self.no(c))?;
        let mut builder = HttpTransport::builder();
        if let Some(path) = &access.cacert {
            let pem = tokio::fs::read(path).await.map_err(|error| self.no(error.to_string()))?;
            builder =
                builder.root_certificates(&pem).map_err(|error| self.no(error.to_string()))?;
        }
        let transport = builder.build().map_err(|error| self.no(error.to_string()))?;
        self.read_from(&access, &transport).await
    }

    async fn read_from(
        &self,
        access: &Access,
        transport: &dyn Transport,
    ) -> Result<Secret, SecretError> {
        let address = access.address.trim_end_matches('/');
        let url = format!("{address}/v1/{}/data/{}", self.mount, self.path);
        let mut token = HeaderValue::try_from(access.token.expose())
            .map_err(|_| self.no("its token cannot stand in a header".to_owned()))?;
        token.set_sensitive(true);
        let mut request = Request::get(&url).header("x-vault-token", token);
        if let Some(namespace) = &access.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let request =
            request.body(Bytes::new()).map_err(|_| self.no(format!("{url:?} is not a URL")))?;
        let answer = transport.send(request).await.map_err(|error| self.no(error.to_string()))?;
        if !answer.status().is_success() {
            return Err(self.no(match answer.status().as_u16() {
                403 => "403: its token may not read it, or has expired".to_owned(),
                404 => "404: there is none, or the engine is not KV version 2".to_owned(),
                status => format!("it answered {status}"),
            }));
        }
        let answer: Answer = serde_json::from_slice(answer.body())
            .map_err(|_| self.no("not an answer of KV version 2".to_owned()))?;
        match answer.data.data.into_iter().find(|(name, _)| *name == self.field) {
            Some((_, Field::Text(Text(secret)))) if secret.is_empty() => {
                Err(SecretError::Empty { place: self.place() })
            }
            Some((_, Field::Text(Text(secret)))) => Ok(secret),
            Some((_, Field::Other(_))) => Err(self.no("the field is no text".to_owned())),
            None => Err(self.no("there is no such field".to_owned())),
        }
    }

    fn place(&self) -> String {
        format!("the vault's {self}")
    }

    fn no(&self, cause: String) -> SecretError {
        SecretError::Unreadable { place: self.place(), cause }
    }
}

impl Access {
    /// As the tools of OpenBao and Vault have it.
    fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let either = |name: &str| {
            let set = |prefix: &str| variable(&format!("{prefix}_{name}"));
            set("BAO").or_else(|| set("VAULT")).filter(|text| !text.is_empty())
        };
        let address = either("ADDR").ok_or("neither BAO_ADDR nor VAULT_ADDR is set")?;
        let token = match either("TOKEN") {
            Some(token) => token,
            None => variable("HOME")
                .and_then(|home| std::fs::read_to_string(format!("{home}/.vault-token")).ok())
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
                .ok_or("there is neither BAO_TOKEN, VAULT_TOKEN nor ~/.vault-token")?,
        };
        Ok(Self {
            address,
            token: Secret::new(token),
            namespace: either("NAMESPACE"),
            cacert: either("CACERT").map(PathBuf::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::TransportError;

    fn access() -> Access {
        let variables = [
            ("VAULT_ADDR", "https://vault.example/"),
            ("BAO_TOKEN", "canary-token"),
            ("VAULT_TOKEN", "of vault"),
            ("VAULT_NAMESPACE", "team-a"),
        ];
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Access::from_env(|name| find(name).map(|(_, value)| (*value).to_owned())).unwrap()
    }

    async fn read(status: u16, body: &'static str) -> Result<Secret, SecretError> {
        let transport = move |request: Request<Bytes>| async move {
            assert_eq!(request.uri(), "https://vault.example/v1/kv/data/apps/billing");
            assert_eq!(request.headers()["x-vault-token"], "canary-token");
            assert_eq!(request.headers()["x-vault-namespace"], "team-a");
            Ok::<_, TransportError>(
                Response::builder()
                    .status(status)
                    .body(Bytes::from_static(body.as_bytes()))
                    .unwrap(),
            )
        };
        let secret = VaultSecret::parse("kv/apps/billing#secret").unwrap();
        secret.read_from(&access(), &transport).await
    }

    #[tokio::test]
    async fn a_field_of_a_secret_is_read() {
        let body = r#"{"data":{"data":{"secret":"s3cret","port":1},"metadata":{"version":4}}}"#;
        assert_eq!(read(200, body).await, Ok(Secret::new("s3cret")));
    }

    #[tokio::test]
    async fn what_is_no_secret_is_an_error_that_shows_none() {
        for (status, body, expected) in [
            (403, "{}", "may not read it"),
            (404, "{}", "there is none"),
            (503, "sealed", "it answered 503"),
            (200, r#"{"data":{"secret":"canary"}}"#, "KV version 2"),
            (200, r#"{"data":{"data":{"other":"canary"}}}"#, "no such field"),
            (200, r#"{"data":{"data":{"secret":["canary"]}}}"#, "no text"),
            (200, r#"{"data":{"data":{"secret":""}}}"#, "is empty"),
        ] {
            let error = read(status, body).await.unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_place_in_a_vault_stays_what_it_is_within_a_url() {
        for good in ["kv/a#f", "secret/apps/billing_1/prod#client_secret"] {
            assert_eq!(VaultSecret::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "kv",
            "kv/a",
            "kv/#f",
            "/a#f",
            "kv/../sys#f",
            "kv/a?b#f",
            "kv/a%2f#f",
            "kv//a#f",
            "kv/a#",
        ] {
            assert_eq!(VaultSecret::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn without_an_address_or_a_token_it_is_said_what_is_missing() {
        let address = |name: &str| (name == "BAO_ADDR").then(|| "https://v.example".to_owned());
        assert!(Access::from_env(|_| None).err().unwrap().contains("BAO_ADDR"));
        assert!(Access::from_env(address).err().unwrap().contains("BAO_TOKEN"));
    }
}
