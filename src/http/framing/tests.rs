#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::violation::Violation;
use super::*;

const LIMITS: HeadLimits = HeadLimits { size: 400, fields: 8 };

/// The lengths of the requests in these bytes, which come in pieces that end at these places, and what is refused in the end.
fn read(bytes: &[u8], mut ends: Vec<usize>) -> (Vec<usize>, Option<Violation>) {
    ends.push(bytes.len());
    ends.sort_unstable();
    let (mut framer, mut begins, mut done, mut requests) = (Framer::new(LIMITS), 0, 0, Vec::new());
    for end in ends {
        while done < end {
            let step = if framer.expects_head() {
                framer.head(&bytes[begins..end]).map(|length| length.map_or(end, |length| begins + length))
            } else {
                framer.body(&bytes[done..end]).map(|taken| done + taken)
            };
            match step {
                Ok(now) => done = now,
                Err(violation) => return (requests, Some(violation)),
            }
            let is_partial_head = framer.expects_head() && done == end && framer_is_inside(&bytes[begins..end]);
            if framer.expects_head() && !is_partial_head {
                requests.push(done - begins);
                begins = done;
            }
        }
    }
    (requests, None)
}

/// Whether these bytes end inside a head: no request is whole.
fn framer_is_inside(bytes: &[u8]) -> bool {
    let mut framer = Framer::new(LIMITS);
    matches!(framer.head(bytes), Ok(None))
}

fn verdict(bytes: &[u8]) -> Option<Violation> {
    let all = read(bytes, Vec::new());
    assert_eq!(all, read(bytes, (0..bytes.len()).collect()), "{}", bytes.escape_ascii());
    all.1
}

#[test]
fn good_requests_end_where_they_end() {
    for requests in [
        &["GET / HTTP/1.1\r\nHost: a\r\n\r\n"][..],
        &["\r\nGET / HTTP/1.0\r\n\r\n"],
        &["GET http://a:1/x?y HTTP/1.1\r\nHost: a:1\r\n\r\n", "OPTIONS * HTTP/1.1\r\nhost:a\r\n\r\n"],
        &["POST / HTTP/1.1\r\nContent-Length:  5 \r\n\r\nabcde", "GET / HTTP/1.1\r\n\r\n"],
        &["POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n00\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"],
        &["GET / HTTP/1.1\r\nX-Empty:\r\nX-Tab:\ta\tb\r\nX-Latin: \u{e9}\r\n\r\n"],
    ] {
        let (bytes, lengths) = (requests.concat(), requests.iter().map(|request| request.len()).collect());
        assert_eq!(read(bytes.as_bytes(), Vec::new()), (lengths, None), "{requests:?}");
        assert_eq!(verdict(bytes.as_bytes()), None);
    }
}

#[test]
fn what_two_readers_could_read_in_two_ways_is_refused() {
    use Violation::*;
    for (violation, heads) in [
        (NotHttp, &["\x16\x03\x01\x02", " GET / HTTP/1.1\r\n\r\n", "\nGET / HTTP/1.1\r\n\r\n", "{}"][..]),
        (
            RequestLine,
            &[
                "GET /\r\n",
                "GET\r\n",
                "GET  HTTP/1.1\r\n",
                "GET / HTTP/1.1 \r\n",
                "GET / HTTP/11\r\n",
                "GET / http/1.1\r\n",
                "\r\n\r\nGET",
                "GE(T / HTTP/1.1\r\n",
                "GET / HTTP/1.1x\r\n",
            ],
        ),
        (
            Target,
            &[
                "GET x HTTP/1.1\r\n",
                "GET * HTTP/1.1\r\n",
                "GET /a b HTTP/1.1\r\n",
                "GET  / HTTP/1.1\r\n",
                "GET /\u{e9} HTTP/1.1\r\n",
                "GET /\0 HTTP/1.1\r\n",
                "GET /\t HTTP/1.1\r\n",
                "GET ftp://a/ HTTP/1.1\r\n",
                "GET http:// HTTP/1.1\r\n",
                "GET http:/a HTTP/1.1\r\n",
                "GET http://u@a/ HTTP/1.1\r\n",
                "GET http://a%5cb/ HTTP/1.1\r\n",
                "GET http://a\\b/ HTTP/1.1\r\n",
                "M-SEARCH /\"x\" HTTP/1.1\r\n",
            ],
        ),
        (Version, &["PRI * HTTP/2.0\r\n", "GET / HTTP/1.2\r\n", "GET / HTTP/0.9\r\n"]),
        (Connect, &["CONNECT a:443 HTTP/1.1\r\n"]),
        (
            LineEnd,
            &[
                "GET / HTTP/1.1\n",
                "GET / HTTP/1.1\r\nHost: a\n",
                "GET / HTTP/1.1\r\nX: a\rb\r\n",
                "GET / HTTP/1.1\r\nX: a\r\r\n",
                "GET / HTTP/1.1\r\n\n",
            ],
        ),
        (Continuation, &["GET / HTTP/1.1\r\nX: a\r\n b\r\n", "GET / HTTP/1.1\r\n\tX: a\r\n"]),
        (
            FieldName,
            &[
                "GET / HTTP/1.1\r\nX : a\r\n",
                "GET / HTTP/1.1\r\n: a\r\n",
                "GET / HTTP/1.1\r\nno colon\r\n",
                "GET / HTTP/1.1\r\nX\0: a\r\n",
                "GET / HTTP/1.1\r\n\u{e9}: a\r\n",
                "GET / HTTP/1.1\r\nTransfer-Encoding\t: chunked\r\n",
                "GET / HTTP/1.1\r\nX\r: a\r\n",
            ],
        ),
        (FieldValue, &["GET / HTTP/1.1\r\nX: a\0\r\n", "GET / HTTP/1.1\r\nX: \x7f\r\n", "GET / HTTP/1.1\r\nX: \x0b\r\n"]),
        (
            ContentLength,
            &[
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n",
                "POST / HTTP/1.1\r\nContent-Length: +5\r\n",
                "POST / HTTP/1.1\r\nContent-Length: -0\r\n",
                "POST / HTTP/1.1\r\nContent-Length:\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 5 5\r\n",
                "POST / HTTP/1.1\r\nContent-Length: \u{665}\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n",
                "POST / HTTP/1.1\r\ncontent-length: 18446744073709551621\r\n",
            ],
        ),
        (
            TwoFramings,
            &[
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
            ],
        ),
        (
            TransferEncoding,
            &[
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            ],
        ),
        (
            TransferCoding,
            &[
                "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: \"chunked\"\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked;q=1\r\n",
            ],
        ),
        (
            Host,
            &[
                "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
                "GET / HTTP/1.1\r\nHost: u@a\r\n",
                "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
                "GET http://a/ HTTP/1.1\r\nHost: \r\n\r\n",
            ],
        ),
    ] {
        for head in heads {
            assert_eq!(verdict(head.as_bytes()), Some(violation), "{head:?}");
        }
    }
}

#[test]
fn lax_chunks_are_refused() {
    for (violation, chunks) in [
        (
            Violation::Chunk,
            &[
                "\r\n",
                ";5\r\n",
                "5 \r\nabcde\r\n",
                " 5\r\n",
                "5\nabcde\r\n",
                "5;\r\n",
                "5;a\nb\r\n",
                "5;a\rb\r\n",
                "5;a\0\r\n",
                "0x5\r\n",
                "+5\r\n",
                "-5\r\n",
                "g\r\n",
                "5\r\nabcdef\r\n",
                "5\r\nabcde\n",
                "5\r\nabcde\r\r\n",
                "5\r\nabcde0\r\n\r\n",
                "0\r\n\n",
                "0\n\r\n",
                "0\r\n \r\n",
                "0\r\n\r\r\n",
                "\n",
                "1234567890123456\r\n",
                "ffffffffffffffff1\r\n",
                "5\r\r\n",
            ][..],
        ),
        (Violation::Trailer, &["0\r\nX: a\r\n\r\n", "1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n"]),
    ] {
        for body in chunks {
            let all = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert_eq!(verdict(all.as_bytes()), Some(violation), "{body:?}");
        }
    }
    let long = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}", "1;a=bbbbbbb\r\nx\r\n".repeat(1000));
    assert_eq!(verdict(long.as_bytes()), Some(Violation::Chunk), "extensions without end");
}

#[test]
fn a_head_has_an_end() {
    for (violation, head) in [
        (Violation::TargetTooLong, format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(400))),
        (Violation::HeadTooLarge, format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(400))),
        (Violation::HeadTooLarge, format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(400))),
        (
            Violation::HeadTooLarge,
            format!("GET / HTTP/1.1\r\n{}", "X: 0123456789012345678901234567890123456789012345678901234567890\r\n".repeat(8)),
        ),
        (Violation::TooManyFields, format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(9))),
    ] {
        assert_eq!(verdict(head.as_bytes()), Some(violation), "{head:?}");
    }
}

/// Bytes that look like requests, and are not always.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("POST /x HTTP/1.1\r\n"),
        Just("POST http://a/ HTTP/1.0\r\n"),
        Just("Host: a\r\n"),
        Just("X: y\r\n"),
        Just("Content-Length: 3\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("\r\n"),
        Just("abc"),
        Just("3\r\nabc\r\n"),
        Just("0\r\n\r\n"),
        Just("3;a\r\n"),
        Just("\r"),
        Just("\n"),
        Just(" "),
        Just(";"),
        Just("\0"),
        Just("0"),
        Just("5"),
    ];
    proptest::collection::vec(part, 0..16).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_the_pieces(bytes in requests(), ends in proptest::collection::vec(0_usize..300, 0..8)) {
        let ends = ends.into_iter().filter(|end| *end < bytes.len()).collect();
        prop_assert_eq!(read(&bytes, Vec::new()), read(&bytes, ends));
        prop_assert_eq!(read(&bytes, Vec::new()), read(&bytes, (0..bytes.len()).collect()));
    }

    #[test]
    fn any_bytes_get_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..600), ends in proptest::collection::vec(0_usize..600, 0..8)) {
        let ends = ends.into_iter().filter(|end| *end < bytes.len()).collect();
        prop_assert_eq!(read(&bytes, Vec::new()), read(&bytes, ends));
    }
}
