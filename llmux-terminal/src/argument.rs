//! Parsers of arguments that several commands have.

use serde_json::Value;

/// Parses an argument that is a JSON object, such as a plugin's configuration.
///
/// # Errors
///
/// Says what is wrong if the text is not JSON or not an object.
pub fn json_object(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    if value.is_object() { Ok(value) } else { Err("a configuration is a JSON object".to_owned()) }
}
