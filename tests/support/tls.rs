//! TLS in front of a server that speaks none.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use devart_cli::random;
use devart_tests::certificate::Certificate;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A door with a certificate that only its own authority vouches for; dropping it closes it.
pub struct Tls {
    dir: PathBuf,
    address: SocketAddr,
    authority: PathBuf,
    task: JoinHandle<()>,
}

impl Tls {
    /// Opens a door to `server`.
    pub fn before(server: SocketAddr) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("devart-tls-{}", random::word(8)));
        std::fs::create_dir(&dir)?;
        let certificate = Certificate::make(&dir)?;
        let acceptor = acceptor(&certificate)?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self {
            dir,
            address: listener.local_addr()?,
            authority: certificate.authority,
            task: tokio::spawn(accept(listener, acceptor, server)),
        })
    }

    /// Where to knock.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The file with the authority's certificate.
    pub fn authority(&self) -> String {
        self.authority.display().to_string()
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn acceptor(certificate: &Certificate) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(&certificate.certificate)?;
    let chain: Vec<CertificateDer> = chain.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&certificate.key)?;
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("using the certificate")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, server: SocketAddr) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(pass(stream, acceptor.clone(), server));
    }
}

/// Who does not trust us hangs up, which is no error here.
async fn pass(stream: TcpStream, acceptor: TlsAcceptor, server: SocketAddr) -> Option<()> {
    let mut outside = acceptor.accept(stream).await.ok()?;
    let mut inside = TcpStream::connect(server).await.ok()?;
    copy_bidirectional(&mut outside, &mut inside).await.ok()?;
    Some(())
}
