//! The vendors' realm files with lifetimes that fit into half a minute.

use std::time::Duration;

use tokenry_client::Provider;

use crate::realm_file::{self, Declaration};

use super::Trouble;
use super::timeline::Timeline;

/// How long access tokens live here.
pub(super) const ACCESS: Duration = Duration::from_secs(4);

/// How long refresh tokens live here, where the story waits for one to expire.
pub(super) const REFRESH: Duration = Duration::from_secs(5);

/// How long refresh tokens live here where it does not.
const LONG_REFRESH: Duration = Duration::from_secs(60);

/// The least time between two uses of the password here.
const PAUSE: Duration = Duration::from_secs(5);

/// The realm files that come with Tokenry.
const FILES: [(&str, &str); 4] = [
    ("truphone.toml", include_str!("../../../../../examples/truphone.toml")),
    ("simacan-production.toml", include_str!("../../../../../examples/simacan-production.toml")),
    ("simacan-staging.toml", include_str!("../../../../../examples/simacan-staging.toml")),
    ("tuinly.toml", include_str!("../../../../../examples/tuinly.toml")),
];

/// Reads the vendors' realm files, shortens what takes too long to watch, and says so.
pub(super) fn realms(timeline: &Timeline) -> Result<Vec<Declaration>, Trouble> {
    let mut declarations = Vec::new();
    for (name, text) in FILES {
        let mut declaration =
            realm_file::parse(name, text).ok_or_else(|| format!("{name} has mistakes"))?;
        let realm = &mut declaration.realm;
        let before = realm.tokens.access;
        realm.tokens.access = ACCESS;
        let mut text =
            format!("shortened for the demo: access {} → {}", human(before), human(ACCESS));
        if let Some(refresh) = &mut realm.tokens.refresh {
            let lifetime = if realm.password_grant { REFRESH } else { LONG_REFRESH };
            text.push_str(&format!(", refresh {} → {}", human(refresh.lifetime), human(lifetime)));
            refresh.lifetime = lifetime;
            refresh.max_lifetime = None;
        }
        timeline.say(&realm.name.clone(), None, &text);
        declarations.push(declaration);
    }
    Ok(declarations)
}

/// The keeper's file for Simacan, whose pause between two uses of the password is longer than the demo.
pub(super) fn simacan(timeline: &Timeline) -> Result<Provider, Trouble> {
    let text = format!(
        "shortened for the demo: 30 s → {} between two uses of Simacan's password",
        human(PAUSE)
    );
    timeline.say("keeper", None, &text);
    Ok(Provider::named("simacan")?.with_credentials_interval(PAUSE))
}

fn human(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        s if s >= 86400 && s % 86400 == 0 => format!("{} d", s / 86400),
        s if s >= 3600 && s % 3600 == 0 => format!("{} h", s / 3600),
        s if s >= 120 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}
