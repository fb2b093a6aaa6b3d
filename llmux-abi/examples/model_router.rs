//! Picks a model by the size of the prompt: short questions go to a small model, long ones to a large one.
//!
//! Acts on requests for one model name, `auto` unless configured, so that whoever names a real model gets it.
//!
//! `config = { routes = [{ model = "small", up_to_tokens = 2000 }, { model = "large" }] }`
use llmux_abi::prelude::*;

/// Its configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model name that asks for routing.
    #[serde(default = "auto")]
    model: String,
    /// Where to go, in ascending order of size.
    routes: Vec<Route>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    /// The model.
    model: String,
    /// The largest prompt it is asked, in tokens, estimated as a quarter of the bytes. None on the last route: it takes
    /// the rest.
    up_to_tokens: Option<usize>,
}

fn auto() -> String {
    "auto".to_owned()
}

/// Picks a model by the prompt's size.
pub struct ModelRouter {
    config: Config,
}

impl Plugin for ModelRouter {
    type Config = Config;

    fn new(config: Config, _host: Host) -> Result<Self> {
        let Some((last, others)) = config.routes.split_last() else {
            return Err(Error::new("`routes` names no model"));
        };
        if last.up_to_tokens.is_some() {
            return Err(Error::new("the last of `routes` takes every prompt: it has no `up_to_tokens`"));
        }
        let limits: Option<Vec<usize>> = others.iter().map(|route| route.up_to_tokens).collect();
        if !limits.is_some_and(|limits| limits.is_sorted()) {
            return Err(Error::new("`routes` are in ascending order of `up_to_tokens`"));
        }
        Ok(Self { config })
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        if request.model() != self.config.model {
            return Ok(Flow::Continue);
        }
        let tokens = size(request) / 4;
        let fits = |route: &&Route| route.up_to_tokens.is_none_or(|most| tokens <= most);
        if let Some(route) = self.config.routes.iter().find(fits) {
            debug!(tokens, model = route.model, "routed");
            request.set_model(&route.model)?;
            ctx.set_response_header("x-routed-model", &route.model)?;
        }
        Ok(Flow::Continue)
    }
}

/// The bytes of the prompt. Nothing is copied and only the path to it is opened.
fn size(request: &Request<'_>) -> usize {
    let places = ["/messages", "/input", "/prompt", "/instructions"];
    places.iter().filter_map(|place| request.text(place)).map(str::len).sum()
}

export_plugin!(ModelRouter, name: "model-router", priority: 100);
