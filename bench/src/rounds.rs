//! Rounds: every contender once, one after the other, and all of it again. Only what was measured in one round is
//! compared, since a machine's speed changes from one minute to the next. Whoever is not measured is stopped: on one
//! core even the timers of an idle Java would count.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use crate::load::{Outcome, Plan};
use crate::problem::{Doing as _, Problem, Result};
use crate::process::{Group, Launch, Process};

/// What a contender gets to finish what it was asked for last, before it is stopped.
const SETTLING: Duration = Duration::from_millis(500);

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    pub(crate) warmup: Duration,
    pub(crate) measure: Duration,
    /// The core of the load.
    pub(crate) load_core: String,
    /// The core of what is measured.
    pub(crate) server_core: String,
}

/// Something whose speed is measured.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) work: Work,
    /// What runs for it, and is stopped while others are measured.
    group: Option<Group>,
}

/// How it is measured.
pub(crate) enum Work {
    /// By a load.
    Load(Box<Plan>),
    /// By the bare log, in a folder.
    Rows(PathBuf),
}

impl Contender {
    pub(crate) fn load(name: impl Into<String>, process: &Process, plan: Plan) -> Self {
        let (work, group) = (Work::Load(Box::new(plan)), Some(process.group()));
        Self { name: name.into(), work, group }
    }

    /// The bare log, in a folder.
    pub(crate) fn rows(name: &str, folder: PathBuf) -> Self {
        Self { name: name.to_owned(), work: Work::Rows(folder), group: None }
    }
}

/// What one contender did in all rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Per second, by round.
    pub(crate) rates: Vec<f64>,
    /// The last round's load.
    pub(crate) last: Outcome,
    /// Something other than a good answer was seen.
    pub(crate) problem: Option<String>,
}

impl Series {
    pub(crate) fn rate(&self) -> f64 {
        Spread::of(&self.rates).median
    }

    /// This one's speed as a share of another's, round by round.
    pub(crate) fn over(&self, other: &Self) -> Spread {
        let shares: Vec<f64> = self
            .rates
            .iter()
            .zip(&other.rates)
            .map(|(a, b)| if *b > 0.0 { a / b } else { 0.0 })
            .collect();
        Spread::of(&shares)
    }
}

/// The middle of some values, and how far they lie apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Self { median, min: *min, max: *max }
    }
}

/// Measures all contenders, round by round.
pub(crate) async fn interleave(
    settings: &Settings,
    contenders: &[Contender],
) -> Result<Vec<Series>> {
    let mut all: Vec<Series> = contenders
        .iter()
        .map(|contender| Series { name: contender.name.clone(), ..Series::default() })
        .collect();
    let groups = || contenders.iter().filter_map(|contender| contender.group);
    for round in 0..settings.rounds {
        for (contender, series) in contenders.iter().zip(&mut all) {
            groups().filter(|group| Some(*group) != contender.group).for_each(Group::stop);
            contender.group.into_iter().for_each(Group::go_on);
            let rate = match &contender.work {
                Work::Load(plan) => {
                    let outcome = load(settings, plan).await.doing(&contender.name)?;
                    sleep(SETTLING).await;
                    if !outcome.is_clean() {
                        series.problem.get_or_insert_with(|| troubles(&outcome));
                    }
                    series.last = outcome;
                    series.last.rate()
                }
                Work::Rows(folder) => rows(settings, folder).await?,
            };
            series.rates.push(rate);
        }
        let said: Vec<String> = all
            .iter()
            .map(|s| format!("{} {}", s.name, crate::report::thousands(s.rates[round])))
            .collect();
        eprintln!("  round {}/{}: {}", round + 1, settings.rounds, said.join(", "));
    }
    groups().for_each(Group::go_on);
    Ok(all)
}

/// Carries out one load on its core, for as long as the settings say where the plan does not.
pub(crate) async fn load(settings: &Settings, plan: &Plan) -> Result<Outcome> {
    let mut plan = plan.clone();
    if plan.measure_ms == 0 {
        plan.warmup_ms = millis(settings.warmup);
        plan.measure_ms = millis(settings.measure);
    }
    let within = Duration::from_millis(plan.warmup_ms + plan.measure_ms) + Duration::from_secs(60);
    let output = Launch::own("load")
        .on(&settings.load_core)
        .output(Some(&serde_json::to_string(&plan)?), within)
        .await?;
    Ok(serde_json::from_str(&output)?)
}

async fn rows(settings: &Settings, parent: &std::path::Path) -> Result<f64> {
    let folder = tempfile::tempdir_in(parent)?;
    let output = Launch::own("rows")
        .arg(folder.path())
        .arg(settings.measure.as_secs_f64().to_string())
        .on(&settings.server_core)
        .output(None, settings.measure + Duration::from_secs(60))
        .await?;
    output.trim().parse::<f64>().map_err(Problem::from)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What else than good answers a load has seen.
pub(crate) fn troubles(outcome: &Outcome) -> String {
    let Outcome { shed, other, broken, problem, .. } = outcome;
    let first = problem.as_deref().unwrap_or("no answer");
    format!("{shed} with 503, {other} with another status, {broken} broken; first: {first}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_one_round_each() {
        let series = |rates: &[f64]| Series { rates: rates.to_vec(), ..Series::default() };
        let spread = series(&[5.0, 20.0, 6.0]).over(&series(&[10.0, 20.0, 10.0]));
        assert_eq!(spread, Spread { median: 0.6, min: 0.5, max: 1.0 });
        assert_eq!(Spread::of(&[1.0, 2.0]).median, 1.5);
        assert_eq!(Spread::of(&[]), Spread::default());
    }
}
