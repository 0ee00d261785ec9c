//! The service that carries out bulk exports.

use std::sync::Arc;

use pingora::services::ServiceWithDependents;
use pingora::services::background::background_service;

use crate::exports::worker::Worker;
use crate::server::process::Process;

/// Carries out the bulk exports of all sites.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    let Process { runtime, exports, tasks, lifecycle, .. } = process;
    let worker = Worker::new(Arc::clone(runtime), Arc::clone(exports), tasks.tokens.clone(), Arc::clone(lifecycle));
    Box::new(background_service("exports", worker))
}
