//! An agent's settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokenry_core::Secret;

use super::access::Access;
use super::metrics::Metrics;
#[cfg(test)]
use super::protocol::{AgentError, Written};
use super::register::{Lender, Register};
use super::server::{AgentServer, Shared};
#[cfg(test)]
use crate::token::BoxFuture;
use crate::{Error, Keeper, KeeperConfig};

/// Settings of an [`AgentServer`].
pub struct AgentServerBuilder {
    owner: u32,
    named: BTreeMap<String, (Named, Access)>,
    lending: Access,
    lender: Option<Box<Lender>>,
    loopback: Option<Loopback>,
}

/// A keeper, or what one is built from.
enum Named {
    Keeper(Keeper),
    Config(Box<KeeperConfig>),
}

impl std::fmt::Debug for AgentServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentServerBuilder").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl AgentServerBuilder {
    /// Holds this keeper's token under a name. It is for the owner, for root, and for whom `access` names.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>, keeper: Keeper, access: Access) -> Self {
        self.named.insert(name.into(), (Named::Keeper(keeper), access));
        self
    }

    /// The same of a keeper that is built when it is asked first: its issuer need not be there when the agent starts.
    #[must_use]
    pub fn configured(
        mut self,
        name: impl Into<String>,
        config: KeeperConfig,
        access: Access,
    ) -> Self {
        self.named.insert(name.into(), (Named::Config(Box::new(config)), access));
        self
    }

    /// Lets these users lend keepers too; the owner and root may anyway.
    #[must_use]
    pub fn lending(mut self, access: Access) -> Self {
        self.lending = access;
        self
    }

    /// Serves named tokens on loopback connections too, to whoever has the secret and names one of these hosts.
    #[must_use]
    pub fn loopback(mut self, secret: Secret, hosts: impl IntoIterator<Item = String>) -> Self {
        self.loopback = Some(Loopback { secret, hosts: hosts.into_iter().collect() });
        self
    }

    /// Builds lent keepers by this instead.
    #[cfg(test)]
    pub(crate) fn lender(
        mut self,
        lender: impl Fn(Written, bool) -> BoxFuture<'static, Result<Keeper, AgentError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.lender = Some(Box::new(lender));
        self
    }

    /// The agent. It makes no request before it is asked.
    ///
    /// # Errors
    ///
    /// [`Error::Unsigned`]: the operating system gives no randomness.
    pub fn build(self) -> Result<AgentServer, Error> {
        let lender = self.lender.unwrap_or_else(|| Box::new(super::lent::build));
        let mut register = Register::new(self.owner, lender)?;
        register.allow_lending(self.lending);
        for (name, (named, access)) in self.named {
            match named {
                Named::Keeper(keeper) => register.name(name, keeper, access),
                Named::Config(config) => register.configure(name, *config, access),
            }
        }
        let (register, loopback) = (Arc::new(register), self.loopback);
        Ok(AgentServer(Arc::new(Shared { register, metrics: Metrics::default(), loopback })))
    }
}

impl AgentServer {
    /// Settings of an agent that runs as this user.
    pub fn builder(owner: u32) -> AgentServerBuilder {
        AgentServerBuilder {
            owner,
            named: BTreeMap::new(),
            lending: Access::default(),
            lender: None,
            loopback: None,
        }
    }
}

/// How the loopback listener is protected.
pub(super) struct Loopback {
    pub(super) secret: Secret,
    /// What a `Host` header may be, so that no website reaches it under a name of its own (DNS rebinding).
    pub(super) hosts: Vec<String>,
}
