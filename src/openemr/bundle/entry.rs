//! The beginning of an entry as OpenEMR writes it: the fullUrl, which may need a repair, and the type of the resource.

use std::ops::Range;

use memchr::{memchr, memmem, memrchr};

use crate::fhir::resource_type;
use crate::openemr::bundle::head::string_length;

/// The first bytes of every entry.
pub(crate) const BEGINNING: &[u8] = br#"{"fullUrl":""#;

const TYPE: &[u8] = br#""resourceType":""#;

/// The longest URL that is read, in bytes.
const MAX_URL: usize = 2048;

/// How far into an entry the resource's type is looked for, in bytes. OpenEMR writes it after `id` and `meta`.
const MAX_TYPE_DISTANCE: usize = 8192;

/// The beginning of an entry. Ranges are of the bytes that were read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct EntryHead {
    /// The fullUrl without its quotes, escaped as in the entry.
    pub(crate) url: Range<usize>,
    /// The position after the fullUrl; 0 where there is no fullUrl of a usual length.
    pub(crate) after_url: usize,
    /// The type of the resource.
    pub(crate) resource_type: Option<&'static str>,
}

impl EntryHead {
    /// Reads the beginning of an entry, which starts with [`BEGINNING`]. `None` while more bytes are needed; with `is_all` there
    /// are none to come.
    #[must_use]
    pub(crate) fn read(entry: &[u8], is_all: bool) -> Option<Self> {
        let behind = entry.get(BEGINNING.len()..).unwrap_or_default();
        let Some(length) = string_length(first(behind, MAX_URL)) else {
            return (is_all || behind.len() >= MAX_URL).then(Self::default);
        };
        let url = BEGINNING.len()..BEGINNING.len() + length;
        let after_url = url.end + 1;
        let rest = entry.get(after_url..).unwrap_or_default();
        let name = type_name(first(rest, MAX_TYPE_DISTANCE));
        if name.is_none() && !is_all && rest.len() < MAX_TYPE_DISTANCE {
            return None;
        }
        Some(Self { url, after_url, resource_type: name.and_then(resource_type::known) })
    }
}

fn first(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

/// Returns the first type that is named. Contained resources come after the resource's own type.
fn type_name(resource: &[u8]) -> Option<&[u8]> {
    let name = resource.get(memmem::find(resource, TYPE)? + TYPE.len()..)?;
    name.get(..memchr(b'"', name)?)
}

/// Returns the fullUrl that a resource of this type should have, of the base, its type and its id; `None` where the fullUrl needs
/// no repair. OpenEMR writes the searched type into the URLs of included resources, and `_search` into all URLs when that was in
/// the address.
#[must_use]
pub(crate) fn repaired_url(url: &[u8], base: &[u8], resource_type: &str) -> Option<Vec<u8>> {
    let below = url.strip_prefix(base)?;
    let (path, id) = below.split_at_checked(memrchr(b'/', below)? + 1)?;
    let slash = if path.ends_with(b"\\/") { &b"\\/"[..] } else { b"/" };
    let own = path.strip_suffix(slash).and_then(|path| path.strip_prefix(slash));
    (own != Some(resource_type.as_bytes())).then(|| [base, slash, resource_type.as_bytes(), slash, id].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_url_and_type_as_soon_as_they_are_there() {
        let entry = br#"{"fullUrl":"https:\/\/emr\/fhir\/Patient\/1","resource":{"id":"1","meta":{},"resourceType":"Patient","contained":[{"resourceType":"Device"}]}}]}"#;
        let head = EntryHead::read(entry, false).unwrap();
        assert_eq!(&entry[head.url.clone()], br"https:\/\/emr\/fhir\/Patient\/1");
        assert!(entry[head.after_url..].starts_with(b",\"resource\""));
        assert_eq!(head.resource_type, Some("Patient"));
        let seen = memmem::find(entry, b"Patient\",").unwrap() + "Patient\"".len();
        for cut in BEGINNING.len()..seen {
            assert_eq!(EntryHead::read(&entry[..cut], false), None, "{cut}");
            let cut_short = EntryHead::read(&entry[..cut], true).unwrap();
            assert!(cut_short.after_url == 0 || (cut_short.after_url, cut_short.resource_type) == (head.after_url, None));
        }
        assert_eq!(EntryHead::read(&entry[..seen], false), Some(head));
    }

    #[test]
    fn neither_url_nor_type_is_looked_for_without_limit() {
        let long_url = [BEGINNING, &[b'a'; MAX_URL]].concat();
        assert_eq!(EntryHead::read(&long_url, false), Some(EntryHead::default()));
        let late = [BEGINNING, b"a\",", &[b' '; MAX_TYPE_DISTANCE], TYPE, b"Patient\""].concat();
        let head = EntryHead::read(&late, false).unwrap();
        assert_eq!((head.after_url, head.resource_type), (BEGINNING.len() + 2, None));
        let unknown = [BEGINNING, b"a\",", TYPE, b"Jane Doe\""].concat();
        assert_eq!(EntryHead::read(&unknown, false).unwrap().resource_type, None);
    }

    #[test]
    fn urls_name_the_type_of_their_own() {
        for (url, resource_type, expected) in [
            (r"https:\/\/emr\/fhir\/Patient\/1", "Patient", None),
            (r"https:\/\/emr\/fhir\/Patient\/_search\/1", "Patient", Some(r"https:\/\/emr\/fhir\/Patient\/1")),
            (
                r"https:\/\/emr\/fhir\/Patient\/Patient-PSK-1",
                "Provenance",
                Some(r"https:\/\/emr\/fhir\/Provenance\/Patient-PSK-1"),
            ),
            (r"https:\/\/emr\/other\/Patient\/1", "Provenance", None),
            ("urn:uuid:1", "Patient", None),
            ("", "Patient", None),
        ] {
            let repaired = repaired_url(url.as_bytes(), br"https:\/\/emr\/fhir", resource_type);
            assert_eq!(repaired, expected.map(|url| url.as_bytes().to_vec()), "{url}");
            let plain = |text: &str| text.replace('\\', "");
            let repaired = repaired_url(plain(url).as_bytes(), b"https://emr/fhir", resource_type);
            assert_eq!(repaired, expected.map(|url| plain(url).into_bytes()), "{url}");
        }
    }
}
