//! Makes a provider of a `[[provider]]` of the configuration, with the keys, header values and certificates that it names.
//!
//! `client` calls it for each provider. Secrets come from the environment and from files of their own.

use std::{ops::Range, path::PathBuf, sync::Arc};

use llmux_core::{
    ClientBuilder,
    provider::{self, Provider as AnyProvider, ProviderSettings, Secret},
};
use llmux_terminal::{CliError, Result};
use toml::Spanned;

use super::{
    file::Loaded,
    provider_table::{HeaderText, Provider},
    secret_place::{SecretEnv, SecretFile, SecretPlace},
};

/// The providers of a configuration, each with the settings that it was made from.
#[derive(Default)]
pub(crate) struct Providers(Vec<Made>);

struct Made {
    kind: &'static str,
    settings: ProviderSettings,
    /// Members of the table that name files.
    files: Vec<&'static str>,
    provider: Arc<dyn AnyProvider>,
}

impl Providers {
    fn find(&self, name: &str) -> Option<&Made> {
        self.0.iter().find(|made| made.settings.name == name)
    }

    /// Returns the name of each provider that has other contents of files than in `before`, with the members of its table
    /// that name those files.
    pub(crate) fn changed_files(&self, before: &Self) -> Vec<(&str, Vec<&'static str>)> {
        let changed = |made: &'_ Made| -> Option<Vec<&'static str>> {
            let (old, new) = (&before.find(&made.settings.name)?.settings, &made.settings);
            let differs = |file: &&&str| match **file {
                "api_key_file" => old.api_key != new.api_key,
                "ca_file" => old.ca != new.ca,
                "client_cert_file" => old.client_cert != new.client_cert,
                "client_key_file" => old.client_key != new.client_key,
                _ => old.headers != new.headers,
            };
            Some(made.files.iter().filter(differs).copied().collect())
                .filter(|files: &Vec<_>| !files.is_empty())
        };
        self.0.iter().filter_map(|made| Some((&*made.settings.name, changed(made)?))).collect()
    }
}

/// Adds a provider of the file to a builder, and to `providers`. A provider of `before` with the same settings is used
/// again, with its connections.
///
/// # Errors
///
/// The first member that cannot be used, with its place in the file.
pub(super) fn provider(
    loaded: &Loaded,
    settings: &Provider,
    builder: ClientBuilder,
    before: &Providers,
    providers: &mut Providers,
) -> Result<ClientBuilder> {
    let name = settings.name.get_ref();
    let kind = settings.kind.get_ref();
    let Some(kind) = provider::TYPES.iter().find(|known| known.name == kind) else {
        let known = provider::TYPES.iter().map(|known| format!("`{}` ({})", known.name, known.about));
        let known = known.collect::<Vec<_>>().join(", ");
        let message = format!("unknown provider type `{kind}`; the types are {known}");
        return Err(loaded.problem(Some(settings.kind.span()), message));
    };
    if settings.models.get_ref().is_empty() {
        let message = format!("provider `{name}` serves no models; name at least one");
        return Err(loaded.problem(Some(settings.models.span()), message));
    }
    let headers = settings
        .headers
        .iter()
        .map(|(header, text)| Ok((header.clone(), header_text(loaded, settings, header, text)?)));
    let headers = headers.collect::<Result<Vec<_>>>()?;
    let mut given = ProviderSettings::new(name);
    given.base_url = settings.base_url.clone();
    given.api_key = api_key(loaded, settings)?;
    given.api_key_header = settings.api_key_header.clone();
    given.ca = file(loaded, settings, "ca_file", &settings.ca_file)?;
    given.client_cert = file(loaded, settings, "client_cert_file", &settings.client_cert_file)?;
    let key = file(loaded, settings, "client_key_file", &settings.client_key_file)?;
    given.client_key = key.map(|pem| Secret::new(String::from_utf8_lossy(&pem)));
    given.headers = headers;
    given.forward_headers.clone_from(&settings.forward_headers);
    given.return_headers.clone_from(&settings.return_headers);
    given.forward_trace = settings.forward_trace.unwrap_or(true);
    given.connect_timeout = settings.connect_timeout;
    given.timeout = settings.timeout;
    given.idle_timeout = settings.idle_timeout;
    given.max_response_bytes = settings.max_response_bytes;
    given.stream_usage = settings.stream_usage.unwrap_or(true);
    given.chunk_delay = settings.chunk_delay;
    let same = before.find(name).filter(|made| made.kind == kind.name && made.settings == given);
    let made = match same {
        Some(made) => made.provider.clone(),
        None => (kind.build)(&given).map_err(|error| loaded.problem(Some(settings.name.span()), error))?,
    };
    let (kind, files) = (kind.name, files(settings));
    providers.0.push(Made { kind, settings: given, files, provider: made.clone() });
    Ok(builder.provider(name, made, settings.deployments()))
}

/// Returns the members of a table that name files.
fn files(settings: &Provider) -> Vec<&'static str> {
    let members = [
        ("api_key_file", settings.api_key_file.is_some()),
        ("ca_file", settings.ca_file.is_some()),
        ("client_cert_file", settings.client_cert_file.is_some()),
        ("client_key_file", settings.client_key_file.is_some()),
        (
            "headers",
            settings.headers.values().any(|text| matches!(text, HeaderText::Secret(SecretPlace::File(_)))),
        ),
    ];
    members.into_iter().filter(|(_, is_named)| *is_named).map(|(member, _)| member).collect()
}

/// Returns the key of a provider, from the environment or from a file of its own: never from the configuration itself.
fn api_key(loaded: &Loaded, settings: &Provider) -> Result<Option<Secret>> {
    let name = settings.name.get_ref();
    let (place, source) = match (&settings.api_key_env, &settings.api_key_file) {
        (None, None) => return Ok(None),
        (Some(_), Some(file)) => {
            let message =
                format!("provider `{name}` has both `api_key_env` and `api_key_file`; keep one of them");
            return Err(loaded.problem(Some(file.span()), message));
        }
        (Some(variable), None) => (variable.span(), Source::Env(variable.get_ref())),
        (None, Some(file)) => (file.span(), Source::File(loaded.resolve(file.get_ref())?)),
    };
    secret(loaded, &format!("provider `{name}` takes its key"), place, source).map(Some)
}

/// Returns the value of a header.
fn header_text(loaded: &Loaded, settings: &Provider, header: &str, text: &HeaderText) -> Result<Secret> {
    let place = match text {
        HeaderText::Text(text) => return Ok(Secret::new(text)),
        HeaderText::Secret(place) => place,
    };
    let taker = format!("provider `{}` takes the header `{header}`", settings.name.get_ref());
    secret(loaded, &taker, settings.name.span(), source(loaded, place)?)
}

/// Returns the source of a secret.
pub(super) fn source<'s>(loaded: &Loaded, place: &'s SecretPlace) -> Result<Source<'s>> {
    Ok(match place {
        SecretPlace::Env(SecretEnv { env }) => Source::Env(env),
        SecretPlace::File(SecretFile { file }) => Source::File(loaded.resolve(file)?),
    })
}

/// The place that a secret is read from.
pub(super) enum Source<'s> {
    Env(&'s str),
    File(PathBuf),
}

/// Reads a secret. `taker` begins the message of an error.
pub(super) fn secret(
    loaded: &Loaded,
    taker: &str,
    place: Range<usize>,
    source: Source<'_>,
) -> Result<Secret> {
    let (from, text) = match source {
        Source::Env(variable) => {
            let text = std::env::var(variable).map_err(|error| error.to_string());
            (format!("the environment variable {variable}"), text)
        }
        Source::File(path) => {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
            (format!("the file {}", path.display()), text)
        }
    };
    let refused = |why: &str| loaded.problem(Some(place.clone()), format!("{taker} from {from}: {why}"));
    match text {
        Ok(text) if text.trim().is_empty() => Err(refused("it is empty")),
        Ok(text) => Ok(Secret::new(text)),
        Err(error) => Err(refused(&error)),
    }
}

/// Reads a file of certificates or of a key.
fn file(
    loaded: &Loaded,
    settings: &Provider,
    member: &str,
    file: &Option<Spanned<PathBuf>>,
) -> Result<Option<Vec<u8>>> {
    let Some(file) = file else { return Ok(None) };
    let path = loaded.resolve(file.get_ref())?;
    let read = std::fs::read(&path).map_err(|error| -> CliError {
        let name = settings.name.get_ref();
        let message = format!("`{member}` of provider `{name}`: the file {}: {error}", path.display());
        loaded.problem(Some(file.span()), message)
    });
    read.map(Some)
}
