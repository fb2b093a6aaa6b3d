//! Refuses settings that make no sense, although each is of the right type: they would fail at the first request.
//!
//! `client` calls it first, at the start and at each reload. Deliberately absent: members that the types of `file` and
//! `server` check themselves.

use std::{collections::HashSet, time::Duration};

use llmux_core::client::DeploymentConfig;
use llmux_terminal::Result;

use super::file::{Loaded, Provider};

/// Longest time limit: a year. A longer one is a mistake in the unit.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Checks the configuration.
///
/// # Errors
///
/// The first member that makes no sense, with the values that do.
pub(super) fn check(loaded: &Loaded) -> Result<()> {
    let config = &loaded.config;
    let (server, pipeline, retry) = (&config.server, &config.pipeline, &config.retry);
    // True for those that may be zero.
    let times = [
        ("[server] read_timeout", Some(server.read_timeout), false),
        ("[server] write_timeout", Some(server.write_timeout), false),
        ("[server] idle_timeout", Some(server.idle_timeout), false),
        ("[server] drain_timeout", Some(server.drain_timeout), true),
        ("[server] shutdown_delay", Some(server.shutdown_delay), true),
        ("[server] keep_alive", Some(server.keep_alive), true),
        ("[server] early_head", server.early_head, false),
        ("[pipeline] pre_hook_timeout", pipeline.pre_hook_timeout, false),
        ("[pipeline] post_hook_timeout", pipeline.post_hook_timeout, false),
        ("[pipeline] stream_idle_timeout", pipeline.stream_idle_timeout, false),
        ("[pipeline] whole_stream_timeout", pipeline.whole_stream_timeout, false),
        ("[retry] initial_backoff", retry.initial_backoff, true),
        ("[retry] max_backoff", retry.max_backoff, true),
        ("[plugins] drain_timeout", config.plugins.drain_timeout, true),
        ("[plugins] max_drain", config.plugins.max_drain, true),
        ("[plugins] exclusive_wait", config.plugins.exclusive_wait, true),
    ];
    for (member, time, may_be_zero) in times {
        check_time(member, time, may_be_zero).map_err(|message| loaded.problem(None, message))?;
    }
    let sizes = [
        ("[server] max_body_bytes", server.max_body_bytes),
        ("[server] max_inflight_bytes", server.max_inflight_bytes),
    ];
    for (member, size) in sizes {
        check_size(member, Some(size)).map_err(|message| loaded.problem(None, message))?;
    }
    check_any_model(loaded)?;
    for provider in &config.providers {
        check_models(loaded, provider)?;
        let times = [
            ("connect_timeout", provider.connect_timeout, false),
            ("timeout", provider.timeout, false),
            ("idle_timeout", provider.idle_timeout, false),
            ("chunk_delay", provider.chunk_delay, true),
        ];
        let checked = times.into_iter().try_for_each(|(member, time, zero)| check_time(member, time, zero));
        let checked = checked.and_then(|()| check_size("max_response_bytes", provider.max_response_bytes));
        checked.map_err(|message| {
            let message = format!("provider `{}`: {message}", provider.name.get_ref());
            loaded.problem(Some(provider.name.span()), message)
        })?;
    }
    for fallback in &config.fallbacks {
        let model = fallback.model.get_ref();
        if fallback.to.as_slice().contains(model) {
            let message = format!("the model `{model}` is its own fallback; name another model in `to`");
            return Err(loaded.problem(Some(fallback.model.span()), message));
        }
    }
    Ok(())
}

/// Refuses several providers of every model (`*`) that do not share an order, and another name for them (rule F10).
fn check_any_model(loaded: &Loaded) -> Result<()> {
    let mut first: Option<(&str, u32)> = None;
    for provider in &loaded.config.providers {
        let name = provider.name.get_ref();
        for deployment in provider.deployments().filter(|deployment| deployment.model == "*") {
            let problem = |message| Err(loaded.problem(Some(provider.models.span()), message));
            if deployment.upstream_model != "*" {
                return problem(format!(
                    "provider `{name}` gives `*` another name; each model keeps its own"
                ));
            }
            match first {
                Some((other, order)) if order != deployment.order => {
                    return problem(format!(
                        "the providers `{other}` and `{name}` both serve `*`, so they need the same `order`"
                    ));
                }
                _ => first = Some((name, deployment.order)),
            }
        }
    }
    Ok(())
}

/// Refuses a provider that serves a model twice under one name: a request that failed would go there again, as to another
/// deployment.
fn check_models(loaded: &Loaded, provider: &Provider) -> Result<()> {
    let mut known = HashSet::new();
    let mut deployments = provider.deployments();
    let twice = deployments.find(|it| !known.insert((it.model.clone(), it.upstream_model.clone())));
    twice.map_or(Ok(()), |DeploymentConfig { model, .. }| {
        let name = provider.name.get_ref();
        let message = format!(
            "provider `{name}` serves the model `{model}` twice; name it once, with `weight` for its share"
        );
        Err(loaded.problem(Some(provider.models.span()), message))
    })
}

fn check_time(member: &str, time: Option<Duration>, may_be_zero: bool) -> Result<(), String> {
    match time {
        Some(Duration::ZERO) if !may_be_zero => Err(format!(
            "`{member}` is zero, so nothing could end in time; set a longer time, such as \"30s\""
        )),
        Some(time) if time > LONGEST => {
            Err(format!("`{member}` is longer than a year; set a shorter time, such as \"30s\""))
        }
        _ => Ok(()),
    }
}

fn check_size(member: &str, size: Option<usize>) -> Result<(), String> {
    match size {
        Some(0) => Err(format!("`{member}` is 0, so no body would be accepted; set a number of bytes")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_without_sense_are_refused_by_name() {
        const ECHO: &str = "\n[[provider]]\nname = 'a'\ntype = 'echo'\nmodels = ['m']\n";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("llmux.toml");
        let checked = |text: &str| {
            std::fs::write(&path, text).expect("written");
            let loaded = Loaded::read(Some(&path)).expect("a configuration");
            check(&loaded).map_err(|error| error.to_string())
        };
        for (text, named) in [
            ("[server]\nread_timeout = '0s'", "`[server] read_timeout` is zero"),
            ("[server]\nwrite_timeout = '0s'", "`[server] write_timeout` is zero"),
            ("[server]\nidle_timeout = '0s'", "`[server] idle_timeout` is zero"),
            ("[server]\nkeep_alive = '1000000h'", "`[server] keep_alive` is longer than a year"),
            ("[server]\nmax_body_bytes = 0", "`[server] max_body_bytes` is 0"),
            ("[server]\nmax_inflight_bytes = 0", "`[server] max_inflight_bytes` is 0"),
            (
                "[[provider]]\nname = 'b'\ntype = 'echo'\nmodels = ['*']\n[[provider]]\nname = 'c'\ntype = 'echo'\norder = 2\nmodels = ['*']",
                "the providers `b` and `c` both serve `*`, so they need the same `order`",
            ),
            (
                "[[provider]]\nname = 'b'\ntype = 'echo'\nmodels = [{ name = '*', upstream = 'x' }]",
                "provider `b` gives `*` another name",
            ),
            (
                "[[provider]]\nname = 'b'\ntype = 'echo'\nmodels = ['m', 'n', { name = 'm', weight = 2 }]",
                "provider `b` serves the model `m` twice",
            ),
            ("[pipeline]\npre_hook_timeout = '0s'", "`[pipeline] pre_hook_timeout` is zero"),
            ("[pipeline]\npost_hook_timeout = '0s'", "`[pipeline] post_hook_timeout` is zero"),
            ("[pipeline]\nstream_idle_timeout = '0s'", "`[pipeline] stream_idle_timeout` is zero"),
            ("[[fallback]]\nmodel = 'm'\nto = ['b', 'm']", ":2:9: the model `m` is its own fallback"),
        ] {
            let refused = checked(&format!("{text}{ECHO}")).expect_err(text);
            assert!(refused.contains(named), "{text}: {refused}");
        }
        for member in
            ["timeout = '0s'", "connect_timeout = '0s'", "idle_timeout = '0s'", "max_response_bytes = 0"]
        {
            let refused = checked(&format!("{ECHO}{member}")).expect_err(member);
            assert!(refused.contains(":3:8: provider `a`: `"), "{member}: {refused}");
        }
        let zeros = "[server]\ndrain_timeout = '0s'\nshutdown_delay = '0s'\nkeep_alive = '0s'\n\
                     [retry]\ninitial_backoff = '0s'\nmax_retries = 0\n[[fallback]]\nmodel = 'm'\nto = 'b'";
        checked(&format!("{zeros}{ECHO}")).expect("zeros that have a meaning");
    }
}
