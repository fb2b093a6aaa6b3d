//! The secret of the ids of stored responses: `[server] response_id_secret`.
//!
//! `serve` reads it at the start. It stands in the environment or in a file of its own, never in the configuration.

use llmux_core::provider::Secret;
use llmux_terminal::Result;

use super::{
    file::Loaded,
    provider::{secret, source},
};

/// Shortest secret, in bytes.
const MIN: usize = 32;

/// Returns the secret; `None` if the configuration names none.
///
/// # Errors
///
/// Names the place in the file if the secret cannot be read, or is too short.
pub(crate) fn response_id_secret(loaded: &Loaded) -> Result<Option<Secret>> {
    let Some(place) = &loaded.config.server.response_id_secret else { return Ok(None) };
    let source = source(loaded, place.get_ref())?;
    let secret = secret(loaded, "`response_id_secret` is read", place.span(), source)?;
    if secret.expose().len() < MIN {
        let message =
            format!("`response_id_secret` has fewer than {MIN} bytes; make one with `openssl rand -hex 32`");
        return Err(loaded.problem(Some(place.span()), message));
    }
    Ok(Some(secret))
}
