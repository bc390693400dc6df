//! The report: lines with targets, speeds, and where they are written.

use std::fmt::Write as _;

use crate::chart;
use crate::machine::Machine;
use crate::problem::Result;
use crate::rounds::{Series, Settings, Spread};
use crate::tokenry::workspace;

/// A page below `docs`.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) file: &'static str,
    /// The folder of its charts.
    pub(crate) charts: &'static str,
    /// What stands before the figures.
    pub(crate) head: &'static str,
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
    speeds: Vec<Speed>,
}

/// One thing that was measured.
pub(crate) struct Line {
    part: String,
    what: String,
    measured: String,
    target: String,
    verdict: Verdict,
    /// What was measured and what it should be, where both are shares.
    share: Option<(f64, f64)>,
}

/// What a line says of its target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Met,
    Missed,
    /// There is no target.
    Told,
    /// It could not be measured.
    Blank,
}

impl Verdict {
    const fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Told => "",
            Self::Blank => "blank",
        }
    }
}

impl Line {
    /// A share that should be at least `target`, of what `series` measured.
    pub(crate) fn share(
        part: &str,
        what: impl Into<String>,
        series: &Series,
        spread: Spread,
        target: f64,
    ) -> Self {
        let Spread { median, min, max } = spread;
        let mut measured =
            format!("{median:.3} ({min:.3}–{max:.3}), {}/s", thousands(series.rate()));
        if let Some(problem) = &series.problem {
            let _ = write!(measured, "; {problem}");
        }
        let met = median >= target && series.problem.is_none();
        Self {
            part: part.to_owned(),
            what: what.into(),
            measured,
            target: format!("≥ {target}"),
            verdict: Verdict::of(met),
            share: Some((median, target)),
        }
    }

    /// Something that should be so.
    pub(crate) fn judged(
        part: &str,
        what: impl Into<String>,
        measured: String,
        target: impl Into<String>,
        met: bool,
    ) -> Self {
        Self {
            part: part.to_owned(),
            what: what.into(),
            measured,
            target: target.into(),
            verdict: Verdict::of(met),
            share: None,
        }
    }

    /// How many times faster Tokenry is than a peer.
    pub(crate) fn faster(part: &str, what: &str, tokenry: &Series, peer: &Series) -> Self {
        let Spread { median, min, max } = tokenry.over(peer);
        let mut measured = format!(
            "{median:.1} times ({min:.1}–{max:.1}); {}/s against {}/s",
            thousands(tokenry.rate()),
            thousands(peer.rate())
        );
        // Its troubles make the peer no slower than it is; they are told.
        if let Some(problem) = &peer.problem {
            let _ = write!(measured, "; the peer: {problem}");
        }
        let met = median > 1.0 && tokenry.problem.is_none();
        Self::judged(part, format!("{what}: Tokenry over {}", peer.name), measured, "> 1", met)
    }

    /// A share without a target.
    pub(crate) fn compared(
        part: &str,
        what: impl Into<String>,
        series: &Series,
        other: &Series,
    ) -> Self {
        let line = Self::share(part, what, series, series.over(other), 0.0);
        let measured = format!("{}; {}/s against it", line.measured, thousands(other.rate()));
        Self { measured, target: String::new(), verdict: Verdict::Told, share: None, ..line }
    }

    /// Something without a target.
    pub(crate) fn told(part: &str, what: impl Into<String>, measured: String) -> Self {
        Self {
            part: part.to_owned(),
            what: what.into(),
            measured,
            target: String::new(),
            verdict: Verdict::Told,
            share: None,
        }
    }

    /// Something that could not be measured, and why.
    pub(crate) fn blank(part: &str, what: impl Into<String>, reason: String) -> Self {
        Self {
            part: part.to_owned(),
            what: what.into(),
            measured: reason,
            target: String::new(),
            verdict: Verdict::Blank,
            share: None,
        }
    }
}

/// How fast somebody is.
pub(crate) struct Speed {
    pub(crate) algorithm: String,
    pub(crate) who: String,
    pub(crate) rate: f64,
    share: Spread,
    p50_us: f64,
    p99_us: f64,
}

impl Speed {
    pub(crate) fn new(algorithm: &str, series: &Series, bound: &Series) -> Self {
        Self {
            algorithm: algorithm.to_owned(),
            who: series.name.clone(),
            rate: series.rate(),
            share: series.over(bound),
            p50_us: series.last.p50_us,
            p99_us: series.last.p99_us,
        }
    }
}

impl Report {
    pub(crate) fn add(&mut self, line: Line) {
        eprintln!("  {}: {} {}", line.what, line.measured, line.verdict.as_str());
        self.lines.push(line);
    }

    pub(crate) fn speed(&mut self, speed: Speed) {
        self.speeds.push(speed);
    }

    /// The report for a terminal.
    pub(crate) fn text(&self, machine: &Machine, settings: &Settings) -> String {
        let mut out = format!("\n{}\n\n", circumstances(machine, settings));
        for line in &self.lines {
            let Line { part, what, measured, target, verdict, .. } = line;
            let _ = writeln!(out, "{:<7}{part}: {what}: {measured}", verdict.as_str());
            if !target.is_empty() {
                let _ = writeln!(out, "       target {target}");
            }
        }
        let count = |wanted| self.lines.iter().filter(|line| line.verdict == wanted).count();
        let (met, missed) = (count(Verdict::Met), count(Verdict::Missed));
        let _ = writeln!(out, "\n{met} met, {missed} missed, {} blank", count(Verdict::Blank));
        out
    }

    /// Writes a page and its charts.
    pub(crate) fn write(&self, page: &Page, machine: &Machine, settings: &Settings) -> Result<()> {
        let docs = workspace().join("docs");
        let charts = docs.join(page.charts);
        std::fs::create_dir_all(&charts)?;
        let mut text = page.head.to_owned();
        let _ = writeln!(text, "\n## The run\n\n{}", circumstances(machine, settings));
        if !self.speeds.is_empty() {
            std::fs::write(charts.join("speed.svg"), chart::speeds(&self.speeds))?;
            let _ = writeln!(
                text,
                "\n![Tokens a second on one core, by algorithm]({}/speed.svg)",
                page.charts
            );
            text.push_str(&self.speeds_table());
        }
        let shares: Vec<chart::Share<'_>> = self
            .lines
            .iter()
            .filter_map(|line| line.share.map(|(is, should)| (line.what.as_str(), is, should)))
            .collect();
        if !shares.is_empty() {
            std::fs::write(charts.join("shares.svg"), chart::shares(&shares))?;
            let _ = writeln!(
                text,
                "\n## What should be\n\n![Shares and their targets]({}/shares.svg)",
                page.charts
            );
        }
        text.push_str(&self.lines_table());
        std::fs::write(docs.join(page.file), text)?;
        eprintln!("written to docs/{}", page.file);
        Ok(())
    }

    fn speeds_table(&self) -> String {
        let mut out =
            "\n| algorithm | who | tokens/s on one core | share of the bound | p50 | p99 |\n\
                       | --- | --- | ---: | ---: | ---: | ---: |\n"
                .to_owned();
        for Speed { algorithm, who, rate, share, p50_us, p99_us } in &self.speeds {
            let Spread { median, min, max } = share;
            let (p50, p99, rate) = (p50_us / 1000.0, p99_us / 1000.0, thousands(*rate));
            let _ = writeln!(
                out,
                "| {algorithm} | {who} | {rate} | {median:.2} ({min:.2}–{max:.2}) | {p50:.2} ms | {p99:.2} ms |"
            );
        }
        out
    }

    fn lines_table(&self) -> String {
        let mut out =
            "\n| part | what | measured | target | |\n| --- | --- | --- | --- | --- |\n".to_owned();
        for Line { part, what, measured, target, verdict, .. } in &self.lines {
            let measured = measured.replace('\n', " ").replace('|', "\\|");
            let verdict = match verdict {
                Verdict::Missed => "**missed**",
                other => other.as_str(),
            };
            let _ = writeln!(out, "| {part} | {what} | {measured} | {target} | {verdict} |");
        }
        out
    }
}

fn circumstances(machine: &Machine, settings: &Settings) -> String {
    let Machine { cpu, cores, memory, kernel, rustc, day } = machine;
    let Settings { rounds, measure, warmup, .. } = settings;
    format!(
        "{day}: {cpu}, {cores} cores, {memory}; Linux {kernel}; {rustc}. {rounds} rounds of {} s, each after {} s that \
         do not count; medians, and in parentheses the least and the most of a round.",
        measure.as_secs_f64(),
        warmup.as_secs_f64()
    )
}

/// A number with its thousands apart.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, text) in
            [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn a_share_with_trouble_is_missed() {
        let spread = Spread { median: 0.9, min: 0.8, max: 1.0 };
        let mut series = Series::default();
        assert_eq!(Line::share("p", "w", &series, spread, 0.9).verdict, Verdict::Met);
        assert_eq!(Line::share("p", "w", &series, spread, 0.91).verdict, Verdict::Missed);
        series.problem = Some("1 broken".to_owned());
        assert_eq!(Line::share("p", "w", &series, spread, 0.9).verdict, Verdict::Missed);
    }
}
