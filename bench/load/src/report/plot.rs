//! Plots in SVG: a bar for each subject, with a whisker from the lowest to the highest round.
//!
//! Colours follow the reader's light or dark mode, and nothing is drawn on a background.

use std::fmt::Write as _;

use super::table::{chief, measured};
use super::{Report, Row};
use crate::figures::Spread;
use crate::workload::Workload;

const WIDTH: f64 = 720.0;
/// Room for the names.
const LEFT: f64 = 110.0;
/// Room for the numbers.
const RIGHT: f64 = 90.0;
const TOP: f64 = 52.0;
const BAR: f64 = 18.0;
const STEP: f64 = 28.0;
/// Half the height of a whisker's ends.
const END: f64 = 4.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.t{font-weight:600}.n{fill:#59636e}\
.b{fill:#9aa7b5}.o{fill:#2f6feb}.w{stroke:#1f2328;stroke-width:1.5;fill:none}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.n{fill:#9198a1}.b{fill:#5b6673}.o{fill:#4c8dff}.w{stroke:#e6edf3}}";

/// What one subject came to.
#[derive(Debug)]
pub struct Bar {
    /// The subject.
    pub name: String,
    /// Its values.
    pub spread: Spread,
    /// The median as a person reads it.
    pub label: String,
}

/// The plot of one workload.
pub(super) fn svg(report: &Report, workload: &Workload) -> String {
    let bar = |row: &Row| {
        let spread = row.spread(workload.chief)?;
        Some(Bar { name: row.subject.clone(), spread, label: chief(workload, spread.median) })
    };
    let bars: Vec<Bar> = report.of(workload.name).into_iter().filter_map(bar).collect();
    let title = format!("{}: {}", workload.name, measured(workload));
    plot(&title, &format!("{}; less is better", workload.about), &bars)
}

/// Bars below a title and a note.
pub fn plot(title: &str, note: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.spread.highest).fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP + STEP * bars.len() as f64 + 8.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{}\"><style>{STYLE}</style>\
         <text class=\"t\" x=\"8\" y=\"20\">{}</text><text class=\"n\" x=\"8\" y=\"40\">{}</text>",
        escaped(title),
        escaped(title),
        escaped(note)
    );
    for (place, bar) in bars.iter().enumerate() {
        draw(&mut out, TOP + STEP * place as f64, bar, most);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, top: f64, bar: &Bar, most: f64) {
    let Bar { name, spread, label } = bar;
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let at = |value: f64| LEFT + value * scale;
    let (middle, base) = (top + BAR / 2.0, top + BAR - 4.0);
    let class = if name == "portcullis" { "o" } else { "b" };
    let (low, high) = (at(spread.lowest), at(spread.highest));
    let _ = write!(
        out,
        "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text>\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>\
         <path class=\"w\" d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}V{:.1}M{high:.1} {:.1}V{:.1}\"/>\
         <text x=\"{:.1}\" y=\"{base:.1}\">{}</text>",
        LEFT - 8.0,
        escaped(name),
        spread.median * scale,
        middle - END,
        middle + END,
        middle - END,
        middle + END,
        high.max(at(spread.median)) + 8.0,
        escaped(label)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
