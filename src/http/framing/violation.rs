//! What is refused in the framing of a request.

/// Why a request is refused before it is read. Each `Display` text is a sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// The first byte begins no method: TLS, or another protocol.
    #[error("This is not HTTP.")]
    NotHttp,
    /// The request line is not method, target and version with one blank between them.
    #[error("The request line is not well-formed.")]
    RequestLine,
    /// The request target has bytes that must be percent-encoded, or is none of HTTP's forms.
    #[error("The request target is not well-formed.")]
    Target,
    /// Another version than 1.0 and 1.1, such as the preface of HTTP/2.
    #[error("The gateway speaks HTTP/1.0 and HTTP/1.1 here.")]
    Version,
    /// CONNECT asks for a tunnel.
    #[error("The gateway opens no tunnels.")]
    Connect,
    /// A line of the head ends in LF alone, or has a CR inside.
    #[error("A line of the request's head does not end in CR LF.")]
    LineEnd,
    /// A line of the head begins with a blank: it was once the continuation of the line before it.
    #[error("A header field is continued on another line.")]
    Continuation,
    /// The name of a field is empty or has bytes that no name has; a blank before the colon is one.
    #[error("The name of a header field is not well-formed.")]
    FieldName,
    /// The value of a field has control characters.
    #[error("The value of a header field has control characters.")]
    FieldValue,
    /// Content-Length stands there twice, or is not a number below 2^63.
    #[error("Content-Length must stand there once, as a number.")]
    ContentLength,
    /// Both Content-Length and Transfer-Encoding.
    #[error("Content-Length and Transfer-Encoding exclude each other.")]
    TwoFramings,
    /// Transfer-Encoding stands there twice, or in HTTP/1.0.
    #[error("Transfer-Encoding must stand there once, in HTTP/1.1.")]
    TransferEncoding,
    /// A transfer coding other than `chunked`.
    #[error("The only transfer coding that the gateway takes is chunked.")]
    TransferCoding,
    /// Several Host fields, one with user information, or one that differs from the authority of the request target.
    #[error("The request must name its host once.")]
    Host,
    /// The request line is longer than the head may be.
    #[error("The request's URL is longer than the gateway takes. A search can be sent as POST to _search.")]
    TargetTooLong,
    /// The head is too large.
    #[error("The request's head is larger than the gateway takes.")]
    HeadTooLarge,
    /// The head has too many fields.
    #[error("The request has more header fields than the gateway takes.")]
    TooManyFields,
    /// The chunks of a body are not as RFC 9112 section 7.1 has them.
    #[error("The chunks of the request's body are not well-formed.")]
    Chunk,
    /// Fields behind the last chunk: FHIR has none.
    #[error("The gateway takes no trailer fields.")]
    Trailer,
    /// The head did not arrive in time.
    #[error("The request's head did not arrive in time.")]
    Late,
}
