//! The end of the process: it exits once its last request has been answered.
//!
//! Pingora would wait for a fixed time, with requests or without.
//!
//! Decision: `docs/decisions/24-start-and-stop.md`.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use log::{error, info, warn};
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceWithDependents;
use pingora::services::background::{BackgroundService, background_service};
use tokio::signal::unix::{SignalKind, signal};

use crate::observe::{flush_log, stop_waiting_for_log};
use crate::server::process::Process;
use crate::sinks::opened::Sinks;
#[cfg(feature = "otlp")]
use crate::sinks::trace_export;
use crate::site::lifecycle::Lifecycle;

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long HTTP/2 connections whose requests have been answered may take to end.
const LAST_FRAMES: Duration = Duration::from_secs(2);
/// How long the system may take to send what was written to a socket, before the process and its sockets are gone.
const LAST_BYTES: Duration = Duration::from_millis(50);

/// What is open until the process ends: each of the ways to its end closes it.
static SINKS: Mutex<Option<Sinks>> = Mutex::new(None);

/// Ends the process when its requests have ended, or when their time is up.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    Box::new(background_service("ending", Ending(Arc::clone(&process.lifecycle))))
}

struct Ending(Arc<Lifecycle>);

#[async_trait]
impl BackgroundService for Ending {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if shutdown.changed().await.is_err() {
            return;
        }
        let interrupted = async {
            match signal(SignalKind::interrupt()) {
                Ok(mut interrupt) => drop(interrupt.recv().await),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.requests_have_ended() => {}
            () = interrupted => {}
        }
        match self.0.in_flight() {
            0 => info!("every request has been answered: the process ends"),
            left => warn!("{left} requests are cut off: their time is up"),
        }
        // The ends of answers wait for their records, and the system for neither.
        write_the_last();
        tokio::time::sleep(LAST_BYTES).await;
        exit();
    }
}

impl Ending {
    async fn requests_have_ended(&self) {
        let is_over = || self.0.ends_by().is_some_and(|end| Instant::now() + LAST_BYTES >= end);
        let are_answered = || self.0.is_closed() && self.0.in_flight() == 0;
        while !are_answered() && !is_over() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // An HTTP/2 answer that has been written is sent by its connection, as fast as the caller reads it.
        let until = Instant::now() + LAST_FRAMES;
        while self.0.connections() > 0 && Instant::now() < until && !is_over() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Keeps the sinks of the audit trail open until the process ends, whichever way that is.
pub(super) fn keep_open(sinks: Option<Sinks>) {
    *SINKS.lock() = sinks;
}

/// Writes what the audit trail was handed, ends its files, sends the last spans, and writes what the log still holds.
fn write_the_last() {
    stop_waiting_for_log();
    if let Some(sinks) = SINKS.lock().take() {
        sinks.close();
    }
    #[cfg(feature = "otlp")]
    trace_export::send_the_last();
    flush_log();
}

/// Writes what the audit trail and the log still hold, and exits with code 0.
pub(super) fn exit() -> ! {
    write_the_last();
    std::process::exit(0)
}

/// Logs why the process cannot go on, writes what the audit trail and the log still hold, and exits with code 1.
pub(super) fn fail(problem: impl Display) -> ! {
    stop_waiting_for_log();
    error!("{problem}: the process ends");
    write_the_last();
    std::process::exit(1)
}
