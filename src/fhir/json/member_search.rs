//! A search for members by name in a JSON document that comes in pieces, at any depth, in constant memory.

use crate::fhir::json::walk::{JsonWalk, Part};

/// A search of one document.
#[derive(Debug, Clone)]
pub(crate) struct MemberSearch {
    names: &'static [&'static str],
    walk: JsonWalk,
    name: Vec<u8>,
}

impl MemberSearch {
    /// A search for members with one of these names, of ASCII characters.
    #[must_use]
    pub(crate) fn new(names: &'static [&'static str]) -> Self {
        Self { names, walk: JsonWalk::default(), name: Vec::new() }
    }

    /// Reads the next piece; whether a member with one of the names begins in it.
    #[must_use]
    pub(crate) fn feed(&mut self, piece: &[u8]) -> bool {
        let mut rest = piece;
        while let Some((part, length)) = self.walk.step(rest) {
            let (token, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = behind;
            match part {
                Part::Name => self.keep(token),
                Part::Colon => {
                    let name = std::mem::take(&mut self.name);
                    if serde_json::from_slice::<String>(&name).is_ok_and(|name| self.names.contains(&name.as_str())) {
                        return true;
                    }
                }
                Part::Space | Part::Comma | Part::Value | Part::OpenObject | Part::OpenArray | Part::Close => {}
            }
        }
        false
    }

    /// Keeps a name that comes in pieces; of one that is too long, enough to tell that it is.
    fn keep(&mut self, token: &[u8]) {
        // Each character can be written as an escape of six.
        let longest = self.names.iter().map(|name| 6 * name.len() + 2).max().unwrap_or(0);
        let room = (longest + 1).saturating_sub(self.name.len());
        self.name.extend_from_slice(token.get(..room.min(token.len())).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_at_any_depth_in_any_pieces() {
        for (document, is_there) in [
            (r#"{"extension":[]}"#, true),
            (r#"{ "a" : [1, {"b" : {"extension" : []}}] }"#, true),
            (r#"{"\u0065xtens\u0069on":[]}"#, true),
            (r#"{"_birthDate":{"extension":[]}}"#, true),
            (r#"{"a":"extension","b":["extension"],"c":"\"extension\":"}"#, false),
            (r#"{"extensions":1,"xextension":2,"":3}"#, false),
            ("{}", false),
        ] {
            for size in 1..=document.len() {
                let mut search = MemberSearch::new(&["extension"]);
                let found = document.as_bytes().chunks(size).any(|piece| search.feed(piece));
                assert_eq!(found, is_there, "{document} in pieces of {size}");
            }
        }
    }
}
