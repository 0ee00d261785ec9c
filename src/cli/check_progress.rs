//! A line on standard error for a step that takes more than a second, which goes away with the step.

use std::io::{Write as _, stderr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::termios::tcgetwinsize;

/// A step that takes longer is shown.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
/// The time between two changes of the line.
const EVERY: Duration = Duration::from_millis(200);
/// The most of a step's words that is shown, in characters.
const MOST: usize = 60;
/// What stands around them, and a column that stays free: in the last one some terminals begin a new line.
const AROUND: usize = "|  (9999 s) ".len();
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
            match state.step.as_ref().and_then(|(did, since)| line(did, since.elapsed(), columns())) {
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

/// The width of the terminal; `None` where it does not say.
fn columns() -> Option<usize> {
    tcgetwinsize(stderr()).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The line of a step that has taken so long; `None` before it is shown.
fn line(did: &str, took: Duration, columns: Option<usize>) -> Option<String> {
    if took < SHOWN_AFTER {
        return None;
    }
    let turns = usize::try_from(took.as_millis() / EVERY.as_millis()).unwrap_or_default();
    let wheel = WHEEL.get(turns % WHEEL.len()).unwrap_or(&'|');
    // What a narrow terminal breaks over two lines could not be cleared.
    let most = columns.map_or(MOST, |columns| columns.saturating_sub(AROUND).min(MOST));
    let did: String = did.chars().take(most).collect();
    Some(format!("{wheel} {did} ({} s)", took.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_there_after_a_second_and_turns() {
        let line = |did: &str, millis, columns| line(did, Duration::from_millis(millis), columns);
        assert_eq!(line("look up a", 999, None), None);
        assert_eq!(line("look up a", 1000, None).as_deref(), Some("/ look up a (1 s)"));
        assert_eq!(line("look up a", 2200, Some(80)).as_deref(), Some("\\ look up a (2 s)"));
        assert_eq!(line(&"x".repeat(500), 1000, None).unwrap_or_default().len(), 68);
    }

    #[test]
    fn a_line_is_no_wider_than_the_terminal() {
        for (columns, width) in [(300, 71), (40, 39), (20, 19), (5, 11)] {
            let line = line(&"x".repeat(500), Duration::from_secs(9999), Some(columns)).unwrap_or_default();
            assert_eq!(line.len(), width, "{columns}: {line}");
        }
    }
}
