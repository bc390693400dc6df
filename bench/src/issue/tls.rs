//! TLS, against the bound behind bare rustls.

use super::{Bench, Line};
use crate::load::Plan;
use crate::problem::{Problem, Result};
use crate::rounds::{Contender, interleave};
use crate::tokenry::{Realm, Serve, plan};

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let realm = Realm { name: "es256", signing: "ES256", tokens: "", refreshes: false, others: "" };
    let installation = bench.installation(&[realm]).await?;
    let core = bench.settings.server_core.clone();
    let server = installation.serve(Serve { cores: &core, tls: true, log_kept: false }).await?;
    let bound = bench.bound("ES256", Some(&installation)).await?;
    let asking = |address, new_connection| -> Result<Plan> {
        let tls = Some(installation.trust());
        Ok(Plan { tls, new_connection, ..plan(address, installation.asking("es256")?) })
    };
    let contenders = vec![
        Contender::load("bound, kept", &bound.process, asking(bound.address, false)?),
        Contender::load("tokenry, kept", &server.process, asking(server.address, false)?),
        Contender::load("bound, new", &bound.process, asking(bound.address, true)?),
        Contender::load("tokenry, new", &server.process, asking(server.address, true)?),
    ];
    let series = interleave(&bench.settings, &contenders).await?;
    let [bound_kept, kept, bound_new, new] = &series[..] else {
        return Err(Problem::new("a contender is missing"));
    };
    for (what, series, bound) in [
        ("TLS, connections kept, ES256: share of bare rustls and hyper", kept, bound_kept),
        (
            "TLS, a new connection for each token, ES256: share of bare rustls and hyper",
            new,
            bound_new,
        ),
    ] {
        bench.report.add(Line::compared("tls", what, series, bound));
    }
    server.process.end().await;
    Ok(())
}
