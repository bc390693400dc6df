//! The provider file as written, and how it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::{HeaderName, Uri};
use serde::Deserialize;
use toml::Spanned;

use super::fill::{Place, Values};
use super::{
    Assertion, ClientAuthentication, CredentialsGrant, FeedPlace, MtlsAliases, Obtain, Provider,
    ProviderError, Refresh, RefreshAnswer, Source,
};
use crate::hosts::{AllowedHosts, is_protected};

/// Fields that a request has anyway, or never: a parameter of their name would be sent twice, or instead.
const RESERVED: [&str; 11] = [
    "assertion",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "grant_type",
    "password",
    "refresh_token",
    "resource",
    "scope",
    "username",
];

/// The file as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    name: String,
    title: Option<String>,
    issuer: Option<Spanned<String>>,
    environment: Option<Spanned<String>>,
    rate_limit_reset: Option<Spanned<String>>,
    revocation_feed_url: Option<Spanned<String>>,
    #[serde(default)]
    assertion: Assertion,
    /// What each parameter is, for whoever has to fill it in.
    #[serde(default)]
    parameters: BTreeMap<String, Spanned<String>>,
    obtain: ObtainTable,
    refresh: Option<RefreshTable>,
    #[serde(default)]
    api: ApiTable,
    #[serde(default)]
    pub(super) environments: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObtainTable {
    url: Spanned<String>,
    grant: CredentialsGrant,
    #[serde(default = "yes")]
    grant_type: bool,
    client_authentication: ClientAuthentication,
    scope: Option<Spanned<String>>,
    #[serde(default)]
    scope_required: bool,
    lifetime: Option<Spanned<String>>,
    interval: Option<Spanned<String>>,
    #[serde(default)]
    parameters: BTreeMap<String, Spanned<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshTable {
    url: Option<Spanned<String>>,
    #[serde(default = "yes")]
    grant_type: bool,
    client_authentication: ClientAuthentication,
    answer: RefreshAnswer,
    lifetime: Option<Spanned<String>>,
    expired_status: Option<u16>,
    grace: Option<Spanned<String>>,
    revocation_url: Option<Spanned<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiTable {
    hosts: Vec<Spanned<String>>,
}

fn yes() -> bool {
    true
}

impl File {
    /// What it has to be told, each with what that is.
    pub(super) fn parameters(&self) -> BTreeMap<String, String> {
        self.parameters.iter().map(|(name, what)| (name.clone(), what.get_ref().clone())).collect()
    }

    pub(super) fn provider(
        &self,
        environment: Option<&str>,
        parameters: &BTreeMap<String, String>,
        text: &str,
    ) -> Result<Provider, ProviderError> {
        self.check_names(text)?;
        self.check_parameters(parameters)?;
        let values = Values { environment: self.values(environment, text)?, parameters };
        let reader = Reader { provider: &self.name, values, text };
        let obtain = self.obtain(&reader)?;
        let refresh = self.refresh(&obtain.url, &reader)?;
        let hosts = self.api.hosts.iter().map(|pattern| reader.fill(pattern, Place::Host));
        let hosts = AllowedHosts::new(hosts.collect::<Result<Vec<_>, _>>()?);
        let feed = self.revocation_feed_url.as_ref().map(|url| reader.url(url)).transpose()?;
        let issuer = self.issuer.as_ref().map(|issuer| reader.fill(issuer, Place::Url));
        Ok(Provider {
            name: self.name.clone(),
            title: self.title.clone(),
            issuer: issuer.transpose()?,
            assertion: self.assertion,
            mtls: MtlsAliases::default(),
            obtain,
            refresh,
            rate_limit_reset: self
                .rate_limit_reset
                .as_ref()
                .map(|name| reader.header(name))
                .transpose()?,
            feed: feed.map_or(FeedPlace::Metadata(None), FeedPlace::At),
            hosts,
            source: Some(Box::new(Source { file: self.clone(), parameters: parameters.clone() })),
        })
    }

    fn obtain(&self, reader: &Reader<'_>) -> Result<Obtain, ProviderError> {
        let table = &self.obtain;
        let interval = reader.duration(table.interval.as_ref())?;
        let scope = table.scope.as_ref().map(|scope| reader.fill(scope, Place::Field));
        Ok(Obtain {
            url: reader.url(&table.url)?,
            grant: table.grant,
            send_grant_type: table.grant_type,
            client_authentication: table.client_authentication,
            scope: scope.transpose()?,
            scope_required: table.scope_required,
            parameters: table
                .parameters
                .iter()
                .map(|(name, value)| reader.field(name, value))
                .collect::<Result<_, _>>()?,
            lifetime: reader.duration(table.lifetime.as_ref())?,
            interval: interval.unwrap_or_else(|| table.grant.interval()),
        })
    }

    fn refresh(
        &self,
        obtain_url: &Uri,
        reader: &Reader<'_>,
    ) -> Result<Option<Refresh>, ProviderError> {
        let Some(table) = &self.refresh else { return Ok(None) };
        let url = table.url.as_ref().map(|url| reader.url(url)).transpose()?;
        Ok(Some(Refresh {
            url: url.unwrap_or_else(|| obtain_url.clone()),
            send_grant_type: table.grant_type,
            client_authentication: table.client_authentication,
            answer: table.answer,
            lifetime: reader.duration(table.lifetime.as_ref())?,
            // RFC 6749 §5.2.
            expired_status: table.expired_status.unwrap_or(400),
            grace: reader.duration(table.grace.as_ref())?,
            revocation: table.revocation_url.as_ref().map(|url| reader.url(url)).transpose()?,
        }))
    }

    fn values(
        &self,
        chosen: Option<&str>,
        text: &str,
    ) -> Result<Option<&BTreeMap<String, String>>, ProviderError> {
        let default = || self.environment.as_ref().map(|name| name.get_ref().as_str());
        let Some(name) = chosen.or_else(default) else { return Ok(None) };
        self.environments.get(name).map(Some).ok_or_else(|| {
            let start = self.environment.as_ref().map_or(0, |name| name.span().start);
            value_error(text, start, format!("there is no table [environments.{name}]"))
        })
    }

    /// That no placeholder has two meanings.
    fn check_names(&self, text: &str) -> Result<(), ProviderError> {
        let keys: BTreeSet<_> = self.environments.values().flat_map(BTreeMap::keys).collect();
        match self.parameters.iter().find(|(name, _)| keys.contains(name)) {
            None => Ok(()),
            Some((name, what)) => Err(value_error(
                text,
                what.span().start,
                format!("{name} is a parameter, and of an environment as well"),
            )),
        }
    }

    /// That all parameters are there, and no other.
    fn check_parameters(&self, given: &BTreeMap<String, String>) -> Result<(), ProviderError> {
        let provider = || self.name.clone();
        if let Some(name) = given.keys().find(|name| !self.parameters.contains_key(*name)) {
            return Err(ProviderError::UnknownParameter {
                provider: provider(),
                name: name.clone(),
                known: self.parameters.keys().cloned().collect(),
            });
        }
        let mut missing = self.parameters();
        missing.retain(|name, _| !given.contains_key(name));
        if missing.is_empty() {
            return Ok(());
        }
        Err(ProviderError::MissingParameters { provider: provider(), missing })
    }
}

/// Reads values, and says where those are that make no sense.
struct Reader<'a> {
    provider: &'a str,
    values: Values<'a>,
    text: &'a str,
}

impl Reader<'_> {
    fn url(&self, value: &Spanned<String>) -> Result<Uri, ProviderError> {
        url(&self.fill(value, Place::Url)?).map_err(|what| self.error(value, what))
    }

    fn duration(&self, value: Option<&Spanned<String>>) -> Result<Option<Duration>, ProviderError> {
        let Some(value) = value else { return Ok(None) };
        match duration(value.get_ref()) {
            Some(duration) => Ok(Some(duration)),
            None => Err(self.error(
                value,
                format!(
                    "a duration is a number and one of s, m, h or d, got {:?}",
                    value.get_ref()
                ),
            )),
        }
    }

    fn header(&self, value: &Spanned<String>) -> Result<HeaderName, ProviderError> {
        HeaderName::try_from(value.get_ref().as_str())
            .map_err(|_| self.error(value, format!("not a header: {:?}", value.get_ref())))
    }

    /// A field of a form, which is written there as it is called here.
    fn field(
        &self,
        name: &str,
        value: &Spanned<String>,
    ) -> Result<(String, String), ProviderError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_word) {
            return Err(self.error(value, format!("a form has no field {name:?}")));
        }
        if RESERVED.contains(&name) {
            return Err(self.error(value, format!("{name} is not for a file to say")));
        }
        Ok((name.to_owned(), self.fill(value, Place::Field)?))
    }

    /// Fills in the `{placeholders}`.
    fn fill(&self, value: &Spanned<String>, place: Place) -> Result<String, ProviderError> {
        self.values.fill(value.get_ref(), place).map_err(|unfilled| {
            unfilled.of(self.provider).unwrap_or_else(|what| self.error(value, what))
        })
    }

    fn error(&self, value: &Spanned<String>, what: String) -> ProviderError {
        value_error(self.text, value.span().start, what)
    }
}

pub(super) fn value_error(text: &str, start: usize, what: String) -> ProviderError {
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    ProviderError::Value { line, column, what }
}

pub(super) fn url(text: &str) -> Result<Uri, String> {
    if text.contains('#') {
        // RFC 6749 §3.2: "The endpoint URI MUST NOT include a fragment component." RFC 7009 §2 says the same.
        return Err(format!("an endpoint has no fragment, got {text:?}"));
    }
    let uri: Uri = text.parse().map_err(|_| format!("not a URL: {text:?}"))?;
    if !is_protected(&uri) {
        return Err(format!("an endpoint needs an https URL, got {text:?}"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("an endpoint's URL holds no credentials".to_owned());
    }
    Ok(uri)
}

pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number.parse::<u32>().ok().map(|number| Duration::from_secs(u64::from(number) * secs))
}
