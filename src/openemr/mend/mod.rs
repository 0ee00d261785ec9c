//! What is not valid FHIR in OpenEMR's resources, mended as they stream by.
//!
//! | module | what it knows |
//! |---|---|
//! | `mender` | the step of the body |
//! | `work`, `values`, `containers`, `doubts` | where which repair is made |
//! | `repairs` | the repairs one by one, and how often each was made |
//! | `names` | which elements are text |
//! | `systems`, `narrative`, `empties` | what becomes of a code, of a narrative, of a list with nulls |
//! | `tokens`, `level`, `output`, `limits` | how the document is read and written |
//!
//! Decision: `docs/decisions/35-mended-resources.md`.

mod containers;
mod doubts;
mod empties;
mod level;
mod limits;
pub(crate) mod mender;
mod names;
mod narrative;
mod output;
pub(crate) mod repairs;
mod systems;
mod tokens;
mod values;
mod work;
