//! A token in the way that another program wants it.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};
use tokenry_client::Token;
use tokenry_core::{Secret, Timestamp};

use crate::args::Format;
use crate::diagnostic::{Diagnostic, quoted};
use crate::edge;

/// The programs that a token can be written for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum TokenFormat {
    /// For `eval` in a shell: `export ACCESS_TOKEN='…'`.
    Env,
    /// For `curl --config -`.
    CurlConfig,
    /// For kubectl: an ExecCredential of the version that it asks for in KUBERNETES_EXEC_INFO.
    K8sExec,
}

/// The versions of ExecCredential; both have the same fields. The first is written unless kubectl asks for another.
const K8S_API_VERSIONS: [&str; 2] =
    ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// A token that is about to expire is none any more: as the keeper has it, so that nobody sends one that dies on its way.
const MARGIN: Duration = Duration::from_secs(30);
/// Of tokens that do not live long, this part (1/n).
const MARGIN_PART: u32 = 7;

impl TokenFormat {
    /// The text for the program.
    pub(super) fn write(self, token: &Token, now: Timestamp, k8s_api_version: &str) -> Secret {
        let text = token.access_token().expose();
        let use_until = token.expires_at().map(|at| {
            let left = at.since(now);
            at - MARGIN.min(left / MARGIN_PART)
        });
        Secret::new(match self {
            Self::Env => format!("export ACCESS_TOKEN={}", sh_quoted(text)),
            Self::CurlConfig => curl_header("Authorization", &format!("Bearer {text}")),
            Self::K8sExec => {
                let mut status = json!({ "token": text });
                if let Some(at) = use_until {
                    status["expirationTimestamp"] = json!(edge::date(at));
                }
                json!({ "kind": "ExecCredential", "apiVersion": k8s_api_version, "status": status })
                    .to_string()
            }
        })
    }
}

/// A header as curl reads it in a configuration.
pub(crate) fn curl_header(name: &str, value: &str) -> String {
    format!("header = {}", curl_quoted(&format!("{name}: {value}")))
}

/// A value as curl reads it in a configuration.
pub(crate) fn curl_quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// One word for a POSIX shell, whatever is in it.
fn sh_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The version that kubectl asks for; without being asked, the newest.
pub(super) fn k8s_api_version(info: Option<&str>) -> Result<&'static str, Diagnostic> {
    let [newest, ..] = K8S_API_VERSIONS;
    let Some(info) = info.filter(|info| !info.is_empty()) else { return Ok(newest) };
    let asked: Value = serde_json::from_str(info).unwrap_or_default();
    let asked = asked["apiVersion"].as_str().unwrap_or_default();
    K8S_API_VERSIONS.into_iter().find(|known| *known == asked).ok_or_else(|| {
        Diagnostic::error(format!("KUBERNETES_EXEC_INFO asks for version {}", quoted(asked)))
            .help(format!("in the kubeconfig: `apiVersion: {newest}`"))
    })
}

/// Reads the values of `tokenry token --output`: those of every command, and its own.
pub(super) fn formats() -> impl TypedValueParser<Value = Format> {
    let common = Format::value_variants().iter().filter_map(Format::to_possible_value);
    let own = TokenFormat::value_variants().iter().filter_map(TokenFormat::to_possible_value);
    PossibleValuesParser::new(common.chain(own)).map(|text| {
        let own = TokenFormat::from_str(&text, false).map(Format::Token);
        // Nothing else gets past the list of values.
        own.or_else(|_| Format::from_str(&text, false)).unwrap_or(Format::Text)
    })
}

#[cfg(test)]
mod tests {
    use tokenry_client::{StaticToken, TokenSource as _};

    use super::*;

    async fn written(form: TokenFormat) -> String {
        let source = StaticToken::new(Secret::new("a'$(b)\"\\c")).unwrap();
        let token = source.token().await.unwrap();
        form.write(&token, Timestamp::EPOCH, K8S_API_VERSIONS[0]).expose().to_owned()
    }

    #[tokio::test]
    async fn each_program_gets_the_token_in_its_own_quotes() {
        assert_eq!(written(TokenFormat::Env).await, r#"export ACCESS_TOKEN='a'\''$(b)"\c'"#);
        assert_eq!(
            written(TokenFormat::CurlConfig).await,
            r#"header = "Authorization: Bearer a'$(b)\"\\c""#
        );
        let json: Value = serde_json::from_str(&written(TokenFormat::K8sExec).await).unwrap();
        assert_eq!(json["status"]["token"], "a'$(b)\"\\c");
    }

    #[test]
    fn kubectl_gets_the_version_that_it_asks_for() {
        assert_eq!(k8s_api_version(None).unwrap(), "client.authentication.k8s.io/v1");
        for version in K8S_API_VERSIONS {
            let info =
                format!(r#"{{"kind":"ExecCredential","apiVersion":"{version}","spec":{{}}}}"#);
            assert_eq!(k8s_api_version(Some(&info)).unwrap(), version);
        }
        for other in [r#"{"apiVersion":"client.authentication.k8s.io/v1alpha1"}"#, "nonsense", "{}"]
        {
            assert!(k8s_api_version(Some(other)).is_err(), "{other}");
        }
    }
}
