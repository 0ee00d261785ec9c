//! Work on behalf of a client, for as long as that is there.

use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::gateway::stop::Stop;

/// Waits for what is done on behalf of a client, which is given up when the client hangs up. That is not noticed while a part of
/// its body is still to be read.
///
/// # Errors
/// Those of the work; the client is gone.
pub(super) async fn while_there<T>(session: &mut Session, work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    if !session.is_body_done() {
        return work.await;
    }
    tokio::select! {
        done = work => done,
        // Behind the end of a body there is nothing to read but the end of the connection.
        gone = session.as_mut().read_body_or_idle(true) => {
            let error = gone.err().unwrap_or_else(|| Error::new_down(ErrorType::ConnectionClosed));
            Err(Stop::Gone(error.into_down()))
        }
    }
}
