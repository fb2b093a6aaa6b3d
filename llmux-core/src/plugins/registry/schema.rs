//! An operator's configuration against a plugin's schema: the first member that does not fit, what was expected, what
//! was found. `stage` asks before an instance is made; nothing of a plugin runs here.

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

/// Checks a configuration against a schema. The error names the first member that does not fit.
pub(super) fn check(schema: &str, config: &Value) -> Result<(), String> {
    let schema: Value = serde_json::from_str(schema).map_err(|error| format!("its schema: {error}"))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| format!("its schema: {error}"))?;
    let Some(error) = validator.iter_errors(config).next() else { return Ok(()) };
    let message = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = error.schema_path().as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
            let known = schema.pointer(known).and_then(|parent| parent["properties"].as_object());
            unknown(unexpected, known.into_iter().flatten().map(|(name, _)| name.as_str()))
        }
        // The message goes into logs, and a text of a configuration may be a password.
        _ => match &**error.instance() {
            Value::String(_) => error.masked_with("a string").to_string(),
            Value::Array(_) => error.masked_with("an array").to_string(),
            Value::Object(_) => error.masked_with("an object").to_string(),
            _ => error.to_string(),
        },
    };
    match error.instance_path().as_str() {
        "" => Err(message),
        place => Err(format!("`{place}`: {message}")),
    }
}

/// Returns the error of unknown members: it names the nearest member, or all members.
fn unknown<'n>(unexpected: &[String], known: impl Iterator<Item = &'n str> + Clone) -> String {
    let Some(name) = unexpected.first() else { return "has a member too many".to_owned() };
    let nearest = known.clone().min_by_key(|known| distance(name, known));
    match nearest.filter(|nearest| distance(name, nearest) <= 1 + name.len() / 4) {
        Some(nearest) => format!("there is no member `{name}`; is `{nearest}` meant?"),
        None => {
            let known: Vec<_> = known.map(|known| format!("`{known}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("there is no member `{name}`; there is {known}")
        }
    }
}

/// Returns the number of letters to add, remove or change between two names (Levenshtein distance).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (at, x) in a.chars().enumerate() {
        let mut before = at;
        row[0] = at + 1;
        for (below, y) in b.chars().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[below + 1];
            row[below + 1] = changed.min(before + 1).min(row[below] + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_repeats_no_text_of_a_configuration() {
        let schema = json!({"properties": {
            "url": {"type": "integer"}, "deep": {"maxProperties": 0}, "list": {"maxItems": 0}, "key": {"pattern": "^x"},
        }});
        for config in [
            json!({"url": "hunter2"}),
            json!({"deep": {"password": "hunter2"}}),
            json!({"list": ["hunter2"]}),
            json!({"key": "hunter2"}),
        ] {
            let refused = check(&schema.to_string(), &config).expect_err("it does not fit");
            assert!(refused.starts_with("`/") && !refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn a_refusal_names_the_member_what_was_expected_and_what_was_found() {
        let schema = json!({
            "type": "object",
            "properties": {
                "tokens": {"type": "integer", "minimum": 0, "maximum": 9},
                "routes": {"type": "array", "items": {"$ref": "#/$defs/Route"}},
            },
            "required": ["tokens"],
            "additionalProperties": false,
            "$defs": {"Route": {
                "type": "object", "properties": {"model": {"type": "string"}}, "additionalProperties": false,
            }},
        });
        let schema = schema.to_string();
        for (config, expected) in [
            (json!({}), "\"tokens\" is a required property"),
            (json!({"tokens": "many"}), "`/tokens`: a string is not of type \"integer\""),
            (json!({"tokens": 10}), "`/tokens`: 10 is greater than the maximum of 9"),
            (json!({"tokens": -1}), "`/tokens`: -1 is less than the minimum of 0"),
            (json!({"tokens": 1, "rotes": []}), "there is no member `rotes`; is `routes` meant?"),
            (json!({"tokens": 1, "zeal": 1}), "there is no member `zeal`; there is `routes`, `tokens`"),
            (
                json!({"tokens": 1, "routes": [{"modle": "m"}]}),
                "`/routes/0`: there is no member `modle`; is `model` meant?",
            ),
            (json!(7), "7 is not of type \"object\""),
        ] {
            assert_eq!(check(&schema, &config).expect_err("it does not fit"), expected, "{config}");
        }
        assert_eq!(check(&schema, &json!({"tokens": 9, "routes": [{"model": "m"}]})), Ok(()));
    }
}
