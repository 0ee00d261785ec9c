//! Lists of the header fields that a message may have: everything else is removed.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Keeps the fields that pass, in one pass; a field of several lines passes only if each of them does. `room`: for this many more
/// fields there is room in what is returned.
#[must_use]
pub(crate) fn kept(fields: HeaderMap, room: usize, passes: impl Fn(&HeaderName, &HeaderValue) -> bool) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(fields.keys_len() + room);
    let (mut name, mut is_kept) = (None, false);
    // The second and further lines of a field come right behind its first, and without its name.
    for (next, value) in fields {
        if next.is_some() {
            (name, is_kept) = (next, true);
        }
        let Some(name) = name.as_ref().filter(|_| is_kept) else { continue };
        if passes(name, &value) {
            kept.append(name, value);
        } else {
            kept.remove(name);
            is_kept = false;
        }
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        fields
    }

    #[test]
    fn a_field_passes_with_all_of_its_lines_or_with_none() {
        let all = fields(&[("A", "1"), ("A", "bad"), ("B", "1"), ("B", "2"), ("C", "1"), ("D", "bad"), ("D", "1"), ("A", "2")]);
        let left = kept(all, 0, |name, value| name != "c" && value != "bad");
        let left: Vec<_> = left.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("b", "1"), ("b", "2")]);
    }

    proptest! {
        #[test]
        fn nothing_is_left_that_does_not_pass(names in prop::collection::vec("[a-f]{1,2}", 0..60)) {
            let lines: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
            let passes = |name: &str| name.starts_with(['a', 'b']);
            let left = kept(fields(&lines), 3, |name, _| passes(name.as_str()));
            let expected = names.iter().filter(|name| passes(name)).count();
            prop_assert_eq!(left.len(), expected);
            prop_assert!(left.keys().all(|name| passes(name.as_str())));
        }
    }
}
