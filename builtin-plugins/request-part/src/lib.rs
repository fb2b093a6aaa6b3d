//! Parts that tell requests apart: the API key, the user, a header, a value of the context.
//!
//! `rate-limit` makes the key of a limit of them, `cache` varies its answers by them. Deliberately absent: how values
//! become a key.

use llmux_abi::{Context, Error, REDACTED_HEADERS, Result, Value};

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Nothing: the part is equal for all requests. Configured as `global`.
    Global,
    /// The id of the API key. Configured as `api_key`.
    ApiKey,
    /// The user that the API key belongs to. Configured as `user`.
    User,
    /// The model that the request names. Configured as `model`.
    Model,
    /// A request header, by its name in lower case. Configured as `header:NAME`.
    Header(String),
    /// A value of the context. Configured as `value:NAME`.
    Value(String),
}

impl Part {
    /// Reads a part as an operator configures it.
    ///
    /// # Errors
    ///
    /// If the text names no part, or a header that plugins see redacted.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None => match text {
                "global" => Ok(Part::Global),
                "api_key" => Ok(Part::ApiKey),
                "user" => Ok(Part::User),
                "model" => Ok(Part::Model),
                _ => Err(unknown(text)),
            },
            Some(("header", name)) => {
                let name = name.to_ascii_lowercase();
                let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
                if name.is_empty() || !name.bytes().all(is_token) {
                    return Err(Error::new(format!("`{text}`: not a valid header name")));
                }
                if REDACTED_HEADERS.contains(&name.as_str()) {
                    let why =
                        "plugins see that header redacted, so it tells no requests apart; use `api_key`";
                    return Err(Error::new(format!("`{text}`: {why}")));
                }
                Ok(Part::Header(name))
            }
            Some(("value", name)) if !name.is_empty() => Ok(Part::Value(name.to_owned())),
            Some(_) => Err(unknown(text)),
        }
    }

    /// Returns the kind of the part, as it is configured, and the name of the header or value.
    pub fn name(&self) -> (&'static str, &str) {
        match self {
            Part::Global => ("global", ""),
            Part::ApiKey => ("api_key", ""),
            Part::User => ("user", ""),
            Part::Model => ("model", ""),
            Part::Header(name) => ("header:", name),
            Part::Value(name) => ("value:", name),
        }
    }

    /// Calls `see` with the request's value for this part, or with `None` if the request has no value.
    pub fn with_value<R>(&self, ctx: &Context<'_>, see: impl FnOnce(Option<&str>) -> R) -> R {
        match self {
            Part::Global => see(None),
            Part::ApiKey => see(ctx.key_id()),
            Part::User => see(ctx.user()),
            Part::Model => see(Some(ctx.model())),
            Part::Header(name) => see(ctx.header(name)),
            Part::Value(name) => match ctx.get_str(name) {
                Some(text) => see(Some(text)),
                None => match ctx.get(name) {
                    Some(Value::String(text)) => see(Some(&text)),
                    Some(Value::Integer(integer)) => see(Some(&integer.to_string())),
                    Some(Value::Float(float)) => see(Some(&float.to_string())),
                    Some(Value::Boolean(boolean)) => see(Some(&boolean.to_string())),
                    Some(Value::Json(json)) => see(Some(&json.to_string())),
                    // No value, or a value of a kind that this version does not know.
                    _ => see(None),
                },
            },
        }
    }
}

fn unknown(text: &str) -> Error {
    let known = "`global`, `api_key`, `user`, `model`, `header:NAME` and `value:NAME`";
    Error::new(format!("`{text}` is not one of {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_part_is_refused_by_name() {
        for part in [
            "",
            "apikey",
            "header:",
            "header:a b",
            "value:",
            "team:x",
            "header:Authorization",
            "header:cookie",
        ] {
            let error = Part::parse(part).expect_err(part);
            assert!(error.message().contains(&format!("`{part}`")), "{error}");
        }
        assert_eq!(Part::parse("header:X-Tier").expect("a part"), Part::Header("x-tier".to_owned()));
    }
}
