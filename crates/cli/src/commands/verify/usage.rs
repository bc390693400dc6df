//! Whether the arguments of `tokenry verify` go together: either a file says whose tokens are good, or they do.

use super::Arguments;
use crate::diagnostic::Diagnostic;

impl Arguments {
    /// What is wrong with the command line as a whole.
    ///
    /// A file and arguments that say the same things are never put together: who reads the one would not see that the
    /// other counts.
    pub(super) fn misuse(&self, has_file: bool) -> Option<Diagnostic> {
        let given = self.about_tokens();
        if has_file {
            return (!given.is_empty()).then(|| {
                let message =
                    format!("with --config the file alone decides: {} cannot stand beside it", given.join(", "));
                Diagnostic::error(message).help(
                    "say it in the file, or leave --config out; --listen, --admin, --open-to-network and --check may stand beside it",
                )
            });
        }
        let needed = [
            ("--proxy", self.proxy.is_some()),
            ("--issuer", self.issuer.is_some()),
            ("--audience", !self.audience.is_empty()),
        ];
        let missing: Vec<&str> =
            needed.iter().filter(|(_, is_given)| !is_given).map(|(name, _)| *name).collect();
        let message = match missing.len() {
            0 => return None,
            _ if given.is_empty() => {
                "neither --issuer nor --config says whose tokens are good".to_owned()
            }
            _ => format!("{} must be given, or --config FILE alone", missing.join(" and ")),
        };
        Some(Diagnostic::error(message).help("see `tokenry verify --help`"))
    }

    /// The arguments that are given and that a file has keys for.
    fn about_tokens(&self) -> Vec<&'static str> {
        let all = [
            ("--issuer", self.issuer.is_some()),
            ("--audience", !self.audience.is_empty()),
            ("--proxy", self.proxy.is_some()),
            ("--scope", self.scope.is_some()),
            ("--jwks-uri", self.jwks_uri.is_some()),
            ("--cacert", self.cacert.is_some()),
            ("--connect-to", !self.connect_to.is_empty()),
            ("--allow-plain-http", self.allow_plain_http),
            ("--legacy-typ", self.legacy_typ),
            ("--resource-url", !self.resource_url.is_empty()),
        ];
        all.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }
}
