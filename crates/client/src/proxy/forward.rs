//! The forward proxy, as `HTTP_PROXY` names it: every request says where it goes, and rules say which get a token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::uri::{Authority, Scheme};
use http::{HeaderMap, Uri};

use super::guard::Guard;
use super::pool::Pool;
use super::trouble::Trouble;
use super::{Destination, Limits, Plan};
use crate::{AllowedHosts, TokenSource};

/// To how many upstreams connections are kept. A program that asks more at once opens new ones.
const MAX_POOLS: usize = 1_024;

/// Which hosts get tokens of one source.
#[derive(Clone)]
pub struct Rule {
    hosts: AllowedHosts,
    source: Arc<dyn TokenSource>,
}

impl Rule {
    /// Tokens of this source, for these hosts.
    pub fn new(hosts: AllowedHosts, source: impl TokenSource + 'static) -> Self {
        Self { hosts, source: Arc::new(source) }
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// What a forward proxy does.
pub(super) struct Forward {
    pub(super) rules: Vec<Rule>,
    /// Whether requests to other hosts are passed on, without a token.
    pub(super) passes_others: bool,
    /// Whether there are tunnels (CONNECT), which we cannot look into.
    pub(super) tunnels: bool,
    pub(super) pools: Pools,
}

impl Forward {
    /// Where a request goes, and whose token it gets.
    pub(super) fn plan(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        guard: &Guard,
        limits: &Limits,
    ) -> Result<Plan<'_>, Trouble> {
        let (Some(scheme), Some(authority), Some(path)) =
            (uri.scheme_str(), uri.authority(), uri.path_and_query())
        else {
            return Err(Trouble::BadRequest("a request to a proxy names a whole URL"));
        };
        const URL: Trouble = Trouble::BadRequest("the URL is not one of http or https");
        let asked = Destination::of(uri).ok_or(URL)?;
        // A token never crosses a network in the clear: what the program asks for over http is asked for over https,
        // unless it does not leave this machine.
        let safe = over_https(&asked).ok_or(URL)?;
        for rule in &self.rules {
            let to = match () {
                () if rule.hosts.allows(uri) => &asked,
                () if rule.hosts.allows(&safe.url(path)) => &safe,
                () => continue,
            };
            guard.check_page(scheme, authority.as_str(), headers)?;
            let pool = self.pools.to(to, limits);
            return Ok(Plan { pool, path: path.clone(), source: Some(&rule.source) });
        }
        if !self.passes_others {
            return Err(Trouble::NoRule);
        }
        Ok(Plan { pool: self.pools.to(&asked, limits), path: path.clone(), source: None })
    }
}

/// The same server over https: at its port, unless that is the one that http has anyway.
fn over_https(to: &Destination) -> Option<Destination> {
    if to.is_https() {
        return Some(to.clone());
    }
    let authority = match to.port() {
        80 => to.host().to_owned(),
        port => format!("{}:{port}", to.host()),
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(Authority::try_from(authority).ok()?);
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    Destination::of(&Uri::from_parts(parts).ok()?)
}

/// The connections to all upstreams.
#[derive(Default)]
pub(super) struct Pools(Mutex<HashMap<String, Arc<Pool>>>);

impl Pools {
    fn to(&self, destination: &Destination, limits: &Limits) -> Arc<Pool> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = destination.key();
        if let Some(pool) = pools.get(&key) {
            return Arc::clone(pool);
        }
        let pool = Pool::new(destination.clone(), false, limits);
        if pools.len() < MAX_POOLS {
            pools.insert(key, Arc::clone(&pool));
        }
        pool
    }

    pub(super) fn close_idle(&self) {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, pool| {
            pool.close_idle();
            Arc::strong_count(pool) > 1 || !pool.is_empty()
        });
    }
}
