//! A resource and the bytes that it is served as.
//!
//! Of most types, OpenEMR invents `meta.lastUpdated` when it answers: it is the time of the request. So it is with the
//! start of the address of an Organization and a Location, a year before.

use bytes::Bytes;
use serde_json::Value;

use super::{
    calendar,
    php_json::{self, Escapes},
};

/// The types whose `meta.lastUpdated` is kept in the database.
const KEPT: [&str; 3] = ["Patient", "Condition", "Encounter"];
/// A year, in seconds.
const YEAR: i64 = 365 * 86_400;
/// Where a resource may have an invented time: the member of JSON before it, its pointers, and its age in seconds.
const INVENTED: [(&str, &[&str], i64); 2] = [
    (r#""lastUpdated":""#, &["/meta/lastUpdated"], 0),
    (r#""period":{"start":""#, &["/address/0/period/start", "/address/period/start"], YEAR),
];

/// A resource and the bytes that it is served as.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// The resource's `id`.
    pub(super) id: String,
    /// The resource, its members in OpenEMR's order; its invented times are those of its making.
    pub(super) value: Value,
    wire: Bytes,
    /// Offsets of invented times in `wire`, with their ages.
    invented: Vec<(usize, i64)>,
}

impl Resource {
    /// Creates a resource that is written with these escapes.
    pub(super) fn new(resource_type: &str, value: Value, escapes: Escapes) -> Resource {
        let id = value.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let wire = php_json::encode(&value, escapes);
        let mut invented = Vec::new();
        for (before, pointers, age) in INVENTED {
            let holds_one = pointers.iter().any(|pointer| value.pointer(pointer).is_some());
            if let (true, false, Some(at)) = (holds_one, KEPT.contains(&resource_type), wire.find(before)) {
                invented.push((at + before.len(), age));
            }
        }
        Resource { id, value, wire: Bytes::from(wire), invented }
    }

    /// Returns whether `meta.lastUpdated` is the time of the request.
    pub(super) fn is_always_new(&self) -> bool {
        !self.invented.is_empty()
    }

    /// Returns the bytes to be served at `now`, in seconds since 1970.
    pub(super) fn wire_at(&self, now: i64) -> Bytes {
        if self.invented.is_empty() {
            return self.wire.clone();
        }
        let mut wire = self.wire.to_vec();
        for (at, age) in &self.invented {
            let time = zoned(now - age);
            if let Some(place) = wire.get_mut(*at..at + time.len()) {
                place.copy_from_slice(time.as_bytes());
            }
        }
        Bytes::from(wire)
    }

    /// Returns the resource as it is at `now`, in seconds since 1970.
    pub(super) fn value_at(&self, now: i64) -> Value {
        let mut value = self.value.clone();
        if self.is_always_new() {
            for (_, pointers, age) in INVENTED {
                for pointer in pointers {
                    if let Some(held) = value.pointer_mut(pointer) {
                        *held = Value::from(zoned(now - age));
                    }
                }
            }
        }
        value
    }
}

/// Returns a time as OpenEMR writes it: `2026-11-24T02:28:24+00:00`.
pub(super) fn zoned(seconds: i64) -> String {
    format!("{}+00:00", calendar::date_time(seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn invented_times_are_those_of_the_request() {
        let made = "2001-01-01T00:00:00+00:00";
        let value = json!({
            "id": "a", "meta": {"versionId": "1", "lastUpdated": made}, "name": "lastUpdated",
            "address": [{"period": {"start": made}}],
        });
        let now = 1_795_487_304;
        for (resource_type, updated, start) in
            [("Organization", "2026-11-24T02:28:24+00:00", "2025-11-24T02:28:24+00:00"), ("Patient", made, made)]
        {
            let resource = Resource::new(resource_type, value.clone(), Escapes::Hex);
            let served: Value = serde_json::from_slice(&resource.wire_at(now)).unwrap_or_default();
            assert_eq!(served, resource.value_at(now));
            assert_eq!(served.pointer("/meta/lastUpdated"), Some(&json!(updated)));
            assert_eq!(served.pointer("/address/0/period/start"), Some(&json!(start)));
        }
    }
}
