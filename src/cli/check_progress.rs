//! A line on standard error for a step that takes more than a second, which goes away with the step.

use std::io::{Write as _, stderr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// A step that takes longer is shown.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
/// The time between two changes of the line.
const EVERY: Duration = Duration::from_millis(200);
/// Begins the line anew and clears it.
const CLEAR: &str = "\r\u{1b}[2K";
const WHEEL: [char; 4] = ['|', '/', '-', '\\'];

/// Shows what takes long.
pub(super) struct Progress(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    step: Option<(String, Instant)>,
    is_shown: bool,
    is_over: bool,
}

impl Progress {
    /// Starts the thread that writes the line.
    pub(super) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        // Without a thread nothing is shown.
        let _ = thread::Builder::new().name("progress".to_owned()).spawn(move || writer.write());
        Self(shared)
    }

    /// A step begins.
    pub(super) fn begins(&self, did: &str) {
        self.0.state.lock().step = Some((did.to_owned(), Instant::now()));
        self.0.changed.notify_one();
    }

    /// The step has ended; its line is gone when this returns.
    pub(super) fn ended(&self) {
        let mut state = self.0.state.lock();
        state.step = None;
        clear(&mut state);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_over = true;
        clear(&mut state);
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn write(&self) {
        let mut state = self.state.lock();
        while !state.is_over {
            match state.step.as_ref().and_then(|(did, since)| line(did, since.elapsed())) {
                Some(line) => {
                    state.is_shown = true;
                    put(&format!("{CLEAR}{line}"));
                }
                None if state.step.is_none() => {
                    self.changed.wait(&mut state);
                    continue;
                }
                None => {}
            }
            self.changed.wait_for(&mut state, EVERY);
        }
    }
}

fn clear(state: &mut State) {
    if std::mem::take(&mut state.is_shown) {
        put(CLEAR);
    }
}

fn put(text: &str) {
    let mut out = stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The line of a step that has taken so long; `None` before it is shown.
fn line(did: &str, took: Duration) -> Option<String> {
    if took < SHOWN_AFTER {
        return None;
    }
    let turns = usize::try_from(took.as_millis() / EVERY.as_millis()).unwrap_or_default();
    let wheel = WHEEL.get(turns % WHEEL.len()).unwrap_or(&'|');
    // One line of a narrow terminal: what is broken over two could not be cleared.
    let did: String = did.chars().take(60).collect();
    Some(format!("{wheel} {did} ({} s)", took.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_there_after_a_second_and_turns() {
        assert_eq!(line("look up a", Duration::from_millis(999)), None);
        assert_eq!(line("look up a", Duration::from_millis(1000)).as_deref(), Some("/ look up a (1 s)"));
        assert_eq!(line("look up a", Duration::from_millis(2200)).as_deref(), Some("\\ look up a (2 s)"));
        assert_eq!(line(&"x".repeat(500), Duration::from_secs(1)).unwrap_or_default().len(), 68);
    }
}
