//! The CapabilityStatement and the SMART configuration that clients get: they describe the gateway, not the server behind it.

use serde_json::{Map, Value, json};

/// What the gateway adds to a server's capabilities, or does in another way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GatewayFeatures {
    /// Whether web pages of other origins may send requests.
    pub(crate) cors: bool,
    /// Whether answers have FHIR's media type and `_format` is understood.
    pub(crate) formats: bool,
    /// The bulk exports that are offered.
    pub(crate) exports: Exports,
    /// How clients authenticate.
    pub(crate) authentication: Authentication,
}

/// How clients authenticate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Authentication {
    /// Not at all: their address is enough.
    #[default]
    Address,
    /// With credentials that the operator has given them.
    Credentials,
    /// With those, or with access tokens that they get by SMART Backend Services.
    Smart {
        /// The scopes that clients can get.
        scopes: Vec<String>,
    },
}

/// The levels at which a bulk export is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Exports {
    /// `[base]/$export`
    pub(crate) system: bool,
    /// `[base]/Patient/$export`
    pub(crate) patient: bool,
    /// `[base]/Group/[id]/$export`
    pub(crate) group: bool,
}

/// `rest.security.description` of [`Authentication::Address`]: the gateway adds the credentials that the server demands.
const BY_ADDRESS: &str = "Clients need no credentials: the gateway admits them by their network address, and adds the access \
                          token that the server behind it demands. There is nothing to authorize at that server.";
/// That of [`Authentication::Credentials`].
const BY_CREDENTIALS: &str = "Clients authenticate with what the operator of the gateway has given them: an API key, a \
                              certificate, or a token of an identity provider. There is nothing to authorize at the server \
                              behind the gateway.";
/// That of [`Authentication::Smart`].
const BY_SMART: &str = "Clients get an access token by SMART Backend Services: private_key_jwt at the token endpoint of the \
                        gateway. API keys, certificates and tokens of an identity provider are taken from clients that the \
                        operator has given them. There is nothing to authorize at the server behind the gateway.";

/// Rewrites a server's CapabilityStatement, apart from its links. `correct` changes what the server says of itself. `token_url`:
/// the gateway's own token endpoint.
///
/// # Errors
/// The document is no JSON object.
pub(crate) fn rewrite(
    json: &[u8],
    features: &GatewayFeatures,
    token_url: &str,
    correct: impl FnOnce(&mut Map<String, Value>),
) -> Result<Vec<u8>, serde_json::Error> {
    let mut statement: Map<String, Value> = serde_json::from_slice(json)?;
    if features.formats {
        statement.insert("format".to_owned(), json!(["application/fhir+json", "json"]));
    }
    let rest = statement.get_mut("rest").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
    for rest in rest.iter_mut().filter_map(Value::as_object_mut) {
        rest.insert("security".to_owned(), security(features, token_url));
        offer_exports(rest, features.exports);
    }
    correct(&mut statement);
    serde_json::to_vec(&statement)
}

fn security(features: &GatewayFeatures, token_url: &str) -> Value {
    let described = |description: &str| json!({"cors": features.cors, "description": description});
    match features.authentication {
        Authentication::Address => described(BY_ADDRESS),
        Authentication::Credentials => described(BY_CREDENTIALS),
        Authentication::Smart { .. } => json!({
            "extension": [{
                "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
                "extension": [{"url": "token", "valueUri": token_url}],
            }],
            "cors": features.cors,
            "service": [{
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}],
                "text": "SMART Backend Services",
            }],
            "description": BY_SMART,
        }),
    }
}

fn offer_exports(rest: &mut Map<String, Value>, exports: Exports) {
    if exports.system {
        offer(rest, "export", "export");
    }
    let resources = rest.get_mut("resource").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
    for resource in resources.iter_mut().filter_map(Value::as_object_mut) {
        match resource.get("type").and_then(Value::as_str) {
            Some("Patient") if exports.patient => offer(resource, "export", "patient-export"),
            Some("Group") if exports.group => offer(resource, "export", "group-export"),
            _ => {}
        }
    }
}

/// Adds an operation, unless it is listed already.
fn offer(at: &mut Map<String, Value>, name: &str, definition: &str) {
    let definition = format!("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{definition}");
    let operations = at.entry("operation").or_insert_with(|| json!([]));
    let Some(operations) = operations.as_array_mut() else { return };
    let is_this = |operation: &Value| operation["name"].as_str().is_some_and(|known| known.trim_start_matches('$') == name);
    if !operations.iter().any(is_this) {
        operations.push(json!({"name": name, "definition": definition}));
    }
}

/// Writes the SMART configuration (SMART App Launch 2.2, "Conformance"). It never names an endpoint of the server behind the
/// gateway, where clients would authorize without need; without SMART clients it names none at all.
#[must_use]
pub(crate) fn smart_configuration(authentication: &Authentication, token_url: &str) -> Vec<u8> {
    let configuration = match authentication {
        Authentication::Address | Authentication::Credentials => {
            json!({"grant_types_supported": [], "code_challenge_methods_supported": [], "capabilities": []})
        }
        Authentication::Smart { scopes } => json!({
            "token_endpoint": token_url,
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
            "grant_types_supported": ["client_credentials"],
            "code_challenge_methods_supported": [],
            "scopes_supported": scopes,
            "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
        }),
    };
    configuration.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OF_OPENEMR: &str = r#"{"resourceType":"CapabilityStatement","format":["application\/json"],
        "implementation":{"url":"https:\/\/emr\/apis\/default\/fhir"},
        "rest":[{"mode":"server","security":{"service":[{"text":"SMART-on-FHIR"}],"extension":[{"url":
            "http:\/\/fhir-registry.smarthealthit.org\/StructureDefinition\/oauth-uris","extension":[{"url":"token",
            "valueUri":"https:\/\/emr\/oauth2\/default\/token"}]}]},
          "resource":[{"type":"Patient","operation":[{"name":"$everything","definition":"x"}]},{"type":"Group"},{"type":"Goal"}]}]}"#;

    fn rewrite(json: &[u8], features: &GatewayFeatures) -> Result<Vec<u8>, serde_json::Error> {
        super::rewrite(json, features, "https://gw/auth/token", |_| {})
    }

    fn of_openemr(features: &GatewayFeatures) -> Value {
        serde_json::from_slice(&rewrite(OF_OPENEMR.as_bytes(), features).unwrap()).unwrap()
    }

    #[test]
    fn nobody_is_sent_to_the_server_to_authorize() {
        let statement = of_openemr(&GatewayFeatures { cors: true, ..GatewayFeatures::default() });
        let security = &statement["rest"][0]["security"];
        assert_eq!((&security["cors"], security.as_object().unwrap().len()), (&json!(true), 2));
        assert!(!statement.to_string().contains("oauth2"));
        assert_eq!(statement["format"], json!(["application/json"]));
        assert_eq!(statement["rest"][0]["mode"], "server");
        assert_eq!(statement["rest"][0].get("operation"), None);
        for authentication in [Authentication::Address, Authentication::Credentials] {
            assert!(!String::from_utf8(smart_configuration(&authentication, "x")).unwrap().contains("endpoint"));
        }
    }

    #[test]
    fn smart_clients_are_sent_to_the_gateways_own_token_endpoint() {
        let authentication = Authentication::Smart { scopes: vec!["system/Patient.rs".to_owned()] };
        let configuration: Value =
            serde_json::from_slice(&smart_configuration(&authentication, "https://gw/auth/token")).unwrap();
        assert_eq!(configuration["token_endpoint"], "https://gw/auth/token");
        assert_eq!(configuration["scopes_supported"], json!(["system/Patient.rs"]));
        let statement = of_openemr(&GatewayFeatures { authentication, ..GatewayFeatures::default() });
        let security = &statement["rest"][0]["security"];
        assert_eq!(security["service"][0]["coding"][0]["code"], "SMART-on-FHIR");
        assert_eq!(security["extension"][0]["extension"], json!([{"url": "token", "valueUri": "https://gw/auth/token"}]));
        assert!(!statement.to_string().contains("oauth2"));
        let keyed = of_openemr(&GatewayFeatures { authentication: Authentication::Credentials, ..GatewayFeatures::default() });
        assert!(keyed["rest"][0]["security"]["description"].as_str().unwrap().contains("API key"));
    }

    #[test]
    fn the_gateway_announces_what_it_adds() {
        let exports = Exports { system: true, patient: true, group: true };
        let statement = of_openemr(&GatewayFeatures { formats: true, exports, ..GatewayFeatures::default() });
        assert_eq!(statement["format"], json!(["application/fhir+json", "json"]));
        let definition = |operation: &str| format!("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{operation}");
        let rest = &statement["rest"][0];
        assert_eq!(rest["operation"], json!([{"name": "export", "definition": definition("export")}]));
        let patient = rest["resource"][0]["operation"].as_array().unwrap();
        assert_eq!((patient.len(), &patient[1]["definition"]), (2, &json!(definition("patient-export"))));
        assert_eq!(rest["resource"][1]["operation"][0]["definition"], definition("group-export"));
        assert_eq!(rest["resource"][2].get("operation"), None);
        // A second rewrite changes nothing.
        let features = GatewayFeatures { formats: true, exports, ..GatewayFeatures::default() };
        let once = rewrite(OF_OPENEMR.as_bytes(), &features).unwrap();
        assert_eq!(rewrite(&once, &features).unwrap(), once);
    }

    proptest! {
        #[test]
        fn no_document_panics(json in r#"\{("(rest|format|a)":(\[(\{("(resource|operation|security)":(\[\{\}\]|1|\[1\]|null))?\}|2)?\]|3|"x"),?){0,2}\}"#) {
            let exports = Exports { system: true, patient: true, group: true };
            let _ = rewrite(json.as_bytes(), &GatewayFeatures { formats: true, exports, cors: true, ..GatewayFeatures::default() });
        }
    }
}
