//! Why there is no token, and what helps.

use std::path::Path;

use tokenry_client::{Error, Provider, ProviderError, ServerError, TransportError};

use crate::diagnostic::{Diagnostic, did_you_mean, quoted};

/// What was asked for, as far as it explains a refusal.
pub(super) struct Asked<'a> {
    /// The token endpoint.
    pub(super) url: &'a str,
    /// The scope, where one was named.
    pub(super) scope: Option<&'a str>,
    /// The file with the authorities to trust, where one was named.
    pub(super) cacert: Option<&'a Path>,
}

/// The error about a server that gave no token.
pub(super) fn no_token(error: &Error, asked: &Asked<'_>) -> Diagnostic {
    match error {
        Error::Refused { refusal, .. } if refusal.status == 404 => no_endpoint(asked.url),
        Error::Unusable { status: 404, .. } => no_endpoint(asked.url),
        Error::Refused { refusal, .. } => refused(refusal, asked)
            .unwrap_or_else(|| Diagnostic::error(error.to_string()).help(CREDENTIALS)),
        Error::Transport(transport) => unreachable(transport, asked.cacert),
        _ => Diagnostic::error(error.to_string()),
    }
}

const CREDENTIALS: &str =
    "are they for this server and realm, and is the secret or password still good?";

fn no_endpoint(url: &str) -> Diagnostic {
    Diagnostic::error(format!("there is no token endpoint at {}: 404", quoted(url)))
        .help("--issuer finds the endpoint by itself; --token-url names it whole, with its path")
}

/// What an error code says about others than the credentials (RFC 6749 §5.2).
fn refused(refusal: &ServerError, asked: &Asked<'_>) -> Option<Diagnostic> {
    let (what, help) = match refusal.code.as_deref()? {
        "invalid_scope" => (
            asked.scope.map_or_else(
                || "the client has no scope that it could be given a token for".to_owned(),
                |scope| format!("the client may not have scope {}", quoted(scope)),
            ),
            match asked.scope {
                Some(_) => {
                    "ask for another with --scope, or leave it out; its operator knows which it may have"
                }
                None => {
                    "none was asked for: its operator has to give it one that its audience (`[[realm.resources]]`) knows"
                }
            },
        ),
        "unauthorized_client" => (
            "the client may not use this grant".to_owned(),
            "with --username it is `password`, otherwise `client_credentials`; the operator can allow it",
        ),
        "unsupported_grant_type" => (
            "the token endpoint does not know this grant".to_owned(),
            "with --username it is `password`, otherwise `client_credentials`",
        ),
        _ => return None,
    };
    Some(Diagnostic::error(format!("{what}: {refusal}")).help(help))
}

/// The error about a server that did not answer.
pub(super) fn unreachable(error: &TransportError, cacert: Option<&Path>) -> Diagnostic {
    let TransportError::Connect { host, cause } = error else {
        return Diagnostic::error(error.to_string());
    };
    let has = |text: &str| cause.contains(text);
    let certificate = |what: &str, help: &str| {
        Diagnostic::error(format!("cannot connect to {host}: its certificate {what}")).help(help)
    };
    // An authority of the same name and another key is told by the signature.
    if has("UnknownIssuer") || has("BadSignature") {
        match cacert {
            Some(path) => certificate(
                &format!("is not from the authority in {}", path.display()),
                "is this the file of that server? every `tokenry init` makes an authority of its own",
            ),
            None => certificate(
                "is from an authority that this machine does not know",
                "--cacert names a file with the authority to trust",
            ),
        }
    } else if has("certificate expired") {
        certificate(
            "has expired",
            "its operator has to renew it; or is the clock of this machine wrong?",
        )
    } else if has("certificate not valid yet") {
        certificate("is not good yet", "is the clock of this machine right?")
    } else if has("not valid for name") || has("NotValidForName") {
        certificate(
            "is for other names",
            "write the host as the certificate has it; --connect-to says where that is",
        )
    } else if has("certificate") {
        Diagnostic::error(error.to_string())
            .help("--cacert names a file with the authority to trust")
    } else {
        Diagnostic::error(error.to_string())
    }
}

/// The error about a provider that cannot be had.
pub(super) fn no_provider(error: &ProviderError) -> Diagnostic {
    match error {
        ProviderError::Unknown { name } => {
            let error = Diagnostic::error(format!("no provider is called {}", quoted(name)));
            match did_you_mean(name, Provider::names()) {
                Some(meant) => error.help(format!("did you mean `{meant}`?")),
                None => error.help(format!(
                    "there are {}; a file is written with its path, such as ./{name}.toml",
                    Provider::names().collect::<Vec<_>>().join(", ")
                )),
            }
        }
        ProviderError::UnknownEnvironment { provider, environment, known } => {
            let no =
                format!("provider {} has no environment {}", quoted(provider), quoted(environment));
            if known.is_empty() {
                return Diagnostic::error(format!("{no}: it has none at all"))
                    .help("leave --environment out");
            }
            match did_you_mean(environment, known.split(", ")) {
                Some(meant) => Diagnostic::error(no).help(format!("did you mean `{meant}`?")),
                None => Diagnostic::error(no).help(format!("it has {known}")),
            }
        }
        _ => Diagnostic::error(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tokenry_client::{Defect, Grant};

    use super::*;

    fn headline(error: &Error) -> String {
        let asked = Asked {
            url: "https://a.example/token",
            scope: Some("admin"),
            cacert: Some(Path::new("ca.pem")),
        };
        no_token(error, &asked).headline()
    }

    #[test]
    fn who_asked_for_no_scope_is_not_told_to_leave_it_out() {
        let asked = Asked { url: "https://a.example/token", scope: None, cacert: None };
        let code = Some("invalid_scope".to_owned());
        let refusal = ServerError { status: 400, code, description: None };
        let refused = Error::Refused { grant: Grant::Credentials, refusal };
        let told = format!("{:?}", no_token(&refused, &asked));
        assert!(told.contains("has no scope that it could be given a token for"), "{told}");
        assert!(told.contains("none was asked for") && !told.contains("leave it out"), "{told}");
    }

    #[test]
    fn each_code_has_words_of_its_own() {
        let refused = |status, code: &str| {
            let refusal = ServerError { status, code: Some(code.to_owned()), description: None };
            headline(&Error::Refused { grant: Grant::Credentials, refusal })
        };
        let cases = [
            (400, "invalid_scope", "the client may not have scope `admin`: 400 invalid_scope"),
            (
                400,
                "unauthorized_client",
                "the client may not use this grant: 400 unauthorized_client",
            ),
            (
                400,
                "unsupported_grant_type",
                "the token endpoint does not know this grant: 400 unsupported_grant_type",
            ),
            (401, "invalid_client", "the server refused the credentials: 401 invalid_client"),
            (404, "not_found", "there is no token endpoint at `https://a.example/token`: 404"),
        ];
        for (status, code, expected) in cases {
            assert_eq!(refused(status, code), format!("error: {expected}"));
        }
        assert_eq!(
            headline(&Error::Unusable { status: 404, what: Defect::Foreign }),
            "error: there is no token endpoint at `https://a.example/token`: 404"
        );
    }

    #[test]
    fn each_fault_of_a_certificate_has_words_of_its_own() {
        let cases = [
            ("BadSignature", "is not from the authority in ca.pem"),
            ("UnknownIssuer", "is not from the authority in ca.pem"),
            ("certificate expired: verification time 2 (UNIX)", "has expired"),
            ("certificate not valid yet: verification time 2 (UNIX)", "is not good yet"),
            ("certificate not valid for name \"a.example\"; certificate", "is for other names"),
        ];
        for (cause, expected) in cases {
            let cause = format!("invalid peer certificate: {cause}");
            let error = TransportError::Connect { host: "a.example".to_owned(), cause };
            let expected =
                format!("error: cannot connect to a.example: its certificate {expected}");
            assert_eq!(headline(&error.into()), expected);
        }
    }

    #[test]
    fn an_environment_that_is_not_there_is_answered_with_those_that_are() {
        let environment = |name: &str, environment: &str| {
            no_provider(&Provider::named(name).unwrap().environment(environment).unwrap_err())
                .headline()
        };
        assert_eq!(
            environment("tuinly", "staging"),
            "error: provider `tuinly` has no environment `staging`: it has none at all"
        );
        assert_eq!(
            environment("truphone", "staging"),
            "error: provider `truphone` has no environment `staging`"
        );
    }
}
