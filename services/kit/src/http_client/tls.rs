//! TLS by rustls with ring, which is the only crypto library of the workspace.

use anyhow::ensure;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// Makes ring what every library of this process uses that does not choose for itself.
pub fn install_ring() {
    // An error only says that one is installed already.
    let _ = ring::default_provider().install_default();
}

/// Trusts the authorities of this machine, or of the file that SSL_CERT_FILE names.
///
/// # Errors
/// When there are none.
pub(super) fn trusting_this_machine() -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let (taken, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ensure!(
        taken > 0,
        "this machine trusts no authority (Debian: apt-get install ca-certificates)"
    );
    Ok(trusting(roots))
}

/// Takes no certificate.
pub(super) fn trusting_nobody() -> ClientConfig {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> ClientConfig {
    install_ring();
    ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
