//! `tokenry token revoke`: an operator ends one token.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use tokenry_core::Secret;
use tokenry_core::opaque::PREFIX as OPAQUE;
use tokenry_server::{RevokedKind, RevokedToken, revoke_token};

use crate::args::{Format, Global};
use crate::commands::{Outcome, USAGE};
use crate::diagnostic::Diagnostic;
use crate::edge;
use crate::installation::{Installation, Read, store_failed};
use crate::output::Output;

/// What every secret of a client begins with that was generated here.
const CLIENT_SECRET: &str = "tks_";

/// Ends one token of this installation, whoever has it: an access token, signed or opaque, or a refresh token.
///
/// It is done in the store, beside a running server or without one, and has the same effect as when the token's own client
/// revokes it (RFC 7009): introspection and followers of the revocation feed refuse it at once, status lists show it. A
/// refresh token ends with all access tokens that came with it. Only the realm whose key or seal made the token is
/// touched; a text that nobody here has made ends nothing.
///
/// The token is read from standard input or a file, and never from the command line, which every user of this machine can
/// read. It is not printed.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Where a token would stand, were it to be given so.
    #[arg(hide = true, allow_hyphen_values = true)]
    stray: Vec<String>,
    /// The file with the token (`-`: standard input, as without it).
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What the answer looks like. `tokenry token` has more forms, which are for tokens.
    #[arg(long, env = "TOKENRY_OUTPUT", default_value = "text", value_name = "FORMAT")]
    output: Format,
}

pub(super) async fn run(arguments: &Arguments, global: &Global, output: Output) -> Outcome {
    if !arguments.stray.is_empty() {
        // Not repeated: it may be a token.
        let message =
            "a token is read from standard input or a file, and not from the command line";
        let help = "`tokenry token revoke < FILE`, or --token-file FILE";
        output.complain(&Diagnostic::error(message).help(help).into());
        return Ok(ExitCode::from(USAGE));
    }
    let mut diagnostics = crate::diagnostic::Diagnostics::default();
    let installation = Installation::open_noting(global, Read::Outline, &mut diagnostics).await;
    let Some(installation) = installation else { return Err(diagnostics) };
    output.complain(&diagnostics);
    let path = arguments.token_file.as_deref().unwrap_or_else(|| Path::new("-"));
    let token = bare(&edge::read_secret(path, "the token")?);
    let (store, master) = (&*installation.store, &installation.master);
    let revoked = revoke_token(store, master, token.expose(), edge::now()).await;
    let revoked = revoked.map_err(|error| store_failed(&error))?;
    let revoked = revoked.ok_or_else(|| no_token(token.expose()))?;
    tell(&revoked, output)?;
    Ok(ExitCode::SUCCESS)
}

/// The token alone, where it was copied with the header that it stood in.
fn bare(text: &Secret) -> Secret {
    let mut words = text.expose().split_whitespace().filter(|word| !is_around(word));
    match (words.next(), words.next()) {
        (Some(token), None) => Secret::new(token.trim_matches('"')),
        _ => Secret::new(text.expose()),
    }
}

fn is_around(word: &str) -> bool {
    ["authorization:", "bearer", "dpop"].iter().any(|around| word.eq_ignore_ascii_case(around))
}

fn no_token(text: &str) -> Diagnostic {
    let error = Diagnostic::error("this is no token of this installation, and nothing was ended");
    if text.starts_with(CLIENT_SECRET) {
        return error.help(
            "it is the secret of a client: `tokenry client secret list` and `remove` end it",
        );
    }
    if text.starts_with(OPAQUE) {
        return error.help("no realm holds it: an opaque token is forgotten when it has expired");
    }
    error.help("another issuer has made it, or it was changed, or the key that signed it is gone, with all that it has signed")
}

fn tell(revoked: &RevokedToken, output: Output) -> Result<(), Diagnostic> {
    let RevokedToken { realm, client, kind, id, expires_at, had_ended } = revoked;
    let kind = match kind {
        RevokedKind::Access => "access_token",
        RevokedKind::Refresh => "refresh_token",
    };
    let json = json!({
        "realm": realm, "client": client, "token_type": kind, "id": id.to_string(),
        "expires_at": edge::date(*expires_at), "had_ended": had_ended,
    });
    output.done(&json, || {
        let kind = kind.replace('_', " ");
        match had_ended {
            true => {
                format!("had ended already: {kind} of client {client} in realm {realm} ({id})")
            }
            false => format!("ended: {kind} of client {client} in realm {realm} ({id})"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_the_header_that_it_stood_in() {
        for (text, token) in [
            ("a.b.c", "a.b.c"),
            ("  a.b.c\r\n", "a.b.c"),
            ("Bearer a.b.c", "a.b.c"),
            ("Authorization: Bearer a.b.c", "a.b.c"),
            ("authorization: DPoP a.b.c", "a.b.c"),
            ("\"a.b.c\"", "a.b.c"),
            // Which of them is meant nobody can say.
            ("a.b.c d.e.f", "a.b.c d.e.f"),
            ("Bearer", "Bearer"),
        ] {
            assert_eq!(bare(&Secret::new(text)).expose(), token, "{text:?}");
        }
    }
}
