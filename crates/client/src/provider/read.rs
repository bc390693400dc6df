//! Providers by name, and from files.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::File;
use super::{EMBEDDED, FILE_LIMIT, Provider, ProviderError};

impl Provider {
    /// The names of the providers that come with the library, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        EMBEDDED.iter().map(|(name, _)| *name)
    }

    /// The provider of this name that comes with the library, if it has no parameters.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Unknown`], which lists those there are, or [`ProviderError::MissingParameters`].
    pub fn named(name: &str) -> Result<Self, ProviderError> {
        Self::named_with(name, &BTreeMap::new())
    }

    /// The provider of this name that comes with the library, with its parameters filled in.
    ///
    /// ```
    /// use tokenry_client::Provider;
    ///
    /// let parameters = [("domain", "acme.eu.auth0.com"), ("audience", "https://api.acme.example")];
    /// let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    /// let provider = Provider::named_with("auth0", &parameters)?;
    /// assert_eq!(provider.token_url(), "https://acme.eu.auth0.com/oauth/token");
    /// # Ok::<(), tokenry_client::ProviderError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProviderError::Unknown`], which lists those there are, or what is wrong with the parameters.
    pub fn named_with(
        name: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Self, ProviderError> {
        Self::from_toml_with(embedded(name)?, parameters)
    }

    /// The provider of this name, or of the file at this path if that is what it [is](Self::is_path), if it has no
    /// parameters.
    ///
    /// # Errors
    ///
    /// As [`Self::named`], or as [`Self::from_path`].
    pub fn named_or_from_path(name: &str) -> Result<Self, ProviderError> {
        Self::named_or_from_path_with(name, &BTreeMap::new())
    }

    /// The same, with its parameters filled in.
    ///
    /// # Errors
    ///
    /// As [`Self::named_with`], or as [`Self::from_path_with`].
    pub fn named_or_from_path_with(
        name: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Self, ProviderError> {
        if Self::is_path(name) {
            Self::from_path_with(Path::new(name), parameters)
        } else {
            Self::named_with(name, parameters)
        }
    }

    /// Whether a text names a file rather than a provider: no provider has a slash or a dot in its name.
    pub fn is_path(name: &str) -> bool {
        name.contains(['/', '.'])
    }

    /// The parameters of the provider of this name that comes with the library, each with what it is.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Unknown`], which lists those there are.
    pub fn parameters(name: &str) -> Result<BTreeMap<String, String>, ProviderError> {
        let file: File = parse(embedded(name)?)?;
        Ok(file.parameters())
    }

    /// Reads a provider without parameters from the text of its file; see the [module documentation](super).
    ///
    /// # Errors
    ///
    /// What is wrong, with line and column, or [`ProviderError::MissingParameters`].
    pub fn from_toml(text: &str) -> Result<Self, ProviderError> {
        Self::from_toml_with(text, &BTreeMap::new())
    }

    /// Reads a provider from the text of its file, and fills its parameters in.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, with line and column, or with the parameters.
    pub fn from_toml_with(
        text: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Self, ProviderError> {
        let file: File = parse(text)?;
        file.provider(None, parameters, text)
    }

    /// Reads a provider without parameters from its file.
    ///
    /// # Errors
    ///
    /// As [`Self::from_toml`], or that the file cannot be read.
    pub fn from_path(path: &Path) -> Result<Self, ProviderError> {
        Self::from_path_with(path, &BTreeMap::new())
    }

    /// Reads a provider from its file, and fills its parameters in.
    ///
    /// # Errors
    ///
    /// As [`Self::from_toml_with`], or that the file cannot be read.
    pub fn from_path_with(
        path: &Path,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Self, ProviderError> {
        let read = || {
            if std::fs::metadata(path)?.len() > FILE_LIMIT {
                return Err(std::io::Error::other("too long for a provider file"));
            }
            std::fs::read_to_string(path)
        };
        let text = read()
            .map_err(|error| ProviderError::Read { path: path.display().to_string(), error })?;
        Self::from_toml_with(&text, parameters)
    }

    /// The same provider, with the same parameters, in another of its environments. Changes made with `with_…` are
    /// undone.
    ///
    /// # Errors
    ///
    /// [`ProviderError::UnknownEnvironment`], which lists those there are.
    pub fn environment(&self, environment: &str) -> Result<Self, ProviderError> {
        let known = || self.environments().collect::<Vec<_>>().join(", ");
        match &self.source {
            Some(source) if source.file.environments.contains_key(environment) => {
                source.file.provider(Some(environment), &source.parameters, "")
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
        self.source.iter().flat_map(|source| source.file.environments.keys().map(String::as_str))
    }
}

fn embedded(name: &str) -> Result<&'static str, ProviderError> {
    let known = EMBEDDED.iter().find(|(known, _)| *known == name);
    known.map(|(_, text)| *text).ok_or_else(|| ProviderError::Unknown { name: name.to_owned() })
}

/// Reads a file as written. What is wrong is told without its line: whoever named the wrong file may have named a secret.
fn parse(text: &str) -> Result<File, ProviderError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        super::file::value_error(text, start, error.message().to_owned())
    })
}
