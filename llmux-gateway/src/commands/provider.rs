//! `llmux provider list`: the deployments of a running server, with their state and figures.

use llmux_terminal::{Result, Tone};
use reqwest::Method;
use serde_json::Value;

use super::{
    admin_client::AdminClient,
    cli::{Provider, ProviderCommand},
};

/// Runs the command.
pub(crate) async fn run(options: Provider) -> Result<()> {
    let admin = AdminClient::new(
        &options.server.admin,
        options.server.token_file.as_deref(),
        options.server.admin_timeout,
    )?;
    let ProviderCommand::List { json } = options.command;
    let (_, value) = admin.send_to(Method::GET, &["admin", "providers"], None).await?;
    if json {
        return llmux_terminal::print_json(&value);
    }
    let header = [
        "PROVIDER",
        "DEPLOYMENT",
        "MODELS",
        "STATE",
        "ORDER",
        "WEIGHT",
        "TRIES",
        "FAILURES",
        "IN A ROW",
        "FAILOVERS",
        "IN FLIGHT",
        "MEAN/P50/P99 MS",
    ];
    let deployments = list(&value["providers"]).iter().flat_map(|provider| list(&provider["deployments"]));
    llmux_terminal::print_table(&header, deployments.map(row).collect())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn row(deployment: &Value) -> Vec<(String, Tone)> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let models = list(&deployment["models"]);
    // One value if it is the same for all models.
    let each = |member: &str| {
        let mut values: Vec<_> = models.iter().map(|model| text(&model[member])).collect();
        values.dedup();
        values.join(",")
    };
    let count = |member: &str| (text(&deployment[member]), Tone::Plain);
    let bad = |text: String, is_bad: bool| (text, if is_bad { Tone::Bad } else { Tone::Plain });
    let state = match (deployment["state"].as_str(), deployment["rests_for_seconds"].as_f64()) {
        (Some("active"), _) => ("active".to_owned(), Tone::Good),
        (Some(state), Some(rest)) => (format!("{state} ({rest:.0} s)"), Tone::Bad),
        (state, _) => (state.unwrap_or("-").to_owned(), Tone::Bad),
    };
    let failures: Vec<_> = deployment["failures"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let failed = !failures.is_empty();
    let in_a_row = deployment["failures_in_a_row"].as_u64().unwrap_or_default();
    let latency = &deployment["latency"];
    let latency = ["mean_ms", "p50_ms", "p99_ms"].map(|member| text(&latency[member])).join("/");
    vec![
        count("provider"),
        count("deployment"),
        (each("model"), Tone::Plain),
        state,
        (each("order"), Tone::Plain),
        (each("weight"), Tone::Plain),
        count("tries"),
        bad(if failed { failures.join(", ") } else { "-".to_owned() }, failed),
        bad(in_a_row.to_string(), in_a_row > 0),
        count("failovers"),
        count("in_flight"),
        (latency, Tone::Muted),
    ]
}
