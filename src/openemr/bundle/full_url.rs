//! The fullUrl of an entry: the FHIR base, the resource's own type and its own id (FHIR R4, `Bundle.entry.fullUrl`).
//!
//! OpenEMR writes the searched type into the URLs of included resources, and `_search` into all URLs when that was in the
//! address.

use std::borrow::Cow;

use crate::fhir::json::outline::unescaped;

/// The FHIR base at which a Bundle's resources are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// The URL.
    pub(crate) url: String,
    /// Whether this Bundle has its slashes escaped.
    pub(crate) escapes: bool,
}

impl Base {
    /// The base without a last slash, for a Bundle of which nothing is known yet.
    #[must_use]
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), escapes: false }
    }

    /// Learns the base from OpenEMR's self link, as written: the link without its query, the searched type, and the `_search` of a
    /// search by POST. One to another type teaches nothing.
    pub(crate) fn learn(&mut self, self_url: &[u8], searched: &str) {
        let url = text(self_url);
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let path = path.strip_suffix('/').unwrap_or(path);
        let path = path.strip_suffix("/_search").unwrap_or(path);
        if let Some(base) = path.strip_suffix(searched).and_then(|base| base.strip_suffix('/')) {
            self.url = base.to_owned();
            self.escapes = escapes_slashes(self_url);
        }
    }

    /// Whether a URL, as it is meant, is that of a resource below the base.
    #[must_use]
    pub(crate) fn is_of(&self, url: &str, resource_type: &str, id: &str) -> bool {
        url == join(&self.url, resource_type, id)
    }

    /// Returns the fullUrl, without its quotes, that a resource should have instead of `written`; `None` where that needs no repair.
    /// URLs of other servers stay.
    #[must_use]
    pub(crate) fn repaired(&self, written: &[u8], searched: &str, resource_type: &str, id: &str) -> Option<Vec<u8>> {
        if resource_type.is_empty() {
            return None;
        }
        let url = text(written);
        let below = url.strip_prefix(self.url.as_str()).and_then(|below| below.strip_prefix('/'));
        let (base, last) = match below {
            Some(below) => (self.url.as_str(), below.rsplit('/').next().unwrap_or_default()),
            // The base that OpenEMR uses may not be known yet.
            None => {
                let (path, last) = url.rsplit_once('/')?;
                let path = path.strip_suffix("/_search").unwrap_or(path);
                let base = path.strip_suffix(searched).and_then(|base| base.strip_suffix('/'))?;
                (base, Some(last).filter(|last| *last == id)?)
            }
        };
        let id = if id.is_empty() { last } else { id };
        let right = join(base, resource_type, id);
        (url != right && !id.is_empty()).then(|| escaped(&right, escapes_slashes(written)))
    }

    /// The fullUrl of a resource of this type and id, without its quotes.
    #[must_use]
    pub(crate) fn of(&self, resource_type: &str, id: &str) -> Vec<u8> {
        escaped(&join(&self.url, resource_type, id), self.escapes)
    }

    /// The base as this Bundle writes it.
    #[must_use]
    pub(crate) fn written(&self) -> Vec<u8> {
        escaped(&self.url, self.escapes)
    }
}

fn join(base: &str, resource_type: &str, id: &str) -> String {
    [base, "/", resource_type, "/", id].concat()
}

fn escapes_slashes(written: &[u8]) -> bool {
    memchr::memmem::find(written, b"\\/").is_some()
}

/// What a string without its quotes says.
pub(crate) fn text(written: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', written).is_none() {
        return String::from_utf8_lossy(written);
    }
    // Nearly all escapes are those of slashes.
    let mut plain = Vec::with_capacity(written.len());
    let mut rest = written;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        if rest.get(at + 1) != Some(&b'/') {
            return unescaped(written).unwrap_or_default().into();
        }
        plain.extend_from_slice(rest.get(..at).unwrap_or_default());
        plain.push(b'/');
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    String::from_utf8(plain).unwrap_or_default().into()
}

/// Writes a text as part of a JSON string, with slashes escaped or not.
#[must_use]
pub(crate) fn escaped(text: &str, escapes_slashes: bool) -> Vec<u8> {
    let mut written = Vec::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'/' if escapes_slashes => written.extend_from_slice(b"\\/"),
            b'"' | b'\\' => written.extend_from_slice(&[b'\\', byte]),
            // No URL has these.
            0..0x20 => written.push(b' '),
            _ => written.push(byte),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_what_the_self_link_stands_on() {
        for (url, expected, escapes) in [
            ("https://emr/apis/default/fhir/Patient", "https://emr/apis/default/fhir", false),
            (r"https:\/\/emr\/apis\/default\/fhir\/Patient", "https://emr/apis/default/fhir", true),
            (r"https:\/\/emr\/fhir\/Patient\/_search", "https://emr/fhir", true),
            ("https://emr/fhir/Patient/_search?name=a", "https://emr/fhir", false),
            (r"https:\u002f\u002femr/fhir/Patient", "https://emr/fhir", false),
            ("https://emr/fhir/Observation", "https://known", false),
            ("https://emr/fhir/OtherPatient", "https://known", false),
            ("", "https://known", false),
        ] {
            let mut base = Base::new("https://known/");
            base.learn(url.as_bytes(), "Patient");
            assert_eq!(base, Base { url: expected.to_owned(), escapes }, "{url}");
        }
    }

    #[test]
    fn urls_name_the_type_and_the_id_of_their_own() {
        let base = Base { url: "https://emr/fhir".to_owned(), escapes: true };
        for (url, resource_type, id, expected) in [
            ("https://emr/fhir/Patient/1", "Patient", "1", None),
            ("https://emr/fhir/Patient/_search/1", "Patient", "1", Some("https://emr/fhir/Patient/1")),
            ("https://emr/fhir/Patient/p-1", "Provenance", "p-1", Some("https://emr/fhir/Provenance/p-1")),
            ("https://emr/fhir/Patient/2", "Patient", "1", Some("https://emr/fhir/Patient/1")),
            ("https://emr/fhir/Patient/2", "Provenance", "", Some("https://emr/fhir/Provenance/2")),
            ("https://other/fhir/Patient/_search/1", "Provenance", "1", Some("https://other/fhir/Provenance/1")),
            ("https://other/fhir/Patient/1", "Provenance", "2", None),
            ("https://other/fhir/Condition/1", "Provenance", "1", None),
            ("https://emr/fhir/Patient/1", "", "1", None),
            ("urn:uuid:1", "Patient", "1", None),
            ("", "Patient", "1", None),
        ] {
            for escapes in [false, true] {
                let written = |url: &str| escaped(url, escapes);
                let repaired = base.repaired(&written(url), "Patient", resource_type, id);
                assert_eq!(repaired, expected.map(written), "{url}");
            }
        }
        assert_eq!(base.of("Patient", "1"), br"https:\/\/emr\/fhir\/Patient\/1");
        assert_eq!(base.repaired(br"https:\u002F/emr/fhir/Patient/1", "Patient", "Patient", "1"), None);
    }
}
