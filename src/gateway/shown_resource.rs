//! The resource in the answer to a write, for a client that may not read every one: who may change a part of a resource would
//! otherwise be shown the rest.

use bytes::{Bytes, BytesMut};

use crate::fhir::body_step::BodyStep;
use crate::fhir::resource_test::Permitted;

/// The longest resource that is tested, in bytes.
const MOST: usize = 4 * 1024 * 1024;

/// Shows the resource that comes as the answer to a write, if the client may read it; what was done, otherwise.
#[derive(Debug)]
pub(super) struct Shown {
    test: Permitted,
    resource_type: &'static str,
    resource: BytesMut,
    is_too_long: bool,
    otherwise: Bytes,
}

impl Shown {
    /// The step for the answer to the write of a resource of this type. `otherwise`: what comes in the place of a resource that the
    /// client may not read.
    #[must_use]
    pub(super) fn new(test: Permitted, resource_type: &'static str, otherwise: Bytes) -> Self {
        Self { test, resource_type, resource: BytesMut::new(), is_too_long: false, otherwise }
    }
}

impl BodyStep for Shown {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        self.is_too_long |= self.resource.len() + piece.len() > MOST;
        if !self.is_too_long {
            self.resource.extend_from_slice(&piece);
        }
        Bytes::new()
    }

    fn finish(&mut self) -> Bytes {
        let resource = std::mem::take(&mut self.resource).freeze();
        let is_shown = !self.is_too_long && is_shown(&self.test, self.resource_type, &resource);
        if is_shown || resource.is_empty() { resource } else { std::mem::take(&mut self.otherwise) }
    }
}

/// Whether the client may read a resource. What cannot be read is not shown.
#[must_use]
pub(super) fn is_shown(Permitted(test): &Permitted, resource_type: &str, resource: &[u8]) -> bool {
    test.permits(resource_type, resource).unwrap_or(false)
}
