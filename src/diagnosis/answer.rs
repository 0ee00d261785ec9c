//! What it means for a step that OpenEMR's answer is of no use, or does not come.

use crate::diagnosis::outcome::{Area, Finding};
use crate::nodes::cause::Explained;
use crate::nodes::client_error::ClientError;

/// There is no whole answer. `limit`: the key that says how long it may take.
pub(super) fn none(error: &ClientError, limit: &str) -> Finding {
    let remedy = if error.is_timeout() {
        Some(format!("see in OpenEMR's own log what takes it so long, or raise {limit}"))
    } else {
        error.remedy()
    };
    Finding::failed("no answer").cause(error.cause()).remedy_or_log(remedy)
}

/// Whose matter an answer of no use is: where it says more than its status, as a redirect and a web page do, another server may
/// have made it.
pub(super) fn area(explained: &Explained<'_>) -> Area {
    if explained.has_remedy() { Area::Network } else { Area::OpenEmr }
}
