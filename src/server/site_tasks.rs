//! The services that work in the background for the sites: their keys, tokens and nodes.

use std::sync::Arc;

use pingora::services::ServiceWithDependents;
use pingora::services::background::{GenBackgroundService, background_service};

use crate::server::process::Process;
use crate::smart::key_keeper::KeyKeeper;

/// Follows the rotations of signing keys. Ready when it has looked at the key files once.
pub(super) fn keys(process: &Process) -> Box<dyn ServiceWithDependents> {
    Box::new(background_service("keys", KeyKeeper::new(process.tasks.keys.clone(), Arc::clone(&process.tasks.trail))))
}

/// Keeps the access tokens fresh. Ready at once.
pub(super) fn tokens(process: &Process) -> Box<dyn ServiceWithDependents> {
    Box::new(GenBackgroundService::new("BG tokens".to_owned(), Arc::clone(&process.refresher)))
}

/// Checks nodes and looks their names up. Ready when each name has been looked up once.
pub(super) fn nodes(process: &Process) -> Box<dyn ServiceWithDependents> {
    Box::new(GenBackgroundService::new("BG nodes".to_owned(), Arc::clone(&process.health_checks)))
}
