//! An OpenEMR that is named on the command line, without a configuration.

use std::path::Path;

use super::certificates::CaFile;
use super::node::{Node as YamlNode, Value};
use super::node_urls::{NodeUrls, OpenEmrUrls};
use super::problem::{Findings, Place, Problem, Source, Warning};
use super::setting::Setting as _;
use super::site_name::SiteName;
use super::upstream::{Node, Upstream};

/// The way to the site `site` of the OpenEMR at `openemr`, with the default limits; `ca_file` is trusted besides the system's
/// authorities.
///
/// # Errors
/// The same problems as those of a site's `openemr` and `ca_file`.
pub(crate) fn upstream_of(openemr: &str, site: &str, ca_file: Option<&Path>) -> Result<(Upstream, Vec<Warning>), Vec<Problem>> {
    let mut findings = Findings::default();
    let place = Place::whole(Source::CommandLine);
    let text = |value: String| YamlNode { value: Value::Text(value), mark: None, variable: None };
    let urls = OpenEmrUrls::read(&text(openemr.to_owned()), &place.member("--openemr"), &mut findings);
    let name = SiteName::checked(site, &place.member("--site"), &mut findings);
    let ca_file = ca_file
        .and_then(|file| CaFile::read(&text(file.to_string_lossy().into_owned()), &place.member("--ca-file"), &mut findings));
    let nodes = urls.zip(name).map(|(OpenEmrUrls(NodeUrls(urls)), name)| {
        let node = |url: &super::BaseUrl| Node {
            fhir_base: url.join(&format!("/apis/{}/fhir", name.as_str())),
            token_url: Some(url.join(&format!("/oauth2/{}/token", name.as_str()))),
        };
        urls.iter().map(node).collect()
    });
    match nodes {
        Some(nodes) if findings.problems.is_empty() => Ok((Upstream::with_defaults(nodes, ca_file), findings.warnings)),
        _ => Err(findings.problems),
    }
}
