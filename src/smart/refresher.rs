//! The background service that keeps every site's token: one task a token, one exchange at a time.
//!
//! Requests only read. A request that needs a newer token sends a refresh request to the token's task. One for a generation
//! that is already past is answered at once with the current token, so that refreshes that arrive together cause one exchange;
//! the schedule decides about the others.
//!
//! Decision: `docs/decisions/06-token-life.md`.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::audit::trail::Trail;
use crate::nodes::client::Client;
use crate::nodes::task_end::pass_on_panic;
use crate::smart::exchange::TokenEndpoint;
use crate::smart::token_cell::TokenHandle;
use crate::smart::token_task::TokenTask;

/// The background service, with one task a token.
pub(crate) struct Refresher {
    tasks: Mutex<Option<mpsc::UnboundedReceiver<TokenTask>>>,
}

/// Starts token tasks, before the service runs and while it does.
#[derive(Clone)]
pub(crate) struct TokenTasks {
    tasks: mpsc::UnboundedSender<TokenTask>,
    client: Client,
    trail: Arc<Trail>,
}

impl TokenTasks {
    /// Starts a task for this endpoint. It ends when the handle is dropped.
    #[must_use]
    pub(crate) fn start(&self, endpoint: TokenEndpoint) -> Arc<TokenHandle> {
        let handle = self.prepare(endpoint);
        handle.begin();
        handle
    }

    /// Starts a task for this endpoint, whose first exchange waits for [`TokenHandle::begin`].
    #[must_use]
    pub(crate) fn prepare(&self, endpoint: TokenEndpoint) -> Arc<TokenHandle> {
        let (task, handle) = TokenTask::new(endpoint, Arc::clone(&self.trail));
        // There is no service only when the process ends.
        let _ = self.tasks.send(task);
        Arc::new(handle)
    }

    /// The client that all exchanges share.
    #[must_use]
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }
}

impl Refresher {
    /// A refresher without tasks, and what starts them. Their exchanges are recorded.
    #[must_use]
    pub(crate) fn new(client: Client, trail: Arc<Trail>) -> (Self, TokenTasks) {
        let (sender, tasks) = mpsc::unbounded_channel();
        (Self { tasks: Mutex::new(Some(tasks)) }, TokenTasks { tasks: sender, client, trail })
    }
}

#[async_trait]
impl BackgroundService for Refresher {
    async fn start_with_ready_notifier(&self, shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let Some(mut tasks) = self.tasks.lock().take() else { return };
        let mut running = JoinSet::new();
        while let Ok(task) = tasks.try_recv() {
            running.spawn(task.run(shutdown.clone()));
        }
        ready.notify_ready();
        let mut ending = shutdown.clone();
        loop {
            tokio::select! {
                task = tasks.recv() => match task {
                    Some(task) => drop(running.spawn(task.run(shutdown.clone()))),
                    None => break,
                },
                Some(ended) = running.join_next() => pass_on_panic(ended),
                _ = ending.changed() => break,
            }
        }
        while running.join_next().await.is_some() {}
    }
}
