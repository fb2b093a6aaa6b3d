//! Responses to refused changes: the status and the code of every error of managing plugins.
//!
//! `plugins` responds with it, and `commands::plugin_files` names a library's failed check by the same code. Deliberately
//! absent: the messages, which are `llmux-core`'s.

use axum::response::Response;
use http::StatusCode;
use llmux_core::plugins::{LibraryError, PluginError};

use crate::http::reply;

/// Code of a change that is made only with `force`.
pub(crate) const NEEDS_FORCE: &str = "needs_force";

/// Returns the response to a change that was refused.
pub(crate) fn refused(error: &PluginError) -> Response {
    let (status, code) = match error {
        PluginError::PluginNotFound { .. } => (StatusCode::NOT_FOUND, "plugin_not_found"),
        PluginError::UnknownPlugin { .. } => (StatusCode::NOT_FOUND, "unknown_plugin"),
        PluginError::DuplicatePlugin { .. } => (StatusCode::CONFLICT, "duplicate_plugin"),
        PluginError::TooManyPlugins { .. } => (StatusCode::CONFLICT, "too_many_plugins"),
        PluginError::PipelineClosed => (StatusCode::SERVICE_UNAVAILABLE, "pipeline_closed"),
        PluginError::AmbiguousPlugin { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "ambiguous_plugin"),
        PluginError::InvalidName { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_name"),
        PluginError::NotALibrary { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "not_a_library"),
        PluginError::MadeByHand { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "made_by_hand"),
        PluginError::OtherPlugin { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "other_plugin"),
        PluginError::Config { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_config"),
        PluginError::Construction { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "construction_failed"),
        PluginError::Isolation { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "isolation"),
        PluginError::Sandbox { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "sandbox"),
        PluginError::TooManyRetired { .. } => (StatusCode::CONFLICT, "too_many_retired_images"),
        PluginError::Weakens { .. } => (StatusCode::CONFLICT, NEEDS_FORCE),
        PluginError::LoaderBusy { .. } => (StatusCode::CONFLICT, "loader_busy"),
        PluginError::InstanceInUse { .. } => (StatusCode::CONFLICT, "instance_in_use"),
        PluginError::NotRestored { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "not_restored"),
        PluginError::Refused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
        PluginError::Library { error, .. } => (StatusCode::UNPROCESSABLE_ENTITY, library_code(error)),
    };
    reply::refuse(status, code, error)
}

/// Returns the code of the check that a library did not pass.
pub(crate) fn library_code(error: &LibraryError) -> &'static str {
    match error {
        LibraryError::Read(_) => "unreadable",
        LibraryError::NotAFile => "not_a_file",
        LibraryError::Permissions(_) => "insecure_permissions",
        LibraryError::TooLarge { .. } => "too_large",
        LibraryError::Checksum { .. } => "wrong_checksum",
        LibraryError::Signature(_) => "untrusted",
        LibraryError::LeavesFolder { .. } => "leaves_folder",
        LibraryError::Format(_) => "not_a_library",
        LibraryError::WrongMachine { .. } => "wrong_machine",
        LibraryError::NoManifest => "no_manifest",
        LibraryError::TwoManifests => "two_manifests",
        LibraryError::Manifest(_) => "invalid_manifest",
        LibraryError::PanicAborts => "panic_aborts",
        LibraryError::AbiMismatch { .. } => "abi_mismatch",
        LibraryError::Needs { .. } => "missing_service",
        LibraryError::Segments(_) => "invalid_segments",
        LibraryError::MissingLibrary { .. } => "missing_library",
        LibraryError::MissingVersion { .. } => "missing_version",
        LibraryError::LeavesOrigin { .. } => "leaves_origin",
        LibraryError::UnknownFolder { .. } => "unknown_folder",
        LibraryError::Beside { .. } => "library_beside",
        LibraryError::UntrustedNeeds(_) => "untrusted_needs",
        LibraryError::NameTaken { .. } => "name_taken",
        LibraryError::Copy(_) => "copy_failed",
        LibraryError::NoTrial(_) => "no_trial",
        LibraryError::Trial(_) => "trial_failed",
        LibraryError::Dlopen(_) => "dlopen_failed",
        LibraryError::NoEntry { .. } => "no_entry",
        LibraryError::Layout(_) => "wrong_layout",
    }
}
