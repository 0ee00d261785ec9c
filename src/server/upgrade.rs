//! The two sides of an upgrade, as far as Pingora leaves them to us.
//!
//! The old process asks whether there is a new one that waits for its listeners, without connecting: the first
//! connection to its socket is taken for the hand-over itself. The new process says so when nobody hands over.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use log::{error, info};
use parking_lot::Mutex;
use pingora::server::{ExecutionPhase, ShutdownWatch};
use pingora::services::background::BackgroundService;
use tokio::sync::broadcast;

use crate::observe::log_writer;

/// A little less than Pingora waits for the listeners before it ends the process.
const PINGORA_WAITS: Duration = Duration::from_millis(5_500);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// `SO_ACCEPTCON` in the flags of `/proc/net/unix`: somebody listens.
const LISTENS: u32 = 0x1_0000;

/// Why nobody takes over.
#[derive(Debug, thiserror::Error)]
pub enum NoSuccessor {
    /// No process listens on the socket.
    #[error("no process waits at {} to take over", .0.display())]
    Nobody(PathBuf),
    /// Whoever can make that socket would get the listeners.
    #[error("{} belongs to another user", .0.display())]
    Stranger(PathBuf),
}

/// Waits until a process of this user (or of root) listens at `path`.
///
/// # Errors
/// Nobody does in time, or a stranger does.
pub async fn successor(path: &Path, within: Duration) -> Result<(), NoSuccessor> {
    let deadline = Instant::now() + within;
    loop {
        if let Ok(found) = fs::symlink_metadata(path)
            && found.file_type().is_socket()
            && somebody_listens(path)
        {
            let me = fs::metadata("/proc/self").map_or(0, |own| own.uid());
            let is_trusted = found.uid() == me || found.uid() == 0;
            return if is_trusted { Ok(()) } else { Err(NoSuccessor::Stranger(path.to_owned())) };
        }
        if Instant::now() > deadline {
            return Err(NoSuccessor::Nobody(path.to_owned()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn somebody_listens(path: &Path) -> bool {
    fs::read_to_string("/proc/net/unix").is_ok_and(|table| lists_listener(&table, path))
}

/// Whether the table of Unix sockets (proc(5)) has a listener at `path`.
fn lists_listener(table: &str, path: &Path) -> bool {
    table.lines().skip(1).any(|line| {
        let mut columns = line.split_ascii_whitespace();
        let flags = columns.nth(3).and_then(|flags| u32::from_str_radix(flags, 16).ok());
        let bound = columns.nth(3);
        flags.is_some_and(|flags| flags & LISTENS != 0) && bound.is_some_and(|bound| Path::new(bound) == path)
    })
}

/// Says why the process is about to end, when nobody hands over: Pingora ends it before its own words are written.
pub struct Takeover(Mutex<Option<broadcast::Receiver<ExecutionPhase>>>);

impl Takeover {
    /// Listens to these phases.
    #[must_use]
    pub fn new(phases: broadcast::Receiver<ExecutionPhase>) -> Self {
        Self(Mutex::new(Some(phases)))
    }
}

#[async_trait]
impl BackgroundService for Takeover {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let Some(mut phases) = self.0.lock().take() else { return };
        while let Ok(phase) = phases.recv().await {
            match phase {
                ExecutionPhase::Bootstrap => break,
                ExecutionPhase::BootstrapComplete => return,
                _ => {}
            }
        }
        info!("waiting for the running gateway to hand over its listeners: send it SIGQUIT");
        if tokio::time::timeout(PINGORA_WAITS, phases.recv()).await.is_err() {
            error!("no running gateway handed over its listeners. It does so on SIGQUIT, if its server.upgrade_sock is the same");
            log_writer::flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 23881 /run/a.sock
0000000000000000: 00000003 00000000 00000000 0001 03 23882 /run/b.sock
0000000000000000: 00000003 00000000 00000000 0001 03 23883
";

    #[test]
    fn only_a_listener_counts() {
        assert!(lists_listener(TABLE, Path::new("/run/a.sock")));
        assert!(!lists_listener(TABLE, Path::new("/run/b.sock")), "connected, not listening");
        assert!(!lists_listener(TABLE, Path::new("/run/c.sock")));
        assert!(!lists_listener("", Path::new("/run/a.sock")));
    }
}
