//! The admin listener: metrics, state and commands for the operator.

use std::net::SocketAddr;

use super::declaration::section;
use super::problem::Findings;
use super::section::Section;
use crate::access::clients::KeyDigest;

section! {
    /// The admin listener: metrics, state and commands for the operator. Without an address there is none.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Admin {
        /// Where it listens, without TLS. An address that other machines reach needs `api_keys`.
        address: Option<SocketAddr> = None, example("127.0.0.1:9464"), derived("no admin listener"), restart();
        /// The SHA-256 of the keys with which it may be used (`access new-key`); none are needed on loopback.
        api_keys: Vec<KeyDigest> = Vec::new();
    }
    check Admin::check
}

impl Admin {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        let is_open = self.address.is_some_and(|address| !address.ip().to_canonical().is_loopback());
        if is_open && self.api_keys.is_empty() {
            let problem = section.place_of("address").problem("can be reached from other machines, and `api_keys` is empty");
            findings.problem(problem.remedy(
                "listen on 127.0.0.1, or write  api_keys: [\"sha256:…\"]  with what  openemr-gateway access new-key NAME  prints",
            ));
        }
        Some(self)
    }
}
