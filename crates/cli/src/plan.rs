//! From what is stored to what should be: which changes, shown before they are made.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use tokenry_core::realm::{Realm, RefreshPolicy};
use tokenry_core::{Client, Timestamp};
use tokenry_store::{Change, Snapshot};

use crate::realm_file::{Declaration, DeclaredClient};

mod fields;

use fields::{Fields, client_fields, realm_fields};

/// What has to be done so that what is declared is so.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    steps: Vec<Step>,
    /// Clients that are stored and not declared, and stay: realm and identifier.
    kept: Vec<(String, String)>,
}

/// One thing that is made, changed or removed.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    action: Action,
    kind: &'static str,
    realm: String,
    name: String,
    fields: Vec<FieldChange>,
    /// Whether the refresh tokens issued so far end with it.
    ends_refresh_tokens: bool,
    change: Change,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Create,
    Change,
    Remove,
}

/// A field of a realm or client that changes, in the words of a realm file.
#[derive(Clone, Debug, Eq, PartialEq)]
struct FieldChange {
    field: &'static str,
    from: Option<String>,
    to: Option<String>,
}

impl Plan {
    /// Compares. Clients that are stored but not declared are removed only with `prune`.
    pub(crate) fn new(
        declarations: &[Declaration],
        stored: &Snapshot,
        prune: bool,
        now: Timestamp,
    ) -> Self {
        let mut plan = Self { steps: Vec::new(), kept: Vec::new() };
        // Looked up, not searched: realms have thousands of clients.
        let stored_clients: HashMap<(&str, &str), &Client> =
            stored.clients.iter().map(|c| ((c.realm.as_str(), c.id.as_str()), c)).collect();
        for Declaration { realm, clients } in declarations {
            let old = stored.realms.iter().find(|r| r.name == realm.name);
            let ends = old.is_some_and(|old| {
                RefreshPolicy::stops_rotating(
                    old.tokens.refresh.as_ref(),
                    realm.tokens.refresh.as_ref(),
                )
            });
            // What is set at run time stays.
            let not_before = old.map_or(Timestamp::EPOCH, |old| old.not_before);
            let not_before = if ends { not_before.max(now) } else { not_before };
            let created_at = old.map_or(now, |old| old.created_at);
            let realm = Realm { not_before, created_at, ..realm.clone() };
            let fields = (old.map(realm_fields), realm_fields(&realm));
            plan.put("realm", &realm.name, &realm.name, fields, ends, || {
                Change::PutRealm(realm.clone())
            });
            let inherited =
                (old.and_then(|old| old.tokens.refresh.as_ref()), realm.tokens.refresh.as_ref());
            for declared in clients {
                let key = (realm.name.as_str(), declared.client.id.as_str());
                plan.client(declared, stored_clients.get(&key).copied(), inherited, now);
            }
            let declared: HashSet<&str> = clients.iter().map(|c| c.client.id.as_str()).collect();
            let undeclared = stored.clients.iter().filter(|client| {
                client.realm == realm.name && !declared.contains(client.id.as_str())
            });
            for client in undeclared {
                if prune {
                    plan.steps.push(Step {
                        action: Action::Remove,
                        kind: "client",
                        realm: client.realm.clone(),
                        name: client.id.clone(),
                        fields: Vec::new(),
                        ends_refresh_tokens: false,
                        change: Change::RemoveClient {
                            realm: client.realm.clone(),
                            client: client.id.clone(),
                        },
                    });
                } else {
                    plan.kept.push((client.realm.clone(), client.id.clone()));
                }
            }
        }
        plan
    }

    /// `inherited` is the realm's refresh policy, before and after.
    fn client(
        &mut self,
        declared: &DeclaredClient,
        old: Option<&Client>,
        inherited: (Option<&RefreshPolicy>, Option<&RefreshPolicy>),
        now: Timestamp,
    ) {
        let mut client = declared.client.clone();
        client.created_at = old.map_or(now, |old| old.created_at);
        let mut ends = false;
        if let Some(old) = old {
            client.not_before = old.not_before;
            if !declared.says_enabled {
                client.enabled = old.enabled;
            }
            // Where the realm itself stops rotating, its own moment ends them.
            ends = !RefreshPolicy::stops_rotating(inherited.0, inherited.1)
                && RefreshPolicy::stops_rotating(
                    old.refresh.as_deref().or(inherited.0),
                    client.refresh.as_deref().or(inherited.1),
                );
            if ends {
                client.not_before = client.not_before.max(now);
            }
        }
        let (realm, id) = (client.realm.clone(), client.id.clone());
        let fields = (old.map(client_fields), client_fields(&client));
        self.put("client", &realm, &id, fields, ends, || Change::PutClient(client));
    }

    fn put(
        &mut self,
        kind: &'static str,
        realm: &str,
        name: &str,
        (old, new): (Option<Fields>, Fields),
        ends_refresh_tokens: bool,
        change: impl FnOnce() -> Change,
    ) {
        let action = if old.is_some() { Action::Change } else { Action::Create };
        let old = old.unwrap_or_default();
        let from = |field| {
            old.iter().find(|(name, _)| *name == field).and_then(|(_, value)| value.clone())
        };
        let fields: Vec<FieldChange> = new
            .into_iter()
            .map(|(field, to)| FieldChange { field, from: from(field), to })
            .filter(|change| change.from != change.to)
            .collect();
        if action == Action::Create || !fields.is_empty() {
            let (realm, name) = (realm.to_owned(), name.to_owned());
            let change = change();
            self.steps.push(Step {
                action,
                kind,
                realm,
                name,
                fields,
                ends_refresh_tokens,
                change,
            });
        }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The changes for the store.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.steps.iter().map(|step| step.change.clone()).collect()
    }

    /// What others have to be told before it is carried out: those who check tokens, and those who hold them.
    fn warnings(&self) -> Vec<String> {
        let changed = self.steps.iter().filter(|step| step.action == Action::Change);
        changed.flat_map(Step::warnings).collect()
    }

    /// For people: `+` what is made, `~` what changes, `-` what is removed.
    pub(crate) fn text(&self) -> String {
        let mut lines = Vec::new();
        for step in &self.steps {
            let sign = match step.action {
                Action::Create => '+',
                Action::Change => '~',
                Action::Remove => '-',
            };
            let within = if step.kind == "client" {
                format!(" in realm {}", step.realm)
            } else {
                String::new()
            };
            lines.push(format!("{sign} {} {}{within}", step.kind, step.name));
            for FieldChange { field, from, to } in &step.fields {
                let (from, to) =
                    (from.as_deref().unwrap_or("(none)"), to.as_deref().unwrap_or("(none)"));
                lines.push(match step.action {
                    Action::Create => format!("    {field}: {to}"),
                    _ => format!("    {field}: {from} -> {to}"),
                });
            }
        }
        for (realm, client) in &self.kept {
            lines.push(format!(
                "  client {client} in realm {realm} is not declared and stays; --prune removes it"
            ));
        }
        lines.extend(self.warnings().into_iter().map(|warning| format!("warning: {warning}")));
        lines.join("\n")
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            let action = match step.action {
                Action::Create => "create",
                Action::Change => "change",
                Action::Remove => "remove",
            };
            let fields: Vec<Value> = step
                .fields
                .iter()
                .map(|change| json!({ "field": change.field, "from": change.from, "to": change.to }))
                .collect();
            json!({ "action": action, "kind": step.kind, "realm": step.realm, "name": step.name, "fields": fields })
        });
        let kept =
            self.kept.iter().map(|(realm, client)| json!({ "realm": realm, "client": client }));
        json!({
            "changes": steps.collect::<Vec<_>>(),
            "undeclared_clients": kept.collect::<Vec<_>>(),
            "warnings": self.warnings(),
        })
    }
}

impl Step {
    fn warnings(&self) -> Vec<String> {
        let of = if self.kind == "client" {
            format!("client {} in realm {}", self.name, self.realm)
        } else {
            format!("realm {}", self.name)
        };
        let refused = self.fields.iter().filter_map(|FieldChange { field, .. }| {
            let what = match *field {
                "issuer" => "the old issuer",
                "tokens.signing" | "signing" => "the old signing algorithm",
                _ => return None,
            };
            Some(format!(
                "{field} of {of} changes: verifiers that insist on {what} refuse its new tokens"
            ))
        });
        let ended = self.ends_refresh_tokens.then(|| {
            format!("{of} no longer rotates refresh tokens: all that were issued so far end, since used-up ones would be good again")
        });
        refused.chain(ended).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokenry_core::realm::Rotate;

    use super::*;

    fn declared(realm: &Realm, clients: &[Client]) -> Declaration {
        let clients = clients
            .iter()
            .map(|c| DeclaredClient { client: c.clone(), says_enabled: false })
            .collect();
        Declaration { realm: realm.clone(), clients }
    }

    fn realm() -> Realm {
        serde_json::from_value(json!({
            "name": "a",
            "issuer": "https://a.example",
            "tokens": { "access": { "secs": 300, "nanos": 0 } },
        }))
        .unwrap()
    }

    fn client(id: &str) -> Client {
        serde_json::from_value(json!({ "realm": "a", "id": id, "grants": ["client_credentials"] }))
            .unwrap()
    }

    #[test]
    fn what_is_so_already_needs_nothing() {
        let stored =
            Snapshot { realms: vec![realm()], clients: vec![client("c")], ..Snapshot::default() };
        let plan =
            Plan::new(&[declared(&realm(), &[client("c")])], &stored, false, Timestamp::EPOCH);
        assert!(plan.is_empty(), "{plan:?}");
        assert_eq!(plan.text(), "");
    }

    #[test]
    fn new_changed_and_undeclared_are_told_apart() {
        let stored = Snapshot {
            realms: vec![realm()],
            clients: vec![client("c"), client("old")],
            ..Snapshot::default()
        };
        let changed = Realm { password_grant: true, ..realm() };
        let declared = [declared(&changed, &[client("c"), client("new")])];
        let plan = Plan::new(&declared, &stored, false, Timestamp::EPOCH);
        let expected = "~ realm a\n    password_grant: false -> true\n+ client new in realm a\n    enabled: true\n    \
                        grants: client_credentials\n  client old in realm a is not declared and stays; --prune removes it";
        assert_eq!(plan.text(), expected);
        let changes = plan.changes();
        assert_eq!(changes, [Change::PutRealm(changed), Change::PutClient(client("new"))]);
        let pruned = Plan::new(&declared, &stored, true, Timestamp::EPOCH);
        assert!(pruned.text().ends_with("- client old in realm a"), "{}", pruned.text());
        let remove = Change::RemoveClient { realm: "a".to_owned(), client: "old".to_owned() };
        assert_eq!(pruned.changes().last(), Some(&remove));
    }

    #[test]
    fn a_new_issuer_and_a_new_algorithm_come_with_a_warning() {
        let stored = Snapshot { realms: vec![realm()], ..Snapshot::default() };
        let mut changed = realm();
        changed.issuer = "https://b.example".parse().unwrap();
        changed.tokens.signing = tokenry_core::jose::Algorithm::Rs256;
        let plan = Plan::new(&[declared(&changed, &[])], &stored, false, Timestamp::EPOCH);
        let expected = [
            "issuer of realm a changes: verifiers that insist on the old issuer refuse its new tokens",
            "tokens.signing of realm a changes: verifiers that insist on the old signing algorithm refuse its new tokens",
        ];
        assert_eq!(plan.warnings(), expected);
        assert!(
            plan.text().ends_with(&format!("warning: {}\nwarning: {}", expected[0], expected[1]))
        );
        let new =
            Plan::new(&[declared(&changed, &[])], &Snapshot::default(), false, Timestamp::EPOCH);
        assert_eq!(new.warnings(), Vec::<String>::new());
    }

    #[test]
    fn row_154_another_name_of_ed25519_is_a_change() {
        use tokenry_core::realm::Ed25519Name;
        let named = |name| {
            let mut realm = realm();
            realm.tokens.signing = tokenry_core::jose::Algorithm::EdDsa;
            realm.tokens.ed25519 = name;
            realm
        };
        let stored = Snapshot { realms: vec![named(Ed25519Name::EdDsa)], ..Snapshot::default() };
        let changed = named(Ed25519Name::Ed25519);
        let plan = Plan::new(&[declared(&changed, &[])], &stored, false, Timestamp::EPOCH);
        let text = plan.text();
        assert!(text.starts_with("~ realm a\n    tokens.signing: EdDSA -> Ed25519\n"), "{text}");
        let expected = "tokens.signing of realm a changes: verifiers that insist on the old signing algorithm refuse its new tokens";
        assert_eq!(plan.warnings(), [expected]);
        assert_eq!(plan.changes(), [Change::PutRealm(changed)]);
    }

    #[test]
    fn what_is_set_at_run_time_stays() {
        let not_before = Timestamp::from_secs(7);
        let stored = Snapshot {
            realms: vec![Realm { not_before, ..realm() }],
            clients: vec![Client { not_before, enabled: false, ..client("c") }],
            ..Snapshot::default()
        };
        assert!(
            Plan::new(&[declared(&realm(), &[client("c")])], &stored, false, Timestamp::EPOCH)
                .is_empty()
        );
        let mut says = declared(&Realm { password_grant: true, ..realm() }, &[client("c")]);
        says.clients[0].says_enabled = true;
        let plan = Plan::new(&[says], &stored, false, Timestamp::EPOCH);
        let [Change::PutRealm(realm), Change::PutClient(client)] = &plan.changes()[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(realm.not_before, not_before);
        assert!(client.enabled && client.not_before == not_before);
    }

    fn refresh_with(policy: Rotate) -> Option<RefreshPolicy> {
        let lifetime = std::time::Duration::from_secs(60);
        Some(RefreshPolicy {
            lifetime,
            max_lifetime: None,
            policy,
            grace: lifetime,
            client_credentials: false,
        })
    }

    /// The plan from one policy of the realm and its client to another; the `not_before` of both, and the warnings.
    fn from_to(
        old: (Option<Rotate>, Option<Rotate>),
        new: (Option<Rotate>, Option<Rotate>),
    ) -> (Option<u64>, Option<u64>, usize) {
        let make = |(of_realm, of_client): (Option<Rotate>, Option<Rotate>)| {
            let mut realm = realm();
            realm.tokens.refresh = of_realm.and_then(refresh_with);
            (
                realm,
                Client { refresh: of_client.and_then(refresh_with).map(Box::new), ..client("c") },
            )
        };
        let ((old_realm, old_client), (realm, client)) = (make(old), make(new));
        let stored =
            Snapshot { realms: vec![old_realm], clients: vec![old_client], ..Snapshot::default() };
        let plan =
            Plan::new(&[declared(&realm, &[client])], &stored, false, Timestamp::from_secs(9));
        let (mut of_realm, mut of_client) = (None, None);
        for change in plan.changes() {
            match change {
                Change::PutRealm(realm) => of_realm = Some(realm.not_before.as_secs()),
                Change::PutClient(client) => of_client = Some(client.not_before.as_secs()),
                other => panic!("{other:?}"),
            }
        }
        (of_realm, of_client, plan.warnings().len())
    }

    #[test]
    fn used_up_refresh_tokens_stay_so_when_a_policy_changes() {
        let (rotate, keep, reissue) =
            (Some(Rotate::Rotate), Some(Rotate::Keep), Some(Rotate::Reissue));
        for away in [keep, reissue, None] {
            assert_eq!(from_to((rotate, None), (away, None)), (Some(9), None, 1), "{away:?}");
        }
        // A client's own policy, gone to another one or to the realm's.
        assert_eq!(from_to((keep, rotate), (keep, reissue)), (None, Some(9), 1));
        assert_eq!(from_to((keep, rotate), (keep, None)), (None, Some(9), 1));
        assert_eq!(from_to((None, rotate), (None, None)), (None, Some(9), 1));
        assert_eq!(from_to((rotate, None), (rotate, keep)), (None, Some(9), 1));
        // The realm's moment holds for all of its clients.
        assert_eq!(from_to((rotate, rotate), (keep, keep)), (Some(9), Some(0), 1));
        // What goes on rotating, or never did, goes on.
        assert_eq!(from_to((rotate, rotate), (rotate, None)), (None, Some(0), 0));
        assert_eq!(from_to((keep, rotate), (rotate, None)), (Some(0), Some(0), 0));
        assert_eq!(from_to((keep, None), (reissue, None)), (Some(0), None, 0));
        assert_eq!(from_to((keep, None), (rotate, None)), (Some(0), None, 0));
    }

    #[test]
    fn whose_refresh_tokens_end_is_told() {
        let mut old = realm();
        old.tokens.refresh = refresh_with(Rotate::Rotate);
        let stored = Snapshot { realms: vec![old], ..Snapshot::default() };
        let text = Plan::new(&[declared(&realm(), &[])], &stored, false, Timestamp::EPOCH).text();
        let expected = "warning: realm a no longer rotates refresh tokens: all that were issued so far end, since used-up ones would be good again";
        assert!(text.ends_with(expected), "{text}");
    }
}
