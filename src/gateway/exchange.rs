//! The parts of a request that its exchange with OpenEMR works on.

use crate::gateway::answer_state::AnswerState;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;

/// A request on its way to OpenEMR and back.
pub(super) struct Exchange<'a> {
    /// The request.
    pub(super) call: &'a Call,
    /// What it asks of OpenEMR.
    pub(super) fhir: &'a mut FhirCall,
    /// Its tries.
    pub(super) attempt: &'a mut Attempt,
    /// OpenEMR's answer.
    pub(super) answer: &'a mut AnswerState,
}
