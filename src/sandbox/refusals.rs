//! How OpenEMR says no on the FHIR side: a token that does not count, a scope that is missing, no such route or site, a
//! server error.

use serde_json::json;

use super::{
    access_token::Refused,
    answer::{Answer, Dress},
    faults::{Denial, ServerError},
    http1::Body,
    personality::Personality,
    php_json::Escapes,
};

/// 404 as the router says it.
pub fn route_not_found(personality: Personality) -> Answer {
    match personality {
        Personality::V8_0 => Answer::error(404, "Route not found", 0),
        Personality::V7_0_3 => Answer::empty(404),
    }
}

/// The answer that a fault asks for.
pub fn on_demand(personality: Personality, denial: Denial) -> Answer {
    let refused = match denial {
        Denial::Unparsable => Refused::Unparsable("The JWT string must have two dots"),
        Denial::NotVerified => Refused::NotVerified,
        Denial::Revoked => Refused::Revoked,
        Denial::NoTrustedUser => Refused::NoTrustedUser,
        Denial::NotInDatabase => Refused::NotInDatabase,
        Denial::OtherSite => Refused::OtherSite,
        Denial::ScopeMissing => return scope_missing(personality),
        Denial::Policy => {
            return match personality {
                Personality::V8_0 => Answer::error(403, "Organization policy does not have permit access resource", 0),
                Personality::V7_0_3 => scope_missing(personality),
            };
        }
    };
    token_refused(personality, &refused)
}

/// 401, not 403, when the token's scopes do not reach.
pub fn scope_missing(personality: Personality) -> Answer {
    match personality {
        Personality::V8_0 => Answer::error(401, "Unauthorized", 0),
        Personality::V7_0_3 => Answer::empty(401).dressed(Dress::CutShort),
    }
}

/// The answer for a site that does not exist.
pub fn no_such_site(personality: Personality, oauth2: bool) -> Answer {
    match personality {
        Personality::V8_0 => Answer::error(
            400,
            "OpenEMR Error: api site error, so forced exit.  Please ensure that the site is set up correctly in the OpenEMR configuration.",
            0,
        )
        .dressed(Dress::NoSession),
        Personality::V7_0_3 => {
            let (status, dress) = if oauth2 { (500, Dress::CutShortBeforeCors) } else { (400, Dress::NoSession) };
            Answer::new(status, "text/html; charset=UTF-8", Body::Empty).dressed(dress)
        }
    }
}

/// The answer to a token that does not count.
pub fn token_refused(personality: Personality, refused: &Refused) -> Answer {
    const DENIED: &str = "The resource owner or authorization server denied the request.";
    const LOGGED_OUT: &str = "Refresh Token revoked or logged out";
    match personality {
        Personality::V8_0 => match refused {
            Refused::Unparsable(_) | Refused::NotVerified | Refused::OtherSite => Answer::error(401, DENIED, 0),
            Refused::Revoked => Answer::error(401, DENIED, 9),
            Refused::NoTrustedUser => Answer::error(400, LOGGED_OUT, 0),
            Refused::DatabaseDown => server_error(personality, ServerError::Database),
            Refused::NotInDatabase => {
                Answer::error(401, "OpenEMR Error: API call failed due to invalid token or expired token.", 0)
            }
        },
        Personality::V7_0_3 => {
            let denied = |hint: &str| {
                let body = json!({"error": "access_denied", "error_description": DENIED, "hint": hint, "message": DENIED});
                Answer::value(401, &body, Escapes::Plain)
            };
            match refused {
                Refused::Unparsable(hint) => denied(hint).dressed(Dress::Bare),
                Refused::NotVerified => denied("Access token could not be verified").dressed(Dress::Bare),
                Refused::Revoked => denied("Access token has been revoked").dressed(Dress::CutShortBeforeCors),
                Refused::NoTrustedUser => {
                    let body = json!({
                        "error": "invalid _request", "error_description": LOGGED_OUT, "message": LOGGED_OUT,
                    });
                    Answer::value(400, &body, Escapes::Plain).dressed(Dress::BeforeCors)
                }
                Refused::NotInDatabase => Answer::empty(401).dressed(Dress::BeforeCors),
                Refused::DatabaseDown => server_error(personality, ServerError::Database),
                Refused::OtherSite => Answer::empty(400).dressed(Dress::BeforeCors),
            }
        }
    }
}

/// The answer when something is broken.
pub fn server_error(personality: Personality, error: ServerError) -> Answer {
    match (error, personality) {
        (ServerError::System, Personality::V8_0) => Answer::error(500, "System error occurred", 0),
        (ServerError::Database, Personality::V8_0) => Answer::json(
            500,
            "Check that you can ping the server 127.0.0.1.<p>{\"error\":\"An error occurred\",\"message\":\"Call to a member function prepare() on bool\",\"code\":0}",
        ),
        (ServerError::System | ServerError::Database, Personality::V7_0_3) => Answer::empty(500),
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
