//! The bytes that the load sends.

use std::cell::Cell;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::plan::RequestPlan;

/// Writes the requests of a load.
pub(crate) struct Requests {
    plan: RequestPlan,
    /// How many requests to clients in turn were written.
    turn: Cell<u64>,
}

/// Coprime to every number of clients used here, so that all have their turn, and not in the order of a table.
const STRIDE: u64 = 1_000_003;

impl Requests {
    pub(crate) fn new(plan: &RequestPlan) -> Self {
        Self { plan: plan.clone(), turn: Cell::new(0) }
    }

    /// Appends the next request of a connection that carries a refresh token, or none yet.
    pub(crate) fn write(&self, carried: Option<&str>, out: &mut Vec<u8>) {
        match (&self.plan, carried) {
            (RequestPlan::Same { text: first } | RequestPlan::Refresh { first, .. }, None)
            | (RequestPlan::Same { text: first }, _) => out.extend_from_slice(first.as_bytes()),
            (RequestPlan::Refresh { head, .. }, Some(token)) => {
                const FORM: &str = "grant_type=refresh_token&refresh_token=";
                let length = FORM.len() + token.len();
                out.extend_from_slice(head.as_bytes());
                // Writing to memory does not fail.
                let _ = write!(out, "Content-Length: {length}\r\n\r\n{FORM}{token}");
            }
            (RequestPlan::Clients { clients, realms }, _) => {
                let turn = self.turn.get();
                self.turn.set(turn + 1);
                let client = turn.wrapping_mul(STRIDE) % clients;
                let realm = realm_of(client, *realms);
                let credentials = format!("{}:{}", client_id(client), client_secret(client));
                let path = format!("/{realm}/token");
                out.extend_from_slice(client_credentials(&path, &credentials).as_bytes());
            }
        }
    }

    /// Takes over the refresh token of an answer, if it has one and it is of use.
    pub(crate) fn carry(&self, status: u16, body: &[u8], carried: &mut Option<String>) {
        const MEMBER: &[u8] = b"\"refresh_token\":\"";
        if !matches!(self.plan, RequestPlan::Refresh { .. }) {
            return;
        }
        // Whatever was refused is not asked again: the family may be gone.
        if status != 200 {
            *carried = None;
            return;
        }
        let Some(at) = body.windows(MEMBER.len()).position(|window| window == MEMBER) else {
            return;
        };
        let rest = &body[at + MEMBER.len()..];
        let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len());
        let token = carried.get_or_insert_default();
        token.clear();
        token.push_str(&String::from_utf8_lossy(&rest[..end]));
    }
}

/// The name of a client of the growth measurements.
pub(crate) fn client_id(client: u64) -> String {
    format!("client{client}")
}

/// Its secret: long enough for a server that asks for entropy, and known to whoever knows the client.
pub(crate) fn client_secret(client: u64) -> String {
    format!(
        "{:032x}",
        u128::from(client + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    )
}

/// The realm that it is in.
pub(crate) fn realm_of(client: u64, realms: u64) -> String {
    format!("many{}", client % realms)
}

/// A whole request for client_credentials with Basic, for all scopes of the benchmark.
pub(crate) fn client_credentials(path: &str, credentials: &str) -> String {
    posted(path, credentials, "grant_type=client_credentials&scope=read+write")
}

/// A whole request with a form and Basic.
pub(crate) fn posted(path: &str, credentials: &str, form: &str) -> String {
    format!("{}Content-Length: {}\r\n\r\n{form}", head(path, credentials), form.len())
}

/// Request line and headers with Basic, to which `Content-Length` is still to be added.
pub(crate) fn head(path: &str, credentials: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n",
        BASE64_STANDARD.encode(credentials)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_refresh_token_is_carried() {
        let requests =
            Requests::new(&RequestPlan::Refresh { first: "F".into(), head: "H\r\n".into() });
        let mut carried = None;
        let write = |carried: Option<&str>| {
            let mut out = Vec::new();
            requests.write(carried, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(write(None), "F");
        requests.carry(200, br#"{"access_token":"a","refresh_token":"r1"}"#, &mut carried);
        assert_eq!(
            write(carried.as_deref()),
            "H\r\nContent-Length: 41\r\n\r\ngrant_type=refresh_token&refresh_token=r1"
        );
        requests.carry(200, br#"{"access_token":"a"}"#, &mut carried);
        assert_eq!(carried.as_deref(), Some("r1"));
        requests.carry(400, b"{}", &mut carried);
        assert_eq!(carried, None);
    }

    #[test]
    fn every_client_has_its_turn() {
        let requests = Requests::new(&RequestPlan::Clients { clients: 10, realms: 3 });
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10 {
            let mut out = Vec::new();
            requests.write(None, &mut out);
            assert!(out.starts_with(b"POST /many"));
            seen.insert(out);
        }
        assert_eq!(seen.len(), 10);
    }
}
