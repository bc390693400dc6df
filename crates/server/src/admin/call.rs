//! One request of somebody who was let in: what it changes, and what it is answered.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use tokenry_core::client::is_client_id;
use tokenry_core::{Client, Realm, Timestamp};
use tokenry_store::{Change, StoreError};

use super::precondition;
use super::problem::{Problem, quoted};
use super::registration;
use super::representation;
use super::route::{Action, Name, Page};
use crate::app::App;
use crate::http_answer::{Body, full, json};
use crate::json::Object;

/// How often a change is tried again that somebody else's came before.
const MAX_CONFLICTS: usize = 10;

/// A request on its way.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) app: &'a App,
    pub(super) parts: &'a Parts,
    pub(super) body: &'a [u8],
    pub(super) now: Timestamp,
}

/// What came of it.
pub(super) struct Done {
    /// For the log.
    pub(super) outcome: &'static str,
    /// The credential that it was about, if one.
    pub(super) credential: Option<String>,
    pub(super) response: Response<Body>,
}

impl Done {
    pub(super) const fn new(outcome: &'static str, response: Response<Body>) -> Self {
        Self { outcome, credential: None, response }
    }

    fn nothing_left(outcome: &'static str) -> Self {
        Self::new(outcome, full(StatusCode::NO_CONTENT, Bytes::new()))
    }
}

impl Call<'_> {
    pub(super) async fn carry_out(&self, action: &Action) -> Result<Done, Problem> {
        match action {
            Action::ListRealms => Ok(self.list_realms()),
            Action::ListClients { realm, page } => self.list_clients(realm, page).await,
            Action::ShowClient(name) => self.show_client(name).await,
            Action::PutClient(name) => self.put_client(name).await,
            Action::RemoveClient(name) => self.remove_client(name).await,
            Action::AddSecret(name) => self.add_secret(name).await,
            Action::RemoveCredential(name, id) => self.remove_credential(name, id).await,
            Action::Revoke(name) => self.revoke(name).await,
        }
    }

    fn list_realms(&self) -> Done {
        let directory = self.app.directory();
        let mut realms: Vec<&Realm> = directory.realms().map(|state| &state.realm).collect();
        realms.sort_by(|a, b| a.name.cmp(&b.name));
        let realms: Vec<String> = realms.into_iter().map(representation::realm).collect();
        let body = Object::with_capacity(512).raw("realms", &format!("[{}]", realms.join(",")));
        Done::new("listed", json(StatusCode::OK, body.end()))
    }

    async fn list_clients(&self, realm: &str, page: &Page) -> Result<Done, Problem> {
        self.in_realm(realm, |_| ())?;
        // One more than is told, to know whether there is another page.
        let after = (realm, page.after.as_str());
        let mut clients = self.app.store.clients(Some(after), page.limit + 1).await?;
        clients.retain(|client| client.realm == realm);
        let more = clients.len() > page.limit;
        clients.truncate(page.limit);
        let next = clients.last().filter(|_| more).map(|client| &client.id);
        let told: Vec<String> = clients.iter().map(representation::client).collect();
        let body = Object::with_capacity(512)
            .raw("clients", &format!("[{}]", told.join(",")))
            .then(|body| match next {
                Some(id) => body.string("next", id),
                None => body,
            });
        Ok(Done::new("listed", json(StatusCode::OK, body.end())))
    }

    async fn show_client(&self, name: &Name) -> Result<Done, Problem> {
        self.in_realm(&name.realm, |_| ())?;
        let client = self.app.store.client(&name.realm, &name.id).await?;
        let client = client.ok_or_else(|| no_client(name))?;
        Ok(Done::new("shown", representation::answer(StatusCode::OK, &client)))
    }

    async fn put_client(&self, name: &Name) -> Result<Done, Problem> {
        self.is_json()?;
        if !is_client_id(&name.id) {
            let detail = "a client's identifier is 1 to 200 visible ASCII characters without `:`";
            return Err(Problem::bad_request(detail));
        }
        let changed = self.change(name, |old| {
            // Looked up anew each time: what came before may have been a change of the realm.
            let client = self.in_realm(&name.realm, |realm| {
                registration::read(self.body, realm, &name.id, old, self.now)
            })??;
            Ok((Change::PutClient(client.clone()), (client, old.is_none())))
        });
        let (client, new) = changed.await?;
        let (outcome, status) =
            if new { ("created", StatusCode::CREATED) } else { ("replaced", StatusCode::OK) };
        Ok(Done::new(outcome, representation::answer(status, &client)))
    }

    async fn remove_client(&self, name: &Name) -> Result<Done, Problem> {
        self.has_no_body()?;
        let removed = self.change_known(name, |_| {
            let (realm, client) = (name.realm.clone(), name.id.clone());
            Ok((Change::RemoveClient { realm, client }, ()))
        });
        removed.await?;
        Ok(Done::nothing_left("removed"))
    }

    pub(super) async fn remove_credential(&self, name: &Name, id: &str) -> Result<Done, Problem> {
        self.has_no_body()?;
        let removed = self.change_known(name, |client| {
            if !client.credentials.iter().any(|own| own.id == id) {
                let detail = format!("the client has no credential {}", quoted(id));
                return Err(Problem::not_found(detail));
            }
            let (realm, client) = (name.realm.clone(), name.id.clone());
            Ok((Change::RemoveCredential { realm, client, credential: id.to_owned() }, ()))
        });
        removed.await?;
        Ok(Done { credential: Some(id.to_owned()), ..Done::nothing_left("removed") })
    }

    async fn revoke(&self, name: &Name) -> Result<Done, Problem> {
        self.has_no_body()?;
        let revoked = self.change_known(name, |client| {
            let not_before = client.not_before.max(self.now);
            let client = Client { not_before, ..client.clone() };
            Ok((Change::PutClient(client.clone()), client))
        });
        let client = revoked.await?;
        Ok(Done::new("revoked", representation::answer(StatusCode::OK, &client)))
    }

    /// Makes a change of a client that exists.
    pub(super) async fn change_known<T>(
        &self,
        name: &Name,
        plan: impl Fn(&Client) -> Result<(Change, T), Problem>,
    ) -> Result<T, Problem> {
        self.in_realm(&name.realm, |_| ())?;
        self.change(name, |client| plan(client.ok_or_else(|| no_client(name))?)).await
    }

    /// Makes a change that builds on the client as it is stored, from the start where anything else came in between.
    async fn change<T>(
        &self,
        name: &Name,
        plan: impl Fn(Option<&Client>) -> Result<(Change, T), Problem>,
    ) -> Result<T, Problem> {
        for _ in 0..MAX_CONFLICTS {
            // Before the client is read: whatever changes after this is noticed when ours is made.
            let revision = self.app.store.revision().await?;
            let stored = self.app.store.client(&name.realm, &name.id).await?;
            let (change, made) = plan(stored.as_ref())?;
            // RFC 9110 §13.2.1: preconditions come after all that would refuse the request anyway.
            precondition::check(&self.parts.headers, stored.as_ref())?;
            match self.app.store.change(vec![change], Some(revision), self.now).await {
                Ok(_) => {
                    self.app.client_changed(&name.realm, &name.id).await;
                    return Ok(made);
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Looks at the realm of this name.
    fn in_realm<T>(&self, name: &str, look: impl FnOnce(&Realm) -> T) -> Result<T, Problem> {
        let directory = self.app.directory();
        let state = directory.realm(name);
        let state = state
            .ok_or_else(|| Problem::not_found(format!("there is no realm {}", quoted(name))))?;
        Ok(look(&state.realm))
    }

    pub(super) fn is_json(&self) -> Result<(), Problem> {
        let given = self.parts.headers.get(header::CONTENT_TYPE);
        let media_type = given.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        let detail = "the body must be application/json";
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).with(header::ACCEPT, JSON))
    }

    fn has_no_body(&self) -> Result<(), Problem> {
        if self.body.is_empty() {
            return Ok(());
        }
        Err(Problem::bad_request("this request has no body"))
    }
}

fn no_client(name: &Name) -> Problem {
    Problem::not_found(format!("there is no client {}", quoted(&name.id)))
}
