//! What happens when something panics: a connection is lost, but a service that is lost ends the process, which a service
//! manager then starts again. A process without its listeners or its tokens would only look alive.

use std::any::Any;
use std::future::{self, Future};
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ListenFds, RuntimeOpts, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};

/// A service whose panic calls `lost`, with its name.
pub(super) struct Guarded {
    service: Box<dyn ServiceWithDependents>,
    lost: fn(&str),
}

impl Guarded {
    /// Watches over a service.
    #[must_use]
    pub(super) fn new(service: Box<dyn ServiceWithDependents>, lost: fn(&str)) -> Self {
        Self { service, lost }
    }
}

#[async_trait]
impl ServiceWithDependents for Guarded {
    async fn start_service(
        &mut self,
        sockets: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let name = self.service.name().to_owned();
        if caught(self.service.start_service(sockets, shutdown, listeners_per_fd, ready)).await.is_err() {
            (self.lost)(&name);
        }
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads()
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        self.service.runtime_opts_override(global)
    }

    fn on_startup_delay(&self, time_waited: Duration) {
        self.service.on_startup_delay(time_waited);
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.service.listen_addresses()
    }
}

/// Runs a future to its end or to its panic.
async fn caught<T>(running: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut running = pin!(running);
    future::poll_fn(|context| match panic::catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(payload) => Poll::Ready(Err(payload)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_wherever_it_comes() {
        assert_eq!(caught(async { 1 }).await.expect("it ends"), 1);
        assert!(caught(async { panic!("at once") }).await.is_err());
        let later = async {
            tokio::task::yield_now().await;
            panic!("later")
        };
        assert!(caught(later).await.is_err());
    }
}
