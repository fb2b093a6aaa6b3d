//! Code of `configuration.md`: the checks of the schema and of the plugin. Compiled and run by
//! `llmux-abi/example-tests`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use llmux_abi::prelude::*;
use llmux_core::{
    PluginSpec,
    plugins::{Change, Setting},
};
use llmux_testing::Harness;
use serde_json::{Value as Json, json};

/// Configuration that the operator writes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Text that is put before every question.
    prefix: String,
    /// Audience of the answers.
    #[serde(default)]
    audience: Audience,
    /// Longest question, in bytes.
    #[serde(default = "longest")]
    #[schemars(range(min = 1, max = 1_000_000))]
    max_bytes: usize,
    /// Models whose requests stay unchanged.
    #[serde(default)]
    except: Vec<String>,
}

#[derive(Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Audience {
    #[default]
    Everybody,
    Staff,
}

fn longest() -> usize {
    10_000
}

struct Prefix {
    config: Config,
}

impl Plugin for Prefix {
    type Config = Config;

    fn new(config: Config, _host: Host) -> Result<Self> {
        // A schema cannot compare two members.
        if config.prefix.len() > config.max_bytes {
            return Err(Error::new("`prefix` is longer than `max_bytes`"));
        }
        Ok(Self { config })
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let Config { prefix, audience, max_bytes, except } = &self.config;
        let is_meant = *audience == Audience::Everybody || ctx.team() == Some("staff");
        if !is_meant || except.iter().any(|model| model == request.model()) {
            return Ok(Flow::Continue);
        }
        if request.last_user_text().is_some_and(|text| text.len() > *max_bytes) {
            return Ok(ShortCircuit::reject(Error::invalid_request("the question is too long")).into());
        }
        request.prepend_message("system", prefix)?;
        Ok(Flow::Continue)
    }
}

#[derive(Deserialize, JsonSchema)]
struct Limit {
    questions: u64,
}

/// Refuses questions beyond a number, across changes of that number.
struct Limited {
    limit: u64,
    asked: Arc<AtomicU64>,
}

impl Plugin for Limited {
    type Config = Limit;

    fn new(config: Limit, _host: Host) -> Result<Self> {
        Ok(Self { limit: config.questions, asked: Arc::default() })
    }

    fn renew(old: &Self, config: Limit, host: Host) -> Result<Self> {
        Ok(Self { asked: old.asked.clone(), ..Self::new(config, host)? })
    }

    async fn pre_hook(&self, _ctx: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        match self.asked.fetch_add(1, Ordering::Relaxed) < self.limit {
            true => Ok(Flow::Continue),
            false => Ok(ShortCircuit::reject(Error::rate_limited("that was enough")).into()),
        }
    }
}

#[tokio::test]
async fn a_renewed_instance_counts_on() {
    let limited = PluginSpec::of::<Limited>("limited").with_config(json!({"questions": 1}));
    let harness = Harness::builder().spec(limited).build().await;
    harness.chat("one").await.assert_ok();
    harness.chat("two").await.assert_rejected(429);
    let change = Change::Update {
        name: "limited".to_owned(),
        priority: Setting::Keep,
        on_error: Setting::Keep,
        config: Setting::Set(json!({"questions": 3})),
    };
    harness.client().plugins().change(vec![change]).await.expect("changed");
    harness.chat("three").await.assert_ok();
    harness.chat("four").await.assert_rejected(429);
}

fn with(config: Json) -> llmux_testing::HarnessBuilder {
    Harness::builder().spec(PluginSpec::of::<Prefix>("prefix").with_config(config))
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_by_its_member() {
    for (config, why) in [
        (json!({}), "\"prefix\" is a required property"),
        (json!({"prefix": 7}), "`/prefix`: 7 is not of type \"string\""),
        (json!({"prefix": "", "max_bytes": 0}), "`/max_bytes`: 0 is less than the minimum of 1"),
        (json!({"prefix": "", "prefx": ""}), "there is no member `prefx`; is `prefix` meant?"),
        (json!({"prefix": "", "audience": "me"}), "`/audience`: a string is not one of"),
        (json!({"prefix": "long", "max_bytes": 3}), "could not be made: `prefix` is longer than `max_bytes`"),
    ] {
        let error = with(config.clone()).try_build().await.err().expect("refused").to_string();
        assert!(error.contains(why), "{config}: {error}");
    }
}

#[tokio::test]
async fn a_right_one_is_used() {
    let harness = with(json!({"prefix": "Hear:", "max_bytes": 10})).build().await;
    harness.chat("Hi").await.assert_ok();
    harness.assert_sent("/messages/0/content", "Hear:");
    harness.chat("eleven bytes").await.assert_rejected(400);
    let staff = with(json!({"prefix": "Hear:", "audience": "staff"})).build().await;
    staff.chat("Hi").await.assert_ok();
    staff.assert_sent("/messages/0/content", "Hi");
}
