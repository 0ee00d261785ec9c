//! The two sides of an upgrade, where Pingora's own part needs help.
//!
//! The old process must know that a new one waits for its listeners. It looks without connecting, because the new process
//! takes the first connection to its socket for the hand-over itself. The new process logs when no process hands over.
//!
//! Decision: `docs/decisions/24-start-and-stop.md`.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use log::{error, info};
use parking_lot::Mutex;
use pingora::server::{ExecutionPhase, ShutdownWatch};
use pingora::services::ServiceWithDependents;
use pingora::services::background::{BackgroundService, background_service};
use tokio::sync::broadcast;

use crate::observe::log_writer;
use crate::server::process::Process;

/// A little less than Pingora waits for the listeners before it exits.
const PINGORA_WAITS: Duration = Duration::from_millis(5_500);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// `SO_ACCEPTCON` in the flags of `/proc/net/unix`: the socket is listened on.
const LISTENS: u32 = 0x1_0000;

/// Why no process takes the listeners over.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSuccessor {
    /// No process listens on the socket.
    #[error("no process waits at {} to take over", .0.display())]
    None(PathBuf),
    /// The socket is another user's, who would get the listeners.
    #[error("{} belongs to another user", .0.display())]
    OtherUser(PathBuf),
}

/// Waits until a process of this user (or of root) listens at `path`.
///
/// # Errors
/// No process does in time, or one of another user.
pub(super) async fn successor(path: &Path, within: Duration) -> Result<(), NoSuccessor> {
    let deadline = Instant::now() + within;
    loop {
        if let Ok(found) = fs::symlink_metadata(path)
            && found.file_type().is_socket()
            && is_listened_on(path)
        {
            let me = fs::metadata("/proc/self").map_or(0, |own| own.uid());
            let is_trusted = found.uid() == me || found.uid() == 0;
            return if is_trusted { Ok(()) } else { Err(NoSuccessor::OtherUser(path.to_owned())) };
        }
        if Instant::now() > deadline {
            return Err(NoSuccessor::None(path.to_owned()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_listened_on(path: &Path) -> bool {
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

/// Logs when no running gateway hands its listeners over, because Pingora exits before its own message is written.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    Box::new(background_service("hand-over", HandOverWatch(Mutex::new(Some(process.phases.resubscribe())))))
}

struct HandOverWatch(Mutex<Option<broadcast::Receiver<ExecutionPhase>>>);

#[async_trait]
impl BackgroundService for HandOverWatch {
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
