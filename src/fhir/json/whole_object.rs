//! Whether a body is one JSON object to its end, with nothing behind it.
//!
//! HTTP can say that a body has ended in the middle of its JSON: PHP dies within it and the web server marks the end all the
//! same, or a length was counted wrong. Only brackets and strings are followed here. Where resources are mended, the mender
//! knows it from its own reading.
//!
//! Decision: `docs/decisions/08-end-of-body.md`.

use bytes::Bytes;

use crate::fhir::body_step::{BodyStep, Broken, Verdict};
use crate::fhir::json::brackets::Brackets;
use crate::fhir::json::is_blank;
use crate::fhir::reason::Reason;

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
const NO_FHIR: &str = "OpenEMR answered with something that is not FHIR.";

/// The body ends before its object does.
pub(crate) const CUT_SHORT: Broken = Broken {
    reason: "the JSON of the answer ends in the middle, although its body is whole as HTTP tells it",
    text: "OpenEMR's answer ended too soon.",
    code: Reason::CutShort,
};
/// The body does not end where its object does.
pub(crate) const BEHIND: Broken =
    Broken { reason: "something stands behind the JSON of the answer", text: NO_FHIR, code: Reason::NotFhir };
/// The object is not written as JSON demands.
pub(crate) const NO_JSON: Broken = Broken { reason: "the answer is not valid JSON", text: NO_FHIR, code: Reason::NotFhir };

/// Follows an object piece by piece, in constant memory. A body that is empty, or begins as something else, is not judged: what
/// may come in place of an object is for others to say.
#[derive(Debug, Default)]
pub(crate) struct WholeObject {
    at: At,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// Before the object.
    #[default]
    Start,
    Inside(Brackets),
    /// Behind its end.
    Ended,
    /// It is no object.
    Other,
    Bad(Broken),
}

impl WholeObject {
    /// Begins within the object.
    #[must_use]
    pub(crate) fn within(brackets: Brackets) -> Self {
        Self { at: At::Inside(brackets) }
    }

    /// Judges a whole body.
    ///
    /// # Errors
    /// It is an object that is cut short, or has something behind it.
    pub(crate) fn check(body: &[u8]) -> Result<(), Broken> {
        let mut object = Self::default();
        object.read(body);
        object.end();
        match object.verdict() {
            Verdict::Bad(broken) => Err(broken),
            Verdict::Undecided | Verdict::Good => Ok(()),
        }
    }

    /// Takes the next piece.
    pub(crate) fn read(&mut self, piece: &[u8]) {
        let mut rest = piece;
        loop {
            let next = match &mut self.at {
                At::Start => {
                    let first = rest.iter().position(|byte| !is_blank(byte) && !BYTE_ORDER_MARK.contains(byte));
                    first.map(|at| {
                        if rest.get(at) == Some(&b'{') { (At::Inside(Brackets::within(1)), at + 1) } else { (At::Other, at) }
                    })
                }
                At::Inside(brackets) => brackets.end(rest).map(|end| (At::Ended, end)),
                At::Ended => rest.iter().position(|byte| !is_blank(byte)).map(|at| (At::Bad(BEHIND), at)),
                At::Other | At::Bad(_) => None,
            };
            let Some((at, length)) = next else { return };
            self.at = at;
            rest = rest.get(length..).unwrap_or_default();
        }
    }

    /// Notes that there is no further piece.
    pub(crate) fn end(&mut self) {
        if matches!(self.at, At::Inside(_)) {
            self.at = At::Bad(CUT_SHORT);
        }
    }
}

impl BodyStep for WholeObject {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        self.read(&piece);
        piece
    }

    fn finish(&mut self) -> Bytes {
        self.end();
        Bytes::new()
    }

    fn verdict(&self) -> Verdict {
        match self.at {
            At::Bad(broken) => Verdict::Bad(broken),
            At::Start | At::Inside(_) | At::Ended | At::Other => Verdict::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::legal_json::{Json, Writer};
    use proptest::prelude::*;

    fn judged(body: &[u8], size: usize) -> Verdict {
        let mut object = WholeObject::default();
        for piece in body.chunks(size) {
            assert_eq!(object.feed(Bytes::copy_from_slice(piece)), piece);
        }
        assert!(object.finish().is_empty());
        object.verdict()
    }

    #[test]
    fn an_object_is_whole_where_its_own_bracket_is_the_last_thing() {
        for (body, expected) in [
            ("{}", Verdict::Good),
            ("\u{feff} {\"a\":[{}],\"b\":\"}\\\"]\"}\r\n\t ", Verdict::Good),
            ("{", Verdict::Bad(CUT_SHORT)),
            ("{\"a\":\"}", Verdict::Bad(CUT_SHORT)),
            ("{\"a\":\"\\\"}", Verdict::Bad(CUT_SHORT)),
            ("{\"a\":[1", Verdict::Bad(CUT_SHORT)),
            ("{}}", Verdict::Bad(BEHIND)),
            ("{} {}", Verdict::Bad(BEHIND)),
            ("{}<br />\n<b>Warning</b>", Verdict::Bad(BEHIND)),
            ("{}\0", Verdict::Bad(BEHIND)),
            // Others say whether this may come.
            ("", Verdict::Good),
            (" \n", Verdict::Good),
            ("\u{feff}", Verdict::Good),
            ("[1", Verdict::Good),
            ("null", Verdict::Good),
            ("<br />{", Verdict::Good),
        ] {
            for size in [1, 2, 64, 1000] {
                assert_eq!(judged(body.as_bytes(), size), expected, "{body}");
            }
            let checked = WholeObject::check(body.as_bytes());
            assert_eq!(checked.map_or_else(Verdict::Bad, |()| Verdict::Good), expected, "{body}");
        }
    }

    proptest! {
        #[test]
        fn every_cut_of_an_object_is_seen_in_any_pieces(seed: u64, cut in any::<prop::sample::Index>(), size in 1_usize..200) {
            let mut writer = Writer::new(seed);
            let members = vec![("a", writer.any(4)), ("b", writer.any(4)), ("c", writer.any(2))];
            let object = Json::object(&mut writer, members);
            let written = writer.write(&object);
            prop_assert_eq!(judged(written.as_bytes(), size), Verdict::Good);
            let text = written.trim_ascii().as_bytes();
            let (head, _) = text.split_at(cut.index(text.len()));
            let expected = if head.is_empty() { Verdict::Good } else { Verdict::Bad(CUT_SHORT) };
            prop_assert_eq!(judged(head, size), expected);
            prop_assert_eq!(judged(&[text, b" x"].concat(), size), Verdict::Bad(BEHIND));
        }
    }
}
