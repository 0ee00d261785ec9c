//! One connection to the store: TCP, TLS, the password and the database.

use std::io;
use std::sync::{Arc, OnceLock};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::StoreSettings;
use crate::keys::secret_file;
use crate::store::reply::Reply;
use crate::store::store_error::StoreError;
use crate::store::watched_stream::{Signs, WatchedStream};

/// The longest password file, in bytes.
const LONGEST_PASSWORD: usize = 4096;

/// A connection on which commands can be sent, by many at once.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pipeline: MultiplexedConnection,
    signs: Arc<Signs>,
}

/// What the certificate of the store is checked against, made when it is needed first.
#[derive(Debug, Default)]
pub(super) struct Trust(OnceLock<Arc<ClientConfig>>);

impl Connection {
    /// Opens a connection, and has the store take a write.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be reached, or it does not accept the password.
    pub(super) async fn open(settings: &StoreSettings, trust: &Trust) -> Result<Self, StoreError> {
        let url = &settings.url;
        let info = info(settings).await?;
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(not_connected)?;
        stream.set_nodelay(true).map_err(not_connected)?;
        if !url.tls {
            return Self::on(stream, &info, &settings.prefix).await;
        }
        let name =
            ServerName::try_from(url.host.clone()).map_err(|_| StoreError::Unreachable("it has no name for TLS".to_owned()))?;
        let connector = TlsConnector::from(trust.config(settings)?);
        let stream = connector.connect(name, stream).await.map_err(not_connected)?;
        Self::on(stream, &info, &settings.prefix).await
    }

    async fn on(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        info: &RedisConnectionInfo,
        prefix: &str,
    ) -> Result<Self, StoreError> {
        let signs = Arc::<Signs>::default();
        let stream = WatchedStream::new(stream, Arc::clone(&signs));
        // Deadlines are kept by those who wait.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (pipeline, driver) = MultiplexedConnection::new_with_config(info, stream, config).await?;
        tokio::spawn(driver);
        let connection = Self { pipeline, signs };
        connection.probe(prefix).await?;
        Ok(connection)
    }

    /// Has the store take a write: one that is a replica by now, or is full, answers and is of no use.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn probe(&self, prefix: &str) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg([prefix, "probe"].concat()).arg("").arg("PX").arg(60_000);
        match self.send(&command).await? {
            Reply::Bytes(said) if said == b"OK" => Ok(()),
            _ => Err(StoreError::Unexpected),
        }
    }

    /// Sends a command and waits for its answer, for as long as the caller likes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn send(&self, command: &Cmd) -> Result<Reply, StoreError> {
        let value = self.pipeline.clone().send_packed_command(command).await?;
        self.signs.taken();
        Reply::try_from(value)
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.signs.are_of_the_end()
    }

    /// Whether both are the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.signs, &other.signs)
    }
}

impl Trust {
    fn config(&self, settings: &StoreSettings) -> Result<Arc<ClientConfig>, StoreError> {
        if let Some(config) = self.0.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pingora::tls::load_native_certs().unwrap_or_default());
        roots.add_parsable_certificates(settings.ca_file.iter().flat_map(|file| file.certificates.iter().cloned()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| StoreError::Unreachable(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.0.get_or_init(|| Arc::new(config))))
    }
}

/// Who the gateway is for the store, and which database it uses.
async fn info(settings: &StoreSettings) -> Result<RedisConnectionInfo, StoreError> {
    let mut info = RedisConnectionInfo::default().set_db(settings.url.database.into()).set_skip_set_lib_name();
    if let Some(user) = &settings.url.user {
        info = info.set_username(user);
    }
    let Some(path) = settings.password_file.clone() else { return Ok(info) };
    let read = tokio::task::spawn_blocking(move || secret_file::read(&path, LONGEST_PASSWORD));
    let unreadable = |what: String| StoreError::Unreachable(format!("store.password_file: {what}"));
    let (text, _) =
        read.await.map_err(|_| unreadable("it was not read".to_owned()))?.map_err(|error| unreadable(error.to_string()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > LONGEST_PASSWORD {
        return Err(unreadable(format!("it does not hold a password of 1 to {LONGEST_PASSWORD} bytes")));
    }
    Ok(info.set_password(password))
}

/// Says why there is no connection: what the system or the TLS library says, without what the store has sent.
fn not_connected(error: io::Error) -> StoreError {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    StoreError::Unreachable(match of_tls {
        Some(rustls::Error::InvalidCertificate(_)) => "its certificate is not trusted (store.ca_file)".to_owned(),
        Some(_) => "it does not speak TLS as it should".to_owned(),
        None => error.to_string(),
    })
}
