//! The process's choice of cryptography for TLS.
//!
//! The client's builder and the builder of `openai` call it, since reqwest is built without a choice of its own.

/// Makes `ring` the process's provider of cryptography, unless the program has chosen one already.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
