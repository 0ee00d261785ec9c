//! Starting and running a sandbox.

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::net::TcpListener;

use super::{
    admin,
    instance::Instance,
    server,
    settings::Settings,
    tls::{Prepared, TlsError},
};

/// Why a sandbox could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// An address cannot be listened on.
    #[error("{address}: cannot listen: {source}\n  choose another with --listen or --admin (port 0 takes a free one)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The admin address can break everything, so it must be on this machine.
    #[error("{0}: the admin listens on loopback only\n  use --admin 127.0.0.1:0")]
    AdminNotLoopback(SocketAddr),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database, or the key that signs access tokens, cannot be read or written.
    #[error("{}: cannot be used as the database: {source}\n  name a folder of your own with --database", folder.display())]
    Database {
        /// The folder; empty for a database in memory.
        folder: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// A sandbox that is bound to its addresses and ready to run.
pub struct Sandbox {
    instance: Arc<Instance>,
    listener: TcpListener,
    admin: TcpListener,
    address: SocketAddr,
    admin_address: SocketAddr,
    tls: Option<Prepared>,
}

impl Sandbox {
    /// Binds the addresses and makes keys, certificate and patients. From here on, connections queue.
    ///
    /// # Errors
    /// [`SandboxError`] when an address, the certificate or the database cannot be used.
    pub async fn bind(settings: Settings) -> Result<Sandbox, SandboxError> {
        if !settings.admin.ip().is_loopback() {
            return Err(SandboxError::AdminNotLoopback(settings.admin));
        }
        let (listener, address) = listen(settings.listen).await?;
        let (admin, admin_address) = listen(settings.admin).await?;
        let tls = settings.tls.as_ref().map(Prepared::new).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let site_address = match &settings.site_address {
            Some(address) => address.trim_end_matches('/').to_owned(),
            None => format!("{scheme}://{address}"),
        };
        let instance = Instance::new(&settings, site_address).map_err(|source| {
            let folder = settings.database.clone().unwrap_or_default();
            SandboxError::Database { folder, source }
        })?;
        Ok(Sandbox { instance: Arc::new(instance), listener, admin, address, admin_address, tls })
    }

    /// Returns the address that OpenEMR listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the admin address, which serves `http://{address}/__sandbox/state` and the like.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Returns scheme and authority of links and of the expected `aud`.
    pub fn base_url(&self) -> &str {
        &self.instance.site_address
    }

    /// Returns the certificate that clients have to trust, in PEM; `None` without TLS.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(Prepared::certificate_pem)
    }

    /// Serves until `shutdown` completes; then all connections are closed at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let acceptor = self.tls.map(Prepared::into_acceptor);
        tokio::select! {
            () = server::serve(Arc::clone(&self.instance), self.listener, self.address, acceptor) => {}
            () = admin::serve(self.instance, self.admin) => {}
            () = shutdown => {}
        }
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SandboxError> {
    let failed = |source| SandboxError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
