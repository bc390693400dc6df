//! The command line as written. Each command's own file says what it means.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

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
    /// The settings of the server and its store.
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
    /// One JSON object, for programs.
    Json,
    /// A token for another program, in its way. Only `tokenry token` has these: it has an `--output` of its own, whose
    /// values clap hands up to this one.
    #[value(skip)]
    Token(TokenFormat),
}

/// The command line for clap.
///
/// `--config` is global: it stands before a command as well as after it. What it is to some commands, they say here.
pub(crate) fn command() -> clap::Command {
    let config = |help: &'static str| {
        let parser = clap::value_parser!(PathBuf);
        let file = clap::Arg::new("config").long("config").short('c').value_name("FILE");
        file.value_parser(parser).help(help).hide(help.is_empty()).global(true)
    };
    OWN_CONFIG.into_iter().fold(Arguments::command(), |command, (name, help)| {
        match command.find_subcommand(name) {
            Some(_) => command.mut_subcommand(name, |it| it.arg(config(help))),
            // Not on this operating system.
            None => command,
        }
    })
}

/// The commands that read no `tokenry.toml`, and what `--config` is to them: nothing, where that is empty.
const OWN_CONFIG: [(&str, &str); 10] = [
    ("verify", "The file that says whose tokens are good, and all else"),
    ("proxy", "The file with listeners, upstreams and tokens, instead of arguments"),
    ("agent", "The file with the tokens that the agent has by name"),
    ("token", ""),
    ("curl", ""),
    ("exec", ""),
    ("doctor", ""),
    ("invalidate", ""),
    ("demo", ""),
    ("completions", ""),
];

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // What has no line here says at length what it does where its arguments are: a line would stand instead.
    Serve(serve::Arguments),
    Init(init::Arguments),
    Check(check::Arguments),
    Apply(apply::Arguments),
    /// Lists and removes realms, and ends all their tokens; `apply` makes and changes them.
    #[command(subcommand)]
    Realm(realm::Command),
    /// Registers, lists and removes clients and their secrets.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Registers, lists and removes the users of the password grant.
    #[command(subcommand)]
    User(user::Command),
    /// Obtains an access token and prints it; `token inspect` shows what one says, `token revoke` ends one.
    Token(token::Arguments),
    Curl(curl::Arguments),
    #[cfg(unix)]
    Exec(exec::Arguments),
    Doctor(doctor::Arguments),
    #[cfg(unix)]
    Agent(agent::Arguments),
    #[cfg(unix)]
    Invalidate(invalidate::Arguments),
    Proxy(proxy::Arguments),
    Verify(verify::Arguments),
    Demo(demo::Arguments),
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
    /// Ends every token that a client has been given until now.
    Revoke(client::Revoke),
    /// Removes a client with its secrets.
    Remove(client::Remove),
    /// The certificates of a client, with which it needs no secret: better, where its machines have certificates anyway.
    #[command(subcommand)]
    Certificate(client_certificate::Command),
    /// The public keys of a client, with which it needs no secret: better, where the client can sign.
    #[command(subcommand)]
    Key(key::Command),
    /// The secrets of a client: add a new one, hand it over, remove the old one.
    ///
    /// Whether an old one is still in use, the server's log says: with `[log] level = "info,tokenry_server=debug"`, each token that is
    /// issued is logged with the `credential` that was used, as `list` names it.
    #[command(subcommand)]
    Secret(secret::Command),
    /// What other issuers call a client, so that it needs neither: a Kubernetes service account, a CI job, a workload.
    #[command(subcommand)]
    Subject(subject::Command),
}
