//! What a valid configuration leaves open to others, as warnings.

use super::access::{Access, AllowFrom, TokenExposure};
use super::listening::Listener;
use super::problem::{Findings, Place};
use crate::access::clients::Clients;

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
    let everything = access.clients.anonymous.as_ref().is_some_and(|policy| policy.is_everything);
    if let (Some(listener), true, true) = (listen.iter().find(reachable), everything, access.says_what()) {
        let problem = place_of("access").member("anonymous").problem(format!(
            "is `everything`, and {} can be reached from other machines: whoever is let in by allow_from reads and writes patient data",
            listener.address
        ));
        findings.warning(problem.remedy("give each client a key and a policy (access.clients), and write  anonymous: none"));
    }
    check_token(&access.clients, token_exposure, &place_of, findings);
    if let (Some(listener), TokenExposure::Always) = (listen.iter().find(reachable), token_exposure) {
        let problem = place_of("token_exposure").problem(format!(
            "is `always`, and {} can be reached from other machines: their clients get the access token, and with it what the gateway would refuse them",
            listener.address
        ));
        findings.warning(problem.remedy("write  token_exposure: loopback"));
    }
}

/// The access token may do all that OpenEMR permits: whoever has it is held by no policy.
fn check_token(clients: &Clients, token_exposure: TokenExposure, place_of: impl Fn(&str) -> Place, findings: &mut Findings) {
    if !clients.is_empty() && token_exposure == TokenExposure::Always {
        let problem = place_of("token_exposure")
            .problem("is `always`, and there are clients: with the access token one could do what its policy refuses");
        findings.problem(problem.remedy("write  token_exposure: never  or  loopback"));
    }
}
