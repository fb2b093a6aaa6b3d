//! The plot: processor time per request, by case and peer, as a bar chart in SVG.
//!
//! `pages` writes it. The text is simple enough to be written here without a library. The chart has a background of its own
//! and follows the color scheme of its reader, so that it is readable on light and on dark pages.

use std::fmt::Write;

use crate::{case::Case, peer::Peer, results::Results};

const WIDTH: usize = 840;
const HEIGHT: usize = 330;
const MARGIN: usize = 20;
/// Top and bottom of the bars.
const TOP: usize = 100;
const BOTTOM: usize = 285;
/// Free part on both sides of a panel, in pixels.
const GAP: usize = 8;
/// Room for one character of the legend, in pixels. Most are narrower.
const LEGEND_CHARACTER: usize = 6;

const STYLE: &str = "text{font:12px sans-serif;fill:#1f2328}.t{font-size:16px;font-weight:bold}.l{font-size:11px}.v{font-size:10px}\
                     .b{fill:#fff}.a{stroke:#8c959f}\
                     @media(prefers-color-scheme:dark){text{fill:#e6edf3}.b{fill:#0d1117}}";

/// Color of a peer's bars, distinct from the others and readable on white and on black.
fn color(peer: Peer) -> &'static str {
    match peer {
        Peer::Direct | Peer::Nginx => "#8c959f",
        Peer::Envoy | Peer::EnvoyModules(_) => "#b07be0",
        Peer::Llmux | Peer::LlmuxPlugins(_) => "#2f81f7",
        Peer::LlmuxFour => "#db8b0b",
        Peer::LlmuxHit => "#3fa34d",
    }
}

/// Draws the chart. Without results, it has a title and the command that measures.
pub(crate) fn svg(results: &Results) -> String {
    let peers: Vec<Peer> = results.peers().into_iter().filter(|&peer| peer != Peer::Direct).collect();
    let cases: Vec<Case> = results.cases().into_iter().filter(|case| case.is_costed()).collect();
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">
<title>Processor time per request, by case and gateway</title>
<style>{STYLE}</style>
<rect class="b" width="{WIDTH}" height="{HEIGHT}" rx="6"/>
<text class="t" x="{MARGIN}" y="30">Processor time of the gateway per request, in µs (less is better)</text>
"#
    );
    if peers.is_empty() || cases.is_empty() {
        text(
            &mut svg,
            "",
            (MARGIN, 60),
            "start",
            "not measured: cargo run --release -p llmux-bench -- --write",
        );
    } else {
        legend(&mut svg, &peers);
        let width = (WIDTH - 2 * MARGIN) / cases.len();
        for (at, &case) in cases.iter().enumerate() {
            panel(&mut svg, results, case, &peers, MARGIN + at * width, width);
        }
        text(&mut svg, "", (MARGIN, HEIGHT - 8), "start", "Each case has a scale of its own.");
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String, peers: &[Peer]) {
    let mut x = MARGIN;
    for &peer in peers {
        let _ = writeln!(svg, r#"<rect x="{x}" y="46" width="12" height="12" fill="{}"/>"#, color(peer));
        text(svg, "l", (x + 17, 56), "start", peer.title());
        x += 36 + LEGEND_CHARACTER * peer.title().len();
    }
}

/// Draws the bars of one case.
fn panel(svg: &mut String, results: &Results, case: Case, peers: &[Peer], left: usize, width: usize) {
    let of = |peer: Peer| results.median(case, peer, |round| round.processor_us);
    let largest = peers.iter().filter_map(|&peer| of(peer)).fold(f64::MIN_POSITIVE, f64::max);
    let bar = (width - 2 * GAP) / peers.len();
    for (at, &peer) in peers.iter().enumerate() {
        let Some(figure) = of(peer) else { continue };
        let height = ((BOTTOM - TOP) as f64 * figure / largest).round() as usize;
        let (x, y) = (left + GAP + at * bar, BOTTOM - height);
        let drawn = bar.saturating_sub(3).max(1);
        let fill = color(peer);
        let _ = writeln!(svg, r#"<rect x="{x}" y="{y}" width="{drawn}" height="{height}" fill="{fill}"/>"#);
        let digits = usize::from(figure < 10.0);
        text(svg, "v", (x + drawn / 2, y - 4), "middle", &format!("{figure:.digits$}"));
    }
    let (from, to) = (left + GAP / 2, left + width - GAP / 2);
    let _ = writeln!(svg, r#"<line class="a" x1="{from}" y1="{BOTTOM}" x2="{to}" y2="{BOTTOM}"/>"#);
    text(svg, "", (left + width / 2, BOTTOM + 18), "middle", case.name());
}

/// Writes a text. The texts are of this program and have no character that XML escapes.
fn text(svg: &mut String, class: &str, (x, y): (usize, usize), anchor: &str, text: &str) {
    let _ = writeln!(svg, r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn a_bar_is_as_high_as_its_share_of_the_largest() {
        let results =
            sample(Case::C64, &[(Peer::Direct, &[1.0]), (Peer::Nginx, &[10.0]), (Peer::Llmux, &[40.0])]);
        let svg = svg(&results);
        let full = BOTTOM - TOP;
        assert!(svg.contains(&format!(r##"height="{full}" fill="#2f81f7""##)), "{svg}");
        let quarter = (full as f64 / 4.0).round();
        assert!(svg.contains(&format!(r##"height="{quarter}" fill="#8c959f""##)), "{svg}");
        assert!(svg.contains(">10<") && svg.contains(">40<") && svg.contains(">c64<"), "{svg}");
        assert!(!svg.contains("no gateway"), "{svg}");
    }

    #[test]
    fn without_results_the_chart_names_the_command() {
        assert!(svg(&Results::default()).contains("llmux-bench -- --write"));
    }
}
