//! The end of a background task.

use std::panic;

use tokio::task::JoinError;

/// Passes the panic of a task on to the service that started it, which ends the process with it: a task that is lost would not
/// be started again, and its site would go on without health checks or without tokens.
pub(crate) fn pass_on_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panicked) = error.try_into_panic()
    {
        panic::resume_unwind(panicked);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use super::*;

    #[tokio::test]
    async fn only_a_panic_is_passed_on() {
        let goes_on = |ended| panic::catch_unwind(AssertUnwindSafe(|| pass_on_panic(ended))).is_ok();
        assert!(goes_on(tokio::spawn(async {}).await));
        let endless = tokio::spawn(std::future::pending());
        endless.abort();
        assert!(goes_on(endless.await));
        assert!(!goes_on(tokio::spawn(async { panic!("lost") }).await));
    }
}
