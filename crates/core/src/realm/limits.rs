//! The longest times that may be configured, and what holds where nothing is said.

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86400);

/// The longest access token: nobody takes it back from those who check its signature alone.
pub const MAX_ACCESS: Duration = DAY.saturating_mul(30);

/// The longest refresh token and the longest period of a key: ten years, which is longer than anything is left alone.
pub const MAX_LIFETIME: Duration = DAY.saturating_mul(3650);

/// The longest grace. It is there for a lost response; whoever comes later is not the same caller.
pub const MAX_GRACE: Duration = HOUR;

/// The longest time for which a token may be given again, so that a change of policy is soon everywhere.
pub const MAX_REUSE: Duration = HOUR;

/// The grace of policy `rotate` where nobody says: a client that lost a response repeats it in that time.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);
