//! What a request is about: its path and query.

use http::{Method, Uri};

use super::problem::{Problem, quoted};

/// How many clients a page has where nobody says.
const PAGE: usize = 100;

/// The largest page: 1000 clients are half a megabyte.
const MAX_PAGE: usize = 1000;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    ListRealms,
    ListClients { realm: String, page: Page },
    ShowClient(Name),
    PutClient(Name),
    RemoveClient(Name),
    AddSecret(Name),
    RemoveCredential(Name, String),
    Revoke(Name),
}

/// Which client.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) realm: String,
    pub(super) id: String,
}

/// Which part of a list.
#[derive(Debug)]
pub(super) struct Page {
    /// The identifier before the first one; the empty one is before all.
    pub(super) after: String,
    pub(super) limit: usize,
}

impl Action {
    /// Reads method, path and query.
    pub(super) fn read(method: &Method, uri: &Uri) -> Result<Self, Problem> {
        let below = uri.path().strip_prefix("/admin/").unwrap_or_default();
        let segments: Vec<String> = below.split('/').map(decode).collect::<Result<_, _>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let name = |realm: &str, id: &str| Name { realm: realm.to_owned(), id: id.to_owned() };
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let action = match (method, segments.as_slice()) {
            (_, ["realms"]) if reads => Self::ListRealms,
            (_, ["realms"]) => return Err(Problem::only("GET, HEAD")),
            (_, ["realms", realm, "clients"]) if reads => {
                let page = page(uri.query().unwrap_or_default())?;
                return Ok(Self::ListClients { realm: (*realm).to_owned(), page });
            }
            (_, ["realms", _, "clients"]) => return Err(Problem::only("GET, HEAD")),
            (_, ["realms", realm, "clients", id]) if reads => Self::ShowClient(name(realm, id)),
            (&Method::PUT, ["realms", realm, "clients", id]) => Self::PutClient(name(realm, id)),
            (&Method::DELETE, ["realms", realm, "clients", id]) => {
                Self::RemoveClient(name(realm, id))
            }
            (_, ["realms", _, "clients", _]) => {
                return Err(Problem::only("GET, HEAD, PUT, DELETE"));
            }
            (&Method::POST, ["realms", realm, "clients", id, "secrets"]) => {
                Self::AddSecret(name(realm, id))
            }
            (&Method::POST, ["realms", realm, "clients", id, "revoke"]) => {
                Self::Revoke(name(realm, id))
            }
            (_, ["realms", _, "clients", _, "secrets" | "revoke"]) => {
                return Err(Problem::only("POST"));
            }
            (&Method::DELETE, ["realms", realm, "clients", id, "credentials", credential]) => {
                Self::RemoveCredential(name(realm, id), (*credential).to_owned())
            }
            (_, ["realms", _, "clients", _, "credentials", _]) => {
                return Err(Problem::only("DELETE"));
            }
            _ => return Err(Problem::not_found("there is no such resource")),
        };
        match uri.query() {
            None | Some("") => Ok(action),
            Some(_) => Err(Problem::bad_request("this resource has no query parameters")),
        }
    }

    /// What it is called in the log.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::ListRealms => "list_realms",
            Self::ListClients { .. } => "list_clients",
            Self::ShowClient(_) => "show_client",
            Self::PutClient(_) => "put_client",
            Self::RemoveClient(_) => "remove_client",
            Self::AddSecret(_) => "add_secret",
            Self::RemoveCredential(..) => "remove_credential",
            Self::Revoke(_) => "revoke_client",
        }
    }

    /// Whether it changes anything.
    pub(super) const fn changes(&self) -> bool {
        !matches!(self, Self::ListRealms | Self::ListClients { .. } | Self::ShowClient(_))
    }

    /// Which client it is about, if about one.
    pub(super) const fn client(&self) -> Option<&Name> {
        match self {
            Self::ListRealms | Self::ListClients { .. } => None,
            Self::ShowClient(name)
            | Self::PutClient(name)
            | Self::RemoveClient(name)
            | Self::AddSecret(name)
            | Self::RemoveCredential(name, _)
            | Self::Revoke(name) => Some(name),
        }
    }
}

/// Strict: a parameter that is misspelt or repeated would otherwise give another page than was meant.
fn page(query: &str) -> Result<Page, Problem> {
    let (mut after, mut limit) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value)?;
        let parameter = match name {
            "after" => &mut after,
            "limit" => &mut limit,
            _ => return Err(Problem::bad_request("the parameters are `after` and `limit`")),
        };
        if parameter.replace(value).is_some() {
            return Err(Problem::bad_request(format!("{} stands twice", quoted(name))));
        }
    }
    let limit = limit.map_or(Some(PAGE), |limit| {
        limit.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit))
    });
    let limit = limit.ok_or_else(|| {
        Problem::bad_request(format!("`limit` is a whole number from 1 to {MAX_PAGE}"))
    })?;
    Ok(Page { after: after.unwrap_or_default(), limit })
}

/// Percent-decoding (RFC 3986 §2.1). A `+` is a `+`: identifiers have those, and no spaces.
fn decode(text: &str) -> Result<String, Problem> {
    let malformed = || Problem::bad_request("the address is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit(), digit());
        let value = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(value.ok_or_else(malformed)?);
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_may_have_what_paths_give_a_meaning() {
        let uri = "/admin/realms/r/clients/urn%3aa%2Fb%3f+%25".parse().unwrap();
        let Ok(Action::ShowClient(name)) = Action::read(&Method::GET, &uri) else { panic!() };
        assert_eq!((name.realm.as_str(), name.id.as_str()), ("r", "urn:a/b?+%"));
        for bad in ["%", "%4", "%zz", "%ff", "%+1"] {
            let uri = format!("/admin/realms/r/clients/{bad}").parse().unwrap();
            assert_eq!(Action::read(&Method::GET, &uri).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn a_page_has_a_limit() {
        let read = |query: &str| page(query).ok().map(|page| (page.after, page.limit));
        assert_eq!(read(""), Some((String::new(), 100)));
        assert_eq!(read("after=a%26b&limit=1000"), Some(("a&b".to_owned(), 1000)));
        for bad in ["limit=0", "limit=1001", "limit=", "limit=-1", "x=1", "after=a&after=b"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
