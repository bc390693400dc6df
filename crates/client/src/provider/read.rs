//! Providers by name, and from files.

use std::path::Path;

use super::file::File;
use super::{EMBEDDED, FILE_LIMIT, Provider, ProviderError};

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

    /// The provider of this name, or of the file at this path if that is what it [is](Self::is_path).
    ///
    /// # Errors
    ///
    /// As [`Self::named`], or as [`Self::from_path`].
    pub fn named_or_from_path(name: &str) -> Result<Self, ProviderError> {
        if Self::is_path(name) { Self::from_path(Path::new(name)) } else { Self::named(name) }
    }

    /// Whether a text names a file rather than a provider: no provider has a slash or a dot in its name.
    pub fn is_path(name: &str) -> bool {
        name.contains(['/', '.'])
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
}
