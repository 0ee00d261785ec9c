//! One OpenEMR site: URLs, client, keys and scopes, each checked.

use std::path::{Path, PathBuf};

use super::base_url::BaseUrlError;
use super::file::FileSite;
use super::problem::{Findings, Place, Written, shown, shown_path};
use super::{BaseUrl, Routes, Site, SiteName, listening, site_keys, value};
use crate::smart::scope::{Scope, ScopeError, Scopes};

/// Reads one site. The first one is served at the routes themselves, so that its name collides with none of them.
pub(super) fn read(written: &FileSite, is_first: bool, routes: &Routes, findings: &mut Findings) -> Option<Site> {
    let name = site_name(&written.name, &written.place, findings);
    let collides = |route: &&String| first_segment(route).eq_ignore_ascii_case(&written.name);
    if let Some(route) = [&routes.health, &routes.jwks, &routes.token, &routes.fhir].into_iter().flatten().find(collides)
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
    let (fhir_base, token_url) = urls(written, openemr_site.as_ref(), findings);
    let token_audience = match (&written.token_audience, &token_url) {
        (Some(written), _) => audience(written, findings),
        (None, url) => url.as_ref().map(ToString::to_string),
    };
    let client_id =
        required(written, "client_id", &written.client_id, "CLIENT_ID", "the id that OpenEMR gave at registration", findings);
    let client_id = client_id.and_then(|written| client_id_text(written, findings));
    let key_file = required(written, "private_key", &written.private_key, "PRIVATE_KEY_PATH", "keys/private_key.pem", findings);
    let jwks_file = required(written, "jwks", &written.jwks, "JWKS_PATH", "keys/jwks.json", findings);
    let key = key_file.and_then(|file| site_keys::private_key(file, findings));
    let jwks = jwks_file.zip(key_file).and_then(|(file, key_file)| site_keys::jwk_set(file, &key_file.value, findings));
    let kid = match (&key, &jwks, jwks_file, key_file) {
        (Some(key), Some(set), Some(jwks_file), Some(key_file)) => {
            site_keys::key_id(written.kid.as_ref(), key, set, jwks_file, &key_file.value, findings)
        }
        _ => None,
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
        fhir_base: fhir_base?,
        token_url: token_url?,
        token_audience: token_audience?,
        client_id: client_id?,
        private_key_file: key_file?.value.clone().into(),
        key: key?,
        kid: kid?,
        jwks_file: jwks_file?.value.clone().into(),
        jwks: jwks?,
        scopes: scopes?,
        ca_file: match ca_file {
            None => None,
            Some(checked) => Some(checked?),
        },
        timeouts: written.timeouts,
        connections: written.connections,
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

fn urls(site: &FileSite, id: Option<&SiteName>, findings: &mut Findings) -> (Option<BaseUrl>, Option<BaseUrl>) {
    if site.openemr.is_none() && (site.fhir_base.is_none() || site.token_url.is_none()) && !site.written.contains(&"openemr") {
        missing(site, "openemr", "OEMR_BASE", "https://emr.example.org", findings);
    }
    let openemr = site.openemr.as_ref().and_then(|written| url(written, findings));
    let derived = |below: &str, after: &str| Some(openemr.as_ref()?.join(&format!("{below}{}{after}", id?.as_str())));
    let fhir_base = match &site.fhir_base {
        Some(written) => url(written, findings),
        None => derived("/apis/", "/fhir"),
    };
    let token_url = match &site.token_url {
        Some(written) => url(written, findings),
        None => derived("/oauth2/", "/token"),
    };
    (fhir_base, token_url)
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

fn ca_file(written: &Written<String>, findings: &mut Findings) -> Option<PathBuf> {
    let certificates = listening::certificates(written, findings)?;
    let mut roots = rustls::RootCertStore::empty();
    for (index, certificate) in certificates.into_iter().enumerate() {
        if let Err(error) = roots.add(certificate) {
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
    Some(written.value.clone().into())
}
