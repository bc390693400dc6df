//! `tokenry agent status`: what the agent holds.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use tokenry_core::Timestamp;

use super::{Outcome, find};
use crate::diagnostic::Diagnostic;
use crate::edge;
use crate::output::{Output, table};

pub(super) async fn run(socket: Option<&Path>, output: Output) -> Outcome {
    let agent = find(socket)?;
    let tokens = agent.tokens().await.map_err(|fault| Diagnostic::error(fault.to_string()))?;
    let expires = |at: Option<u64>| at.map(|at| edge::date(Timestamp::from_secs(at)));
    let json: Vec<_> = tokens
        .iter()
        .map(|token| {
            json!({
                "name": token.name,
                "keeper": token.keeper,
                "provider": token.provider,
                "phase": token.phase,
                "expires_at": expires(token.expires_at),
                "tokens": token.generation,
                "asked": token.asked,
            })
        })
        .collect();
    output.answer(&json!({ "agent": agent.to_string(), "tokens": json }), || {
        if tokens.is_empty() {
            return format!("the agent at {agent} holds no token");
        }
        let rows = tokens.iter().map(|token| {
            [
                token.name.clone().unwrap_or_else(|| format!("(lent, {})", token.keeper)),
                token.provider.clone(),
                token.phase.clone(),
                expires(token.expires_at).unwrap_or_else(|| "-".to_owned()),
                token.generation.to_string(),
                token.asked.to_string(),
            ]
        });
        table(["NAME", "PROVIDER", "PHASE", "EXPIRES", "TOKENS", "ASKED"], rows)
    })?;
    Ok(ExitCode::SUCCESS)
}
