//! `llmux plugin list --path`: the way of a request through the instances, and back.
//!
//! `plugin` calls it. The list of the admin API has everything that it draws. Deliberately absent: a prediction. A manifest does
//! not say which plugins answer requests, so the table shows where requests went back so far.

use llmux_terminal::{Result, Tone};
use reqwest::Method;
use serde_json::{Value, json};

use super::admin_client::AdminClient;

const HEADER: [&str; 7] =
    ["WAY", "PRIORITY", "INSTANCE", "PLAIN", "STREAMED", "WENT BACK HERE", "WENT BACK BEFORE"];

/// A hook, and the part of a plain and of a streamed request that it sees; empty if it is not called.
type Sight = (&'static str, &'static str, &'static str);

const REQUEST: [Sight; 3] =
    [("pre_hook", "request", ""), ("pre_stream_hook", "", "request"), ("on_text", "texts", "texts")];

const BESIDE: [Sight; 1] = [("beside", "request", "request")];

const ANSWER: [Sight; 5] = [
    ("on_text", "texts", "texts"),
    ("on_tool_call", "tool calls", "tool calls"),
    ("on_stream_chunk", "", "chunks"),
    ("post_stream_hook", "", "end"),
    ("post_hook", "answer", ""),
];

const REPORT: [Sight; 1] = [("on_complete", "report", "report")];

/// Shows the table.
pub(super) async fn show(admin: &AdminClient) -> Result<()> {
    let (_, list) = admin.send(Method::GET, &[], None).await?;
    llmux_terminal::print_table(&HEADER, rows(list["plugins"].as_array().map_or(&[], Vec::as_slice)))?;
    llmux_terminal::print(
        "If an instance answers or refuses a request, the request goes back from there: the answer passes this instance and \
         those before it. The instances behind it see neither. A hook beside the call runs while the provider is called. Every \
         `on_complete` hook receives the report.\n",
    )
}

/// An instance of the pipeline.
struct Step<'a> {
    info: &'a Value,
    /// Numbers of requests that went back before this instance: all, and those with an answer from a cache.
    before: (u64, u64),
}

fn rows(list: &[Value]) -> Vec<Vec<(String, Tone)>> {
    let mut before = (0, 0);
    let mut steps = Vec::new();
    for info in list.iter().filter(|info| is_in_pipeline(info)) {
        steps.push(Step { info, before });
        let (all, cached) = short_circuits(info);
        before = (before.0 + all, before.1 + cached);
    }
    let provider = ["provider", "", "", "", "", "", ""].map(|cell| (cell.to_owned(), Tone::Muted)).into();
    let request = steps.iter().filter_map(|step| step.row("request", &REQUEST));
    let beside = steps.iter().filter_map(|step| step.row("beside", &BESIDE));
    let answer = steps.iter().rev().filter_map(|step| step.row("answer", &ANSWER));
    let report = steps.iter().filter_map(|step| step.row("report", &REPORT));
    request.chain([provider]).chain(beside).chain(answer).chain(report).collect()
}

/// Returns true for an instance that requests pass: also one that could not be made and fails each request.
fn is_in_pipeline(info: &Value) -> bool {
    let has_hooks = info["implements"].as_array().is_some_and(|hooks| !hooks.is_empty());
    has_hooks && matches!(info["state"].as_str(), Some("active" | "failed"))
}

fn short_circuits(info: &Value) -> (u64, u64) {
    let number = |member: &str| info[member].as_u64().unwrap_or_default();
    (number("short_circuits"), number("cached"))
}

impl Step<'_> {
    /// Returns the row of a part of the way; `None` if the instance sees nothing there.
    fn row(&self, way: &str, sights: &[Sight]) -> Option<Vec<(String, Tone)>> {
        let has =
            |hook: &str| self.info["implements"].as_array().is_some_and(|hooks| hooks.contains(&json!(hook)));
        let seen: Vec<_> = sights.iter().filter(|(hook, ..)| has(hook)).collect();
        if seen.is_empty() {
            return None;
        }
        let join = |parts: Vec<&str>| {
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
        };
        let plain = join(seen.iter().map(|(_, plain, _)| *plain).collect());
        let streams = self.info["streams"].as_str();
        let is_whole = streams == Some("whole");
        let streamed = join(
            seen.iter()
                .map(
                    |(hook, _, streamed)| {
                        if is_whole && *hook == "post_hook" { "whole answer" } else { streamed }
                    },
                )
                .collect(),
        );
        let streamed = match streamed.is_empty() {
            true if streams == Some("unseen") => ("not seen (intended)".to_owned(), Tone::Muted),
            true => ("not seen".to_owned(), Tone::Bad),
            false => (streamed, Tone::Plain),
        };
        let plain = if plain.is_empty() { ("-".to_owned(), Tone::Muted) } else { (plain, Tone::Plain) };
        let text = |member: &str| self.info[member].as_str().unwrap_or_default();
        let name = match text("state") {
            "failed" => (format!("{} (failed)", text("name")), Tone::Bad),
            _ => (text("name").to_owned(), Tone::Plain),
        };
        let (here, before) = match way {
            "request" => (went_back(short_circuits(self.info)), went_back(self.before)),
            "beside" | "answer" => ("-".to_owned(), went_back(self.before)),
            _ => ("-".to_owned(), "-".to_owned()),
        };
        // A guard does not see an answer that a cache before it gives.
        let is_passed_by = before != "-" && self.before.1 > 0 && text("on_error") == "fail";
        Some(vec![
            (way.to_owned(), Tone::Muted),
            (self.info["priority"].to_string(), Tone::Plain),
            name,
            plain,
            streamed,
            (here, Tone::Plain),
            (before, if is_passed_by { Tone::Bad } else { Tone::Plain }),
        ])
    }
}

fn went_back((all, cached): (u64, u64)) -> String {
    match (all, cached) {
        (0, _) => "-".to_owned(),
        (all, 0) => all.to_string(),
        (all, cached) => format!("{all} ({cached} from a cache)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(list: &[Value]) -> Vec<String> {
        let line =
            |row: &Vec<(String, Tone)>| row.iter().map(|(cell, _)| &**cell).collect::<Vec<_>>().join("|");
        rows(list).iter().map(line).collect()
    }

    fn instance(name: &str, priority: i32, implements: &[&str], short_circuits: (u64, u64)) -> Value {
        json!({"name": name, "priority": priority, "state": "active", "on_error": "continue", "implements": implements,
            "short_circuits": short_circuits.0, "cached": short_circuits.1})
    }

    #[test]
    fn a_request_goes_down_and_the_answer_goes_up() {
        let list = [
            instance("limit", 1, &["pre_hook", "pre_stream_hook", "on_complete"], (5, 0)),
            instance(
                "cache",
                10,
                &["pre_hook", "pre_stream_hook", "post_hook", "on_stream_chunk", "post_stream_hook"],
                (3, 3),
            ),
            instance("mask", 20, &["on_text", "post_hook"], (0, 0)),
            instance("moderation", 30, &["beside"], (0, 0)),
            instance("log", 500, &["on_complete"], (0, 0)),
        ];
        assert_eq!(
            drawn(&list),
            [
                "request|1|limit|request|request|5|-",
                "request|10|cache|request|request|3 (3 from a cache)|5",
                "request|20|mask|texts|texts|-|8 (3 from a cache)",
                "provider||||||",
                "beside|30|moderation|request|request|-|8 (3 from a cache)",
                "answer|20|mask|texts, answer|texts|-|8 (3 from a cache)",
                "answer|10|cache|answer|chunks, end|-|5",
                "report|1|limit|report|report|-|-",
                "report|500|log|report|report|-|-",
            ]
        );
    }

    #[test]
    fn a_guard_that_a_cache_passes_by_is_marked_and_so_are_streams_that_are_not_seen() {
        let mut guard = instance("guard", 20, &["post_hook"], (0, 0));
        let cache = instance("cache", 10, &["pre_hook"], (1, 1));
        let tones = |guard: &Value| {
            rows(&[cache.clone(), guard.clone()])[2].iter().map(|(_, tone)| *tone).collect::<Vec<_>>()
        };
        assert_eq!((tones(&guard)[4], tones(&guard)[6]), (Tone::Bad, Tone::Plain));
        guard["on_error"] = json!("fail");
        assert_eq!(tones(&guard)[6], Tone::Bad);
        assert_eq!(drawn(&[guard.clone()])[1], "answer|20|guard|answer|not seen|-|-");
        guard["streams"] = json!("unseen");
        assert_eq!(drawn(&[guard.clone()])[1], "answer|20|guard|answer|not seen (intended)|-|-");
        guard["streams"] = json!("whole");
        assert_eq!(drawn(&[guard])[1], "answer|20|guard|answer|whole answer|-|-");
    }

    #[test]
    fn only_instances_of_the_pipeline_are_on_the_way() {
        let with = |state: &str, hooks: &[&str]| {
            let mut instance = instance("one", 1, hooks, (0, 0));
            instance["state"] = json!(state);
            drawn(&[instance]).len() - 1
        };
        assert_eq!((with("active", &["pre_hook"]), with("failed", &["pre_hook"])), (1, 1));
        assert_eq!(
            (with("disabled", &["pre_hook"]), with("draining", &["pre_hook"]), with("failed", &[])),
            (0, 0, 0)
        );
    }
}
