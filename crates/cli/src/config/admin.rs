//! `[admin.api]`: whose tokens open the admin API.

use tokenry_core::Scope;
use tokenry_core::realm::is_name;

use crate::document::{At, Field, Table, Value};

/// What a token needs to read, where the file does not say.
const READ: &str = "tokenry:read";

/// What a token needs to change something, where the file does not say.
const WRITE: &str = "tokenry:write";

/// The longest audience, in bytes, as in realm files.
const MAX_AUDIENCE: usize = 500;

/// Whose tokens open the admin API.
#[derive(Clone, Debug)]
pub(crate) struct AdminApi {
    /// The realm of this server that issues them.
    pub(crate) realm: At<String>,
    /// What they must have in `aud`.
    pub(crate) audience: String,
    /// What they need to read.
    pub(crate) read_scope: Scope,
    /// What they need to change something.
    pub(crate) write_scope: Scope,
}

/// The table as written.
pub(super) struct Written {
    realm: Field<String>,
    audience: Field<String>,
    read_scope: Field<Scope>,
    write_scope: Field<Scope>,
}

impl Written {
    pub(super) fn read(t: &Table<'_>) -> Self {
        Self {
            realm: t.required("realm", |v| v.matching("the name of a realm", is_name)),
            audience: t.required("audience", audience),
            read_scope: t.optional("read_scope", scope),
            write_scope: t.optional("write_scope", scope),
        }
    }

    pub(super) fn into_api(self) -> Option<AdminApi> {
        let Field::Given(realm) = self.realm else { return None };
        let default = |token| std::iter::once(token).collect();
        Some(AdminApi {
            realm,
            audience: self.audience.into_value()?,
            read_scope: self.read_scope.into_value().unwrap_or_else(|| default(READ)),
            write_scope: self.write_scope.into_value().unwrap_or_else(|| default(WRITE)),
        })
    }
}

fn audience(v: &Value<'_>) -> Option<String> {
    v.matching("a name or URL of 1 to 500 visible ASCII characters", |text| {
        (1..=MAX_AUDIENCE).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    })
}

/// Never empty: a token without any scope would do.
fn scope(v: &Value<'_>) -> Option<Scope> {
    const MUST: &str = "one scope of visible ASCII without `\"` and `\\`";
    let text = v.text_that(MUST)?;
    let parsed = text.parse().ok().filter(|scope: &Scope| scope.tokens().count() == 1);
    parsed.or_else(|| v.must(MUST, None))
}
