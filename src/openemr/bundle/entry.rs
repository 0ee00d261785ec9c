//! What has been read of an entry, and what is written of it besides its members.

use crate::fhir::json::outline::{Event, Outline, Shape};
use crate::fhir::spliced::Spliced;
use crate::openemr::bundle::full_url::{Base, text};
use crate::openemr::bundle::page::Mode;
use crate::openemr::bundle::seen::Fingerprint;

/// Stands in the place of a resource that OpenEMR lists and does not send.
pub(crate) const WITHOUT_RESOURCE: &[u8] = br#"{"search":{"mode":"outcome"},"resource":{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"incomplete","diagnostics":"OpenEMR lists an entry here without its resource."}]}}"#;

/// What has been read of an entry. Texts are without their quotes.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The fullUrl, as it is written.
    pub(crate) url: Option<Vec<u8>>,
    /// The resource's type; empty while it is not known.
    pub(crate) resource_type: String,
    /// The resource's id; empty while it is not known.
    pub(crate) id: String,
    /// The id of the entry itself, or of a resource that stands in its place.
    pub(crate) element_id: String,
    /// The member `search`, as it is written.
    pub(crate) search: Vec<u8>,
    /// The mode that it says.
    pub(crate) own_mode: Option<Mode>,
    /// Where in the held bytes the resource begins, which is tested.
    pub(crate) begins_at: usize,
    /// Whether the resource meets what matches are tested by; `None` where it was not tested.
    pub(crate) is_met: Option<bool>,
    /// Whether the client may see the resource; `None` where that was not tested.
    pub(crate) is_permitted: Option<bool>,
    /// Whether it is about a match that was sent; `None` where that is not known.
    pub(crate) has_target: Option<bool>,
    /// Whether there is a resource.
    pub(crate) has_resource: bool,
    /// Whether the resource stands in the place of the entry.
    pub(crate) is_inline: bool,
    /// Whether the entry is sent; `None` while that is not known.
    pub(crate) is_sent: Option<bool>,
    /// The fingerprint of the resource, where that says what it is.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Whether its fullUrl has been written.
    pub(crate) has_url: bool,
    /// Whether a member has been written.
    pub(crate) has_members: bool,
}

impl Entry {
    /// The mode of the entry in a search for resources of the type `searched`.
    #[must_use]
    pub(crate) fn mode(&self, searched: &str) -> Mode {
        self.own_mode.unwrap_or_else(|| Mode::of(&self.resource_type, searched))
    }

    /// Whether its `search` can change nothing any more.
    #[must_use]
    pub(crate) fn mode_is_settled(&self, searched: &str) -> bool {
        self.own_mode.is_some() || self.mode(searched) == Mode::Outcome
    }

    /// Forgets all, for the next entry; keeps what memory it has.
    pub(crate) fn clear(&mut self) {
        let Self { mut resource_type, mut id, mut element_id, mut search, .. } = std::mem::take(self);
        for text in [&mut resource_type, &mut id, &mut element_id] {
            text.clear();
        }
        search.clear();
        *self = Self { resource_type, id, element_id, search, ..Self::default() };
    }

    /// Takes the member `search`.
    pub(crate) fn take_search(&mut self, written: &[u8]) {
        self.own_mode = member(written, "mode").and_then(|mode| Mode::named(&text(&mode)));
        self.search.clear();
        self.search.extend_from_slice(written);
    }

    /// Keeps nothing of its `search` but the mode.
    pub(crate) fn keep_only_mode(&mut self) {
        self.search.clear();
    }

    /// The fullUrl to be written, without its quotes; `None` where there is none. `is_all`: none will come.
    #[must_use]
    pub(crate) fn full_url(&self, base: &Base, searched: &str, repairs: bool, is_all: bool) -> Option<Vec<u8>> {
        match &self.url {
            Some(written) if repairs => {
                Some(base.repaired(written, searched, &self.resource_type, &self.id).unwrap_or_else(|| written.clone()))
            }
            Some(written) => Some(written.clone()),
            None => {
                let has_one = repairs && is_all && !self.resource_type.is_empty() && !self.id.is_empty();
                (has_one && self.mode(searched) != Mode::Outcome).then(|| base.of(&self.resource_type, &self.id))
            }
        }
    }

    /// Writes the member `search`, if there is to be one.
    pub(crate) fn write_search(&self, searched: &str, repairs: bool, out: &mut Spliced) {
        if !repairs && self.search.is_empty() && self.own_mode.is_none() {
            return;
        }
        let keeps = !self.search.is_empty() && (!repairs || self.own_mode.is_some());
        out.put(if self.has_members { br#","search":"# } else { br#""search":"# });
        if keeps {
            out.put(&self.search);
            return;
        }
        out.put(br#"{"mode":""#);
        out.put(self.mode(searched).name().as_bytes());
        // A mode that is none of FHIR's is replaced with the rest.
        let others = self.search.strip_prefix(b"{").filter(|_| member(&self.search, "mode").is_none());
        match others.map(<[u8]>::trim_ascii_start).filter(|others| *others != b"}") {
            Some(others) => {
                out.put(b"\",");
                out.put(others);
            }
            None => out.put(b"\"}"),
        }
    }
}

/// The member of that name in an object, as it is written without its quotes; empty where it is no string.
fn member(object: &[u8], wanted: &str) -> Option<Vec<u8>> {
    let mut outline = Outline::default();
    let mut at = 0;
    let (mut is_wanted, mut found) = (false, None);
    loop {
        let begin = at;
        match outline.next(object, &mut at).ok()?? {
            Event::Name => is_wanted = outline.name() == wanted,
            Event::Value(shape @ Shape::Object) if begin == 0 => outline.enter(shape, &mut at).ok()?,
            Event::Value(shape) => outline.pass(shape),
            Event::Passed { .. } if is_wanted => {
                let value = object.get(begin..at)?;
                let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
                found = Some(quoted.unwrap_or_default().to_vec());
            }
            Event::Passed { .. } => {}
            Event::Closed => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::{Value, json};

    #[test]
    fn a_mode_is_added_where_there_is_none() {
        for (own, mode, expected) in [
            ("", None, json!({"mode": "match"})),
            ("{}", None, json!({"mode": "match"})),
            ("{ \"score\" : 1 }", None, json!({"mode": "match", "score": 1})),
            (r#"{"score":1,"mode":"include"}"#, Some(Mode::Include), json!({"mode": "include", "score": 1})),
            (r#"{"\u006dode":"m\u0061tch"}"#, Some(Mode::Match), json!({"mode": "match"})),
            (r#"{"mode":"best","score":1}"#, None, json!({"mode": "match"})),
            (r#"{"mode":1}"#, None, json!({"mode": "match"})),
            (r#"{"extension":[{"mode":"include"}]}"#, None, json!({"mode": "match", "extension": [{"mode": "include"}]})),
        ] {
            let mut entry = Entry { resource_type: "Patient".to_owned(), ..Entry::default() };
            if !own.is_empty() {
                entry.take_search(own.as_bytes());
            }
            assert_eq!(entry.own_mode, mode, "{own}");
            let written = |repairs| {
                let mut out = Spliced::of(Bytes::new());
                entry.write_search("Patient", repairs, &mut out);
                String::from_utf8(out.finish().to_vec()).unwrap()
            };
            let repaired: Value = serde_json::from_str(&format!("{{{}}}", written(true))).unwrap();
            assert_eq!(repaired["search"], expected, "{own}");
            assert_eq!(written(false), if own.is_empty() { String::new() } else { format!(r#""search":{own}"#) });
        }
    }

    #[test]
    fn a_full_url_is_made_where_there_is_none() {
        let base = Base::new("https://emr/fhir");
        let entry = |resource_type: &str, id: &str| Entry {
            resource_type: resource_type.to_owned(),
            id: id.to_owned(),
            ..Entry::default()
        };
        for (entry, repairs, expected) in [
            (entry("Patient", "1"), true, Some("https://emr/fhir/Patient/1")),
            (entry("Patient", "1"), false, None),
            (entry("Patient", ""), true, None),
            (entry("OperationOutcome", "1"), true, None),
        ] {
            assert_eq!(entry.full_url(&base, "Patient", repairs, true), expected.map(|url| url.as_bytes().to_vec()));
            assert_eq!(entry.full_url(&base, "Patient", repairs, false), None);
        }
    }

    #[test]
    fn what_stands_for_a_missing_resource_is_an_outcome() {
        let entry: Value = serde_json::from_slice(WITHOUT_RESOURCE).unwrap();
        assert_eq!((&entry["search"]["mode"], &entry["resource"]["issue"][0]["code"]), (&json!("outcome"), &json!("incomplete")));
    }
}
