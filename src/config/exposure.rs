//! What a valid configuration leaves open to others, as warnings.

use super::access::{Access, AllowFrom, TokenExposure};
use super::listening::Listener;
use super::problem::{Findings, Place};

/// Warns of settings that expose more than their author may know. `place_of` gives the place of a key.
pub(super) fn check(
    listen: &[Listener],
    access: &Access,
    token_exposure: TokenExposure,
    place_of: impl Fn(&str) -> Place,
    findings: &mut Findings,
) {
    let reachable = |listener: &&Listener| !listener.is_loopback();
    let plain = listen.iter().filter(reachable).find(|listener| listener.tls.is_none());
    if let (Some(listener), AllowFrom::Open) = (plain, &access.allow_from) {
        let problem = place_of("access").problem(format!(
            "is open, and {} speaks plain HTTP: whoever reaches it reads patient data, and so does whoever listens on the way",
            listener.address
        ));
        findings.warning(
            problem.remedy("name your clients' networks under access.allow_from, and give the listener a certificate (tls)"),
        );
    }
    if let (Some(listener), TokenExposure::Always) = (listen.iter().find(reachable), token_exposure) {
        let problem = place_of("token_exposure").problem(format!(
            "is `always`, and {} can be reached from other machines: their clients get the access token, and with it what the gateway would refuse them",
            listener.address
        ));
        findings.warning(problem.remedy("write  token_exposure: loopback"));
    }
}
