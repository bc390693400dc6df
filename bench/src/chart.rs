//! Charts as SVG, readable on light and on dark ground.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::report::{Speed, thousands};

/// What, what it is, and what it should be at least.
pub(crate) type Share<'a> = (&'a str, f64, f64);

const WIDTH: f64 = 760.0;
const BAR: f64 = 18.0;
const STEP: f64 = 26.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 90.0;

const STYLE: &str = "<style>\
text{font:13px system-ui,sans-serif;fill:#1f2328}.h{font-weight:600}.s{fill:#656d76;font-size:12px}\
.bound{fill:#afb8c1}.ours{fill:#1f6feb}.peer{fill:#bf8700}.met{fill:#2da44e}.missed{fill:#cf222e}\
.mark{stroke:#1f2328;stroke-width:2}.axis{stroke:#d0d7de}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.bound{fill:#656c76}.ours{fill:#4493f8}\
.peer{fill:#d29922}.met{fill:#3fb950}.missed{fill:#f85149}.mark{stroke:#e6edf3}.axis{stroke:#3d444d}}\
</style>";

fn svg(height: f64, label: &str, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">\
         {STYLE}\n{content}</svg>\n",
        escaped(label)
    )
}

/// Tokens a second, by algorithm.
pub(crate) fn speeds(speeds: &[Speed]) -> String {
    let mut groups: BTreeMap<&str, Vec<&Speed>> = BTreeMap::new();
    for speed in speeds {
        groups.entry(&speed.algorithm).or_default().push(speed);
    }
    let mut out = String::new();
    let mut y = 24.0;
    for (algorithm, group) in groups {
        let most = group.iter().map(|speed| speed.rate).fold(1.0, f64::max);
        let _ = writeln!(out, "<text class=\"h\" x=\"8\" y=\"{y:.0}\">{algorithm}</text>");
        let _ = writeln!(
            out,
            "<text class=\"s\" x=\"{LEFT}\" y=\"{y:.0}\">tokens a second on one core</text>"
        );
        y += 10.0;
        for Speed { who, rate, .. } in group {
            let class = match who.as_str() {
                "bound" => "bound",
                "tokenry" => "ours",
                _ => "peer",
            };
            // The table has the versions of what it runs on.
            let name = who.split(',').next().unwrap_or(who);
            bar(&mut out, y, name, class, rate / most, &thousands(*rate));
            y += STEP;
        }
        y += 28.0;
    }
    svg(y - 18.0, "Tokens a second on one core, by algorithm", &out)
}

/// Shares with a mark where they should be.
pub(crate) fn shares(shares: &[Share<'_>]) -> String {
    // Each takes two lines, since what is measured needs words.
    const TALL: f64 = 46.0;
    let most = shares.iter().map(|(_, is, should)| is.max(*should)).fold(1.0, f64::max);
    let scale = (WIDTH - 16.0 - RIGHT) / most;
    let mut out = String::new();
    for (i, (what, is, should)) in shares.iter().enumerate() {
        let y = 18.0 + i as f64 * TALL;
        let class = if is >= should { "met" } else { "missed" };
        let (bar, mark) = (is * scale, 8.0 + should * scale);
        let (top, bottom) = (y + 6.0, y + 6.0 + BAR);
        let _ = writeln!(out, "<text x=\"8\" y=\"{y:.0}\">{}</text>", escaped(what));
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"8\" y=\"{top:.0}\" width=\"{bar:.1}\" height=\"{BAR}\" rx=\"3\"/>\
             <line class=\"mark\" x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"{:.0}\" y2=\"{:.0}\"/>\
             <text class=\"s\" x=\"{:.0}\" y=\"{:.0}\">{is:.2} of {should}</text>",
            top - 3.0,
            bottom + 3.0,
            bar.max(mark) + 10.0,
            bottom - 4.0,
        );
    }
    svg(10.0 + shares.len() as f64 * TALL, "Shares and their targets", &out)
}

fn bar(out: &mut String, y: f64, who: &str, class: &str, share: f64, text: &str) {
    let width = ((WIDTH - LEFT - RIGHT) * share).max(1.0);
    let base = y + BAR - 5.0;
    let _ = writeln!(
        out,
        "<text x=\"{:.0}\" y=\"{base:.0}\" text-anchor=\"end\">{}</text>\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"3\"/>\
         <text class=\"s\" x=\"{:.0}\" y=\"{base:.0}\">{text}</text>",
        LEFT - 8.0,
        escaped(who),
        LEFT + width + 8.0,
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out() {
        let chart = shares(&[("<a \"&b", 0.9, 0.8)]);
        assert!(chart.contains("&lt;a &quot;&amp;b"));
        assert!(chart.contains("class=\"met\""));
    }
}
