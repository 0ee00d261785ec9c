//! OpenEMR's error answers: for an invalid token, a missing scope, an unknown route, site or id, and server errors.

use serde_json::json;

use super::{
    access_token::InvalidToken,
    answer::{Answer, HeaderSet},
    faults::{ForcedRejection, ServerError},
    personality::Personality,
    php_json::{self, Escapes},
    response::Body,
};

/// Returns Apache's error page for a request that is malformed.
pub(super) fn bad_request() -> Answer {
    Answer::apache(400, "Bad Request", "Your browser sent a request that this server could not understand.<br />")
}

/// Returns Apache's error page for a path where nothing is.
pub(super) fn no_such_file() -> Answer {
    Answer::apache(404, "Not Found", "The requested URL was not found on this server.")
}

/// Returns the router's 404.
pub(super) fn route_not_found(personality: Personality) -> Answer {
    match personality {
        Personality::V8_0 | Personality::Next => Answer::error(404, "Route not found", 0),
        Personality::V7_0_3 => Answer::empty(404),
    }
}

/// Returns the rejection that a fault asks for.
pub(super) fn forced(personality: Personality, rejection: ForcedRejection) -> Answer {
    let reason = match rejection {
        ForcedRejection::Unparsable => InvalidToken::Unparsable("The JWT string must have two dots"),
        ForcedRejection::NotVerified => InvalidToken::NotVerified,
        ForcedRejection::Revoked => InvalidToken::Revoked,
        ForcedRejection::NoTrustedUser => InvalidToken::NoTrustedUser,
        ForcedRejection::NotInDatabase => InvalidToken::NotInDatabase,
        ForcedRejection::OtherSite => InvalidToken::OtherSite,
        ForcedRejection::ScopeMissing => return scope_missing(personality),
        ForcedRejection::Policy => {
            return match personality {
                Personality::V8_0 | Personality::Next => {
                    Answer::error(403, "Organization policy does not have permit access resource", 0)
                }
                Personality::V7_0_3 => scope_missing(personality),
            };
        }
    };
    invalid_token(personality, &reason)
}

/// Returns the answer to a token whose scopes do not allow the request: 401, not 403.
pub(super) fn scope_missing(personality: Personality) -> Answer {
    match personality {
        Personality::V8_0 | Personality::Next => Answer::error(401, "Unauthorized", 0),
        Personality::V7_0_3 => Answer::empty(401).with_header_set(HeaderSet::Aborted),
    }
}

/// Returns the answer to an array where OpenEMR expects a text.
pub(super) fn array_for_a_text(personality: Personality) -> Answer {
    match personality {
        Personality::V8_0 | Personality::Next => {
            Answer::error(400, "Input value \"_REWRITE_COMMAND\" contains a non-scalar value.", 0)
        }
        Personality::V7_0_3 => Answer::empty(500),
    }
}

/// Returns the answer for a site that does not exist.
pub(super) fn no_such_site(personality: Personality, oauth2: bool) -> Answer {
    match personality {
        Personality::V8_0 | Personality::Next => Answer::error(
            400,
            "OpenEMR Error: api site error, so forced exit.  Please ensure that the site is set up correctly in the OpenEMR configuration.",
            0,
        )
        .with_header_set(HeaderSet::NoSession),
        Personality::V7_0_3 => {
            let (status, dress) = if oauth2 { (500, HeaderSet::AbortedBeforeCors) } else { (400, HeaderSet::NoSession) };
            Answer::new(status, "text/html; charset=UTF-8", Body::Empty).with_header_set(dress)
        }
    }
}

/// Returns the answer to a token that is not valid.
pub(super) fn invalid_token(personality: Personality, reason: &InvalidToken) -> Answer {
    const DENIED: &str = "The resource owner or authorization server denied the request.";
    const LOGGED_OUT: &str = "Refresh Token revoked or logged out";
    match personality {
        Personality::V8_0 | Personality::Next => match reason {
            InvalidToken::Unparsable(_) | InvalidToken::NotVerified | InvalidToken::OtherSite => Answer::error(401, DENIED, 0),
            InvalidToken::Revoked => Answer::error(401, DENIED, 9),
            InvalidToken::NoTrustedUser => Answer::error(400, LOGGED_OUT, 0),
            InvalidToken::DatabaseDown => server_error(personality, ServerError::Database),
            InvalidToken::NotInDatabase => {
                Answer::error(401, "OpenEMR Error: API call failed due to invalid token or expired token.", 0)
            }
        },
        Personality::V7_0_3 => {
            let denied = |hint: &str| {
                let body = json!({"error": "access_denied", "error_description": DENIED, "hint": hint, "message": DENIED});
                Answer::value(401, &body, Escapes::Plain)
            };
            match reason {
                InvalidToken::Unparsable(hint) => denied(hint).with_header_set(HeaderSet::ServerOnly),
                InvalidToken::NotVerified => denied("Access token could not be verified").with_header_set(HeaderSet::ServerOnly),
                InvalidToken::Revoked => denied("Access token has been revoked").with_header_set(HeaderSet::AbortedBeforeCors),
                InvalidToken::NoTrustedUser => {
                    let body = json!({
                        "error": "invalid _request", "error_description": LOGGED_OUT, "message": LOGGED_OUT,
                    });
                    Answer::value(400, &body, Escapes::Plain).with_header_set(HeaderSet::BeforeCors)
                }
                InvalidToken::NotInDatabase => Answer::empty(401).with_header_set(HeaderSet::BeforeCors),
                InvalidToken::DatabaseDown => server_error(personality, ServerError::Database),
                InvalidToken::OtherSite => Answer::empty(400).with_header_set(HeaderSet::BeforeCors),
            }
        }
    }
}

/// Returns 8.0's error object behind a text that PHP has printed before.
pub(super) fn after_text(text: &str, status: u16, message: &str) -> Answer {
    let error = json!({"error": "An error occurred", "message": message, "code": 0});
    Answer::json(status, format!("{text}{}", php_json::encode(&error, Escapes::Hex)))
}

/// Returns the answer to a failure of the server.
pub(super) fn server_error(personality: Personality, error: ServerError) -> Answer {
    match (error, personality) {
        (ServerError::System, Personality::V8_0 | Personality::Next) => Answer::error(500, "System error occurred", 0),
        (ServerError::Database, Personality::V8_0) => {
            after_text("Check that you can ping the server 127.0.0.1.<p>", 500, "Call to a member function prepare() on bool")
        }
        (ServerError::Database, Personality::Next) => Answer::error(500, "Call to a member function prepare() on bool", 0),
        (ServerError::System | ServerError::Database, Personality::V7_0_3) => Answer::empty(500),
        (ServerError::NoSite, _) => {
            let answer = no_such_site(personality, false);
            match &answer.body {
                Body::Whole(once) if personality == Personality::V8_0 => {
                    Answer { body: Body::Whole([once.as_ref(), once.as_ref()].concat().into()), ..answer }
                }
                _ => answer,
            }
        }
        (ServerError::PhpFpmDown, _) => Answer::apache(
            503,
            "Service Unavailable",
            "The server is temporarily unable to service your\nrequest due to maintenance downtime or capacity\nproblems. Please try again later.",
        ),
        (ServerError::PhpFpmTimeout, _) => Answer::apache(
            504,
            "Gateway Timeout",
            "The gateway did not receive a timely response\nfrom the upstream server or application.",
        ),
    }
}

/// Returns the 400 for an id that is not a UUID; `None` for a UUID.
pub(super) fn malformed_id(id: &str) -> Option<Answer> {
    if uuid::Uuid::try_parse(id).is_ok_and(|uuid| uuid.hyphenated().to_string() == id.to_ascii_lowercase()) {
        return None;
    }
    let words = "The search field argument was invalid, improperly formatted, or could not be parsed.  Inner message: UUID columns must be a valid UUID string";
    Some(Answer::value(400, &json!({"validationErrors": {"_id": words}}), Escapes::Plain))
}
