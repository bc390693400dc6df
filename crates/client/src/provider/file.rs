//! The provider file as written, and how it is read.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use toml::Spanned;

use super::{
    ClientAuthentication, CredentialsGrant, MtlsAliases, Obtain, Provider, ProviderError, Refresh,
    RefreshAnswer,
};
use crate::hosts::{AllowedHosts, is_protected};

/// The file as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    name: String,
    title: Option<String>,
    issuer: Option<Spanned<String>>,
    environment: Option<Spanned<String>>,
    obtain: ObtainTable,
    refresh: Option<RefreshTable>,
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
    scope: Option<String>,
    lifetime: Option<Spanned<String>>,
    interval: Option<Spanned<String>>,
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

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiTable {
    hosts: Vec<Spanned<String>>,
}

fn yes() -> bool {
    true
}

impl File {
    pub(super) fn provider(
        &self,
        environment: Option<&str>,
        text: &str,
    ) -> Result<Provider, ProviderError> {
        let reader = Reader { values: self.values(environment, text)?, text };
        let obtain = Obtain {
            url: reader.url(&self.obtain.url)?,
            grant: self.obtain.grant,
            send_grant_type: self.obtain.grant_type,
            client_authentication: self.obtain.client_authentication,
            scope: self.obtain.scope.clone(),
            lifetime: reader.duration(self.obtain.lifetime.as_ref())?,
            interval: reader
                .duration(self.obtain.interval.as_ref())?
                .unwrap_or_else(|| self.obtain.grant.interval()),
        };
        let refresh = match &self.refresh {
            None => None,
            Some(table) => Some(Refresh {
                url: match &table.url {
                    Some(url) => reader.url(url)?,
                    None => obtain.url.clone(),
                },
                send_grant_type: table.grant_type,
                client_authentication: table.client_authentication,
                answer: table.answer,
                lifetime: reader.duration(table.lifetime.as_ref())?,
                // RFC 6749 §5.2.
                expired_status: table.expired_status.unwrap_or(400),
                grace: reader.duration(table.grace.as_ref())?,
                revocation: match &table.revocation_url {
                    Some(url) => Some(reader.url(url)?),
                    None => None,
                },
            }),
        };
        let hosts = self
            .api
            .hosts
            .iter()
            .map(|pattern| reader.fill(pattern))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Provider {
            name: self.name.clone(),
            title: self.title.clone(),
            issuer: self.issuer.as_ref().map(|issuer| reader.fill(issuer)).transpose()?,
            mtls: MtlsAliases::default(),
            obtain,
            refresh,
            hosts: AllowedHosts::new(hosts),
            file: Some(Box::new(self.clone())),
        })
    }

    fn values(
        &self,
        chosen: Option<&str>,
        text: &str,
    ) -> Result<BTreeMap<String, String>, ProviderError> {
        let default = || self.environment.as_ref().map(|name| name.get_ref().as_str());
        let Some(name) = chosen.or_else(default) else {
            return Ok(BTreeMap::new());
        };
        self.environments.get(name).cloned().ok_or_else(|| {
            let start = self.environment.as_ref().map_or(0, |name| name.span().start);
            value_error(text, start, format!("there is no table [environments.{name}]"))
        })
    }
}

/// Reads values, and says where those are that make no sense.
struct Reader<'a> {
    values: BTreeMap<String, String>,
    text: &'a str,
}

impl Reader<'_> {
    fn url(&self, value: &Spanned<String>) -> Result<Uri, ProviderError> {
        url(&self.fill(value)?).map_err(|what| self.error(value, what))
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

    /// Fills in the `{placeholders}`.
    fn fill(&self, value: &Spanned<String>) -> Result<String, ProviderError> {
        let mut filled = String::new();
        let mut rest = value.get_ref().as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let Some((key, after)) = after.split_once('}') else {
                return Err(self.error(value, "a placeholder has no end".to_owned()));
            };
            let Some(text) = self.values.get(key) else {
                return Err(
                    self.error(value, format!("the environment does not say what {{{key}}} is"))
                );
            };
            filled.push_str(before);
            filled.push_str(text);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn error(&self, value: &Spanned<String>, what: String) -> ProviderError {
        value_error(self.text, value.span().start, what)
    }
}

fn value_error(text: &str, start: usize, what: String) -> ProviderError {
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
