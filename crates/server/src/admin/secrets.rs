//! Secrets of a client: made here, told once.

use std::time::Duration;

use http::StatusCode;
use tokenry_core::Timestamp;
use tokenry_core::client::{
    Credential, CredentialKind, MAX_CREDENTIALS, generate_secret, is_label,
};
use tokenry_core::realm::limits::MAX_LIFETIME;
use tokenry_store::Change;

use super::call::{Call, Done};
use super::members::Members;
use super::problem::Problem;
use super::route::Name;
use crate::clock::random;
use crate::http_answer::json;
use crate::json::Object;

impl Call<'_> {
    /// Gives the client a further secret. The answer has its text; afterwards there is only its digest.
    pub(super) async fn add_secret(&self, name: &Name) -> Result<Done, Problem> {
        let (label, expires_in) = self.wanted()?;
        let (id, secret) = generate_secret(&random()?);
        let credential = Credential {
            id: id.clone(),
            label,
            kind: CredentialKind::Secret { digest: self.app.pepper.digest(secret.expose()) },
            not_before: Timestamp::EPOCH,
            expires_at: expires_in.map(|duration| self.now + duration),
            created_at: self.now,
        };
        let added = self.change_known(name, |client| {
            if client.credentials.len() >= MAX_CREDENTIALS {
                let detail =
                    format!("the client has {MAX_CREDENTIALS} credentials, which is the most");
                return Err(Problem::new(StatusCode::CONFLICT, detail));
            }
            let (realm, client) = (name.realm.clone(), name.id.clone());
            let change = Change::PutCredential { realm, client, credential: credential.clone() };
            Ok((change, ()))
        });
        added.await?;
        let body = Object::with_capacity(256)
            .string("realm", &name.realm)
            .string("client", &name.id)
            .string("credential", &id)
            .string("label", &credential.label)
            .then(|body| match credential.expires_at {
                Some(at) => body.number("expires_at", at.as_secs()),
                None => body,
            })
            .string("secret", secret.expose());
        let done = Done::new("created", json(StatusCode::CREATED, body.end()));
        Ok(Done { credential: Some(id), ..done })
    }

    /// What the secret is to be called, and how long it is good.
    fn wanted(&self) -> Result<(String, Option<Duration>), Problem> {
        if self.body.is_empty() {
            return Ok((String::new(), None));
        }
        self.is_json()?;
        let mut members = Members::parse(self.body)?;
        let label = members.text("label", "up to 100 printable characters", is_label);
        let expires_in = members.duration("expires_in", Duration::from_secs(1)..=MAX_LIFETIME);
        members.end()?;
        Ok((label.unwrap_or_default(), expires_in))
    }
}
