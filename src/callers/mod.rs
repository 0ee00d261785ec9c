//! The check of credentials, and the token server for clients: what of access control needs the network, the disk or the clock.

pub(crate) mod client_certificates;
