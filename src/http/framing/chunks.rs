//! A body in chunks (RFC 9112 section 7.1).

use super::head::{is_tchar, is_text};
use super::violation::Violation;

/// The most hex digits of a chunk's size: a size beyond them overflows in other readers.
const SIZE_DIGITS: u8 = 15;
/// The most bytes of chunk extensions in a whole body. Nobody reads them.
const EXTENSIONS: u16 = 4096;

/// How far the chunks of a body have been read.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    size: u64,
    extensions: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The size, after so many digits.
    Size(u8),
    /// The name of an extension, before its first character.
    ExtensionName,
    Extension,
    SizeLineFeed,
    /// So many bytes of the chunk are to come; never 0.
    Data(u64),
    DataReturn,
    DataLineFeed,
    LastReturn,
    LastLineFeed,
    End,
}

impl Chunks {
    #[must_use]
    pub(super) fn new() -> Self {
        Self { at: At::Size(0), size: 0, extensions: 0 }
    }

    /// Whether the last chunk has been read.
    #[must_use]
    pub(super) fn is_whole(&self) -> bool {
        self.at == At::End
    }

    /// Reads up to the end of the body. Gives how many bytes belong to it.
    ///
    /// # Errors
    /// They are no chunks, or have trailer fields.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if self.at == At::End {
                break;
            }
            if let At::Data(left) = self.at {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - taken);
                taken += here;
                let left = left - here as u64;
                self.at = if left == 0 { At::DataReturn } else { At::Data(left) };
                continue;
            }
            self.at = self.after(byte)?;
            taken += 1;
        }
        Ok(taken)
    }

    fn after(&mut self, byte: u8) -> Result<At, Violation> {
        Ok(match (self.at, byte) {
            (At::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = (self.size << 4) | u64::from(digit);
                At::Size(digits + 1)
            }
            (At::Size(1..), b'\r') => At::SizeLineFeed,
            (At::Size(1..), b';') => self.extended(At::ExtensionName)?,
            (At::ExtensionName, b' ' | b'\t') => self.extended(At::ExtensionName)?,
            (At::ExtensionName, byte) if is_tchar(byte) => self.extended(At::Extension)?,
            (At::Extension, b'\r') => At::SizeLineFeed,
            (At::Extension, byte) if is_text(byte) => self.extended(At::Extension)?,
            (At::SizeLineFeed, b'\n') => match std::mem::take(&mut self.size) {
                0 => At::LastReturn,
                size => At::Data(size),
            },
            (At::DataReturn, b'\r') => At::DataLineFeed,
            (At::DataLineFeed, b'\n') => At::Size(0),
            (At::LastReturn, b'\r') => At::LastLineFeed,
            (At::LastReturn, byte) if is_tchar(byte) => return Err(Violation::Trailer),
            (At::LastLineFeed, b'\n') => At::End,
            _ => return Err(Violation::Chunk),
        })
    }

    /// Counts a byte of an extension.
    fn extended(&mut self, at: At) -> Result<At, Violation> {
        self.extensions += 1;
        if self.extensions > EXTENSIONS { Err(Violation::Chunk) } else { Ok(at) }
    }
}
