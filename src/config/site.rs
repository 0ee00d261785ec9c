//! One OpenEMR site: URLs, client, keys and scopes, each checked.

use std::path::Path;

use super::base_url::BaseUrlError;
use super::file::FileSite;
use super::problem::{Findings, Place, Written, shown, shown_path};
use super::{
    Balance, BaseUrl, CaFile, Node, Routes, Site, SiteName, defaults, listening, site_keys, site_rotation, validate, value,
};
use crate::keys::key_files::KeyFiles;
use crate::scopes::scope::{Scope, ScopeError, Scopes};

/// The most nodes of one site.
const MAX_NODES: usize = 64;

/// Reads one site. The first one is served at the routes themselves, so that its name collides with none of them.
pub(super) fn read(written: &FileSite, is_first: bool, routes: &Routes, findings: &mut Findings) -> Option<Site> {
    let name = site_name(&written.name, &written.place, findings);
    let collides = |route: &&String| first_segment(route).eq_ignore_ascii_case(&written.name);
    if let Some(route) =
        [&routes.health, &routes.ready, &routes.jwks, &routes.token, &routes.fhir].into_iter().flatten().find(collides)
        && !is_first
    {
        let problem = written.place.problem(format!(
            "a site `{}` would be served below the local route {}",
            shown(&written.name),
            shown(route)
        ));
        findings.problem(problem.remedy("move that route under `routes`"));
    }
    let openemr_site = match &written.openemr_site {
        Some(site) => site_name(&site.value, &site.place, findings),
        None => name.clone(),
    };
    let nodes = nodes(written, openemr_site.as_ref(), findings);
    let token_audience = match (&written.token_audience, nodes.as_deref()) {
        (Some(written), _) => audience(written, findings),
        (None, Some([Node { token_url: Some(url), .. }])) => Some(url.to_string()),
        (None, Some([_, _, ..])) if nodes.iter().flatten().any(|node| node.token_url.is_some()) => {
            missing_audience(written, findings);
            None
        }
        // The token endpoint, wherever it turns out to be.
        (None, Some(_) | None) => None,
    };
    let balance = validate::choice(
        written.balance.as_ref(),
        &[("round_robin", Balance::RoundRobin), ("least_latency", Balance::LeastLatency)],
        defaults::BALANCE,
        findings,
    );
    let client_id =
        required(written, "client_id", &written.client_id, "CLIENT_ID", "the id that OpenEMR gave at registration", findings);
    let client_id = client_id.and_then(|written| client_id_text(written, findings));
    let key_file = required(written, "private_key", &written.private_key, "PRIVATE_KEY_PATH", "keys/private_key.pem", findings);
    let jwks_file = required(written, "jwks", &written.jwks, "JWKS_PATH", "keys/jwks.json", findings);
    let keys = match (key_file, jwks_file) {
        (Some(key_file), Some(jwks_file)) => {
            // What a running gateway changes in between would not fit together.
            let _unchanging = KeyFiles::new(Path::new(&key_file.value), Path::new(&jwks_file.value)).lock();
            site_rotation::read(key_file, jwks_file, written.kid.as_ref(), &written.name, findings)
        }
        (key_file, jwks_file) => {
            key_file.map(|file| site_keys::private_key(file, findings));
            jwks_file.map(|file| site_keys::jwk_set(file, "private_key.pem", findings));
            None
        }
    };
    let scopes = scopes(written, findings);
    let ca_file = written.ca_file.as_ref().map(|file| ca_file(file, findings));
    if written.timeouts.connect > written.timeouts.total_connect {
        let problem = written.place.member("timeouts").problem(format!(
            "connect ({}) is longer than total_connect ({}), of which it is a part",
            value::duration_text(written.timeouts.connect),
            value::duration_text(written.timeouts.total_connect)
        ));
        findings.problem(problem.remedy("raise total_connect, or lower connect"));
    }
    Some(Site {
        name: name?,
        openemr_site: openemr_site?,
        nodes: nodes?,
        token_audience,
        client_id: client_id?,
        private_key_file: key_file?.value.clone().into(),
        keys: keys?,
        fixed_kid: written.kid.as_ref().map(|kid| kid.value.clone()),
        jwks_file: jwks_file?.value.clone().into(),
        scopes: scopes?,
        ca_file: match ca_file {
            None => None,
            Some(checked) => Some(checked?),
        },
        timeouts: written.timeouts,
        connections: written.connections,
        balance,
        health_check: written.health_check,
        in_flight: written.in_flight,
        forced_refreshes: written.forced_refreshes,
        repairs: written.conformance.repairs,
        paging: written.conformance.paging,
        also_known_as: written.conformance.also_known_as.clone(),
        documents_max_age: written.conformance.documents_max_age,
        cors: written.conformance.cors.clone(),
        bulk_data: written.conformance.bulk_data.clone(),
    })
}

fn site_name(text: &str, place: &Place, findings: &mut Findings) -> Option<SiteName> {
    let name = SiteName::parse(text);
    if name.is_none() {
        let problem = place.problem(format!("`{}` is no site id of OpenEMR's", shown(text)));
        findings.problem(problem.remedy("letters, digits, `.` and `-` only, at most 64; most installs have one site, `default`"));
    }
    name
}

fn first_segment(route: &str) -> &str {
    route.split('/').nth(1).unwrap_or_default()
}

/// A key that a site must have. One that is written but broken has been reported already.
fn required<'f>(
    site: &FileSite,
    key: &str,
    value: &'f Option<Written<String>>,
    variable: &str,
    example: &str,
    findings: &mut Findings,
) -> Option<&'f Written<String>> {
    if value.is_none() && !site.written.contains(&key) {
        missing(site, key, variable, example, findings);
    }
    value.as_ref()
}

fn missing(site: &FileSite, key: &str, variable: &str, example: &str, findings: &mut Findings) {
    let or_variable = if site.name == "default" { format!(", or set {variable}") } else { String::new() };
    let problem = site.place.member(key).problem("is missing");
    findings.problem(problem.remedy(format!("write  {key}: <{example}>{or_variable}")));
}

/// The site's nodes: one a URL of the longest list, where a single URL counts for all nodes.
fn nodes(site: &FileSite, id: Option<&SiteName>, findings: &mut Findings) -> Option<Vec<Node>> {
    if site.openemr.is_none() && site.fhir_base.is_none() && !site.written.contains(&"openemr") {
        missing(site, "openemr", "OEMR_BASE", "https://emr.example.org", findings);
    }
    let openemr = site.openemr.as_ref().map(|written| urls(site, "openemr", written, findings));
    let derived = |below: &str, after: &str| {
        let derive = |url: &BaseUrl| Some(url.join(&format!("{below}{}{after}", id?.as_str())));
        openemr.as_ref()?.as_ref()?.iter().map(derive).collect::<Option<Vec<_>>>()
    };
    let fhir_bases = match &site.fhir_base {
        Some(written) => urls(site, "fhir_base", written, findings),
        None => derived("/apis/", "/fhir"),
    };
    let is_written = |key: &&str| site.written.contains(key);
    if site.fhir_base.is_some() && site.token_url.is_none() && !["openemr", "token_url"].iter().any(is_written) {
        let nodes = fhir_bases?.into_iter().map(|fhir_base| Node { fhir_base, token_url: None });
        return Some(nodes.collect());
    }
    let token_urls = match &site.token_url {
        Some(written) => urls(site, "token_url", written, findings),
        None => derived("/oauth2/", "/token"),
    };
    let (fhir_bases, token_urls) = (fhir_bases?, token_urls?);
    let count = fhir_bases.len().max(token_urls.len());
    if [&fhir_bases, &token_urls].iter().any(|urls| urls.len() != 1 && urls.len() != count) {
        let problem =
            site.place.problem(format!("{} FHIR bases and {} token URLs are no nodes", fhir_bases.len(), token_urls.len()));
        findings.problem(problem.remedy("name as many of the one as of the other, in the same order, or a single one for all"));
        return None;
    }
    let pairs = fhir_bases.into_iter().cycle().zip(token_urls.into_iter().cycle()).take(count);
    Some(pairs.map(|(fhir_base, token_url)| Node { fhir_base, token_url: Some(token_url) }).collect())
}

fn urls(site: &FileSite, key: &str, written: &[Written<String>], findings: &mut Findings) -> Option<Vec<BaseUrl>> {
    let place = site.place.member(key);
    if written.is_empty() || written.len() > MAX_NODES {
        let problem = place.problem(format!("names {} addresses; 1 to {MAX_NODES} nodes make a site", written.len()));
        findings.problem(problem.remedy("write it like  [https://emr1.example.org, https://emr2.example.org]"));
        return None;
    }
    let urls: Vec<Option<BaseUrl>> = written.iter().map(|one| url(one, findings)).collect();
    let urls = urls.into_iter().collect::<Option<Vec<_>>>()?;
    for (index, url) in urls.iter().enumerate() {
        if urls.iter().take(index).any(|earlier| earlier == url) {
            findings.problem(place.element(index).problem(format!("`{url}` is named twice")).remedy("keep one of the two"));
            return None;
        }
    }
    Some(urls)
}

fn missing_audience(site: &FileSite, findings: &mut Findings) {
    let problem = site.place.member("token_audience").problem("is missing, and with several nodes it cannot be derived");
    findings.problem(problem.remedy(
        "write OpenEMR's public token URL: its Site Address, then /oauth2/<site>/token, like  https://emr.example.org/oauth2/default/token",
    ));
}

fn url(written: &Written<String>, findings: &mut Findings) -> Option<BaseUrl> {
    const EXAMPLE: &str = "write it like  https://emr.example.org  or, in a sub-folder,  https://emr.example.org/openemr";
    match BaseUrl::parse(&written.value) {
        Ok(url) if url.https || url.is_loopback() => Some(url),
        Ok(url) => {
            let problem = written.place.problem(format!("`{url}` is not https, and {} is not this machine", url.host));
            findings.problem(problem.remedy("write https://…; a private CA goes into ca_file"));
            None
        }
        Err(error @ BaseUrlError::Userinfo) => {
            findings
                .problem(written.place.problem(error.to_string()).remedy("leave it out; the gateway authenticates with its key"));
            None
        }
        Err(error) => {
            findings.problem(written.place.problem(format!("`{}` {error}", shown(&written.value))).remedy(EXAMPLE));
            None
        }
    }
}

/// Never contacted, so that http is as good as https; sent to the letter.
fn audience(written: &Written<String>, findings: &mut Findings) -> Option<String> {
    match BaseUrl::parse(&written.value) {
        Ok(_) => Some(written.value.clone()),
        Err(BaseUrlError::Userinfo) => {
            findings.problem(written.place.problem(BaseUrlError::Userinfo.to_string()).remedy("leave it out"));
            None
        }
        Err(error) => {
            let problem = written.place.problem(format!("`{}` {error}", shown(&written.value)));
            findings.problem(problem.remedy("write OpenEMR's own token URL: its Site Address, then /oauth2/<site>/token"));
            None
        }
    }
}

/// RFC 6749 appendix A.1, bounded, and not the placeholder of the shipped file.
fn client_id_text(written: &Written<String>, findings: &mut Findings) -> Option<String> {
    let id = &written.value;
    let problem = if id.starts_with('<') || id == "…" {
        written.place.problem(format!("`{}` is still the placeholder", shown(id)))
    } else if id.is_empty() || id.len() > 512 || !id.bytes().all(|b| b.is_ascii_graphic()) {
        written.place.problem(format!("`{}` is no client id", shown(id)))
    } else {
        return Some(id.clone());
    };
    findings.problem(problem.remedy("write the client_id that OpenEMR answered at registration"));
    None
}

fn scopes(site: &FileSite, findings: &mut Findings) -> Option<Scopes> {
    let Some(written) = &site.scopes else {
        if !site.written.contains(&"scopes") {
            missing(site, "scopes", "SCOPE", "[system/Patient.read]", findings);
        }
        return None;
    };
    if written.value.is_empty() {
        let problem = written.place.problem("is empty; OpenEMR would grant a token that opens nothing");
        findings.problem(problem.remedy("write what the client is registered for:  [system/Patient.read]"));
        return None;
    }
    let parsed: Vec<Option<Scope>> = written.value.iter().map(|one| scope(one, findings)).collect();
    Scopes::new(parsed.into_iter().collect::<Option<Vec<Scope>>>()?)
}

fn scope(written: &Written<String>, findings: &mut Findings) -> Option<Scope> {
    match Scope::parse(&written.value) {
        Ok(scope) => Some(scope),
        Err(error) => {
            let problem = written.place.problem(format!("`{}` {error}", shown(&written.value)));
            findings.problem(problem.remedy(match error {
                ScopeError::Wildcard => "name each resource type:  system/Patient.read, system/Observation.read",
                ScopeError::NotSystem => "leave it out; a gateway without a user asks for system/… scopes alone",
                ScopeError::Malformed => "write one scope an entry, like  system/Patient.read",
            }));
            None
        }
    }
}

fn ca_file(written: &Written<String>, findings: &mut Findings) -> Option<CaFile> {
    let certificates = listening::certificates(written, findings)?;
    let mut roots = rustls::RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        if let Err(error) = roots.add(certificate.clone()) {
            let file = shown_path(Path::new(&written.value));
            let problem = written.place.problem(format!(
                "certificate {} of {file} cannot be used: {}",
                index + 1,
                shown(&error.to_string())
            ));
            findings.problem(problem.remedy("name a PEM file with the certificates of the CA that signed OpenEMR's"));
            return None;
        }
    }
    Some(CaFile { path: written.value.clone().into(), certificates })
}
