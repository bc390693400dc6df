//! What tokens must allow, by path and method of the original request.

use http::Method;
use tokenry_core::Scope;
use tokenry_verifier::{Guard, Verifier};

use super::path::{Path, Place, Unclear};
use super::settings::Api;

/// A rule as written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    pub(super) place: Place,
    /// Empty: all that no other rule of this place names.
    pub(super) methods: Vec<Method>,
    /// What a token needs besides what it needs everywhere.
    pub(super) scope: Scope,
}

impl Rule {
    /// RFC 9110 §9.3.2: HEAD is GET without the content, so that who may do the one may do the other.
    fn names(&self, method: &Method) -> bool {
        self.methods.contains(method)
            || (method == Method::HEAD && self.methods.contains(&Method::GET))
    }

    /// Whether it depends on the order which of the two holds.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        self.place == other.place
            && (self.methods == other.methods
                || self.methods.iter().any(|it| other.methods.contains(it)))
    }
}

/// What a request has to pass.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) needed: Scope,
    /// Writes the answers to those who do not pass.
    pub(super) guard: Guard,
    /// Whether nobody passes, whatever the token.
    pub(super) is_closed: bool,
}

/// The gates of all rules.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<(Rule, Gate)>,
    /// Where no rule holds: open where there are none at all.
    otherwise: Gate,
}

impl Rules {
    pub(super) fn new(verifier: &Verifier, api: &Api, rules: &[Rule]) -> Self {
        let gate = |more: &Scope, is_closed| {
            let needed: Scope = api.scope.tokens().chain(more.tokens()).collect();
            let mut layer = verifier.layer().realm(&api.realm).require_scope(needed.clone());
            if let Some(url) = &api.resource_metadata {
                layer = layer.resource_metadata(url);
            }
            Gate { needed, guard: layer.into_guard(), is_closed }
        };
        let open = rules.iter().map(|rule| (rule.clone(), gate(&rule.scope, false))).collect();
        Self { rules: open, otherwise: gate(&Scope::empty(), !rules.is_empty()) }
    }

    /// The gate of a request: that of the deepest place that it lies below, and there of its method.
    pub(super) fn gate(&self, path: &str, method: &Method) -> Result<&Gate, Unclear> {
        if self.rules.is_empty() {
            return Ok(&self.otherwise);
        }
        // RFC 9110 §9.1: methods are told apart by case. Not everybody does.
        if method.as_str().bytes().any(|it| it.is_ascii_lowercase()) {
            return Err(Unclear::Method);
        }
        let path = Path::read(path)?;
        let places = || self.rules.iter().map(|(rule, _)| &rule.place);
        let deepest = places().filter(|place| path.is_below(place)).max_by_key(|it| it.depth());
        let widest = places().filter(|place| path.may_be_below(place)).map(Place::depth).max();
        if widest > deepest.map(Place::depth) {
            return Err(Unclear::OtherRule);
        }
        let Some(place) = deepest else { return Ok(&self.otherwise) };
        let here = || self.rules.iter().filter(|(rule, _)| rule.place == *place);
        let named = here().find(|(rule, _)| rule.names(method));
        let found = named.or_else(|| here().find(|(rule, _)| rule.methods.is_empty()));
        Ok(found.map_or(&self.otherwise, |(_, gate)| gate))
    }
}
