//! The URLs of a node, each with the configuration key that names it.

use crate::config::{self, BaseUrl};
use crate::nodes::cause::Place;

/// A node's FHIR base, with the key that names it: `openemr`, unless it has one of its own.
pub(super) fn fhir_place(node: &config::Node) -> Place {
    let key = if openemr_of(node).is_some() { "openemr" } else { "fhir_base" };
    Place { url: node.fhir_base.clone(), key }
}

/// A node's token endpoint at `url`, with the key that names it.
pub(super) fn token_place(node: &config::Node, url: &BaseUrl) -> Place {
    let key = if openemr_of(node).is_some() { "openemr" } else { "token_url" };
    Place { url: url.clone(), key }
}

/// The path of the address from which both URLs of a node can be derived. Written out in two keys they mean the same.
fn openemr_of(node: &config::Node) -> Option<&str> {
    let (fhir, token) = (&node.fhir_base, node.token_url.as_ref()?);
    let (base, fhir_site) = fhir.path.strip_suffix("/fhir")?.rsplit_once("/apis/")?;
    let (token_base, token_site) = token.path.strip_suffix("/token")?.rsplit_once("/oauth2/")?;
    let is_same_server = (fhir.https, &fhir.host, fhir.port) == (token.https, &token.host, token.port);
    (is_same_server && (base, fhir_site) == (token_base, token_site)).then_some(base)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_one_that_an_operator_would_change() {
        for (fhir, token, keys) in [
            ("https://h/emr/apis/default/fhir", Some("https://h/emr/oauth2/default/token"), ("openemr", "openemr")),
            ("https://h/emr/apis/default/fhir", Some("https://h/oauth2/default/token"), ("fhir_base", "token_url")),
            ("https://h/apis/default/fhir", Some("https://other/oauth2/default/token"), ("fhir_base", "token_url")),
            ("https://h/apis/a/fhir", Some("https://h/oauth2/b/token"), ("fhir_base", "token_url")),
            ("https://h/apis/default/fhir", None, ("fhir_base", "token_url")),
        ] {
            let token = token.map(|url| BaseUrl::parse(url).unwrap());
            let node = config::Node { fhir_base: BaseUrl::parse(fhir).unwrap(), token_url: token.clone() };
            let token_key = token_place(&node, token.as_ref().unwrap_or(&node.fhir_base)).key;
            assert_eq!((fhir_place(&node).key, token_key), keys, "{fhir}");
        }
    }
}
