//! Small plots as inline SVG.

use std::fmt::Write as _;

use crate::stats::Estimate;

/// One bar with its interval.
pub(crate) struct Bar<'a> {
    pub(crate) label: &'a str,
    pub(crate) estimate: Estimate,
    /// CSS class that colours it.
    pub(crate) class: &'a str,
}

const LEFT: f64 = 150.;
const WIDTH: f64 = 360.;
const ROW: f64 = 24.;

/// Horizontal bars with 95 % intervals and, where there is one, the baseline as a dashed line.
pub(crate) fn bars(title: &str, bars: &[Bar], baseline: Option<f64>) -> String {
    let ends = bars.iter().flat_map(|bar| [bar.estimate.ci_low, bar.estimate.ci_high]);
    let all = ends.chain(baseline).chain([0.]);
    let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let span = if high > low { high - low } else { 1. };
    let at = |x: f64| LEFT + (x - low) / span * WIDTH;
    let height = 30. + ROW * bars.len() as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 580 {height}\" role=\"img\" aria-label=\"{}\"><text x=\"0\" y=\"14\" class=\"title\">{}</text>",
        escape(title),
        escape(title)
    );
    for (index, bar) in bars.iter().enumerate() {
        let y = 24. + ROW * index as f64;
        let (x0, x1) = (at(0.).min(at(bar.estimate.mean)), at(0.).max(at(bar.estimate.mean)));
        let (c0, c1, mid) = (at(bar.estimate.ci_low), at(bar.estimate.ci_high), y + 8.);
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" class=\"label\">{}</text><rect x=\"{x0:.1}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"16\" class=\"{}\"/><path d=\"M{c0:.1} {mid:.0}H{c1:.1}M{c0:.1} {:.0}v8M{c1:.1} {:.0}v8\" class=\"whisker\"/><text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            LEFT - 8.,
            y + 13.,
            escape(bar.label),
            (x1 - x0).max(1.),
            bar.class,
            mid - 4.,
            mid - 4.,
            LEFT + WIDTH + 10.,
            y + 13.,
            number(bar.estimate.mean)
        );
    }
    if let Some(baseline) = baseline {
        let x = at(baseline);
        let _ = write!(svg, "<path d=\"M{x:.1} 20V{height}\" class=\"baseline\"/>");
    }
    svg.push_str("</svg>");
    svg
}

/// A number with as many digits as it can claim.
pub(crate) fn number(value: f64) -> String {
    if value.abs() >= 100. { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// Text for HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
