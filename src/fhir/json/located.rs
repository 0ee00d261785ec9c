//! Members of a whole JSON object, found by their names without reading what stands between them.
//!
//! A name is looked for as a text; then one pass over the brackets, 64 bytes at a time, shows that it stands on the top level. So
//! this is several times as fast as going from member to member. Where it cannot be sure it says so: a name that stands more than
//! once, at whatever depth, or one that could be written with escapes.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::fhir::json::brackets::are_strings_on_top;
use crate::fhir::json::is_blank;

/// The most names that are looked for at once.
pub(crate) const MOST: usize = 8;

/// How an escape of an ASCII character begins.
static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br"\u00"));

/// The name of a member, of ASCII letters, to be found in many objects.
#[derive(Debug, Clone)]
pub(crate) struct Needle {
    name: &'static str,
    quoted: Finder<'static>,
}

impl Needle {
    /// A member of this name.
    #[must_use]
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, quoted: Finder::new(format!("\"{name}\"").as_bytes()).into_owned() }
    }

    /// The name.
    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
}

impl PartialEq for Needle {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Needle {}

/// Finds members of an object: puts what begins with the value of each to its place in `found`, or `None` where there is no such
/// member. Whether that is certain: where it is not, `found` means nothing. What else is in the object, and behind the last of the
/// members, need not be valid.
pub(crate) fn locate<'o, 'n>(
    object: &'o [u8],
    needles: impl Iterator<Item = &'n Needle>,
    found: &mut [Option<&'o [u8]>; MOST],
) -> bool {
    if object.first() != Some(&b'{') || has_escaped_letter(object) {
        return false;
    }
    let mut positions = [0; MOST];
    let mut count = 0;
    for (number, needle) in needles.enumerate() {
        let Some(found) = found.get_mut(number) else { return false };
        *found = None;
        let Some(at) = needle.quoted.find(object) else { continue };
        let behind = object.get(at + needle.name.len() + 2..).unwrap_or_default();
        if needle.quoted.find(behind).is_some() {
            return false;
        }
        let Some(value) = without_blanks(behind).strip_prefix(b":") else { return false };
        *found = Some(without_blanks(value));
        let Some(position) = positions.get_mut(count) else { return false };
        (*position, count) = (at, count + 1);
    }
    let positions = positions.get_mut(..count).unwrap_or_default();
    positions.sort_unstable();
    are_strings_on_top(object, positions)
}

/// Whether an ASCII letter is written as an escape somewhere, so that a name could be.
fn has_escaped_letter(object: &[u8]) -> bool {
    ESCAPE.find_iter(object).any(|at| matches!(object.get(at + ESCAPE.needle().len()), Some(b'4'..=b'7')))
}

fn without_blanks(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|byte| is_blank(byte)).count();
    bytes.get(blanks..).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn located(object: &str) -> Option<[Option<String>; 2]> {
        let needles = [Needle::new("one"), Needle::new("two")];
        let mut found = [None; MOST];
        let is_certain = locate(object.as_bytes(), needles.iter(), &mut found);
        is_certain.then(|| [found[0], found[1]].map(|value| value.map(|value| String::from_utf8(value.to_vec()).unwrap())))
    }

    #[test]
    fn members_are_found_on_the_top_level_alone() {
        for (object, found) in [
            (r#"{"one":1,"two":2}"#, Some([Some(r#"1,"two":2}"#), Some("2}")])),
            ("{ \"two\" :\n 2 }", Some([None, Some("2 }")])),
            (r#"{"three":"\\\"","a":[{"b":{}}],"one":{}}"#, Some([Some("{}}"), None])),
            (r#"{"three":"\u003Cone\u003e","b":"one"}"#, None),
            (r#"{"b":{"x":"one two"}}"#, Some([None, None])),
            ("{}", Some([None, None])),
            // Nobody can be sure.
            (r#"{"one":1,"one":2}"#, None),
            (r#"{"one":1,"b":{"one":2}}"#, None),
            (r#"{"b":{"one":2}}"#, None),
            (r#"{"b":["one"]}"#, None),
            (r#"{"b":"one","c":1}"#, None),
            (r#"{"b":"\"one\":1"}"#, Some([None, None])),
            (r#"{"b":"\\","one":1}"#, Some([Some("1}"), None])),
            (r#"{"b":"\"one":1}"#, None),
            (r#"{"\u006fne":1}"#, None),
            (r#"{"\u004fne":1}"#, None),
            (r#"{}{"one":1}"#, None),
            (r#"{}"one":1}"#, None),
            (r#"}{"one":1}"#, None),
            (r#"{"a":{"b":1}},{"one":1}"#, None),
            (r#"[{"one":1}]"#, None),
            (r#" {"one":1}"#, None),
            ("", None),
        ] {
            let expected = found.map(|both| both.map(|one| one.map(str::to_owned)));
            assert_eq!(located(object), expected, "{object}");
        }
    }

    #[test]
    fn positions_are_right_wherever_the_blocks_end() {
        for before in 0..200 {
            for filler in ["x", r"\\", r"\u00e9", "{", "]"] {
                let object = format!(r#"{{"a":"{}","one":1,"b":[{{}}]}}"#, filler.repeat(before));
                assert_eq!(located(&object).unwrap()[0].as_deref(), Some(r#"1,"b":[{}]}"#), "{object}");
                let object = format!(r#"{{"a":["{}",{{"one":1}}]}}"#, filler.repeat(before));
                assert_eq!(located(&object), None, "{object}");
            }
        }
    }

    proptest! {
        /// What is found for certain is what a parser finds.
        #[test]
        fn a_parser_agrees(text in "\\{(\"(one|two|a|\\\\\")\":(1|\"(\\\\\"|one|\\\\\\\\|[{}\\[\\]])*\"|\\{\"one\":2\\}|\\[\"two\"\\]),){0,6}\"z\":0\\}") {
            let mut found = [None; MOST];
            let needles = [Needle::new("one"), Needle::new("two")];
            if locate(text.as_bytes(), needles.iter(), &mut found) {
                let value: Value = serde_json::from_str(&text).unwrap();
                for (name, found) in ["one", "two"].iter().zip(found) {
                    let read = found.map(|begin| {
                        serde_json::Deserializer::from_slice(begin).into_iter::<Value>().next().unwrap().unwrap()
                    });
                    prop_assert_eq!(value.get(name), read.as_ref(), "{}", text);
                }
            }
        }
    }
}
