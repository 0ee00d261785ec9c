//! The fields of a log line, written in each format.

use std::net::IpAddr;
use std::time::Duration;

use super::digits;
use super::log_format::Format;
use super::safe_text;

/// A log line whose time, level and message are written.
pub(super) struct Line<'a> {
    format: Format,
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    /// Goes on with a line.
    #[must_use]
    pub(super) fn new(format: Format, out: &'a mut Vec<u8>) -> Self {
        Self { format, out }
    }

    /// Writes text that can hold anything.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        safe_text::write_text(self.out, self.format.style(), value);
    }

    /// Writes text that is made of letters, digits and punctuation other than quotes and backslashes.
    pub(super) fn plain(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        let quote = if self.format == Format::Json { &b"\""[..] } else { b"" };
        self.out.extend_from_slice(quote);
        write(self.out);
        self.out.extend_from_slice(quote);
    }

    /// Writes an address, or `-`.
    pub(super) fn address(&mut self, key: &str, address: Option<IpAddr>) {
        match address {
            Some(address) => self.plain(key, |out| digits::write_address(out, address)),
            None => self.text(key, "-"),
        }
    }

    /// Writes a number.
    pub(super) fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        digits::write_decimal(self.out, number);
    }

    /// Writes the milliseconds of a time, rounded to a hundredth.
    pub(super) fn milliseconds(&mut self, key: &str, time: Duration) {
        const HUNDREDTH: u128 = 10_000;
        self.key(key);
        let hundredths = (time.as_nanos() + HUNDREDTH / 2) / HUNDREDTH;
        digits::write_hundredths(self.out, u64::try_from(hundredths).unwrap_or(u64::MAX));
    }

    /// Writes `true` or `false`.
    pub(super) fn flag(&mut self, key: &str, flag: bool) {
        self.key(key);
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    fn key(&mut self, key: &str) {
        self.format.begin_field(self.out, key);
    }
}
