//! What the server was asked.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use http::{HeaderMap, Method};

/// A test that makes more requests than this looks at counts, not at each of them.
const RECORD_LIMIT: usize = 100_000;

/// What a request was for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Endpoint {
    /// A path that ends in `/token`.
    Token,
    /// The path `/api`, and all below it.
    Api,
    /// The metadata of RFC 8414.
    Metadata,
    /// Any other path.
    Unknown,
}

/// One request. Its `Debug` shows neither headers nor parameters.
#[derive(Clone)]
pub struct Recorded {
    pub(crate) at: Duration,
    pub(crate) endpoint: Endpoint,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) form: BTreeMap<String, String>,
    pub(crate) status: Option<u16>,
}

impl Recorded {
    /// When it arrived, counted from when the server was made.
    pub fn at(&self) -> Duration {
        self.at
    }

    /// What it was for.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Its path, without a query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A parameter of its form; `refresh_token` says which was presented.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.form.get(name).map(String::as_str)
    }

    /// The grant of a token request.
    pub fn grant_type(&self) -> Option<&str> {
        self.parameter("grant_type")
    }

    /// The status of the answer; `None` if there was none, or none yet.
    pub fn status(&self) -> Option<u16> {
        self.status
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("at", &self.at)
            .field("endpoint", &self.endpoint)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("grant_type", &self.grant_type())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The newest requests, and the counts of all.
#[derive(Default)]
pub(crate) struct Record {
    kept: VecDeque<Recorded>,
    dropped: usize,
    pub(crate) token: usize,
    pub(crate) api: usize,
}

impl Record {
    /// Writes a request down, and returns its number.
    pub(crate) fn push(&mut self, request: Recorded) -> usize {
        match request.endpoint {
            Endpoint::Token => self.token += 1,
            Endpoint::Api => self.api += 1,
            Endpoint::Metadata | Endpoint::Unknown => {}
        }
        if self.kept.len() == RECORD_LIMIT {
            self.kept.pop_front();
            self.dropped += 1;
        }
        self.kept.push_back(request);
        self.dropped + self.kept.len() - 1
    }

    pub(crate) fn answered(&mut self, number: usize, status: u16) {
        let kept = number.checked_sub(self.dropped).and_then(|at| self.kept.get_mut(at));
        if let Some(request) = kept {
            request.status = Some(status);
        }
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.kept.iter().cloned().collect()
    }

    pub(crate) fn last(&self, endpoint: Endpoint) -> Option<Recorded> {
        self.kept.iter().rev().find(|request| request.endpoint == endpoint).cloned()
    }
}
