//! Lists of the header fields that a message may have: everything else is removed.

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

/// The names that are removed in one go.
const AT_ONCE: usize = 8;

/// A head whose fields can be removed.
pub(crate) trait Head {
    /// The fields.
    fn fields(&self) -> &HeaderMap;

    /// Removes all lines of a field.
    fn remove(&mut self, name: &HeaderName);
}

impl Head for RequestHeader {
    fn fields(&self) -> &HeaderMap {
        &self.headers
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}

impl Head for ResponseHeader {
    fn fields(&self) -> &HeaderMap {
        &self.headers
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}

/// Removes the fields that do not pass; a field of several lines passes only if each of them does. Allocates
/// nothing for fields that HTTP defines.
pub(crate) fn retain(head: &mut impl Head, passes: impl Fn(&str, &HeaderValue) -> bool) {
    loop {
        let mut dropped: [Option<HeaderName>; AT_ONCE] = Default::default();
        let names = head.fields().iter().filter(|(name, value)| !passes(name.as_str(), value)).map(|(name, _)| name);
        let mut count = 0;
        for (place, name) in dropped.iter_mut().zip(names) {
            *place = Some(name.clone());
            count += 1;
        }
        for name in dropped.iter().flatten() {
            head.remove(name);
        }
        if count < AT_ONCE {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_field_passes_with_all_of_its_lines_or_with_none() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [("A", "1"), ("A", "bad"), ("B", "1"), ("B", "2"), ("C", "1")] {
            head.append_header(name, value).unwrap();
        }
        retain(&mut head, |name, value| name != "c" && value != "bad");
        let left: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("b", "1"), ("b", "2")]);
    }

    proptest! {
        #[test]
        fn nothing_is_left_that_does_not_pass(names in prop::collection::vec("[a-f]{1,2}", 0..60)) {
            let mut head = RequestHeader::build("GET", b"/", None).unwrap();
            for name in &names {
                head.append_header(name.clone(), "x").unwrap();
            }
            let passes = |name: &str| name.starts_with(['a', 'b']);
            retain(&mut head, |name, _| passes(name));
            let expected = names.iter().filter(|name| passes(name)).count();
            prop_assert_eq!(head.headers.len(), expected);
            prop_assert!(head.headers.keys().all(|name| passes(name.as_str())));
        }
    }
}
