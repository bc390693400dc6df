//! Whether anybody can tell by the time of a refusal that a client exists: a statistical test (Welch's, as in "dude, is my
//! code constant time?" by Reparaz, Balasch and Verbauwhede), beside one of two samples that cannot differ.

use tokio::time::Instant;

use super::growth::{end, filled, serve};
use super::{Bench, Line};
use crate::load::connection::{Connection, Target};
use crate::load::request::{client_credentials, client_id};
use crate::load::{Plan, RequestPlan};
use crate::problem::{Problem, Result};

/// Requests of each kind. Each identifier is guessed at so seldom that nobody is throttled.
const EACH: u64 = 60_000;

/// How many clients there are, and as many that are not.
const CLIENTS: u64 = 10_000;

/// The share of the slowest that is left out: interrupts, and other work of the machine.
const CROPPED: f64 = 0.1;

/// From here on two samples are said to differ (a chance of one in a hundred thousand that they do not).
const DIFFERENT: f64 = 4.5;

/// The kinds of request, in turn at random.
const KINDS: [Kind; 3] = [Kind::Unknown, Kind::WrongSecret, Kind::UnknownToo];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A client that does not exist.
    Unknown,
    /// One that does, with another secret.
    WrongSecret,
    /// A client that does not exist: what the machine's noise makes of two alike.
    UnknownToo,
}

impl Kind {
    /// The identifier of the `turn`th guess; of the same length in each kind.
    fn id(self, turn: u64) -> String {
        let number = CLIENTS + turn % CLIENTS;
        match self {
            Self::WrongSecret => client_id(number),
            Self::Unknown => format!("cliend{number}"),
            Self::UnknownToo => format!("clienf{number}"),
        }
    }
}

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let installation = filled(bench, 2 * CLIENTS, 1).await?;
    let server = serve(bench, &installation).await?;
    let plan: Plan = server.plan(RequestPlan::Clients { clients: CLIENTS, realms: 1 });
    let each = if bench.quick { EACH / 10 } else { EACH };
    let [unknown, wrong, control] = sampled(&plan, each).await?;
    end([server]).await;
    let (tested, noise) = (Welch::of(&unknown, &wrong), Welch::of(&unknown, &control));
    bench.report.add(Line::judged(
        "timing",
        "the time of a refusal: a wrong secret against an unknown client".to_owned(),
        format!(
            "{:+.0} ns of {:.1} µs (± {:.0} ns), t = {:.1}; two unknown clients {:+.0} ns, t = {:.1}",
            tested.difference,
            tested.mean / 1000.0,
            tested.interval,
            tested.t,
            noise.difference,
            noise.t
        ),
        format!("|t| < {DIFFERENT}"),
        tested.t.abs() < DIFFERENT,
    ));
    Ok(())
}

/// Nanoseconds of `each` requests of each kind, one after the other on one connection.
async fn sampled(plan: &Plan, each: u64) -> Result<[Vec<f64>; 3]> {
    let mut connection = Connection::open(&Target::new(plan)?).await?;
    let mut samples: [Vec<f64>; 3] = std::array::from_fn(|_| Vec::with_capacity(each as usize));
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let warm = each / 10;
    for turn in 0..each + warm {
        let mut order = [0, 1, 2];
        for at in (1..order.len()).rev() {
            // xorshift64: the order need not be secret, only without a pattern.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(at, (random % (at as u64 + 1)) as usize);
        }
        for kind in order {
            let credentials = format!("{}:{:032x}", KINDS[kind].id(turn), turn);
            let request = client_credentials("/many0/token", &credentials);
            let began = Instant::now();
            let answer = connection.exchange(request.as_bytes()).await?;
            let took = began.elapsed();
            // Some identifiers share a cell of the throttle.
            if answer.status == 429 {
                continue;
            }
            if answer.status != 401 {
                let message = format!("{:?} was answered {}", KINDS[kind], answer.status);
                return Err(Problem::new(message));
            }
            if turn >= warm {
                samples[kind].push(took.as_nanos() as f64);
            }
        }
    }
    Ok(samples)
}

/// Welch's test of two samples, cropped at a quantile of both.
struct Welch {
    mean: f64,
    difference: f64,
    /// Half of the interval that holds the difference with 95 %.
    interval: f64,
    t: f64,
}

impl Welch {
    fn of(one: &[f64], other: &[f64]) -> Self {
        let mut all: Vec<f64> = one.iter().chain(other).copied().collect();
        all.sort_by(f64::total_cmp);
        let kept = ((all.len() as f64) * (1.0 - CROPPED)) as usize;
        let most = all.get(kept).or_else(|| all.last()).copied().unwrap_or_default();
        let moments = |sample: &[f64]| {
            let kept: Vec<f64> = sample.iter().copied().filter(|ns| *ns <= most).collect();
            let n = kept.len().max(2) as f64;
            let mean = kept.iter().sum::<f64>() / n;
            let variance = kept.iter().map(|ns| (ns - mean).powi(2)).sum::<f64>() / (n - 1.0);
            (mean, variance / n)
        };
        let ((a, va), (b, vb)) = (moments(one), moments(other));
        let error = (va + vb).sqrt().max(f64::MIN_POSITIVE);
        Self { mean: a, difference: b - a, interval: 1.96 * error, t: (b - a) / error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_and_noise_is_not() {
        let mut random = 7_u64;
        let mut sample = |offset: f64| -> Vec<f64> {
            let mut next = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 40) as f64 / 10_000.0
            };
            (0..20_000).map(|_| 30_000.0 + next() + offset).collect()
        };
        let (a, b, c) = (sample(0.0), sample(0.0), sample(60.0));
        assert!(Welch::of(&a, &b).t.abs() < DIFFERENT);
        assert!(Welch::of(&a, &c).t > DIFFERENT);
        assert!(Welch::of(&c, &a).t < -DIFFERENT);
    }
}
