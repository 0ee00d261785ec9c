//! What a client prefers to get back for a write: `Prefer: return=…` (FHIR R4, "RESTful API", 3.1.0.1.9; RFC 7240).

/// What comes back for a create or an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// No body.
    Minimal,
    /// The resource.
    Representation,
    /// What has been done, in an OperationOutcome.
    OperationOutcome,
}

impl Return {
    /// The first preference that is known; `None` where there is none. Takes the values of all Prefer fields.
    pub fn of<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        fields.flat_map(|field| field.split(|byte| matches!(byte, b',' | b';'))).find_map(|preference| {
            let (name, value) = preference.split_at(preference.iter().position(|byte| *byte == b'=')?);
            let value = value.get(1..)?.trim_ascii();
            let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
            match value {
                _ if !name.trim_ascii().eq_ignore_ascii_case(b"return") => None,
                _ if value.eq_ignore_ascii_case(b"minimal") => Some(Self::Minimal),
                _ if value.eq_ignore_ascii_case(b"representation") => Some(Self::Representation),
                _ if value.eq_ignore_ascii_case(b"OperationOutcome") => Some(Self::OperationOutcome),
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_is_preferred() {
        for (fields, expected) in [
            (&[][..], None),
            (&["return=minimal"], Some(Return::Minimal)),
            (&["RETURN = Representation"], Some(Return::Representation)),
            (&["return=\"OperationOutcome\""], Some(Return::OperationOutcome)),
            (&["respond-async, return=minimal"], Some(Return::Minimal)),
            (&["handling=strict; return=representation"], Some(Return::Representation)),
            (&["respond-async", "return=representation"], Some(Return::Representation)),
            (&["return=all", "return=minimal"], Some(Return::Minimal)),
            (&["return", "returned=minimal", "=", "minimal"], None),
        ] {
            assert_eq!(Return::of(fields.iter().map(|field| field.as_bytes())), expected, "{fields:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Return::of(std::iter::once(&bytes[..]));
        }
    }
}
