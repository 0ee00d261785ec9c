//! The scope that a FHIR interaction requires, as far as the request line tells it (SMART App Launch 2.2, "Scopes for requesting
//! FHIR Resources").
//!
//! OpenEMR requires `read` or `s` for a search, `read` or `r` for a read, and `write` or `c` or `u` for a write. Operations have
//! scopes of their own (`system/Patient.$export`).

use std::fmt;

use crate::fhir::interaction::{Interaction, Kind, operation_name};

/// The operations for which OpenEMR has scopes.
const OPERATIONS: [&str; 3] = ["$export", "$bulkdata-status", "$docref"];

/// A permission on resources of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Permission {
    Create,
    Read,
    Update,
    Search,
    /// An operation, by its name with the `$`.
    Operation(&'static str),
}

/// A permission on a resource type or on `*`, which the token must have for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RequiredScope {
    permission: Permission,
    resource: &'static str,
}

impl RequiredScope {
    /// Returns the scope that a request requires; `None` when there is none that can be named, as for metadata, unknown types and
    /// interactions that OpenEMR does not have. `path` is the part of the path below the FHIR base.
    #[must_use]
    pub(crate) fn of(interaction: Interaction, path: &[u8]) -> Option<Self> {
        let permission = match interaction.kind {
            Kind::Search => Permission::Search,
            Kind::Read => Permission::Read,
            Kind::Create => Permission::Create,
            Kind::Update => Permission::Update,
            Kind::Export => Permission::Operation("$export"),
            Kind::ExportStatus => Permission::Operation("$bulkdata-status"),
            Kind::Operation => Permission::Operation(operation(path)?),
            Kind::Capabilities
            | Kind::SmartConfiguration
            | Kind::SearchSystem
            | Kind::SearchCompartment
            | Kind::VersionRead
            | Kind::HistoryInstance
            | Kind::HistoryType
            | Kind::HistorySystem
            | Kind::ConditionalUpdate
            | Kind::Patch
            | Kind::ConditionalPatch
            | Kind::Delete
            | Kind::ConditionalDelete
            | Kind::Batch
            | Kind::Other => return None,
        };
        let resource = match (permission, interaction.resource_type) {
            (Permission::Operation("$docref"), _) => "DocumentReference",
            (Permission::Operation(_), resource) => resource.unwrap_or("*"),
            (_, resource) => resource?,
        };
        Some(Self { permission, resource })
    }

    /// Whether a granted scope (space separated, RFC 6749 section 3.3) covers this one. The scope of an operation is of one level,
    /// and covers no other.
    #[must_use]
    pub(crate) fn is_covered_by(self, granted: &str) -> bool {
        granted.split(' ').filter_map(|scope| scope.strip_prefix("system/")?.split_once('.')).any(|(resource, permission)| {
            match self.permission {
                Permission::Operation(name) => permission == name && resource == self.resource,
                Permission::Create | Permission::Read | Permission::Update | Permission::Search => {
                    (resource == "*" || resource == self.resource) && self.is_in(permission)
                }
            }
        })
    }

    fn is_in(self, permission: &str) -> bool {
        let letters = permission.split('?').next().unwrap_or_default();
        let (v1, letter) = match self.permission {
            Permission::Create => ("write", 'c'),
            Permission::Update => ("write", 'u'),
            Permission::Read => ("read", 'r'),
            Permission::Search => ("read", 's'),
            Permission::Operation(_) => return false,
        };
        match letters {
            "read" | "write" => letters == v1,
            "*" => true,
            letters => letters.contains(letter) && !letters.starts_with('$'),
        }
    }
}

impl fmt::Display for RequiredScope {
    /// Writes the scope in the v1 syntax, which every version of OpenEMR knows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permission = match self.permission {
            Permission::Read | Permission::Search => "read",
            Permission::Create | Permission::Update => "write",
            Permission::Operation(name) => name,
        };
        write!(f, "system/{}.{permission}", self.resource)
    }
}

fn operation(path: &[u8]) -> Option<&'static str> {
    path.split(|byte| *byte == b'/').find_map(|segment| {
        let name = operation_name(segment)?;
        OPERATIONS.into_iter().find(|known| known.as_bytes().strip_prefix(b"$") == Some(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use proptest::prelude::*;

    fn need(method: &Method, path: &str) -> Option<RequiredScope> {
        RequiredScope::of(Interaction::of(method, path.as_bytes()), path.as_bytes())
    }

    #[test]
    fn names_the_scope_of_an_interaction() {
        for (method, path, scope) in [
            (Method::GET, "/Patient", Some("system/Patient.read")),
            (Method::POST, "/Patient/_search", Some("system/Patient.read")),
            (Method::GET, "/Observation/1", Some("system/Observation.read")),
            (Method::HEAD, "/Observation/1", Some("system/Observation.read")),
            (Method::POST, "/Patient", Some("system/Patient.write")),
            (Method::PUT, "/Patient/1", Some("system/Patient.write")),
            (Method::GET, "/Patient/$export", Some("system/Patient.$export")),
            (Method::GET, "/Group/1/$export", Some("system/Group.$export")),
            (Method::GET, "/$export", Some("system/*.$export")),
            (Method::GET, "/%24export", Some("system/*.$export")),
            (Method::GET, "/%24bulkdata-status", Some("system/*.$bulkdata-status")),
            (Method::GET, "/$bulkdata-status", Some("system/*.$bulkdata-status")),
            (Method::DELETE, "/$bulkdata-status", Some("system/*.$bulkdata-status")),
            (Method::POST, "/DocumentReference/$docref", Some("system/DocumentReference.$docref")),
            (Method::GET, "/metadata", None),
            (Method::GET, "/jane-doe", None),
            (Method::GET, "/Patient/$jane", None),
            (Method::DELETE, "/Patient/1", None),
            (Method::POST, "", None),
        ] {
            assert_eq!(need(&method, path).map(|need| need.to_string()).as_deref(), scope, "{method} {path}");
        }
    }

    #[test]
    fn both_syntaxes_cover() {
        let search = need(&Method::GET, "/Patient").unwrap();
        let read = need(&Method::GET, "/Patient/1").unwrap();
        let create = need(&Method::POST, "/Patient").unwrap();
        let update = need(&Method::PUT, "/Patient/1").unwrap();
        let export = need(&Method::GET, "/Patient/$export").unwrap();
        for (granted, covered) in [
            ("system/Patient.read", [true, true, false, false, false]),
            ("system/Patient.write", [false, false, true, true, false]),
            ("system/Patient.rs", [true, true, false, false, false]),
            ("system/Patient.s", [true, false, false, false, false]),
            ("system/Patient.r?_id=1", [false, true, false, false, false]),
            ("system/Patient.cruds", [true, true, true, true, false]),
            ("system/Patient.u", [false, false, false, true, false]),
            ("system/*.read", [true, true, false, false, false]),
            ("system/Observation.read", [false, false, false, false, false]),
            ("user/Patient.read", [false, false, false, false, false]),
            ("system/Patient.$export", [false, false, false, false, true]),
            ("system/*.$export", [false, false, false, false, false]),
            ("system/Group.$export", [false, false, false, false, false]),
            ("openid system/Goal.read system/Patient.read", [true, true, false, false, false]),
            ("", [false, false, false, false, false]),
        ] {
            let found = [search, read, create, update, export].map(|need| need.is_covered_by(granted));
            assert_eq!(found, covered, "{granted}");
        }
    }

    proptest! {
        #[test]
        fn a_need_is_covered_by_the_scope_that_it_names(path in "/(Patient|Observation|Group)(/[a-z0-9]{1,5})?(/\\$export)?", put in any::<bool>()) {
            let method = if put { Method::PUT } else { Method::GET };
            if let Some(need) = need(&method, &path) {
                prop_assert!(need.is_covered_by(&need.to_string()));
            }
        }

        #[test]
        fn nothing_of_the_callers_own_words_is_named(path in "(/[ -~]{0,12}){0,4}") {
            if let Some(need) = need(&Method::GET, &path) {
                let named = need.to_string();
                let (resource, permission) = named.strip_prefix("system/").unwrap().split_once('.').unwrap();
                prop_assert!(resource == "*" || crate::fhir::resource_type::known(resource.as_bytes()).is_some());
                prop_assert!(["read", "write"].contains(&permission) || OPERATIONS.contains(&permission));
            }
        }

        #[test]
        fn no_granted_scope_panics(granted in ".{0,80}") {
            let _ = need(&Method::GET, "/Patient").unwrap().is_covered_by(&granted);
        }
    }
}
