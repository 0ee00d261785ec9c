//! Numbers as text, for what is written of every request: without the machinery of formats, and without memory of their own.

use std::net::IpAddr;

/// Returns a number as 16 hex digits in lower case.
#[must_use]
pub(super) fn hex(number: u64) -> [u8; 16] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [b'0'; 16];
    let mut rest = number;
    for place in digits.iter_mut().rev() {
        *place = usize::try_from(rest & 0xf).ok().and_then(|digit| HEX.get(digit)).copied().unwrap_or(b'0');
        rest >>= 4;
    }
    digits
}

/// Returns a number as 32 hex digits in lower case, in two halves.
#[must_use]
pub(super) fn long_hex(number: u128) -> [[u8; 16]; 2] {
    [hex((number >> 64) as u64), hex(number as u64)]
}

/// Writes a number in decimal.
pub(super) fn write_decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes hundredths as a decimal number, without zeros at its end: 1250 as `12.5`.
pub(super) fn write_hundredths(out: &mut Vec<u8>, hundredths: u64) {
    write_decimal(out, hundredths / 100);
    let digit = |number: u64| u8::try_from(number % 10).map_or(b'0', |digit| b'0' + digit);
    match (digit(hundredths / 10), digit(hundredths)) {
        (b'0', b'0') => {}
        (tenth, b'0') => out.extend_from_slice(&[b'.', tenth]),
        (tenth, hundredth) => out.extend_from_slice(&[b'.', tenth, hundredth]),
    }
}

/// Writes an address.
pub(super) fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        // Its shortest form is worth the machinery.
        return out.extend_from_slice(address.to_string().as_bytes());
    };
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        write_decimal(out, octet.into());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn they_are_written_as_the_standard_library_does(number: u64, long: u128, four: [u8; 4], six: [u16; 8]) {
            prop_assert_eq!(String::from_utf8_lossy(&hex(number)).into_owned(), format!("{number:016x}"));
            prop_assert_eq!(String::from_utf8_lossy(long_hex(long).as_flattened()).into_owned(), format!("{long:032x}"));
            prop_assert_eq!(written(|out| write_decimal(out, number)), number.to_string());
            for address in [IpAddr::from(four), IpAddr::from(six)] {
                prop_assert_eq!(written(|out| write_address(out, address)), address.to_string());
            }
        }

        #[test]
        fn hundredths_are_the_shortest_decimal_number(number in 0_u64..1 << 40) {
            prop_assert_eq!(written(|out| write_hundredths(out, number)), (number as f64 / 100.0).to_string());
        }
    }
}
