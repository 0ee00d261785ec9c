//! When the certificates and keys end that the gateway uses: what nobody renews stops everything at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{CaFile, end_of_certificate};
use crate::keys::JwkSet;
use crate::observe::metrics::family::Family;
use crate::observe::metrics::sample::Sample;
use crate::site::runtime::Runtime;

/// A file whose contents end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending<'a> {
    /// What is in it: `listener`, `client_ca`, `ca` or `jwks`.
    pub(super) kind: &'static str,
    /// The file, as in the configuration.
    pub(super) file: &'a Path,
    /// When the first of it ends, in seconds since 1970.
    pub(super) ends: i64,
}

/// The files whose contents end, each once.
pub(super) fn endings(runtime: &Runtime) -> Vec<Ending<'_>> {
    let (mut endings, mut seen) = (Vec::new(), BTreeSet::new());
    let mut add = |kind, file, ends: Option<i64>| {
        if let Some(ends) = ends.filter(|_| seen.insert((kind, file))) {
            endings.push(Ending { kind, file, ends });
        }
    };
    for tls in runtime.config.listen.iter().filter_map(|listener| listener.tls.as_ref()) {
        // Behind the server's own stand its issuers, which others renew.
        add("listener", &*tls.certificate, tls.certified_key.cert.first().and_then(|der| end_of_certificate(der)));
        if let Some(clients) = &tls.clients {
            add("client_ca", &*clients.ca.path, first_end(&clients.ca));
        }
    }
    for site in &runtime.sites {
        if let Some(ca) = &site.config.upstream.ca_file {
            add("ca", &*ca.path, first_end(ca));
        }
        add("jwks", &*site.config.jwks_file, end_of_keys(&site.keys.jwk_set()));
    }
    endings
}

/// The time that is left of each.
pub(super) fn samples(runtime: &Runtime, samples: &mut Vec<Sample>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
    for Ending { kind, file, ends } in endings(runtime) {
        let labels = vec![kind.to_owned(), file.display().to_string()];
        samples.push(Sample::number(Family::CertificateLeft, labels, ends as f64 - now));
    }
}

fn first_end(ca: &CaFile) -> Option<i64> {
    ca.certificates.iter().filter_map(|der| end_of_certificate(der)).min()
}

/// When the first key of a JWK Set ends, if one of them says so: by its certificate, or by itself.
fn end_of_keys(set: &[u8]) -> Option<i64> {
    let set = JwkSet::parse(set).ok()?;
    let ends = set.keys().iter().flat_map(|key| {
        let of_certificate = key.certificate().and_then(|der| end_of_certificate(&der));
        [of_certificate, key.expires()]
    });
    ends.flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_keys_ends_with_the_first_that_says_when() {
        for (keys, end) in [
            ("", None),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, None),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB","exp":900},{"kty":"RSA","n":"AQAB","e":"AQAB","exp":800}"#, Some(800)),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB","x5c":["AQAB"]}"#, None),
        ] {
            assert_eq!(end_of_keys(format!(r#"{{"keys":[{keys}]}}"#).as_bytes()), end, "{keys}");
        }
        assert_eq!(end_of_keys(b"no set"), None);
    }
}
