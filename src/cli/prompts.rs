//! Questions on a terminal: an answer from the command line, from a person, or the default.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _, stderr, stdin};

use super::outcome::{Failure, say};

/// How often a person is asked for the same thing.
const TRIES: usize = 3;
/// The longest line that is taken, in bytes.
const LONGEST: u64 = 8 * 1024;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'q> {
    /// The words for a person.
    pub(super) words: &'q str,
    /// The option that answers it, too.
    pub(super) option: &'q str,
    /// What counts where nothing is answered; `None` where an answer is needed.
    pub(super) default: Option<&'q str>,
}

impl Question<'_> {
    /// What to do where there is no answer.
    fn remedy(self) -> String {
        format!("give it on the command line, or run this on a terminal: {}", self.words)
    }
}

/// Gets answers.
pub(super) struct Prompts {
    /// Where a person's answers come from; `None` where nobody is asked.
    lines: Option<Box<dyn BufRead>>,
}

impl Prompts {
    /// Asks where standard input and standard error are a terminal, unless `never`; and wherever `always`.
    pub(super) fn new(always: bool, never: bool) -> Self {
        let is_asking = always || (!never && stdin().is_terminal() && stderr().is_terminal());
        Self { lines: is_asking.then(|| Box::new(stdin().lock()) as Box<dyn BufRead>) }
    }

    /// Whether somebody is asked.
    pub(super) fn is_asking(&self) -> bool {
        self.lines.is_some()
    }

    /// Gets an answer. One that was `given` with the command line counts, good or bad; a person has three tries.
    ///
    /// # Errors
    /// What is wrong with the answer, or that there is none.
    pub(super) fn answer<T>(
        &mut self,
        question: Question<'_>,
        given: Option<&str>,
        mut read: impl FnMut(&str) -> Result<T, Vec<Failure>>,
    ) -> Result<T, Vec<Failure>> {
        if let Some(given) = given {
            return read(given);
        }
        if self.lines.is_none() {
            let missing = || vec![Failure::new(format!("{} is missing", question.option), question.remedy())];
            return read(question.default.ok_or_else(missing)?);
        }
        let mut failures = Vec::new();
        for _ in 0..TRIES {
            match self.ask(question).and_then(|answer| read(&answer).map_err(Asked::Wrong)) {
                Ok(answer) => return Ok(answer),
                Err(Asked::Over(failures)) => return Err(failures),
                Err(Asked::Wrong(wrong)) => {
                    for failure in &wrong {
                        say(failure.text().to_owned());
                    }
                    failures =
                        vec![Failure::new(format!("{}: no answer of {TRIES} could be used", question.option), question.remedy())];
                }
            }
        }
        Err(failures)
    }

    /// Gets a yes or a no: the default where nobody is asked.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) fn confirm(&mut self, words: &str, option: &str, default: bool) -> Result<bool, Vec<Failure>> {
        let question = Question { words, option, default: Some(if default { "yes" } else { "no" }) };
        self.answer(question, None, |answer| match answer.to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err(vec![Failure::new("that is neither yes nor no", "answer  yes  or  no")]),
        })
    }

    fn ask(&mut self, question: Question<'_>) -> Result<String, Asked> {
        let default = question.default.filter(|default| !default.is_empty());
        let shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
        // A person who does not see the question can still answer it.
        let _ = write!(stderr().lock(), "{}{shown}: ", question.words);
        let over = |what: String| {
            let remedy = format!("answer it with {} on the command line", question.option);
            Asked::Over(vec![Failure::new(format!("{what} before an answer to: {}", question.words), remedy)])
        };
        let line = self.line().map_err(|error| over(format!("standard input cannot be read ({error})")))?;
        let line = line.ok_or_else(|| over("standard input ended".to_owned()))?;
        match (line.trim(), question.default) {
            ("", Some(default)) => Ok(default.to_owned()),
            ("", None) => Err(Asked::Wrong(vec![Failure::new("this needs an answer", "Ctrl-C ends without one")])),
            (answer, _) => Ok(answer.to_owned()),
        }
    }

    /// The next line; `None` at the end of the input. A longer one than [`LONGEST`] is cut, which is no good answer to anything.
    fn line(&mut self) -> io::Result<Option<String>> {
        let Some(lines) = &mut self.lines else { return Ok(None) };
        let mut bytes = Vec::new();
        lines.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Why a person's answer does not count.
enum Asked {
    /// There will be none.
    Over(Vec<Failure>),
    /// It cannot be used.
    Wrong(Vec<Failure>),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const NUMBER: Question<'_> = Question { words: "How many", option: "--many", default: Some("7") };

    fn prompts(lines: &str) -> Prompts {
        Prompts { lines: Some(Box::new(Cursor::new(lines.to_owned()))) }
    }

    fn number(text: &str) -> Result<u8, Vec<Failure>> {
        text.parse().map_err(|_| vec![Failure::of(format!("`{text}` is no number"))])
    }

    fn said(failures: Vec<Failure>) -> String {
        failures.iter().map(Failure::text).collect()
    }

    #[test]
    fn an_answer_is_given_asked_for_or_the_default() {
        let silent = || Prompts { lines: None };
        assert_eq!(prompts("8\n").answer(NUMBER, Some("9"), number).unwrap(), 9);
        assert_eq!(prompts(" 8 \n").answer(NUMBER, None, number).unwrap(), 8);
        assert_eq!(prompts("8").answer(NUMBER, None, number).unwrap(), 8);
        assert_eq!(prompts("\n").answer(NUMBER, None, number).unwrap(), 7);
        assert_eq!(silent().answer(NUMBER, None, number).unwrap(), 7);
        let needed = Question { default: None, ..NUMBER };
        assert_eq!(
            said(silent().answer(needed, None, number).unwrap_err()),
            "--many is missing\n  give it on the command line, or run this on a terminal: How many"
        );
        assert_eq!(said(silent().answer(NUMBER, Some("x"), number).unwrap_err()), "`x` is no number");
        assert!(silent().confirm("Go on?", "--yes", true).unwrap());
        assert!(!prompts("maybe\nN\n").confirm("Go on?", "--yes", true).unwrap());
    }

    #[test]
    fn a_person_has_three_tries_and_an_input_an_end() {
        assert_eq!(prompts("x\n\n").answer(Question { default: None, ..NUMBER }, Some("1"), number).unwrap(), 1);
        assert_eq!(prompts("x\ny\n3\n").answer(NUMBER, None, number).unwrap(), 3);
        let failure = said(prompts("x\ny\nz\n3\n").answer(NUMBER, None, number).unwrap_err());
        assert!(failure.starts_with("--many: no answer of 3 could be used"), "{failure}");
        let failure = said(prompts("x\n").answer(NUMBER, None, number).unwrap_err());
        assert!(failure.contains("standard input ended before an answer to: How many\n  answer it with --many"), "{failure}");
        let failure = said(prompts(&"1".repeat(10_000)).answer(NUMBER, None, number).unwrap_err());
        assert!(failure.contains("too long"), "{failure}");
    }
}
