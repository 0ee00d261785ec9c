//! The state of one request: five parts, each with one owner. Pingora hands it from phase to phase.

use std::sync::Arc;

use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::fhir::rejection::Rejection;
use crate::gateway::answer_state::AnswerState;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::Destination;
use crate::gateway::exchange::Exchange;
use crate::gateway::stop::Stop;
use crate::gateway::wire;
use crate::http::parts::forget_spelling;
use crate::site::lifecycle::InFlight;
use crate::site::runtime::Runtime;

/// Everything that the gateway knows about one request.
///
/// Steps take the parts that they need, not the whole.
#[derive(Debug)]
pub(crate) struct RequestContext {
    /// The request: written when its head has been read, and only read from then on.
    pub(super) call: Call,
    /// Where it goes: decided once.
    pub(super) destination: Destination,
    /// Its tries at OpenEMR.
    pub(super) attempt: Attempt,
    /// OpenEMR's answer on its way to the client.
    pub(super) answer: AnswerState,
    /// Why the gateway itself refuses it.
    pub(super) rejection: Option<Rejection>,
}

impl RequestContext {
    /// A request whose head has not been read.
    #[must_use]
    pub(super) fn new(runtime: Arc<Runtime>, in_flight: Option<InFlight>) -> Self {
        Self {
            call: Call::new(runtime, in_flight),
            destination: Destination::NotFound,
            attempt: Attempt::default(),
            answer: AnswerState::default(),
            rejection: None,
        }
    }

    /// The parts that the exchange with OpenEMR works on.
    ///
    /// # Errors
    /// The request goes nowhere near OpenEMR, which Pingora's phases never ask of one that was answered before.
    pub(super) fn exchange(&mut self) -> pingora::Result<Exchange<'_>> {
        match &mut self.destination {
            Destination::Fhir(fhir) => {
                Ok(Exchange { call: &self.call, fhir, attempt: &mut self.attempt, answer: &mut self.answer })
            }
            Destination::Local(_) | Destination::NotFound | Destination::Unsafe { .. } => {
                Err(Error::new_in(ErrorType::InternalError))
            }
        }
    }

    /// Ends the exchange with OpenEMR for this reason; gives the error that makes Pingora end it.
    pub(super) fn end(&mut self, stop: Stop) -> Box<Error> {
        match stop {
            Stop::Rejected(rejection) => {
                self.rejection = Some(rejection);
                Error::new_in(ErrorType::new("Rejected"))
            }
            Stop::Gone(error) => error,
            Stop::Answered(_) => Error::new_in(ErrorType::InternalError),
        }
    }

    /// Reads the head of the request: who sent it, and where it goes.
    pub(super) fn read(&mut self, session: &mut Session) {
        forget_spelling(session.req_header_mut());
        let head = session.req_header();
        self.call.read(session);
        self.destination = match wire::check_target(session) {
            Ok(()) => Destination::of(&head.method, head.raw_path(), &self.call.runtime),
            Err(reason) => Destination::Unsafe { reason, site: None },
        };
    }
}
