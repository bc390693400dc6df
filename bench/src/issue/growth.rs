//! Growth: more clients, more realms, more tokens issued.

use tokenry_core::client::{Credential, CredentialKind};
use tokenry_core::request::GrantType;
use tokenry_core::{Client, MasterKey, Realm, Timestamp};
use tokenry_store::Change;

use super::footprint::mib;
use super::{Bench, Line};
use crate::load::request::{client_id, client_secret, realm_of};
use crate::load::{Plan, RequestPlan};
use crate::problem::{Doing as _, Problem, Result};
use crate::report::thousands;
use crate::rounds::{self, Contender, interleave};
use crate::tokenry::{Installation, Serve, Server};

const TARGET: f64 = 0.9;

/// How many clients ask in turn where there are more: those "in use".
const IN_USE: u64 = 100_000;

/// What [`IN_USE`] clients may take.
const IN_USE_MIB: f64 = 64.0;

/// How many changes are made at once.
const CHANGES: u64 = 10_000;

/// 10 clients against a million, of which 100,000 ask in turn.
pub(super) async fn clients(bench: &mut Bench) -> Result<()> {
    let many = if bench.quick { 20_000 } else { 1_000_000 };
    let in_use = IN_USE.min(many);
    let small = filled(bench, 10, 1).await?;
    let large = filled(bench, many, 1).await?;
    let (small_server, large_server) = (serve(bench, &small).await?, serve(bench, &large).await?);
    let started = settled(&large_server).await;
    let base = settled(&small_server).await;

    // Each client once, so that all of them are in use.
    let walk = Plan {
        at_most: Some(in_use),
        measure_ms: 300_000,
        ..large_server.plan(RequestPlan::Clients { clients: in_use, realms: 1 })
    };
    let walked = rounds::load(&bench.settings, &walk).await?;
    if !walked.is_clean() {
        return Err(Problem::new(rounds::troubles(&walked)));
    }
    let used = mib(large_server.process.usage().resident);
    let contenders = vec![
        Contender::load(
            "10",
            &small_server.process,
            small_server.plan(RequestPlan::Clients { clients: 10, realms: 1 }),
        ),
        Contender::load(
            "many",
            &large_server.process,
            large_server.plan(RequestPlan::Clients { clients: in_use, realms: 1 }),
        ),
        Contender::load(
            "all",
            &large_server.process,
            large_server.plan(RequestPlan::Clients { clients: many, realms: 1 }),
        ),
    ];
    let series = interleave(&bench.settings, &contenders).await?;
    let [small_series, many_series, all] = &series[..] else {
        return Err(Problem::new("a contender is missing"));
    };
    let (count, using) = (thousands(many as f64), thousands(in_use as f64));
    bench.report.add(Line::share(
        "growth-clients",
        format!("{count} clients, {using} of them in use: share of 10 clients, ES256"),
        many_series,
        many_series.over(small_series),
        TARGET,
    ));
    bench.report.add(Line::compared(
        "growth-clients",
        format!("{count} clients, all of them in turn: share of 10 clients, ES256"),
        all,
        small_series,
    ));
    let per = (used - started) * IN_USE as f64 / in_use as f64;
    bench.report.add(Line::judged(
        "growth-clients",
        format!("memory for each {} clients in use, of {count}", thousands(IN_USE as f64)),
        format!(
            "{per:.0} MiB ({used:.0} MiB in all: {base:.0} MiB with 10 clients, {:.0} MiB to know the identifiers of all)",
            started - base
        ),
        format!("≤ {IN_USE_MIB} MiB"),
        per <= IN_USE_MIB,
    ));
    end([small_server, large_server]).await;
    Ok(())
}

/// 1 realm against a thousand.
pub(super) async fn realms(bench: &mut Bench) -> Result<()> {
    let many = if bench.quick { 50 } else { 1_000 };
    let clients = 10 * many;
    let small = filled(bench, 10, 1).await?;
    let large = filled(bench, clients, many).await?;
    let (small_server, large_server) = (serve(bench, &small).await?, serve(bench, &large).await?);
    let contenders = vec![
        Contender::load(
            "1",
            &small_server.process,
            small_server.plan(RequestPlan::Clients { clients: 10, realms: 1 }),
        ),
        Contender::load(
            "many",
            &large_server.process,
            large_server.plan(RequestPlan::Clients { clients, realms: many }),
        ),
    ];
    let series = interleave(&bench.settings, &contenders).await?;
    let [one, thousand] = &series[..] else {
        return Err(Problem::new("a contender is missing"));
    };
    bench.report.add(Line::share(
        "growth-realms",
        format!(
            "{} realms of 10 clients, each with its own key: share of 1 realm, ES256",
            thousands(many as f64)
        ),
        thousand,
        thousand.over(one),
        TARGET,
    ));
    end([small_server, large_server]).await;
    Ok(())
}

/// An installation that has issued ten million tokens against one that has issued none.
pub(super) async fn tokens(bench: &mut Bench) -> Result<()> {
    let many: u64 = if bench.quick { 100_000 } else { 10_000_000 };
    let (fresh, used) = (filled(bench, 10, 1).await?, filled(bench, 10, 1).await?);
    let (fresh_server, server) = (serve(bench, &fresh).await?, serve(bench, &used).await?);
    let asking = RequestPlan::Clients { clients: 10, realms: 1 };
    // A first few, so that what is made once is there.
    let few = Plan { at_most: Some(1_000), measure_ms: 10_000, ..server.plan(asking.clone()) };
    rounds::load(&bench.settings, &few).await?;
    let before = (used.database_size(), mib(server.process.usage().resident));

    // Longer than ten million tokens take on the slowest machine.
    let all = Plan { at_most: Some(many), measure_ms: 1_800_000, ..few };
    let issued = rounds::load(&bench.settings, &all).await?;
    let after = (used.database_size(), mib(server.process.usage().resident));
    let contenders = vec![
        Contender::load("fresh", &fresh_server.process, fresh_server.plan(asking.clone())),
        Contender::load("used", &server.process, server.plan(asking)),
    ];
    let series = interleave(&bench.settings, &contenders).await?;
    let [fresh, used] = &series[..] else {
        return Err(Problem::new("a contender is missing"));
    };
    let count = thousands(issued.good as f64);
    let took = issued.seconds;
    bench.report.add(Line::share(
        "growth-tokens",
        format!(
            "after {count} tokens ({took:.0} s): share of a server that has issued none, ES256"
        ),
        used,
        used.over(fresh),
        TARGET,
    ));
    bench.report.add(Line::judged(
        "growth-tokens",
        format!("growth of the database by {count} tokens"),
        format!(
            "{} bytes, of {}",
            i128::from(after.0) - i128::from(before.0),
            thousands(before.0 as f64)
        ),
        "0 bytes",
        after.0 == before.0 && issued.good >= many,
    ));
    bench.report.add(Line::told(
        "growth-tokens",
        format!("memory before and after {count} tokens"),
        format!("{:.1} MiB, {:.1} MiB", before.1, after.1),
    ));
    end([fresh_server, server]).await;
    Ok(())
}

/// The memory of a server once it no longer grows by itself: it learns of its clients while it answers.
async fn settled(server: &Server) -> f64 {
    let mut before = 0;
    for _ in 0..60 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let resident = server.process.usage().resident;
        if resident == before {
            break;
        }
        before = resident;
    }
    mib(before)
}

pub(super) async fn serve(bench: &Bench, installation: &Installation) -> Result<Server> {
    let core = bench.settings.server_core.clone();
    installation.serve(Serve { cores: &core, tls: false, log_kept: true }).await
}

pub(super) async fn end<const N: usize>(servers: [Server; N]) {
    for server in servers {
        server.process.end().await;
    }
}

/// An installation with as many clients in as many realms, put straight into its store.
pub(super) async fn filled(bench: &Bench, clients: u64, realms: u64) -> Result<Installation> {
    let installation = bench.installation(&[]).await?;
    let key = std::fs::read_to_string(installation.path().join("master.key"))?;
    let pepper = MasterKey::new(hex(key.trim())?).pepper();
    let url = format!("sqlite:{}", installation.path().join("tokenry.db").display());
    let store = tokenry_store::open_existing(&url).await?;
    let mut changes = Vec::new();
    for number in 0..realms {
        changes.push(Change::PutRealm(realm(&realm_of(number, realms))?));
    }
    for number in 0..clients {
        let (realm, id) = (realm_of(number, realms), client_id(number));
        let digest = pepper.digest(&client_secret(number));
        changes.push(Change::PutClient(client(&realm, &id)?));
        changes.push(Change::PutCredential {
            realm,
            client: id,
            credential: Credential {
                id: "AAAAAAAA".to_owned(),
                label: String::new(),
                kind: CredentialKind::Secret { digest },
                not_before: Timestamp::EPOCH,
                expires_at: None,
                created_at: Timestamp::EPOCH,
            },
        });
        if changes.len() as u64 >= CHANGES {
            store.change(std::mem::take(&mut changes), None, Timestamp::EPOCH).await?;
        }
    }
    store.change(changes, None, Timestamp::EPOCH).await?;
    Ok(installation)
}

/// As `tokenry apply` would make it of a file that says no more than it must.
fn realm(name: &str) -> Result<Realm> {
    serde_json::from_value(serde_json::json!({
        "name": name,
        "issuer": format!("https://localhost/{name}"),
        "scopes": "read write",
        "tokens": { "access": { "secs": 300, "nanos": 0 } },
    }))
    .doing("a realm")
}

fn client(realm: &str, id: &str) -> Result<Client> {
    serde_json::from_value(serde_json::json!({
        "realm": realm,
        "id": id,
        "grants": [GrantType::ClientCredentials.as_str()],
        "scope": "read write",
    }))
    .doing("a client")
}

fn hex(text: &str) -> Result<[u8; 32]> {
    let mut key = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(Problem::new("the master key is not as `tokenry init` writes it"));
    }
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16)?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_and_clients_are_as_the_store_reads_them() {
        assert!(realm("many0").is_ok());
        assert!(client("many0", "client0").is_ok());
        assert!(hex(&"0f".repeat(32)).is_ok_and(|key| key == [15; 32]));
        assert!(hex("").is_err());
    }
}
