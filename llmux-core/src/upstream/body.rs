//! The body for one deployment.

use crate::{
    Endpoint,
    document::{Document, EditError},
    error::{Error, ErrorKind},
};

/// Returns a request's body for a deployment: with the model's name there, and with the usage asked for (rule S8).
/// A body that needs neither stays byte for byte.
pub(super) fn for_deployment(
    body: &Document,
    endpoint: Endpoint,
    upstream_model: &str,
    ask_usage: bool,
) -> Result<Document, Error> {
    let mut document = body.clone();
    edit(&mut document, endpoint, upstream_model, ask_usage)
        .map_err(|error| Error::new(ErrorKind::InvalidRequest, error))?;
    Ok(document)
}

/// Returns true if a deployment refused the usage that the host asked for and the client did not (rule S8).
pub(super) fn refuses_usage(request: &Document, error: &Error) -> bool {
    error.kind() == ErrorKind::Provider
        && error.status() == 400
        && request.get("/stream_options").is_none()
        && error.document().get("").is_some_and(|text| text.contains("stream_options"))
}

fn edit(
    document: &mut Document,
    endpoint: Endpoint,
    upstream_model: &str,
    ask_usage: bool,
) -> Result<(), EditError> {
    if document.get_str("/model") != Some(upstream_model) {
        document.set("/model", &serde_json::json!(upstream_model).to_string())?;
    }
    if ask_usage && endpoint.ends_with_done() && document.get("/stream_options/include_usage") != Some("true")
    {
        match document.len("/stream_options") {
            Some(_) => document.set("/stream_options/include_usage", "true")?,
            None => document.set("/stream_options", r#"{"include_usage":true}"#)?,
        }
    }
    Ok(())
}
