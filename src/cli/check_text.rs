//! What `check` finds, line by line for a terminal or a file.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, stderr, stdout};

use super::check_progress::Progress;
use super::outcome::print;
use crate::diagnosis::outcome::{Outcome, Verdict};

/// Prints each step when it has ended.
pub(super) struct Text {
    has_colours: bool,
    site: Option<String>,
    progress: Option<Progress>,
}

impl Text {
    /// In colours where standard output is a terminal, unless `NO_COLOR` is set. What takes long is shown meanwhile, where standard
    /// error is a terminal too.
    pub(super) fn of_terminal() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_terminal = stdout().is_terminal() && variable("TERM").is_none_or(|term| term != "dumb");
        let has_colours = is_terminal && variable("NO_COLOR").is_none();
        let progress = (is_terminal && stderr().is_terminal()).then(Progress::start);
        Self { has_colours, site: None, progress }
    }

    /// The last line: how many steps ended how.
    pub(super) fn summary(&self, outcomes: &[Outcome]) -> String {
        let verdicts = [Verdict::Ok, Verdict::Warning, Verdict::Failed, Verdict::Skipped];
        let count = |verdict| outcomes.iter().filter(|outcome| outcome.finding.verdict == verdict).count();
        let counts = verdicts.map(|verdict| (verdict, count(verdict)));
        let words: Vec<String> = counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(verdict, count)| format!("{count} {}", self.coloured(verdict, verdict.name())))
            .collect();
        format!("\n{}\n", words.join(", "))
    }

    fn lines(&self, outcome: &Outcome) -> String {
        let finding = &outcome.finding;
        let verdict = self.coloured(finding.verdict, &format!("{:<8}", finding.verdict.name()));
        let mut text = format!("{verdict} {:<14} {}: {}\n", outcome.step.name(), outcome.did, finding.found);
        for detail in &finding.details {
            let _ = writeln!(text, "{:23} {detail}", "");
        }
        for (name, value) in [("cause", &finding.cause), ("remedy", &finding.remedy)] {
            for (index, line) in value.iter().flat_map(|value| value.lines()).enumerate() {
                let name = if index == 0 { name } else { "" };
                let _ = writeln!(text, "{:9}{name:<14} {}", "", line.trim_start());
            }
        }
        text
    }

    fn coloured(&self, verdict: Verdict, word: &str) -> String {
        let colour = match verdict {
            Verdict::Ok => "32",
            Verdict::Warning => "33",
            Verdict::Failed => "1;31",
            Verdict::Skipped => "2",
        };
        if self.has_colours { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word.to_owned() }
    }
}

impl Text {
    /// A step begins.
    pub(super) fn begins(&self, did: &str) {
        if let Some(progress) = &self.progress {
            progress.begins(did);
        }
    }

    /// Prints a step that has ended.
    pub(super) fn ended(&mut self, outcome: &Outcome) {
        if let Some(progress) = &self.progress {
            progress.ended();
        }
        let mut text = String::new();
        if outcome.site != self.site {
            self.site.clone_from(&outcome.site);
            if let Some(site) = &self.site {
                let _ = writeln!(text, "\nsite {site}");
            }
        }
        text.push_str(&self.lines(outcome));
        // Whether standard output can be written to is seen at the end, when the summary is.
        let _ = print(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::outcome::{Finding, Step};

    fn outcome() -> Outcome {
        let finding = Finding::failed("400").cause("the key").remedy("first\n  second".to_owned());
        Outcome { step: Step::Token, site: None, did: "get an access token".to_owned(), finding }
    }

    #[test]
    fn a_failure_has_its_cause_and_each_line_of_its_remedy() {
        let text = Text { has_colours: false, site: None, progress: None };
        let expected = "\
failed   token          get an access token: 400
         cause          the key
         remedy         first
                        second
";
        assert_eq!(text.lines(&outcome()), expected);
        assert_eq!(text.summary(&[outcome(), outcome()]), "\n2 failed\n");
    }

    #[test]
    fn colours_are_around_the_verdict_alone() {
        let text = Text { has_colours: true, site: None, progress: None }.lines(&outcome());
        assert!(text.starts_with("\u{1b}[1;31mfailed  \u{1b}[0m token"), "{text:?}");
        assert_eq!(text.matches('\u{1b}').count(), 2);
    }
}
