//! Ids of resources (FHIR R4, "Data Types", id).

/// Whether a text is an id as FHIR R4 defines it: 1 to 64 letters, digits, `-` and `.`.
#[must_use]
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(is_id_byte)
}

/// Whether a text is an id that can be a segment of a path: one with `_` too, which servers also use, but none of dots
/// alone, which would name another folder.
#[must_use]
pub(crate) fn is_path_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| is_id_byte(byte) || byte == b'_')
        && !text.bytes().all(|byte| byte == b'.')
}

/// Whether a text is a UUID, in groups with `-` between them (RFC 9562 section 4).
#[must_use]
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_and_others() {
        assert!(is_uuid("a34c6c0e-1b2f-4b0e-9b1c-0123456789AB"));
        for other in [
            "",
            "a34c6c0e1b2f4b0e9b1c0123456789AB",
            "a34c6c0e-1b2f-4b0e-9b1c-0123456789Ag",
            "a34c6c0e-1b2f-4b0e-9b1c-0123456789AB0",
        ] {
            assert!(!is_uuid(other), "{other}");
        }
    }

    #[test]
    fn ids_of_fhir_and_ids_in_paths() {
        let longest = "a".repeat(64);
        let too_long = "a".repeat(65);
        for (text, of_fhir, in_path) in [
            ("a34c-1.B", true, true),
            ("a_b", false, true),
            ("..", true, false),
            ("", false, false),
            ("a/b", false, false),
            ("a b", false, false),
            ("ä", false, false),
            (&longest, true, true),
            (&too_long, false, false),
        ] {
            assert_eq!((is_id(text), is_path_id(text)), (of_fhir, in_path), "{text}");
        }
    }
}
