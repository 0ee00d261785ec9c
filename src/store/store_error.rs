//! What can go wrong with the store.

use std::fmt;

use redis::{ErrorKind, RedisError};

/// Why a command has no answer. The text completes a sentence that begins with "the store", and holds neither keys nor values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// There is no connection: it was never opened, or it was lost.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// There was no answer in time. Whether the command took effect is not known.
    #[error("does not answer in time")]
    TimedOut,
    /// It does not know the user, or the password is another one.
    #[error("does not accept the user or the password (store.url, store.password_file)")]
    Unauthenticated,
    /// It answered with an error, which begins with this word.
    #[error("refused a command: {0}")]
    Refused(Word),
    /// What it answered is not the Redis protocol, or not what the command answers with.
    #[error("answered something else than was asked for")]
    Unexpected,
}

/// The first word of an error that the store answered with, such as `OOM`: capital letters, at most 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word {
    letters: [u8; Self::LONGEST],
    length: usize,
}

impl Word {
    const LONGEST: usize = 24;

    /// Takes the letters of a word; `ERR` where there are none.
    pub(super) fn of(text: &str) -> Self {
        let mut word = Self { letters: [0; Self::LONGEST], length: 0 };
        let letters = text.bytes().take_while(u8::is_ascii_uppercase);
        for (place, letter) in word.letters.iter_mut().zip(letters) {
            *place = letter;
            word.length += 1;
        }
        if word.length == 0 { Self::of("ERR") } else { word }
    }

    /// The word.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        self.letters.get(..self.length).and_then(|letters| std::str::from_utf8(letters).ok()).unwrap_or_default()
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl StoreError {
    /// What an error that the store answered with means, which begins with this word.
    pub(super) fn answered(code: &str) -> Self {
        match code {
            "NOAUTH" | "WRONGPASS" => Self::Unauthenticated,
            code => Self::Refused(Word::of(code)),
        }
    }

    /// Whether the connection is of no use after this: it is gone, or an answer may still come that nobody waits for.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut | Self::Unauthenticated | Self::Unexpected => true,
            // It takes no writes: another server may stand at its address by now.
            Self::Refused(word) => matches!(
                word.as_str(),
                "READONLY" | "LOADING" | "MASTERDOWN" | "UNBLOCKED" | "CLUSTERDOWN" | "OOM" | "MISCONF" | "NOREPLICAS"
            ),
        }
    }

    /// Whether the store says that it does not know the script.
    pub(super) fn is_no_script(&self) -> bool {
        matches!(self, Self::Refused(word) if word.as_str() == "NOSCRIPT")
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) => Self::Unauthenticated,
            (_, Some(code)) => Self::answered(code),
            (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, None) => Self::Unexpected,
            _ if error.is_timeout() => Self::TimedOut,
            _ => Self::Unreachable("the connection was lost".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_error_the_first_word_is_kept() {
        for (text, word) in [
            ("OOM", "OOM"),
            ("NOSCRIPT No matching script", "NOSCRIPT"),
            ("patient 17", "ERR"),
            ("", "ERR"),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "ABCDEFGHIJKLMNOPQRSTUVWX"),
        ] {
            assert_eq!(Word::of(text).as_str(), word);
        }
    }
}
