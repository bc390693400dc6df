//! `[fetch]`: what the server may fetch beyond what the public network has.

use std::path::{Path, PathBuf};

use tokenry_server::{Allowed, FetchRules};

use super::{Config, path};
use crate::diagnostic::{Diagnostic, plain};
use crate::document::{At, Field, Table, Value};

/// `[fetch]`
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetching {
    /// What may be connected to though it is not public.
    pub(crate) allow: Vec<Allowed>,
    /// A PEM file of authorities that are trusted beside those of the operating system.
    pub(crate) ca: Option<At<PathBuf>>,
}

/// `[fetch]` as written.
pub(super) struct Written {
    allow: Field<Vec<At<Allowed>>>,
    ca: Field<String>,
}

impl Written {
    pub(super) fn read(t: &Table<'_>) -> Self {
        Self { allow: t.optional("allow", |v| v.list(allowed)), ca: t.optional("ca", path) }
    }

    pub(super) fn into_fetching(self, directory: &Path) -> Fetching {
        let allow = self.allow.into_value().unwrap_or_default();
        let ca = match self.ca {
            Field::Given(at) => Some(At { value: directory.join(at.value), span: at.span }),
            Field::Absent | Field::Wrong => None,
        };
        Fetching { allow: allow.into_iter().map(|at| at.value).collect(), ca }
    }
}

fn allowed(v: &Value<'_>) -> Option<Allowed> {
    const MUST: &str = "a host name in lower case, an address or a network such as `10.0.0.0/8`";
    v.text_that(MUST)?.parse().ok().or_else(|| v.must(MUST, None))
}

/// The rules that the file means, with the certificates that it names.
pub(crate) fn rules(config: &Config) -> Result<FetchRules, Diagnostic> {
    let rules = FetchRules::default().allow(config.fetch.allow.iter().cloned());
    let Some(ca) = &config.fetch.ca else { return Ok(rules) };
    let name = ca.value.display();
    let pem = std::fs::read(&ca.value).map_err(|error| {
        let message = format!("the certificates {name} cannot be read: {}", plain(&error));
        config.error(&ca.span, message)
    })?;
    rules.with_authorities(&pem).map_err(|error| config.error(&ca.span, error.to_string()))
}
