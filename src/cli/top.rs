//! `top`: shows in a terminal what the status page shows.

use std::io::{self, IsTerminal as _, stdout};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::outcome::{Failure, Outcome, print};
use super::top_sheet::Sheet;
use super::top_source::{Reading, Source};

/// How long a reading waits at most until it is shown.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The width of what goes to no terminal.
const WIDTH: u16 = 100;
/// The lines by which Page Up and Page Down scroll.
const PAGE: i16 = 20;

/// The arguments of `top`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Keys: q leaves; the arrows, Page Up, Page Down and Home scroll.\n\nExamples:\n  \
    openemr-gateway top\n  \
    openemr-gateway top --admin http://gateway.example.org:9464 --key-file admin.key\n  \
    openemr-gateway top --once | less")]
pub(super) struct Top {
    /// The address of the gateway's admin listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    admin: String,
    /// A file with an API key of the admin listener; without it, OPENEMR_GATEWAY_ADMIN_KEY is the key, if it is set
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A PEM file with a private CA, which is trusted besides the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print the present state as text, and end
    #[arg(long)]
    once: bool,
}

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Leave,
    /// Scrolls by so many lines.
    Scroll(i16),
    /// Scrolls to the first line.
    Begin,
}

/// What is on the screen.
struct Screen {
    sheet: Sheet,
    /// Why there is no newer one.
    trouble: Option<String>,
    /// The first line that is seen.
    top: u16,
}

impl Top {
    /// Runs the command.
    ///
    /// # Errors
    /// An admin listener that does not answer, or refuses; a terminal that cannot be used.
    pub(super) fn run(self) -> Outcome {
        let source = Source::new(&self.admin, self.key_file.as_deref(), self.ca_file.as_deref())?;
        let status = source.read()?;
        let sheet = Sheet::of(&status);
        if self.once {
            return print(&sheet.text(WIDTH));
        }
        if !stdout().is_terminal() {
            return Err(vec![Failure::new("standard output is no terminal", "print the state with --once")]);
        }
        let readings = source.read_on()?;
        let unusable =
            |error: io::Error| vec![Failure::new(format!("the terminal cannot be used: {error}"), "print the state with --once")];
        // A panic, too, leaves the terminal as it was.
        let mut terminal = ratatui::try_init().map_err(unusable)?;
        let outcome = Screen { sheet, trouble: None, top: 0 }.show(&mut terminal, &readings);
        ratatui::restore();
        outcome.map_err(unusable)
    }
}

impl Screen {
    /// Shows readings until the user leaves.
    fn show(mut self, terminal: &mut DefaultTerminal, readings: &Receiver<Reading>) -> io::Result<()> {
        loop {
            terminal.draw(|frame| {
                self.top = self.sheet.draw(frame.area(), frame.buffer_mut(), self.top, self.trouble.as_deref());
            })?;
            match readings.try_recv() {
                Ok(reading) => self.take(reading),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            if !event::poll(LOOK_EVERY)? {
                continue;
            }
            // A new size is an event, too: what follows it is drawn in that size.
            let Event::Key(key) = event::read()? else { continue };
            match wish(key) {
                Some(Wish::Leave) => return Ok(()),
                Some(Wish::Scroll(by)) => self.top = self.top.saturating_add_signed(by),
                Some(Wish::Begin) => self.top = 0,
                None => {}
            }
        }
    }

    fn take(&mut self, reading: Reading) {
        match reading {
            Ok(status) => (self.sheet, self.trouble) = (Sheet::of(&status), None),
            Err(trouble) => self.trouble = Some(trouble),
        }
    }
}

fn wish(key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Some(Wish::Leave),
        // In this mode of the terminal it is no signal.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Leave),
        KeyCode::Up => Some(Wish::Scroll(-1)),
        KeyCode::Down => Some(Wish::Scroll(1)),
        KeyCode::PageUp => Some(Wish::Scroll(-PAGE)),
        KeyCode::PageDown => Some(Wish::Scroll(PAGE)),
        KeyCode::Home => Some(Wish::Begin),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_leave() {
        for (code, modifiers, expected) in [
            (KeyCode::Char('q'), KeyModifiers::NONE, Some(Wish::Leave)),
            (KeyCode::Esc, KeyModifiers::NONE, Some(Wish::Leave)),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Wish::Leave)),
            (KeyCode::Char('c'), KeyModifiers::NONE, None),
            (KeyCode::Down, KeyModifiers::NONE, Some(Wish::Scroll(1))),
        ] {
            assert_eq!(wish(KeyEvent::new(code, modifiers)), expected, "{code:?}");
        }
    }
}
