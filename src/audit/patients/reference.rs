//! What a reference leads to (FHIR R4, "References", 2.3.0.1), and strings of JSON as bytes.

use memchr::memchr;

/// The longest id.
pub(super) const LONGEST_ID: usize = 64;

/// What a reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'r> {
    /// The Patient with this id.
    Patient(&'r [u8]),
    /// A Patient whose id cannot be one, or that is found by a search.
    Unreadable,
    /// Something else.
    Other,
}

impl<'r> Target<'r> {
    /// Reads a reference, relative or absolute with any base, with or without a version. What is contained or a URN is something else.
    #[must_use]
    pub(super) fn of(reference: &'r [u8]) -> Self {
        let end = reference.iter().position(|byte| matches!(byte, b'?' | b'#' | b'|')).unwrap_or(reference.len());
        let path = reference.get(..end).unwrap_or_default().trim_ascii();
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let mut segments = path.rsplit(|byte| *byte == b'/');
        let [mut id, mut resource_type, third, fourth] = std::array::from_fn(|_| segments.next());
        if resource_type == Some(b"_history") {
            (id, resource_type) = (third, fourth);
        } else if id == Some(b"_history") {
            (id, resource_type) = (resource_type, third);
        }
        match (resource_type, id) {
            (Some(b"Patient"), Some(id)) if is_id(id) => Self::Patient(id),
            (Some(b"Patient"), Some(_)) => Self::Unreadable,
            (_, Some(b"Patient")) if reference.get(end) == Some(&b'?') => Self::Unreadable,
            _ => Self::Other,
        }
    }
}

/// Whether this can be the id of a resource: FHIR's, and those that OpenEMR has besides.
#[must_use]
pub(super) fn is_id(text: &[u8]) -> bool {
    let is_meant = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'$' | b':');
    (1..=LONGEST_ID).contains(&text.len()) && text.iter().all(is_meant)
}

/// The text of a string of JSON as it is written, without its quotes. `scratch` holds it where it was written with escapes.
#[must_use]
pub(super) fn unescaped<'t>(written: &'t [u8], scratch: &'t mut Vec<u8>) -> &'t [u8] {
    let Some(mut at) = memchr(b'\\', written) else { return written };
    let mut rest = written;
    scratch.clear();
    loop {
        let (plain, escape) = rest.split_at(at);
        scratch.extend_from_slice(plain);
        let length = match escape.get(1) {
            Some(b'u') => {
                let code = escape.get(2..6).and_then(|digits| std::str::from_utf8(digits).ok());
                let code = code.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                // One half of a character of two stands in no text that is looked for.
                let character = code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                scratch.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                6
            }
            Some(byte) => {
                scratch.push(match byte {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                2
            }
            None => 1,
        };
        rest = escape.get(length..).unwrap_or_default();
        let Some(next) = memchr(b'\\', rest) else { break };
        at = next;
    }
    scratch.extend_from_slice(rest);
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_to_patients_and_to_others() {
        let longest = format!("Patient/{}", "a".repeat(LONGEST_ID));
        let too_long = format!("Patient/{}", "a".repeat(LONGEST_ID + 1));
        for (reference, id) in [
            ("Patient/1", Some("1")),
            ("/Patient/1", Some("1")),
            (" Patient/a_b$c:d.e-F ", Some("a_b$c:d.e-F")),
            ("https://emr.example/apis/default/fhir/Patient/1", Some("1")),
            ("http://10.0.0.7:8300/x/y/Patient/1/_history/3", Some("1")),
            ("Patient/1/_history/3", Some("1")),
            ("Patient/1/_history", Some("1")),
            ("Patient/1/", Some("1")),
            ("Patient/1#name", Some("1")),
            ("Patient/1?_format=json", Some("1")),
            ("Patient/1|2", Some("1")),
            ("https://emr.example/Patient/fhir/Patient/1", Some("1")),
            (&longest, longest.strip_prefix("Patient/")),
            ("https://emr.example/Patient/fhir/Practitioner/1", None),
            ("Practitioner/1", None),
            ("RelatedPatient/1", None),
            ("patient/1", None),
            ("Patient", None),
            ("Patient/", None),
            ("1", None),
            ("", None),
            ("/", None),
            ("#Patient/1", None),
            ("#p1", None),
            ("urn:uuid:a34c6c0e-1b2f-4b0e-9b1c-0123456789ab", None),
            ("urn:Patient/1", None),
        ] {
            let expected = id.map_or(Target::Other, |id| Target::Patient(id.as_bytes()));
            assert_eq!(Target::of(reference.as_bytes()), expected, "{reference}");
        }
        for reference in [
            "Patient?identifier=x|Patient/1",
            "https://x/fhir/Patient?name=a",
            "Patient/a%2Db",
            "Patient/ä",
            "http://x/Patient/a b",
            &too_long,
        ] {
            assert_eq!(Target::of(reference.as_bytes()), Target::Unreadable, "{reference}");
        }
    }

    #[test]
    fn strings_without_their_escapes() {
        for (written, text) in [
            ("Patient/1", "Patient/1"),
            (r"Patient\/1", "Patient/1"),
            (r"\u0050\u0061tient\u002F1", "Patient/1"),
            (r#"\"\\\b\f\n\r\t\/"#, "\"\\\u{8}\u{c}\n\r\t/"),
            (r"\u00e9\\", "é\\"),
            (r"\ud83d\ude00x", "\u{FFFD}\u{FFFD}x"),
            (r"a\u00", "a\u{FFFD}"),
            (r"a\", "a"),
        ] {
            assert_eq!(String::from_utf8_lossy(unescaped(written.as_bytes(), &mut Vec::new())), text, "{written}");
        }
    }
}
