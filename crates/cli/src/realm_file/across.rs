//! What does not go together among several realms: two of one name, or two that answer at one address.

use tokenry_core::realm::{Dialect, Realm};

use super::Draft;
use crate::diagnostic::{Diagnostic, Diagnostics, quoted};
use crate::document::Span;

/// Where a realm answers. The port does not tell realms apart: requests are told apart by host and path.
struct Address<'a> {
    host: &'a str,
    path: &'a str,
    /// The realm, as messages name it.
    owner: String,
}

/// Notes everything that does not go together.
pub(super) fn check(drafts: &[Draft], stored: &[Realm], diagnostics: &mut Diagnostics) {
    let declared: Vec<&str> = drafts.iter().filter_map(name).collect();
    let mut taken: Vec<Address<'_>> = stored
        .iter()
        .filter(|realm| !declared.contains(&realm.name.as_str()))
        .flat_map(|realm| {
            let hosts = std::iter::once(realm.issuer.host())
                .chain(realm.aliases.iter().map(String::as_str));
            hosts.map(|host| Address {
                host,
                path: base(realm.issuer.path(), realm.dialect),
                owner: format!("realm {} in the store", quoted(&realm.name)),
            })
        })
        .collect();
    for (i, draft) in drafts.iter().enumerate() {
        let Some(realm) = draft.written.0.value() else { continue };
        if let Some(name) = realm.name.given() {
            let earlier = drafts[..i].iter().find(|d| self::name(d) == Some(name.value.as_str()));
            if let Some(earlier) = earlier {
                let message = format!(
                    "realm {} is declared in {} too",
                    quoted(&name.value),
                    earlier.source.name
                );
                diagnostics.push(Diagnostic::error(message).at(&draft.source, name.span.clone()));
            }
        }
        // Without its name it may be any of those that are stored.
        let (Some(issuer), Some(_)) = (realm.issuer.given(), realm.name.given()) else { continue };
        let dialect = realm.dialect.value().copied().unwrap_or_default();
        let own = std::iter::once((issuer.value.host(), &issuer.span)).chain(
            realm.aliases.value().into_iter().flatten().map(|a| (a.value.as_str(), &a.span)),
        );
        let own: Vec<(&str, &Span)> = own.collect();
        for (host, span) in &own {
            let path = base(issuer.value.path(), dialect);
            let conflict = taken.iter().find(|t| t.host == *host && t.path == path);
            if let Some(conflict) = conflict {
                let message = format!("{} already answers at {host}{path}", conflict.owner);
                let help =
                    "realms are told apart by host and path; give this one another of either";
                diagnostics
                    .push(Diagnostic::error(message).at(&draft.source, (*span).clone()).help(help));
            }
        }
        taken.extend(own.iter().map(|(host, _)| Address {
            host,
            path: base(issuer.value.path(), dialect),
            owner: format!("the realm in {}", draft.source.name),
        }));
    }
}

/// The path that tells a realm apart: a Keycloak answers with and without `/auth` before it.
fn base(path: &str, dialect: Dialect) -> &str {
    match path.strip_prefix("/auth") {
        Some(rest) if dialect == Dialect::Keycloak && rest.starts_with("/realms/") => rest,
        _ => path,
    }
}

fn name(draft: &Draft) -> Option<&str> {
    draft.written.0.value()?.name.value().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::Source;
    use crate::document;
    use crate::realm_file::written::Written;

    fn draft(file: &str, name: &str, issuer: &str, alias: &str) -> Draft {
        let text =
            format!("[realm]\nname = \"{name}\"\nissuer = \"{issuer}\"\naliases = [\"{alias}\"]\n");
        let source = Arc::new(Source { name: file.to_owned(), text });
        let written = document::read(&source, Written::read).0;
        Draft { source, written }
    }

    fn problems(drafts: &[Draft], stored: &[Realm]) -> Vec<String> {
        let mut found = Diagnostics::default();
        check(drafts, stored, &mut found);
        found.0.iter().map(Diagnostic::headline).collect()
    }

    fn realm(draft: Draft) -> Realm {
        draft.written.into_declaration().unwrap().realm
    }

    #[test]
    fn two_realms_have_two_names_and_two_addresses() {
        let a = || draft("a.toml", "a", "https://x.example/p", "y.example");
        let same_name = draft("b.toml", "a", "https://z.example", "w.example");
        assert_eq!(
            problems(&[a(), same_name], &[]),
            ["b.toml:2:8: realm `a` is declared in a.toml too"]
        );
        let other_port = draft("b.toml", "b", "https://x.example:8443/p", "w.example");
        assert_eq!(
            problems(&[a(), other_port], &[]),
            ["b.toml:3:10: the realm in a.toml already answers at x.example/p"]
        );
        let same_alias = draft("b.toml", "b", "https://z.example/p", "y.example");
        assert_eq!(
            problems(&[a(), same_alias], &[]),
            ["b.toml:4:12: the realm in a.toml already answers at y.example/p"]
        );
        let keycloak = |file: &str, name: &str, path: &str| {
            let issuer = format!("https://x.example{path}\"\ndialect = \"keycloak");
            draft(file, name, &issuer, "y.example")
        };
        assert_eq!(
            problems(
                &[keycloak("a.toml", "a", "/auth/realms/r"), keycloak("b.toml", "b", "/realms/r")],
                &[]
            )[0],
            "b.toml:3:10: the realm in a.toml already answers at x.example/realms/r"
        );
        let other_path = draft("b.toml", "b", "https://x.example/q", "y.example");
        assert_eq!(problems(&[a(), other_path], &[]), Vec::<String>::new());
    }

    #[test]
    fn a_realm_whose_name_is_unreadable_may_be_the_stored_one() {
        let stored = [realm(draft("old.toml", "a", "https://x.example", "y.example"))];
        let unreadable = draft("a.toml", "a b", "https://x.example", "y.example");
        assert_eq!(problems(&[unreadable], &stored), Vec::<String>::new());
    }

    #[test]
    fn a_stored_realm_keeps_its_address_unless_it_is_declared_again() {
        let stored = [realm(draft("old.toml", "a", "https://x.example", "y.example"))];
        let again = draft("a.toml", "a", "https://x.example", "y.example");
        assert_eq!(problems(&[again], &stored), Vec::<String>::new());
        let other = draft("b.toml", "b", "https://z.example", "x.example");
        assert_eq!(
            problems(&[other], &stored),
            ["b.toml:4:12: realm `a` in the store already answers at x.example"]
        );
    }
}
