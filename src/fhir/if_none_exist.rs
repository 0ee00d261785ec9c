//! `If-None-Exist`, the field of a conditional create (FHIR R4, "RESTful API", 3.1.0.8.1).

use http::HeaderName;

/// Its name.
pub(crate) static IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");
