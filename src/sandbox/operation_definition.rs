//! The definition of an operation, which OpenEMR serves in a place of its own.

use serde_json::{Value, json};

/// Returns the only operation that OpenEMR defines; it has no id.
pub(super) fn operation_definition() -> Value {
    let parameter = json!({"name": "job", "use": "in", "min": 1, "max": "1", "type": "string"});
    json!({
        "resourceType": "OperationDefinition", "name": "$bulkdata-status", "status": "active", "kind": "operation",
        "code": "bulkdata-status", "system": true, "type": false, "instance": false, "parameter": [parameter],
    })
}
