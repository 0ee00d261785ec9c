//! One site as it is written.

use super::answers::Answers;
use super::certificates::CaFile;
use super::declaration::section;
use super::node_urls::{NodeUrls, OpenEmrUrls};
use super::problem::{Findings, Written};
use super::section::Section;
use super::site_name::{Audience, ClientId, SiteName};
use super::upstream::{Balance, Connections, HealthCheck, InFlightLimit, RefreshLimit, Timeouts};
use crate::limits::rate::{MOST_BURST, Rate};
use crate::scopes::scope::Scopes;

section! {
    /// One site as it is written.
    pub(super) struct SiteFile {
        /// OpenEMR's address, with its sub-folder if it has one; https, unless it is on this machine. A list names several
        /// nodes of one site: servers that share one database.
        openemr: Option<OpenEmrUrls> = None, variable("OEMR_BASE"), shorthand(),
            derived("required, unless `fhir_base` is written");
        /// Where FHIR requests go. Without `openemr` and `token_url` the SMART configuration of that server says where tokens
        /// come from: any server of SMART Backend Services can be named so.
        fhir_base: Option<NodeUrls> = None, variable("FHIR_BASE"), derived("`{openemr}/apis/{site}/fhir`");
        /// Where tokens come from.
        token_url: Option<NodeUrls> = None, variable("TOKEN_URL"), derived("`{openemr}/oauth2/{site}/token`");
        /// OpenEMR's own idea of its token URL, where that differs from where it is reached. Required with several nodes.
        token_audience: Option<Audience> = None, derived("`token_url`");
        /// The id that OpenEMR gave the client at registration.
        client_id: Option<ClientId> = None, variable("CLIENT_ID"),
            required("<the id that OpenEMR gave at registration>");
        /// The PEM file of the key that signs.
        private_key: Option<Written<String>> = None, variable("PRIVATE_KEY_PATH"), required("<keys/private_key.pem>");
        /// The file of the JWK Set with the public half of the key, as registered at OpenEMR.
        jwks: Option<Written<String>> = None, variable("JWKS_PATH"), required("<keys/jwks.json>");
        /// The id of the key in the JWK Set.
        kid: Option<Written<String>> = None, variable("KID"), derived("found in the JWK Set");
        /// The scopes that tokens are requested with: no more than the client is registered for, and no wildcards. A list, or
        /// one text with blanks between.
        scopes: Option<Scopes> = None, variable("SCOPE"), required("<[system/Patient.read]>");
        /// A PEM file with a private CA, which is trusted besides the system's.
        ca_file: Option<CaFile> = None;
        /// How long each step towards OpenEMR may take.
        timeouts: Timeouts = Timeouts::default();
        /// The pool of connections to OpenEMR.
        connections: Connections = Connections::default();
        /// How requests are spread over several nodes.
        balance: Balance = Balance::RoundRobin;
        /// Nodes are asked for `/metadata`; a single one when it could not be reached, or nothing has come from it for six intervals.
        health_check: HealthCheck = HealthCheck::default();
        /// How many requests OpenEMR works on at once.
        in_flight: InFlightLimit = InFlightLimit::default();
        /// How often requests may go to OpenEMR for this site, of all clients together. More get 429.
        rate: Option<Rate> = None, example("30/s");
        /// How many requests may go there at once after a pause.
        burst: Option<u32> = None, at_most(Some(MOST_BURST)), unit("requests"),
            derived("the requests of one second, but 10 at least unless `rate` names fewer");
        /// How often clients can cause a token exchange.
        forced_refreshes: RefreshLimit = RefreshLimit::default();
        /// OpenEMR's site id, where it is not the name of the site.
        openemr_site: Option<SiteName> = None, variable("SITE"), variable_only();
        flat answers: Answers;
    }
    check SiteFile::check
}

impl SiteFile {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        if section.is_unset("openemr") && section.is_unset("fhir_base") {
            let what = if section.has("openemr") { "is left blank" } else { "is missing" };
            let or_variable = if section.is_default_site() { ", or set OEMR_BASE" } else { "" };
            let problem = section.place_of("openemr").problem(what);
            findings.problem(problem.remedy(format!("write  openemr: <https://emr.example.org>{or_variable}")));
        }
        if self.burst.is_some() && self.rate.is_none() {
            let problem = section.place_of("burst").problem("is written, and `rate` is not");
            findings.problem(problem.remedy("write  rate: 30/s  or leave the burst out"));
        }
        Some(self)
    }
}
