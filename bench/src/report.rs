//! The report of a run: tables, in the terminal and as Markdown.
//!
//! `main` prints it, `pages` writes it. Both have the same tables. Deliberately absent: the plot.

use llmux_terminal::{Tone, print, print_table};

use crate::{
    case::Case,
    peer::Peer,
    per_plugin,
    results::{Figure, Results},
    targets::TARGETS,
};

/// Text of a figure that was not measured.
const NONE: &str = "–";

/// A table with its caption.
struct Table {
    caption: &'static str,
    header: Vec<String>,
    rows: Vec<Vec<(String, Tone)>>,
}

/// Prints the tables.
///
/// # Errors
///
/// If standard output cannot be written to.
pub(crate) fn print_report(results: &Results) -> llmux_terminal::Result<()> {
    for table in tables(results) {
        print(&format!("\n{}\n\n", table.caption))?;
        let header: Vec<&str> = table.header.iter().map(|title| &**title).collect();
        print_table(&header, table.rows)?;
    }
    print(&format!("\n{}\n", circumstances(results)))
}

/// Returns the tables as Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = format!("{}\n", circumstances(results));
    for table in tables(results) {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        text += &format!("\n{}:\n\n", table.caption);
        text += &line(table.header.iter().map(|title| &**title).collect());
        text += &format!("|{}\n", "---|".repeat(table.header.len()));
        for row in &table.rows {
            text += &line(row.iter().map(|(cell, _)| &**cell).collect());
        }
    }
    text
}

/// One line that says when the figures hold.
fn circumstances(results: &Results) -> String {
    let versions: Vec<_> = results
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}").trim_end().to_owned())
        .collect();
    let versions = if versions.is_empty() { "no gateway".to_owned() } else { versions.join(", ") };
    let Results { machine, seconds, rounds, .. } = results;
    format!("{machine}; {versions}; medians of {rounds} rounds of {seconds} s.")
}

fn tables(results: &Results) -> Vec<Table> {
    let per_plugin = per_plugin::rows(results);
    if !per_plugin.is_empty() {
        return vec![per_plugin_table(per_plugin)];
    }
    let costed: Vec<Case> = results.cases().into_iter().filter(|case| case.is_costed()).collect();
    let by_case = |caption, cell: &dyn Fn(Case, Peer) -> String| {
        let header = std::iter::once("gateway").chain(costed.iter().map(|case| case.name()));
        let rows = results.peers().into_iter().map(|peer| {
            let cells = costed.iter().map(|&case| cell(case, peer));
            std::iter::once(title(peer)).chain(cells).map(plain).collect()
        });
        Table { caption, header: header.map(str::to_owned).collect(), rows: rows.collect() }
    };
    let median = |case, peer, figure: Figure| results.median(case, peer, figure);
    let mut tables = Vec::new();
    if !costed.is_empty() {
        let mut processor = by_case("Processor time of the gateway per request, in µs", &|case, peer| {
            number(median(case, peer, |round| round.processor_us))
        });
        processor.rows.retain(|row| row[0].0 != title(Peer::Direct));
        if results.peers().contains(&Peer::Direct) {
            let load = costed
                .iter()
                .map(|&case| number(median(case, Peer::Direct, |round| Some(round.load_processor_us))));
            let name = "(the load generator itself)".to_owned();
            processor.rows.push(std::iter::once(name).chain(load).map(plain).collect());
        }
        tables.push(processor);
        tables.push(by_case("Requests per second", &|case, peer| {
            number(median(case, peer, |round| Some(round.requests_per_second)))
        }));
        tables.push(by_case("Latency, median / 99th percentile, in ms", &|case, peer| {
            let middle = median(case, peer, |round| Some(round.latency_p50_us / 1e3));
            let high = median(case, peer, |round| Some(round.latency_p99_us / 1e3));
            format!("{} / {}", number(middle), number(high))
        }));
    }
    tables.push(bodies_and_events(results));
    tables.push(targets(results));
    tables
}

/// The table of memory, and of the delay of events.
fn bodies_and_events(results: &Results) -> Table {
    let rows = results.peers().into_iter().filter(|&peer| peer != Peer::Direct).map(|peer| {
        let added = |figure| number(results.difference(Case::SlowStream, peer, Peer::Direct, figure));
        let cells = [
            title(peer),
            number(results.memory_under_load(peer)),
            number(results.median(Case::Burst, peer, |round| round.memory_mb)),
            format!("{} / {}", added(|round| round.delay_p50_us), added(|round| round.delay_p99_us)),
        ];
        cells.map(plain).into()
    });
    let header = [
        "gateway",
        "memory under load, MB",
        "memory after `burst`, MB",
        "added delay of an event, median / 99th percentile, µs",
    ];
    Table {
        caption: "Resident memory, and the delay that the gateway adds to an event of `slow-stream`",
        header: header.map(str::to_owned).into(),
        rows: rows.collect(),
    }
}

/// The table of the cost per plugin.
fn per_plugin_table(rows: Vec<per_plugin::Row>) -> Table {
    let counts = per_plugin::COUNTS.map(|count| count.to_string());
    let header = ["case", "gateway"].map(str::to_owned).into_iter().chain(counts);
    let row = |row: per_plugin::Row| {
        let name = [row.case.name(), row.title].map(str::to_owned);
        let figures = row.processor_us.map(number).into_iter().chain([precise(row.slope_us)]);
        name.into_iter().chain(figures).map(plain).collect()
    };
    Table {
        caption: "Processor time of the gateway per request, in µs, with 1, 4, 16 and 64 empty plugins or modules, and the \
                  cost of one of them",
        header: header.chain(["one more".to_owned()]).collect(),
        rows: rows.into_iter().map(row).collect(),
    }
}

fn targets(results: &Results) -> Table {
    let rows = TARGETS.iter().map(|target| {
        let figure = target.figure(results);
        let (met, tone) = match figure.map(|figure| target.is_met(figure)) {
            Some(true) => ("met", Tone::Good),
            Some(false) => ("not met", Tone::Bad),
            None => ("not measured", Tone::Muted),
        };
        let name = (target.name.to_owned(), Tone::Plain);
        vec![name, (target.bound(), Tone::Plain), (precise(figure), Tone::Plain), (met.to_owned(), tone)]
    });
    Table {
        caption: "Targets",
        header: ["figure", "target", "measured", ""].map(str::to_owned).into(),
        rows: rows.collect(),
    }
}

fn title(peer: Peer) -> String {
    format!("{} (`{}`)", peer.title(), peer.name())
}

fn plain(text: String) -> (String, Tone) {
    (text, Tone::Plain)
}

/// Formats a figure with three digits, or more if it has more before the point.
fn number(figure: Option<f64>) -> String {
    figure.map_or_else(
        || NONE.to_owned(),
        |figure| match figure.abs() {
            ..1.0 => format!("{figure:.3}"),
            ..10.0 => format!("{figure:.2}"),
            ..100.0 => format!("{figure:.1}"),
            _ => format!("{figure:.0}"),
        },
    )
}

/// Formats a figure that is compared with a bound. It has three digits after the point, so that a figure above its bound does
/// not look like one at its bound.
fn precise(figure: Option<f64>) -> String {
    figure.map_or_else(|| NONE.to_owned(), |figure| format!("{figure:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn markdown_has_a_row_for_each_gateway_and_a_column_for_each_case() {
        let peers: &[(Peer, &[f64])] =
            &[(Peer::Direct, &[1.0]), (Peer::Nginx, &[14.04, 14.0, 14.02]), (Peer::LlmuxFour, &[61.0])];
        let mut results = sample(Case::C64, peers);
        results.series.extend(sample(Case::Large, &peers[1..2]).series);
        let text = markdown(&results);
        assert!(text.contains("\n| gateway | c64 | 256k-c8 |\n|---|---|---|\n"), "{text}");
        assert!(text.contains("\n| nginx, plain proxy (`nginx`) | 14.0 | 14.0 |\n"), "{text}");
        assert!(text.contains("\n| llmux, four built-ins (`llmux-4`) | 61.0 | – |\n"), "{text}");
        assert!(text.contains("\n| (the load generator itself) | 7.00 | – |\n"), "{text}");
        assert_eq!(text.matches("no gateway (`direct`)").count(), 2, "throughput and latency");
    }

    #[test]
    fn the_cost_per_plugin_is_one_table_with_the_slope() {
        let times = [[12.0], [18.0], [42.0], [138.0]];
        let peers: Vec<_> = per_plugin::COUNTS.map(Peer::LlmuxPlugins).into_iter().zip(&times).collect();
        let peers: Vec<_> = peers.iter().map(|(peer, times)| (*peer, &times[..])).collect();
        let text = markdown(&sample(Case::Stream, &peers));
        assert!(text.contains("\n| case | gateway | 1 | 4 | 16 | 64 | one more |\n"), "{text}");
        let row = "\n| sse20-c16 | llmux, empty plugins | 12.0 | 18.0 | 42.0 | 138 | 2.000 |\n";
        assert!(text.contains(row), "{text}");
        assert!(!text.contains("Targets") && !text.contains("Envoy"), "{text}");
    }

    #[test]
    fn a_target_is_met_or_not_or_not_measured() {
        let results = sample(Case::C64, &[(Peer::Nginx, &[10.0]), (Peer::LlmuxHit, &[11.0])]);
        let text = markdown(&results);
        assert!(text.contains("`llmux-hit` / nginx | at most 1 | 1.100 | not met |\n"), "{text}");
        assert!(text.contains("`llmux` / Envoy | at most 0.75 | – | not measured |\n"), "{text}");
        let results = sample(Case::C64, &[(Peer::Nginx, &[10.0]), (Peer::LlmuxHit, &[10.0])]);
        assert!(markdown(&results).contains("at most 1 | 1.000 | met |\n"));
    }

    #[test]
    fn a_number_has_three_digits_or_all_before_the_point() {
        for (figure, text) in [(0.0123, "0.012"), (-5.678, "-5.68"), (14.04, "14.0"), (25_432.6, "25433")] {
            assert_eq!(number(Some(figure)), text);
        }
    }
}
