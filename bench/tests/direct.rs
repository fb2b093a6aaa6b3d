//! The benchmark end to end without a gateway: the mock provider in its process, a short load of each kind, and the report.

#![cfg(target_os = "linux")]

use std::{fs, process::Command};

#[test]
fn a_run_without_a_gateway_measures_every_kind_of_response() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("results.json");
    let output = Command::new(env!("CARGO_BIN_EXE_llmux-bench"))
        .args([
            "--peers",
            "direct",
            "--cases",
            "c1,sse20-c16,slow-stream",
            "--rounds",
            "2",
            "--seconds",
            "0.1",
        ])
        .arg("--json")
        .arg(&file)
        .output()
        .expect("the benchmark");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let results: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(file).expect("the results")).expect("JSON");
    let series = results["series"].as_array().expect("series");
    let cases: Vec<&str> = series.iter().filter_map(|series| series["case"].as_str()).collect();
    assert_eq!(cases, ["c1", "sse20-c16", "slow-stream"]);
    for series in series {
        let rounds = series["rounds"].as_array().expect("rounds");
        assert_eq!(rounds.len(), 2, "{series}");
        for round in rounds {
            assert!(round["requests"].as_u64().is_some_and(|requests| requests > 0), "{series}");
            assert_eq!(round["processor_us"], serde_json::Value::Null, "no gateway: {series}");
            let has_delay = round["delay_p99_us"].as_f64().is_some_and(|delay| delay > 0.0);
            assert_eq!(has_delay, series["case"] == "slow-stream", "{series}");
        }
    }
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("Requests per second") && report.contains("no gateway"), "{report}");
}
