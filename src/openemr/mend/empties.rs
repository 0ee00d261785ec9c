//! Items of a list of text, numbers or booleans that are null or empty.

use memchr::memchr2;

/// What becomes of items that are null or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empties {
    /// They go.
    Dropped,
    /// Each is null: it holds the place of an item that the list of the name with `_` describes.
    Null,
}

/// Makes that of some items of a list, which begin with the comma before the first of them, unless that is the first of the
/// list. Returns the items and how many were changed.
#[must_use]
pub(crate) fn without_empties(items: &[u8], empties: Empties) -> (Vec<u8>, u64) {
    let mut out = Vec::with_capacity(items.len());
    let mut changed = 0;
    let mut is_first = items.first() != Some(&b',');
    let mut rest = items.get(usize::from(!is_first)..).unwrap_or_default();
    loop {
        let end = end_of_item(rest);
        let (item, behind) = rest.split_at(end);
        let is_null = item.trim_ascii() == b"null";
        let is_text = item.trim_ascii() == b"\"\"";
        let kept = match empties {
            Empties::Dropped if is_null || is_text => None,
            Empties::Null if is_text => Some(&b"null"[..]),
            Empties::Dropped | Empties::Null => Some(item),
        };
        changed += u64::from(kept != Some(item));
        if let Some(kept) = kept {
            out.extend_from_slice(if std::mem::take(&mut is_first) { b"" } else { b"," });
            out.extend_from_slice(kept);
        }
        match behind.split_first() {
            Some((_, others)) => rest = others,
            None => return (out, changed),
        }
    }
}

/// Where the first item ends: at its comma, or with the list.
fn end_of_item(items: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = items.get(at..).and_then(|rest| memchr2(b',', b'"', rest)) {
        at += found;
        if items.get(at) == Some(&b',') {
            return at;
        }
        at += 1;
        while let Some(found) = items.get(at..).and_then(|rest| memchr2(b'\\', b'"', rest)) {
            at += found + 1;
            if items.get(at - 1) == Some(&b'"') {
                break;
            }
            at += 1;
        }
    }
    items.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_dropped_with_their_commas_or_become_null() {
        for (items, dropped, null) in [
            ("null", "", "null"),
            (r#""A",null"#, r#""A""#, r#""A",null"#),
            (r#" null , "A" "#, r#" "A" "#, r#" null , "A" "#),
            (r#","",1 ,null,"," ,"\"",null"#, r#",1 ,"," ,"\"""#, r#",null,1 ,null,"," ,"\"",null"#),
            (r#","\\","""#, r#","\\""#, r#","\\",null"#),
        ] {
            assert_eq!(String::from_utf8(without_empties(items.as_bytes(), Empties::Dropped).0).unwrap(), dropped, "{items}");
            assert_eq!(String::from_utf8(without_empties(items.as_bytes(), Empties::Null).0).unwrap(), null, "{items}");
        }
        assert_eq!(without_empties(br#",null,"",1"#, Empties::Dropped).1, 2);
        assert_eq!(without_empties(br#",null,"",1"#, Empties::Null).1, 1);
    }
}
