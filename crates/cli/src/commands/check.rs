//! `tokenry check`: looks whether everything is good, and changes nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use tokenry_core::realm::{Issuer, Realm};

use super::Outcome;
use crate::args::Global;
use crate::certificate::{self, Loaded};
use crate::config::{Config, fetch};
use crate::diagnostic::{Diagnostic, Diagnostics, quoted};
use crate::edge;
use crate::installation::{Installation, Read};
use crate::output::Output;
use crate::realm_file::Drafts;

/// Looks whether configuration, store, master key, certificates and realm files are good.
///
/// It changes nothing. With --output json everything that is found is part of the answer, on standard output.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Realm files to look at too.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments, global: &Global, output: Output) -> Outcome {
    let mut diagnostics = Diagnostics::default();
    let drafts = Drafts::read(&arguments.files, &mut diagnostics);
    let config = Config::read(&global.config, &mut Diagnostics::default());
    let loaded = config.as_ref().and_then(|config| {
        certificate::load(config).map_err(|bad| diagnostics.append(bad)).ok().flatten()
    });
    if let Some(config) = &config {
        diagnostics.0.extend(fetch::rules(config).err());
    }
    let installation = Installation::open_noting(global, Read::Whole, &mut diagnostics).await;
    let stored = installation.as_ref().map_or(&[][..], |i| &i.snapshot.realms);
    drafts.check_with(stored, &mut diagnostics);
    let readable = !diagnostics.has_errors();
    let declared: Vec<Realm> = drafts.into_declarations().into_iter().map(|d| d.realm).collect();
    if let Some(config) = &config {
        let kept = stored.iter().filter(|realm| declared.iter().all(|d| d.name != realm.name));
        let realms: Vec<&Realm> = declared.iter().chain(kept).collect();
        transport(config, loaded.as_ref(), &realms, &mut diagnostics);
    }
    let Some(installation) = installation.filter(|_| readable && !diagnostics.has_errors()) else {
        return not_good(diagnostics, output);
    };

    let snapshot = &installation.snapshot;
    let config = &installation.config;
    let mut json = diagnostics.json();
    json["ok"] = json!(true);
    json["listen"] = json!(config.listen.value.to_string());
    json["tls"] = json!(config.tls.is_some());
    json["store"] = json!(config.store.value);
    json["realms"] = json!(snapshot.realms.iter().map(|r| &r.name).collect::<Vec<_>>());
    json["clients"] = json!(snapshot.clients.len());
    json["users"] = json!(snapshot.users.len());
    json["declared_realms"] = json!(declared.iter().map(|r| &r.name).collect::<Vec<_>>());
    if !output.is_json() {
        output.complain(&diagnostics);
    }
    output.answer(&json, || {
        let tls = if config.tls.is_some() { "TLS" } else { "plain HTTP" };
        let mut lines = vec![
            format!(
                "configuration {}: good; {tls} on {}",
                global.config.display(),
                config.listen.value
            ),
            format!(
                "store {}: good; realms {}, clients {}, users {}",
                config.store.value,
                snapshot.realms.len(),
                snapshot.clients.len(),
                snapshot.users.len()
            ),
        ];
        lines.extend(arguments.files.iter().zip(&declared).map(|(file, realm)| {
            format!("realm file {}: good; realm {}", file.display(), realm.name)
        }));
        lines.push("OK".to_owned());
        lines.join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What is wrong is what was asked for, and so it is the answer.
fn not_good(diagnostics: Diagnostics, output: Output) -> Outcome {
    if !output.is_json() {
        return Err(diagnostics);
    }
    let mut json = diagnostics.json();
    json["ok"] = json!(false);
    output.answer(&json, String::new)?;
    Ok(ExitCode::FAILURE)
}

/// Notes what clients would stumble over on their way to the server.
fn transport(
    config: &Config,
    loaded: Option<&Loaded>,
    realms: &[&Realm],
    diagnostics: &mut Diagnostics,
) {
    diagnostics.0.extend(loaded.and_then(|loaded| loaded.aging(config, edge::now())));
    diagnostics.0.extend(certificate::exposed_key(config));
    if let Some(admin) = config.admin.as_ref().filter(|admin| !admin.value.ip().is_loopback()) {
        let message = format!(
            "admin is on {}, where others reach it: it speaks plain HTTP, and its /health and /metrics ask nobody who they are",
            admin.value
        );
        diagnostics.push(
            config.warning(&admin.span, message).help(
                "put it on a loopback address, unless only those who collect metrics get there",
            ),
        );
    }
    admin_api(config, realms, diagnostics);
    for realm in realms {
        let (name, issuer) = (quoted(&realm.name), realm.issuer.to_string());
        let https = issuer.starts_with("https:");
        if config.tls.is_some() && !https {
            let message = format!(
                "the issuer of realm {name} is {}, but this server speaks TLS",
                quoted(&issuer)
            );
            diagnostics.push(Diagnostic::warning(message).help("write the issuer with https"));
        }
        if config.tls.is_none() && https && !config.insecure_plain_http {
            let message = format!(
                "the issuer of realm {name} is {}, but this server speaks plain HTTP",
                quoted(&issuer)
            );
            diagnostics.push(Diagnostic::warning(message).help(
                "add `[tls]`; behind a proxy that does TLS set `insecure_plain_http = true`",
            ));
        }
        if realm.certificates.is_some() && !config.sees_certificates() {
            let message = format!(
                "realm {name} takes client certificates, but this server asks nobody for one"
            );
            diagnostics.push(Diagnostic::warning(message).help(
                "`client_certificates = true` in `[tls]`; behind a proxy that does TLS `client_certificate_header`",
            ));
        }
        let (Some(loaded), Some(files)) = (loaded, &config.tls) else { continue };
        let by_certificate = realm.certificates.iter().filter_map(|own| own.origin.as_deref());
        let by_certificate: Option<Issuer> = by_certificate.flat_map(str::parse).next();
        let hosts =
            std::iter::once(realm.issuer.host()).chain(realm.aliases.iter().map(String::as_str));
        let hosts = hosts.chain(by_certificate.as_ref().map(Issuer::host));
        for host in hosts.filter(|host| !loaded.is_for(host)) {
            let message = format!(
                "the certificate {} is not for {}, where realm {name} answers",
                files.certificate.value.display(),
                quoted(host)
            );
            diagnostics.push(
                config
                    .warning(&files.certificate.span, message)
                    .help("clients refuse it, unless a proxy with another one stands before it"),
            );
        }
    }
}

/// Notes what would keep everybody out of the admin API.
fn admin_api(config: &Config, realms: &[&Realm], diagnostics: &mut Diagnostics) {
    let Some(api) = &config.admin_api else { return };
    let (at, name) = (&api.realm.span, quoted(&api.realm.value));
    let Some(realm) = realms.iter().find(|realm| realm.name == api.realm.value) else {
        let message = format!("the admin API wants tokens of realm {name}, which does not exist");
        let help = "declare it in a realm file and `tokenry apply` that";
        diagnostics.push(config.warning(at, message).help(help));
        return;
    };
    for needed in [&api.read_scope, &api.write_scope] {
        if let Some(scope) = needed.first_outside(&realm.scopes) {
            let message = format!(
                "the admin API needs scope {}, which realm {name} does not have",
                quoted(scope)
            );
            let help = "add it to the `scopes` of the realm, and to a client's `scope`";
            diagnostics.push(config.warning(at, message).help(help));
        }
    }
}
