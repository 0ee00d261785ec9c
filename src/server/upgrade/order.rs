//! The order to hand the listeners over: SIGQUIT gives it, and waits for its outcome.

use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Why the listeners were not handed over.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum NotHandedOver {
    /// This process does not answer at an upgrade socket.
    #[error("this process has no upgrade socket: the log says why, where the process starts")]
    NoSocket,
    /// No process asked for them in time.
    #[error("no process came to {} to take over", .0.display())]
    NoSuccessor(PathBuf),
    /// The new process went away, or took too long.
    #[error("the new process did not take over: {0}")]
    GaveUp(io::Error),
}

/// The orders to hand over, as SIGQUIT gives them.
#[derive(Debug, Clone)]
pub(in crate::server) struct HandOver(mpsc::Sender<Order>);

/// An order to hand over, and who waits for the outcome.
pub(super) type Order = oneshot::Sender<Result<(), NotHandedOver>>;

/// The receiving end of the orders.
pub(in crate::server) type Orders = Mutex<Option<mpsc::Receiver<Order>>>;

impl HandOver {
    /// The two ends of the orders.
    #[must_use]
    pub(in crate::server) fn new() -> (Self, Orders) {
        let (sender, orders) = mpsc::channel(1);
        (Self(sender), Mutex::new(Some(orders)))
    }

    /// Waits until a new process has taken the listeners and accepts connections.
    ///
    /// # Errors
    /// None has, and this process serves as before.
    pub(in crate::server) async fn order(&self) -> Result<(), NotHandedOver> {
        let (order, outcome) = oneshot::channel();
        self.0.send(order).await.map_err(|_| NotHandedOver::NoSocket)?;
        outcome.await.unwrap_or(Err(NotHandedOver::NoSocket))
    }
}
