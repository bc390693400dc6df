//! What the commands about secrets, keys, certificates and subjects of a client have in common.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokenry_core::Client;
use tokenry_core::client::{MAX_CREDENTIALS, MAX_LABEL, is_label};
use tokenry_store::Change;

use crate::diagnostic::{Diagnostic, quoted};
use crate::installation::{Installation, not_there};
use crate::output::Output;

/// Whose credentials.
#[derive(Args, Debug)]
pub(crate) struct Holder {
    /// The realm.
    pub(super) realm: String,
    /// The client's identifier.
    pub(super) client: String,
}

/// A credential that is there.
#[derive(Args, Debug)]
pub(crate) struct Existing {
    #[command(flatten)]
    holder: Holder,
    /// Its identifier, as `list` shows it.
    #[arg(allow_hyphen_values = true)]
    credential: String,
}

/// How a new credential is called, and for how long it is good.
#[derive(Args, Debug)]
pub(crate) struct Terms {
    /// What people call it, such as where it is used.
    #[arg(long, default_value = "")]
    pub(super) label: String,
    /// Good for this long, such as 90d; without it until it is removed, or as long as a certificate itself.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) expires_in: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::duration::parse(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a duration is such as `24h` or `90d`".to_owned())
}

impl Holder {
    /// The client.
    pub(super) fn find<'i>(
        &self,
        installation: &'i Installation,
    ) -> Result<&'i Client, Diagnostic> {
        installation.client(&self.realm, &self.client)
    }

    /// The client, if it may have one credential more, under these terms.
    pub(super) fn with_room<'i>(
        &self,
        installation: &'i Installation,
        terms: &Terms,
    ) -> Result<&'i Client, Diagnostic> {
        let client = self.find(installation)?;
        if !is_label(&terms.label) {
            return Err(Diagnostic::error(format!(
                "a label has up to {MAX_LABEL} printable characters"
            )));
        }
        if client.credentials.len() >= MAX_CREDENTIALS {
            let message = format!(
                "client {} has {MAX_CREDENTIALS} secrets and keys, which is the most",
                quoted(&client.id)
            );
            let help = "remove one that is no longer used: `tokenry client secret list` and `client key list` show them";
            return Err(Diagnostic::error(message).help(help));
        }
        Ok(client)
    }
}

impl Existing {
    /// Removes it. No token is obtained with it any more.
    pub(super) async fn remove(
        &self,
        installation: &Installation,
        output: Output,
    ) -> Result<(), Diagnostic> {
        let (client, credential) = (self.holder.find(installation)?, self.credential.as_str());
        let known = || client.credentials.iter().map(|c| c.id.as_str());
        if !known().any(|id| id == credential) {
            let what = format!("secret {} of client {}", quoted(credential), quoted(&client.id));
            let help = "`tokenry client secret list` shows those there are";
            return Err(not_there(&what, credential, known(), help));
        }
        let (realm, client) = (client.realm.clone(), client.id.clone());
        let json =
            json!({ "removed": { "realm": realm, "client": client, "credential": credential } });
        let text = format!("removed secret {credential} of client {client}");
        let change = Change::RemoveCredential { realm, client, credential: credential.to_owned() };
        installation.change_unchanged(vec![change]).await?;
        output.done(&json, || text)
    }
}
