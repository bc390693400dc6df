//! The command line as written. Each command's own file says what it means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::token::TokenFormat;
#[cfg(unix)]
use crate::commands::{agent, exec, invalidate};
use crate::commands::{
    apply, check, client, client_certificate, completions, curl, demo, doctor, init, key, proxy,
    realm, secret, serve, subject, token, user, verify,
};

/// Issues, keeps and checks machine tokens.
#[derive(Debug, Parser)]
#[command(
    name = "tokenry",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 something is wrong (and says what), 2 the command line is wrong."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// How this process runs.
    #[arg(
        long,
        short,
        global = true,
        env = "TOKENRY_CONFIG",
        default_value = "tokenry.toml",
        value_name = "FILE"
    )]
    pub(crate) config: PathBuf,
    /// Whether the command line names it, rather than the environment or nobody.
    #[arg(skip)]
    pub(crate) config_given: bool,
    /// What the answer looks like: on standard output, and what went wrong on standard error.
    #[arg(
        long,
        global = true,
        env = "TOKENRY_OUTPUT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object; one per line from `demo`, which has much to say.
    Json,
    /// A token for another program, in its way. Only `tokenry token` has these: it has an `--output` of its own, whose
    /// values clap hands up to this one.
    #[value(skip)]
    Token(TokenFormat),
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the authorization server.
    Serve(serve::Arguments),
    /// Makes a new installation: configuration, master key, certificates, database and a first realm file.
    Init(init::Arguments),
    /// Looks whether configuration, store, master key, certificates and realm files are good.
    Check(check::Arguments),
    /// Makes what realm files declare so: prints the plan, then carries it out.
    Apply(apply::Arguments),
    /// Lists and removes realms; `apply` makes and changes them.
    #[command(subcommand)]
    Realm(realm::Command),
    /// Registers, lists and removes clients and their secrets.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Registers, lists and removes the users of the password grant.
    #[command(subcommand)]
    User(user::Command),
    /// Obtains an access token and prints it.
    Token(token::Arguments),
    /// Runs curl with an access token.
    Curl(curl::Arguments),
    /// Runs a command with an access token in a file, which is kept fresh for as long as the command runs.
    #[cfg(unix)]
    Exec(exec::Arguments),
    /// Obtains an access token, and says step by step what is wrong with it, if anything is.
    Doctor(doctor::Arguments),
    /// Holds tokens for all processes of this machine, so that they are one client to the server.
    #[cfg(unix)]
    Agent(agent::Arguments),
    /// Withdraws a token that the agent holds: whoever asks next gets another.
    #[cfg(unix)]
    Invalidate(invalidate::Arguments),
    /// Passes requests on with a fresh token, for programs that cannot get one.
    Proxy(proxy::Arguments),
    // Its arguments say what it does, at length.
    Verify(verify::Arguments),
    /// Shows how tokens are issued, kept fresh and checked: real requests on this machine, for 20 seconds.
    Demo(demo::Arguments),
    /// Prints completions for a shell.
    Completions(completions::Arguments),
}

/// What can be done with clients.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Registers a client.
    Add(client::Add),
    /// Lists clients.
    List(client::List),
    /// Keeps a client from getting tokens, until it is enabled again.
    Disable(client::Disable),
    /// Lets a client that was disabled have tokens again.
    Enable(client::Enable),
    /// Ends every refresh token that a client has been given until now.
    Revoke(client::Revoke),
    /// Removes a client with its secrets.
    Remove(client::Remove),
    /// The certificates of a client, with which it needs no secret: better, where its machines have certificates anyway.
    #[command(subcommand)]
    Certificate(client_certificate::Command),
    /// The public keys of a client, with which it needs no secret: better, where the client can sign.
    #[command(subcommand)]
    Key(key::Command),
    /// The secrets of a client: add a new one, watch the old one fall silent, remove it.
    #[command(subcommand)]
    Secret(secret::Command),
    /// What other issuers call a client, so that it needs neither: a Kubernetes service account, a CI job, a workload.
    #[command(subcommand)]
    Subject(subject::Command),
}
