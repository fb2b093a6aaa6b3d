//! Picks a model by the size of the prompt: a small model for short prompts, a large model for long ones.
//!
//! Acts on requests for one model name, `auto` unless configured. A request that names any other model keeps that
//! model.
//!
//! `config = { routes = [{ model = "small", up_to_tokens = 2000 }, { model = "large" }] }`
use llmux_abi::prelude::*;

/// The configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Model name that selects routing.
    #[serde(default = "auto")]
    model: String,
    /// The routes, in ascending order of `up_to_tokens`.
    routes: Vec<Route>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    /// Name of the model.
    model: String,
    /// Size of the largest prompt for this model, in tokens, estimated as a quarter of the bytes. Not set on the last
    /// route, which takes all larger prompts.
    up_to_tokens: Option<usize>,
}

fn auto() -> String {
    "auto".to_owned()
}

/// The plugin, with its routes.
pub struct ModelRouter {
    config: Config,
}

impl Plugin for ModelRouter {
    type Config = Config;

    fn new(config: Config, _host: Host) -> Result<Self> {
        let Some((last, others)) = config.routes.split_last() else {
            return Err(Error::new("`routes` is empty"));
        };
        if last.up_to_tokens.is_some() {
            return Err(Error::new(
                "the last route must not set `up_to_tokens`: it takes all larger prompts",
            ));
        }
        let limits: Option<Vec<usize>> = others.iter().map(|route| route.up_to_tokens).collect();
        if !limits.is_some_and(|limits| limits.is_sorted()) {
            return Err(Error::new("all other routes must set `up_to_tokens`, in ascending order"));
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

/// Returns the size of the prompt in bytes. Copies nothing and parses only the path to the prompt.
fn size(request: &Request<'_>) -> usize {
    let places = ["/messages", "/input", "/prompt", "/instructions"];
    places.iter().filter_map(|place| request.text(place)).map(str::len).sum()
}

export_plugin!(ModelRouter, name: "model-router", priority: 100);
