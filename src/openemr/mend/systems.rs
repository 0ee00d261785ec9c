//! Codes and their systems, where OpenEMR writes something else than R4 has.

use std::borrow::Cow;

use crate::fhir::json::outline::unescaped;
use crate::openemr::mend::repairs::{Repair, Repairs};

/// The code system of SNOMED CT.
const SNOMED_CT: &str = "http://snomed.info/sct";

/// Returns what stands in the place of a `system`, in JSON, and why; `None` where it is good. `written`: as in the document,
/// without its quotes.
#[must_use]
pub(crate) fn mended_system(written: &[u8], repairs: Repairs) -> Option<(Repair, Vec<u8>)> {
    // Both begin so. Nearly all systems are URLs, in which PHP escapes each slash.
    if !matches!(written.first(), Some(b'0'..=b'2' | b'D' | b'\\')) {
        return None;
    }
    let system = text(written)?;
    if repairs.has(Repair::OidSystems) && is_oid(&system) {
        return Some((Repair::OidSystems, format!("\"urn:oid:{system}\"").into_bytes()));
    }
    if repairs.has(Repair::AbsentReasons) && system == "DataAbsentReason" {
        let uri = br#""http://terminology.hl7.org/CodeSystem/data-absent-reason""#;
        return Some((Repair::AbsentReasons, uri.to_vec()));
    }
    None
}

/// Whether a `system` is SNOMED CT.
#[must_use]
pub(crate) fn is_snomed(written: &[u8]) -> bool {
    // It cannot be shorter, and not much longer with every character escaped.
    (SNOMED_CT.len()..=6 * SNOMED_CT.len()).contains(&written.len()) && is_written(SNOMED_CT, written)
}

/// The length of the name of SNOMED CT in front of a code, as written; `None` without it. Codes of SNOMED CT are numbers.
#[must_use]
pub(crate) fn snomed_prefix(written: &[u8]) -> Option<usize> {
    let digits = written.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let prefix = written.len() - digits;
    let is_prefix = |before: &[u8]| is_written("SNOMED-CT:", before);
    (digits > 0 && prefix > 0 && written.get(..prefix).is_some_and(is_prefix)).then_some(prefix)
}

/// A bare object identifier, as R4 has it behind `urn:oid:`.
/// Whether a text is written so.
fn is_written(expected: &str, written: &[u8]) -> bool {
    let mut rest = written;
    for byte in expected.bytes() {
        rest = match rest {
            [b'\\', b'/', behind @ ..] if byte == b'/' => behind,
            [b'\\', ..] => return text(written).as_deref() == Some(expected),
            [same, behind @ ..] if *same == byte => behind,
            _ => return false,
        };
    }
    rest.is_empty()
}

fn is_oid(text: &str) -> bool {
    let mut arcs = text.split('.');
    let is_arc =
        |arc: &str| arc.bytes().all(|byte| byte.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0')) && !arc.is_empty();
    matches!(arcs.next(), Some("0" | "1" | "2")) && text.contains('.') && arcs.all(is_arc)
}

/// The text of a string.
pub(crate) fn text(written: &[u8]) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', written).is_none() {
        return std::str::from_utf8(written).ok().map(Cow::Borrowed);
    }
    unescaped(written).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_and_the_name_of_a_code_system_become_uris() {
        let absent = "\"http://terminology.hl7.org/CodeSystem/data-absent-reason\"";
        for (written, expected) in [
            ("2.16.840.1.113883.6.90", Some("\"urn:oid:2.16.840.1.113883.6.90\"")),
            (r"2\u002e16.840", Some("\"urn:oid:2.16.840\"")),
            ("1.0.3", Some("\"urn:oid:1.0.3\"")),
            ("DataAbsentReason", Some(absent)),
            (r"Data\u0041bsentReason", Some(absent)),
            ("urn:oid:2.16.840.1.113883.6.90", None),
            ("http://loinc.org", None),
            (r"http:\/\/loinc.org", None),
            ("3.16", None),
            ("2", None),
            ("2.", None),
            ("2..1", None),
            ("2.016", None),
            ("2.16.x", None),
            ("phone", None),
            ("dataAbsentReason", None),
        ] {
            let made = mended_system(written.as_bytes(), Repairs::all()).map(|(_, made)| String::from_utf8(made).unwrap());
            assert_eq!(made.as_deref(), expected, "{written}");
            assert_eq!(mended_system(written.as_bytes(), Repairs::default()), None);
        }
    }

    #[test]
    fn a_code_of_snomed_ct_is_a_number() {
        for (written, length) in [
            ("SNOMED-CT:80146002", Some(10)),
            (r"SNOMED\u002dCT\u003a80146002", Some(20)),
            ("80146002", None),
            ("SNOMED-CT:", None),
            ("SNOMED-CT8", None),
            ("SNOMED-CT::8", None),
            ("SNOMED-CT:8x", None),
            ("LOINC:80146002", None),
            ("", None),
        ] {
            assert_eq!(snomed_prefix(written.as_bytes()), length, "{written}");
        }
        assert!(is_snomed(br"http:\/\/snomed.info\/sct") && is_snomed(b"http://snomed.info/sct"));
        assert!(is_snomed(br"http:\/\/snomed\u002einfo\/sct") && is_snomed(br"\u0068ttp:\/\/snomed.info/sct"));
        assert!(!is_snomed(b"http://snomed.info/sct2") && !is_snomed(b"SNOMED-CT") && !is_snomed(br"http:\/\/snomed.info\/sc\/"));
    }
}
