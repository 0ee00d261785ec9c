//! The parts of a server's CapabilityStatement that decide how requests are handled (FHIR R4, "CapabilityStatement").

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::error::Category;

/// The capabilities for one resource type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TypeCapabilities {
    /// The codes of interactions: `read`, `search-type`, `create` and so on, and also `conditional-update` and its like.
    pub(crate) interactions: BTreeSet<String>,
    /// The names of search parameters.
    pub(crate) search_parameters: BTreeSet<String>,
    /// The types of those search parameters whose type is known.
    kinds: BTreeMap<String, ParameterType>,
    /// The values of `_revinclude` that are announced, such as `Provenance:target`.
    pub(crate) reverse_includes: BTreeSet<String>,
    /// The names of operations, without `$`.
    pub(crate) operations: BTreeSet<String>,
    /// Whether resources have versions, so that a write can depend on one (`versioning`).
    pub(crate) versioned: bool,
    /// Whether an update can create a resource (`updateCreate`).
    pub(crate) update_create: bool,
}

/// The types of search parameters that are handled apart (FHIR R4, "Search", 3.1.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParameterType {
    /// `string`
    String,
    /// `token`
    Token,
    /// `reference`
    Reference,
    /// `date`
    Date,
}

impl ParameterType {
    fn of(code: &str) -> Option<Self> {
        match code {
            "string" => Some(Self::String),
            "token" => Some(Self::Token),
            "reference" => Some(Self::Reference),
            "date" => Some(Self::Date),
            _ => None,
        }
    }
}

impl TypeCapabilities {
    /// Adds a search parameter.
    pub(crate) fn announce(&mut self, name: String, kind: impl Into<Option<ParameterType>>) {
        if let Some(kind) = kind.into() {
            self.kinds.insert(name.clone(), kind);
        }
        self.search_parameters.insert(name);
    }

    /// The type of a search parameter; `None` where it is not announced, or has another type.
    #[must_use]
    pub(crate) fn kind(&self, name: &str) -> Option<ParameterType> {
        self.kinds.get(name).copied()
    }
}

/// The capabilities of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// The software of the server.
    pub(crate) software: Option<Software>,
    /// `implementation.url`: the FHIR base by which the server calls itself.
    pub(crate) base: Option<String>,
    /// The capabilities by resource type.
    pub(crate) types: BTreeMap<String, TypeCapabilities>,
    /// The codes of interactions at the base: `batch`, `transaction`, `history-system`, `search-system`.
    pub(crate) interactions: BTreeSet<String>,
    /// The names of operations at the base, without `$`.
    pub(crate) operations: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    resource_type: String,
    software: Option<Software>,
    implementation: Option<Implementation>,
    #[serde(default)]
    rest: Vec<Rest>,
}

/// The software that a server names in its CapabilityStatement.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Software {
    /// `software.name`.
    pub(crate) name: Option<String>,
    /// `software.version`.
    pub(crate) version: Option<String>,
}

#[derive(Deserialize)]
struct Implementation {
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rest {
    #[serde(default)]
    resource: Vec<Resource>,
    #[serde(default)]
    interaction: Vec<Interaction>,
    #[serde(default)]
    operation: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    r#type: String,
    #[serde(default)]
    interaction: Vec<Interaction>,
    versioning: Option<String>,
    #[serde(default)]
    update_create: bool,
    #[serde(default)]
    conditional_create: bool,
    #[serde(default)]
    conditional_update: bool,
    conditional_delete: Option<String>,
    #[serde(default)]
    search_param: Vec<SearchParameter>,
    #[serde(default)]
    search_rev_include: Vec<String>,
    #[serde(default)]
    operation: Vec<Named>,
}

#[derive(Deserialize)]
struct Interaction {
    code: String,
}

#[derive(Deserialize)]
struct SearchParameter {
    name: String,
    r#type: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// The reason why a document cannot be used as a CapabilityStatement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CapabilitiesError {
    /// The document is not JSON, or has not the shape of a CapabilityStatement.
    #[error("the CapabilityStatement cannot be read: {}", fault(.0))]
    Shape(#[from] serde_json::Error),
    /// The document is another resource.
    #[error("there is another resource where a CapabilityStatement was due")]
    OtherResource,
}

/// What is wrong with a document, and where, without its words.
fn fault(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Eof => "it breaks off",
        Category::Data => "it has another shape",
        Category::Syntax | Category::Io => "it is not JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

impl Capabilities {
    /// Reads a CapabilityStatement.
    ///
    /// # Errors
    /// The document is no CapabilityStatement.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, CapabilitiesError> {
        let statement: Statement = serde_json::from_slice(json)?;
        if statement.resource_type != "CapabilityStatement" {
            return Err(CapabilitiesError::OtherResource);
        }
        let mut capabilities = Self {
            software: statement.software,
            base: statement.implementation.and_then(|implementation| implementation.url),
            types: BTreeMap::new(),
            interactions: BTreeSet::new(),
            operations: BTreeSet::new(),
        };
        for rest in statement.rest {
            capabilities.interactions.extend(codes(rest.interaction));
            capabilities.operations.extend(operations(rest.operation));
            for resource in rest.resource {
                let conditional = conditional(&resource);
                let known = capabilities.types.entry(resource.r#type).or_default();
                known.versioned |= matches!(resource.versioning.as_deref(), Some("versioned" | "versioned-update"));
                known.update_create |= resource.update_create;
                known.interactions.extend(conditional);
                known.interactions.extend(codes(resource.interaction));
                for parameter in resource.search_param {
                    known.announce(parameter.name, parameter.r#type.as_deref().and_then(ParameterType::of));
                }
                known.reverse_includes.extend(resource.search_rev_include);
                known.operations.extend(operations(resource.operation));
            }
        }
        Ok(capabilities)
    }
}

fn codes(interactions: Vec<Interaction>) -> impl Iterator<Item = String> {
    interactions.into_iter().map(|interaction| interaction.code)
}

/// Returns the codes of conditional interactions. FHIR announces these with members of their own, and a conditional patch with
/// the patch and the conditional update together.
fn conditional(resource: &Resource) -> impl Iterator<Item = String> + use<> {
    let deletes = resource.conditional_delete.as_deref().is_some_and(|how| how != "not-supported");
    let patches = resource.interaction.iter().any(|interaction| interaction.code == "patch");
    [
        (resource.conditional_create, "conditional-create"),
        (resource.conditional_update, "conditional-update"),
        (resource.conditional_update && patches, "conditional-patch"),
        (deletes, "conditional-delete"),
    ]
    .into_iter()
    .filter(|(is_done, _)| *is_done)
    .map(|(_, code)| code.to_owned())
}

fn operations(named: Vec<Named>) -> impl Iterator<Item = String> {
    named.into_iter().map(|named| named.name.trim_start_matches('$').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_statement_is_told_without_its_words() {
        for (json, told) in [
            ("", "it breaks off (line 1, column 0)"),
            ("<html>Doe", "it is not JSON (line 1, column 1)"),
            (r#"{"resourceType":"CapabilityStatement","rest":"Doe"}"#, "it has another shape (line 1, column 50)"),
            (r#"["Doe"]"#, "it has another shape"),
        ] {
            let error = Capabilities::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("Doe") && !error.contains("struct"), "{json}: {error}");
        }
    }

    #[test]
    fn reads_what_a_server_can_do() {
        let capabilities = Capabilities::parse(
            br#"{"resourceType":"CapabilityStatement","software":{"name":"OpenEMR"},
                "implementation":{"description":"x","url":"https:\/\/emr\/apis\/default\/fhir"},
                "rest":[{"mode":"server","interaction":[{"code":"batch"}],"operation":[{"name":"$export"}],"resource":[
                    {"type":"Patient","interaction":[{"code":"read"},{"code":"search-type"}],
                     "searchParam":[{"name":"name","type":"string"},{"name":"_id","type":"token"}],
                     "searchRevInclude":["Provenance:target"],
                     "operation":[{"name":"export","definition":"x"}]},
                    {"type":"Goal","versioning":"no-version"},
                    {"type":"Device","versioning":"versioned-update","updateCreate":true}]}]}"#,
        )
        .unwrap();
        let software = capabilities.software.unwrap();
        assert_eq!((software.name.as_deref(), software.version), (Some("OpenEMR"), None));
        assert_eq!(capabilities.base.as_deref(), Some("https://emr/apis/default/fhir"));
        let patient = &capabilities.types["Patient"];
        assert!(patient.search_parameters.contains("name") && patient.interactions.contains("search-type"));
        assert_eq!((patient.kind("name"), patient.kind("_id")), (Some(ParameterType::String), Some(ParameterType::Token)));
        assert_eq!((patient.kind("family"), patient.reverse_includes.contains("Provenance:target")), (None, true));
        assert!(patient.operations.contains("export") && capabilities.operations.contains("export"));
        assert!(capabilities.interactions.contains("batch"));
        assert!(capabilities.types["Goal"].search_parameters.is_empty());
        let writes = |name: &str| (capabilities.types[name].versioned, capabilities.types[name].update_create);
        assert_eq!(["Patient", "Goal", "Device"].map(writes), [(false, false), (false, false), (true, true)]);
    }

    #[test]
    fn other_documents_are_errors() {
        for bad in ["", "[]", "{}", r#"{"resourceType":"Patient"}"#, r#"{"resourceType":"CapabilityStatement","rest":1}"#] {
            assert!(Capabilities::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
