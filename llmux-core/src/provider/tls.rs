//! TLS to providers: the cryptography, the certificates that are trusted, and a provider's own certificates.
//!
//! `connection` calls it if a provider's URL is `https`. The system's certificates are read then, and only then, so that a
//! machine without any can serve providers over `http`. Deliberately absent: reading files, which the program does.

use std::sync::Arc;

use rustls::{
    AlertDescription, CertificateError, ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::secret::Secret;

/// Makes `ring` the process's provider of cryptography, unless the program has chosen one already.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The certificates of one provider, as PEM texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    /// The authorities to trust in place of the system's.
    pub(crate) ca: Option<Vec<u8>>,
    /// The certificate that the host shows to the provider.
    pub(crate) client_cert: Option<Vec<u8>>,
    /// The private key of that certificate.
    pub(crate) client_key: Option<Secret>,
}

/// Reason why TLS cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(
        "this system has no store of certificates ({0}); install the package `ca-certificates`, name a PEM file in the \
         environment variable SSL_CERT_FILE, or set `ca_file` of the provider"
    )]
    NoStore(#[source] rustls::Error),
    #[error("`ca_file` has no certificate that can be used: {0}; it must be a PEM file of certificates")]
    Ca(String),
    #[error(
        "`client_cert_file` has no certificate that can be used: {0}; it must be a PEM file of certificates"
    )]
    ClientCert(String),
    #[error("only one of `client_cert_file` and `client_key_file` is set; set both, or neither")]
    Half,
    #[error(
        "`client_key_file` has no private key that can be used: {0}; it must be a PEM file with the key of the \
         certificate in `client_cert_file`"
    )]
    ClientKey(String),
}

/// A certificate that ended a connection before the provider took a request from it (rule F1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateRefusal {
    #[error(
        "the provider's certificate is not signed by a trusted authority; set `ca_file` of the provider to a PEM file of \
         the authority"
    )]
    UnknownIssuer,
    #[error(
        "the provider requires a client certificate; set `client_cert_file` and `client_key_file` of the provider"
    )]
    ClientCertRequired,
    #[error(
        "the provider refused the client certificate ({0:?}); check `client_cert_file` and `client_key_file` of the provider"
    )]
    ClientCert(AlertDescription),
}

impl CertificateRefusal {
    /// Finds the refusal in the causes of an error.
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Self::of_tls(error);
            }
            cause = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
                // The `source` of an `io::Error` leaves out the error that it wraps.
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        None
    }

    fn of_tls(error: &rustls::Error) -> Option<Self> {
        use AlertDescription as Alert;
        match error {
            // The signature is bad if the trusted authority has the name of the real one, and another key.
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Some(Self::UnknownIssuer),
            rustls::Error::AlertReceived(Alert::CertificateRequired) => Some(Self::ClientCertRequired),
            rustls::Error::AlertReceived(
                alert @ (Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA),
            ) => Some(Self::ClientCert(*alert)),
            _ => None,
        }
    }
}

impl Tls {
    /// Makes the configuration of connections to the provider.
    pub(super) fn config(&self) -> Result<ClientConfig, TlsError> {
        let own = match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(TlsError::Half),
        };
        let builder = match &self.ca {
            Some(pem) => builder().with_root_certificates(authorities(pem)?),
            None => with_system(builder())?,
        };
        let Some((certificate, key)) = own else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(certificate).map_err(TlsError::ClientCert)?;
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
            .map_err(|error| TlsError::ClientKey(error.to_string()))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::ClientKey(error.to_string()))
    }
}

/// Makes the configuration of connections to a proxy: the system's certificates, and no certificate of the host.
pub(super) fn of_proxies() -> Result<ClientConfig, TlsError> {
    Ok(with_system(builder())?.with_no_client_auth())
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    install_tls();
    ClientConfig::builder()
}

/// Trusts the authorities of the system: on Linux those of SSL_CERT_FILE and SSL_CERT_DIR, if they are set.
fn with_system(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let verifier = rustls_platform_verifier::Verifier::new(builder.crypto_provider().clone());
    let verifier = verifier.map_err(TlsError::NoStore)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem).map_err(TlsError::Ca)? {
        store.add(certificate).map_err(|error| TlsError::Ca(error.to_string()))?;
    }
    Ok(store)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err("the file has none".into()),
        Ok(all) => Ok(all),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_cannot_be_used_is_refused_with_the_member_that_names_it() {
        let pem = |text: &str| Some(text.as_bytes().to_vec());
        for (tls, member) in [
            (Tls { ca: pem("nothing"), ..Tls::default() }, "`ca_file` has no certificate that can be used"),
            (
                Tls {
                    ca: pem("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
                    ..Tls::default()
                },
                "`ca_file` has no certificate that can be used",
            ),
            (Tls { client_key: Some("key".into()), ..Tls::default() }, "only one of"),
        ] {
            let error = tls.config().unwrap_err().to_string();
            assert!(error.starts_with(member), "{error}");
        }
    }

    #[test]
    fn no_store_of_certificates_names_the_remedies() {
        let error = TlsError::NoStore(rustls::Error::General("none".into())).to_string();
        for remedy in ["ca-certificates", "SSL_CERT_FILE", "ca_file"] {
            assert!(error.contains(remedy), "{error}");
        }
    }
}
