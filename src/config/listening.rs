//! Listeners: addresses, and whether they can be listened on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use serde_yaml::Value as Yaml;
use socket2::{Domain, Protocol, Socket, Type};

use super::certificates::{CaFile, certified_key};
use super::client_certificates::{ClientCertificates, ClientDemand, CrlFile};
use super::declaration::{section, section_shape};
use super::node::{Node, Value};
use super::problem::{Findings, Place, Problem, Source, Written, shown};
use super::section::text;
use super::setting::Setting;
use super::shape::{RestartRequired, Shape};

/// Where the gateway listens when nothing is written.
pub(crate) const LISTEN: &str = "127.0.0.1:8000";
/// What Pingora hands to a successor at once.
pub(super) const MAX_LISTENERS: usize = 32;

/// One listening socket.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificate and key, when the listener speaks TLS.
    pub tls: Option<ListenerTls>,
    /// Whether HTTP/2 is offered in the TLS handshake (ALPN).
    pub http2: bool,
    /// Whether HTTP/2 is spoken without TLS to a client that begins with it (RFC 9113 section 3.3).
    pub h2c: bool,
    /// Where the address was written.
    pub place: Place,
}

/// The certificate of a listener.
#[derive(Debug, Clone)]
pub(crate) struct ListenerTls {
    /// PEM, the server's certificate first, then its issuers.
    pub certificate: PathBuf,
    /// PEM.
    pub private_key: PathBuf,
    /// What the two files held; they fit together.
    pub certified_key: Arc<CertifiedKey>,
    /// The check of clients' certificates; `None` where none is asked for.
    pub clients: Option<ClientCertificates>,
}

section! {
    /// A listener as it is written.
    struct ListenerFile {
        /// The IP address and port on which clients connect.
        address: Option<Written<SocketAddr>> = None, required("127.0.0.1:8000"), restart();
        /// HTTPS. Without it the listener speaks plain HTTP. Adding or removing it takes a restart, renewed files a reload.
        tls: Option<ListenerTls> = None;
        /// Whether HTTP/2 is offered in the TLS handshake.
        http2: bool = true, restart();
        /// Whether HTTP/2 is spoken without TLS to clients that begin with it.
        h2c: bool = false, restart();
    }
}

const MAKE_CERTIFICATE: &str =
    "certs/localhost.pem;  for trying out:  openemr-gateway keys certificate --host localhost --out certs";
const MAKE_KEY: &str = "certs/localhost-key.pem;  for trying out:  openemr-gateway keys certificate --host localhost --out certs";

section! {
    /// The files of a listener's certificate.
    struct TlsFiles {
        /// A PEM file: the server's certificate first, then its issuers.
        certificate: Option<Written<String>> = None, required(MAKE_CERTIFICATE);
        /// A PEM file with the certificate's private key, not encrypted.
        private_key: Option<Written<String>> = None, required(MAKE_KEY);
        /// A PEM file with the certificates of the CAs whose clients may show one of their own (mutual TLS). Without it none is
        /// asked for.
        client_ca: Option<CaFile> = None;
        /// Whether clients must show a certificate, or may.
        client_certificates: Option<Written<ClientDemand>> = None, derived("`optional` where there is a `client_ca`");
        /// A PEM or DER file with the revocation list of every CA that signs clients' certificates: a certificate that no list
        /// covers is refused, and so are all once the list is out of date. Without it no certificate counts as revoked.
        client_crl: Option<Written<CrlFile>> = None;
    }
}

/// What `listen` is when nothing is written.
pub(super) fn default_listeners() -> Vec<Listener> {
    let place = Place::whole(Source::CommandLine);
    let listener = |address| Listener { address, tls: None, http2: true, h2c: false, place };
    LISTEN.parse().map(listener).into_iter().collect()
}

impl Setting for Listener {
    fn shape() -> Shape {
        section_shape::<ListenerFile>()
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        if let Value::Text(address) | Value::Substituted(address) = &node.value {
            let problem = place.problem(format!("`{}` stands alone", shown(address)));
            findings.problem(problem.remedy("write it as  - address: 127.0.0.1:8000"));
            return None;
        }
        let ListenerFile { address, tls, http2, h2c } = ListenerFile::read(node, place, findings)?;
        let Written { value: address, place } = address?;
        Some(Self { address, tls, http2, h2c, place })
    }

    fn to_yaml(&self) -> Yaml {
        let mut yaml = self.file().to_yaml();
        if let (Yaml::Mapping(keys), None) = (&mut yaml, &self.tls) {
            keys.shift_remove("tls");
        }
        yaml
    }

    fn restart_required(&self, path: &str, kept: &mut RestartRequired) {
        self.file().restart_required(path, kept);
    }
}

impl Listener {
    /// Whether it can be reached from this machine alone.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    fn file(&self) -> ListenerFile {
        let address = Written { value: self.address, place: self.place.clone() };
        ListenerFile { address: Some(address), tls: self.tls.clone(), http2: self.http2, h2c: self.h2c }
    }
}

impl Setting for ListenerTls {
    fn shape() -> Shape {
        section_shape::<TlsFiles>()
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let TlsFiles { certificate, private_key, client_ca, client_certificates, client_crl } =
            TlsFiles::read(node, place, findings)?;
        let clients = ClientCertificates::of(client_ca, client_certificates, client_crl, findings);
        let (certificate, private_key) = (certificate?, private_key?);
        let certified_key = certified_key(&certificate, &private_key, findings)?;
        Some(Self { certificate: certificate.value.into(), private_key: private_key.value.into(), certified_key, clients })
    }

    fn to_yaml(&self) -> Yaml {
        fn written<T>(value: T) -> Option<Written<T>> {
            Some(Written { value, place: Place::whole(Source::CommandLine) })
        }
        let clients = self.clients.as_ref();
        let files = TlsFiles {
            certificate: written(self.certificate.display().to_string()),
            private_key: written(self.private_key.display().to_string()),
            client_ca: clients.map(|clients| clients.ca.clone()),
            client_certificates: clients.and_then(|clients| written(clients.demand)),
            client_crl: clients.and_then(|clients| written(clients.crl.clone()?)),
        };
        files.to_yaml()
    }

    /// Certificates are replaced while the gateway runs; whether there is one is not.
    fn restart_required(&self, path: &str, kept: &mut RestartRequired) {
        kept.push(path, true.into());
    }
}

impl Setting for SocketAddr {
    fn shape() -> Shape {
        Shape::Text("IP address and port")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        match written.parse::<Self>() {
            Ok(address) if address.port() != 0 => Some(address),
            Ok(_) => {
                let problem = place.problem(format!("`{}` has port 0, another one at each start", shown(&written)));
                findings.problem(problem.remedy("name a port, 8000 for instance"));
                None
            }
            Err(_) => {
                let problem = place.problem(format!("`{}` is no IP address with a port", shown(&written)));
                findings
                    .problem(problem.remedy("write  127.0.0.1:8000  or  \"[::1]:8000\"  or, for every interface,  0.0.0.0:8000"));
                None
            }
        }
    }

    fn to_yaml(&self) -> Yaml {
        self.to_string().into()
    }
}

/// Binds an address without listening on it: connections are refused until that is done.
///
/// # Errors
/// The address is not this machine's, the port is in use, or this user may not have it.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A port is free although connections to its last listener have not timed out yet.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The listeners whose addresses cannot be bound: they are not this machine's, or another program listens there. Those in
/// `held` are left out.
///
/// Not part of [`super::load()`], since a configuration may be checked on another machine than the one it is for.
#[must_use]
pub(crate) fn unusable(listeners: &[Listener], held: &[SocketAddr]) -> Vec<Problem> {
    let check = |listener: &Listener| {
        let error = bind(listener.address).err()?;
        let problem = listener.place.problem(format!("`{}` cannot be listened on: {error}", listener.address));
        Some(match error.kind() {
            io::ErrorKind::AddrNotAvailable => {
                problem.remedy("name an address of this machine (`ip addr` lists them), or 0.0.0.0 for all")
            }
            io::ErrorKind::AddrInUse => problem.remedy("stop the program that listens there, or name another port"),
            io::ErrorKind::PermissionDenied => {
                problem.remedy("name a port from 1024 up, or let the gateway bind low ones:  setcap cap_net_bind_service=+ep")
            }
            _ => problem,
        })
    };
    listeners.iter().filter(|listener| !held.contains(&listener.address)).filter_map(check).collect()
}
