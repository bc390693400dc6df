//! What differs between vendors, as data: where tokens come from, how to ask for them, where they may go.
//!
//! # The file
//!
//! ```toml
//! name = "example"
//! title = "Example Ltd"                  # for people
//! environment = "production"             # which of the environments below, unless another is chosen
//!
//! [obtain]                               # a first token, with credentials
//! url = "https://{host}/token"
//! grant = "client_credentials"           # or "password"
//! grant_type = true                      # false: the endpoint is the grant, and is told none
//! client_authentication = "basic"        # or "post", or "none"
//! scope = "read write"                   # optional
//! lifetime = "1h"                        # used if an answer does not say how long its token lives
//! interval = "30s"                       # credentials are not sent again sooner
//!
//! [refresh]                              # left out: refresh tokens are not used
//! url = "https://{host}/refresh"         # left out: the same
//! grant_type = true
//! client_authentication = "basic"
//! answer = "new"                         # a new refresh token; "keep": the old one stays
//! lifetime = "30m"                       # of the refresh token: a dead one is not tried
//! expired_status = 400                   # what the server answers to a dead refresh token
//!
//! [api]                                  # where tokens may go; see `AllowedHosts`
//! hosts = ["api.example.com"]
//!
//! [environments.production]              # fills in the {placeholders} above
//! host = "auth.example.com"
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use toml::Spanned;

use crate::hosts::{AllowedHosts, is_protected};

/// A provider file is a page of text; nobody writes one that is longer.
const FILE_LIMIT: u64 = 64 * 1024;

/// The providers that come with the library.
const EMBEDDED: [(&str, &str); 5] = [
    ("1global", include_str!("../providers/1global.toml")),
    ("simacan", include_str!("../providers/simacan.toml")),
    ("simacan-staging", include_str!("../providers/simacan-staging.toml")),
    ("truphone", include_str!("../providers/truphone.toml")),
    ("tuinly", include_str!("../providers/tuinly.toml")),
];

/// A vendor's authorization server, as its clients see it.
#[derive(Clone, Debug)]
pub struct Provider {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) obtain: Obtain,
    pub(crate) refresh: Option<Refresh>,
    pub(crate) hosts: AllowedHosts,
    /// The file it came from, to fill in another environment.
    file: Option<Box<File>>,
}

/// How a first token is obtained.
#[derive(Clone, Debug)]
pub(crate) struct Obtain {
    pub(crate) url: Uri,
    pub(crate) grant: CredentialsGrant,
    pub(crate) send_grant_type: bool,
    pub(crate) client_authentication: ClientAuthentication,
    pub(crate) scope: Option<String>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) interval: Duration,
}

/// How a refresh token is used.
#[derive(Clone, Debug)]
pub(crate) struct Refresh {
    pub(crate) url: Uri,
    pub(crate) send_grant_type: bool,
    pub(crate) client_authentication: ClientAuthentication,
    pub(crate) answer: RefreshAnswer,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) expired_status: u16,
}

/// The grant that credentials are used with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum CredentialsGrant {
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §4.3, which OAuth 2.1 has dropped.
    Password,
}

/// How a client proves who it is at the token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// HTTP Basic, with id and secret form-encoded.
    Basic,
    /// `client_id` and `client_secret` in the form.
    Post,
    /// Not at all: the request names no client.
    None,
}

/// What a refresh answers besides the access token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum RefreshAnswer {
    /// A new refresh token.
    New,
    /// No refresh token: the old one stays good.
    Keep,
}

/// What is wrong with a provider, for whoever wrote it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// No provider of this name comes with the library.
    #[error("no provider is called {name:?}; there are {}", Provider::names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// The provider has no such environment.
    #[error("provider {provider:?} has no environment {environment:?}; it has {known}")]
    UnknownEnvironment {
        /// The provider.
        provider: String,
        /// What was asked for.
        environment: String,
        /// Those there are.
        known: String,
    },
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML, or not of the shape above. Says line and column.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A value makes no sense.
    #[error("line {line}, column {column}: {what}")]
    Value {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong.
        what: String,
    },
    /// A URL that was given in code makes no sense.
    #[error("{what}")]
    Url {
        /// What is wrong.
        what: String,
    },
}

impl Provider {
    /// The names of the providers that come with the library, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        EMBEDDED.iter().map(|(name, _)| *name)
    }

    /// The provider of this name that comes with the library.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Unknown`], which lists those there are.
    pub fn named(name: &str) -> Result<Self, ProviderError> {
        let Some((_, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) else {
            return Err(ProviderError::Unknown { name: name.to_owned() });
        };
        Self::from_toml(text)
    }

    /// Reads a provider from the text of its file; see the [module documentation](self).
    ///
    /// # Errors
    ///
    /// What is wrong, with line and column.
    pub fn from_toml(text: &str) -> Result<Self, ProviderError> {
        let file: File = toml::from_str(text)?;
        file.provider(None, text)
    }

    /// Reads a provider from its file.
    ///
    /// # Errors
    ///
    /// As [`Self::from_toml`], or that the file cannot be read.
    pub fn from_path(path: &Path) -> Result<Self, ProviderError> {
        let read = || {
            if std::fs::metadata(path)?.len() > FILE_LIMIT {
                return Err(std::io::Error::other("too long for a provider file"));
            }
            std::fs::read_to_string(path)
        };
        let text = read()
            .map_err(|error| ProviderError::Read { path: path.display().to_string(), error })?;
        Self::from_toml(&text)
    }

    /// A server whose one token endpoint follows the RFCs: client credentials, Basic authentication, refresh tokens
    /// used if they come. Its tokens go nowhere until [`with_api_hosts`](Self::with_api_hosts) says where.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Url`] if the URL is not https, nor http to this machine.
    pub fn at(token_url: &str) -> Result<Self, ProviderError> {
        let url = url(token_url).map_err(|what| ProviderError::Url { what })?;
        let client_authentication = ClientAuthentication::Basic;
        Ok(Self {
            name: url.host().unwrap_or_default().to_owned(),
            title: None,
            obtain: Obtain {
                url: url.clone(),
                grant: CredentialsGrant::ClientCredentials,
                send_grant_type: true,
                client_authentication,
                scope: None,
                lifetime: None,
                interval: Duration::ZERO,
            },
            refresh: Some(Refresh {
                url,
                send_grant_type: true,
                client_authentication,
                answer: RefreshAnswer::New,
                lifetime: None,
                expired_status: 400,
            }),
            hosts: AllowedHosts::default(),
            file: None,
        })
    }

    /// The same provider in another of its environments. Changes made with `with_…` are undone.
    ///
    /// # Errors
    ///
    /// [`ProviderError::UnknownEnvironment`], which lists those there are.
    pub fn environment(&self, environment: &str) -> Result<Self, ProviderError> {
        let known = || self.environments().collect::<Vec<_>>().join(", ");
        match &self.file {
            Some(file) if file.environments.contains_key(environment) => {
                file.provider(Some(environment), "")
            }
            _ => Err(ProviderError::UnknownEnvironment {
                provider: self.name.clone(),
                environment: environment.to_owned(),
                known: known(),
            }),
        }
    }

    /// The names of its environments, sorted.
    pub fn environments(&self) -> impl Iterator<Item = &str> {
        self.file.iter().flat_map(|file| file.environments.keys().map(String::as_str))
    }

    /// Obtains tokens at another URL; also refreshes there, if that was the same.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Url`] if the URL is not https, nor http to this machine.
    pub fn with_token_url(mut self, token_url: &str) -> Result<Self, ProviderError> {
        let url = url(token_url).map_err(|what| ProviderError::Url { what })?;
        if let Some(refresh) = &mut self.refresh
            && refresh.url == self.obtain.url
        {
            refresh.url = url.clone();
        }
        self.obtain.url = url;
        Ok(self)
    }

    /// Refreshes tokens at another URL.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Url`] if the URL is not https, nor http to this machine.
    pub fn with_refresh_url(mut self, refresh_url: &str) -> Result<Self, ProviderError> {
        let url = url(refresh_url).map_err(|what| ProviderError::Url { what })?;
        if let Some(refresh) = &mut self.refresh {
            refresh.url = url;
        }
        Ok(self)
    }

    /// Lets tokens go to other hosts instead.
    #[must_use]
    pub fn with_api_hosts(mut self, hosts: AllowedHosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Authenticates the client in another way, for obtaining and, unless that names no client, for refreshing.
    #[must_use]
    pub fn with_client_authentication(mut self, method: ClientAuthentication) -> Self {
        self.obtain.client_authentication = method;
        if let Some(refresh) = &mut self.refresh
            && refresh.client_authentication != ClientAuthentication::None
        {
            refresh.client_authentication = method;
        }
        self
    }

    /// Asks for this scope.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.obtain.scope = Some(scope.into());
        self
    }

    /// Does not use refresh tokens, even if they come.
    #[must_use]
    pub fn without_refresh(mut self) -> Self {
        self.refresh = None;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name for people.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }

    /// The grant that its credentials are for.
    pub fn grant(&self) -> CredentialsGrant {
        self.obtain.grant
    }

    /// Where tokens are obtained.
    pub fn token_url(&self) -> &Uri {
        &self.obtain.url
    }

    /// Where tokens are refreshed, if they are.
    pub fn refresh_url(&self) -> Option<&Uri> {
        self.refresh.as_ref().map(|refresh| &refresh.url)
    }

    /// How the client proves who it is when it obtains a token.
    pub fn client_authentication(&self) -> ClientAuthentication {
        self.obtain.client_authentication
    }

    /// What a refresh answers besides the access token, according to the vendor. The keeper goes by the answer.
    pub fn refresh_answer(&self) -> Option<RefreshAnswer> {
        self.refresh.as_ref().map(|refresh| refresh.answer)
    }

    /// What the server answers to a dead refresh token, according to the vendor. The keeper takes any refusal.
    pub fn expired_refresh_status(&self) -> Option<u16> {
        self.refresh.as_ref().map(|refresh| refresh.expired_status)
    }

    /// Where its tokens may go.
    pub fn api_hosts(&self) -> &AllowedHosts {
        &self.hosts
    }
}

/// The file as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    title: Option<String>,
    environment: Option<Spanned<String>>,
    obtain: ObtainTable,
    refresh: Option<RefreshTable>,
    api: ApiTable,
    #[serde(default)]
    environments: BTreeMap<String, BTreeMap<String, String>>,
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
    fn provider(&self, environment: Option<&str>, text: &str) -> Result<Provider, ProviderError> {
        let reader = Reader { values: self.values(environment, text)?, text };
        let obtain = Obtain {
            url: reader.url(&self.obtain.url)?,
            grant: self.obtain.grant,
            send_grant_type: self.obtain.grant_type,
            client_authentication: self.obtain.client_authentication,
            scope: self.obtain.scope.clone(),
            lifetime: reader.duration(self.obtain.lifetime.as_ref())?,
            interval: reader.duration(self.obtain.interval.as_ref())?.unwrap_or_default(),
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

fn url(text: &str) -> Result<Uri, String> {
    if text.contains('#') {
        // RFC 6749 §3.2: "The endpoint URI MUST NOT include a fragment component."
        return Err(format!("a token endpoint has no fragment, got {text:?}"));
    }
    let uri: Uri = text.parse().map_err(|_| format!("not a URL: {text:?}"))?;
    if !is_protected(&uri) {
        return Err(format!("a token endpoint needs an https URL, got {text:?}"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("a token endpoint's URL holds no credentials".to_owned());
    }
    Ok(uri)
}

fn duration(text: &str) -> Option<Duration> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_provider_reads_and_is_called_what_its_file_is_called() {
        for name in Provider::names() {
            assert_eq!(Provider::named(name).unwrap().name(), name);
        }
        assert!(Provider::names().is_sorted());
    }

    #[test]
    fn truphone_is_asked_in_the_environment_that_was_chosen() {
        let provider = Provider::named("truphone").unwrap();
        let path = "/auth/realms/tru-staff/protocol/openid-connect/token";
        assert_eq!(
            provider.token_url().to_string(),
            format!("https://services.truphone.com{path}")
        );
        assert_eq!(provider.refresh_url(), Some(provider.token_url()));
        assert!(
            provider.api_hosts().allows(&"https://services.truphone.com/esim/x".parse().unwrap())
        );

        let bit = provider.environment("bit").unwrap();
        assert_eq!(bit.token_url().to_string(), format!("https://services-bit.truphone.com{path}"));
        assert!(!bit.api_hosts().allows(&"https://services.truphone.com/esim/x".parse().unwrap()));
    }

    #[test]
    fn an_unknown_environment_is_told_the_known_ones() {
        let error = Provider::named("truphone").unwrap().environment("moon").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"provider "truphone" has no environment "moon"; it has bit, production"#
        );
    }

    #[test]
    fn a_simacan_token_does_not_cross_from_production_to_staging() {
        let production = Provider::named("simacan").unwrap();
        let staging = Provider::named("simacan-staging").unwrap();
        let here = "https://trips.services.simacan.com/v1".parse().unwrap();
        let there = "https://trips-stg.services.simacan.com/v1".parse().unwrap();
        assert!(production.api_hosts().allows(&here) && !production.api_hosts().allows(&there));
        assert!(staging.api_hosts().allows(&there) && !staging.api_hosts().allows(&here));
    }

    #[test]
    fn an_error_points_at_line_and_column() {
        let text = include_str!("../providers/tuinly.toml")
            .replace("https://oauth.tuinly.com/token", "http://oauth.tuinly.com/token");
        assert_eq!(
            Provider::from_toml(&text).unwrap_err().to_string(),
            r#"line 7, column 7: a token endpoint needs an https URL, got "http://oauth.tuinly.com/token""#
        );
        let text = include_str!("../providers/tuinly.toml")
            .replace("scope", "scope")
            .replace("lifetime = \"1h\"", "lifetime = \"1h\"\nlifetim = \"1h\"");
        let error = Provider::from_toml(&text).unwrap_err().to_string();
        assert!(error.contains("line 11, column 1") && error.contains("lifetim"), "{error}");
    }

    #[test]
    fn a_placeholder_without_a_value_is_an_error() {
        let text = include_str!("../providers/truphone.toml").replace("{host}/auth", "{hots}/auth");
        let error = Provider::from_toml(&text).unwrap_err().to_string();
        assert!(error.contains("does not say what {hots} is"), "{error}");
    }

    #[test]
    fn a_url_override_takes_the_refresh_along_only_where_it_was_the_same() {
        let tuinly =
            Provider::named("tuinly").unwrap().with_token_url("http://localhost:1/t").unwrap();
        assert_eq!(tuinly.refresh_url().unwrap().to_string(), "http://localhost:1/t");
        let simacan =
            Provider::named("simacan").unwrap().with_token_url("http://localhost:1/t").unwrap();
        assert_ne!(simacan.refresh_url().unwrap().to_string(), "http://localhost:1/t");
    }

    #[test]
    fn durations_have_one_unit() {
        assert_eq!(duration("30m"), Some(Duration::from_secs(1800)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        for text in ["", "h", "1", "1.5h", "-1s", "1h30m", "é"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
