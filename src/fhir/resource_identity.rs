//! The type and the id of a resource in a request's body, compared with those of its URL (FHIR R4, "RESTful API", 3.1.0.4 and
//! 3.1.0.8), while the body passes in pieces.
//!
//! Of two members with one name, readers of JSON take one or the other. So a second `resourceType` or `id` is an error, however it
//! is written (`\u0069d`), and what is no object is one, too.

use http::StatusCode;

use crate::fhir::json::walk::{JsonWalk, Part};
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;

/// More of a name, with its quotes and escapes, cannot be `resourceType`.
const LONGEST_NAME: usize = 6 * "resourceType".len() + 2;
/// More of a value, with white space around it, is no type or id of a resource.
const LONGEST_VALUE: usize = 4096;

/// The reason why a body is rejected. The text is a sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadIdentity {
    /// The body is no JSON object.
    #[error("The body is no resource in JSON.")]
    NoObject,
    /// A member is there twice.
    #[error("The resource in the body has the member {0} twice.")]
    Twice(&'static str),
    /// The type is not that of the URL.
    #[error("The resource in the body is of another type than that in the URL.")]
    OtherType,
    /// The id is not that of the URL.
    #[error("The resource in the body has another id than that in the URL.")]
    OtherId,
}

impl From<BadIdentity> for Rejection {
    fn from(bad: BadIdentity) -> Self {
        let code = match bad {
            BadIdentity::NoObject | BadIdentity::Twice(_) => IssueCode::Structure,
            BadIdentity::OtherType | BadIdentity::OtherId => IssueCode::Invariant,
        };
        Self::new(StatusCode::BAD_REQUEST, code, Reason::Resource, bad.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    ResourceType,
    Id,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Members,
    Value(Member),
    Behind,
}

/// A check of one body.
#[derive(Debug, Clone)]
pub(crate) struct IdentityCheck {
    resource_type: Box<str>,
    id: Option<Box<str>>,
    walk: JsonWalk,
    place: Place,
    text: Vec<u8>,
    has_type: bool,
    has_id: bool,
}

impl IdentityCheck {
    /// A check of a body that is sent to a URL with this type and id. Without an id, that of the body does not matter: the server
    /// chooses one.
    #[must_use]
    pub(crate) fn new(resource_type: &str, id: Option<&str>) -> Self {
        Self {
            resource_type: resource_type.into(),
            id: id.map(Into::into),
            walk: JsonWalk::default(),
            place: Place::Before,
            text: Vec::new(),
            has_type: false,
            has_id: false,
        }
    }

    /// Checks the next piece. An error comes at the latest with the piece in which the object ends: what was passed before is no
    /// JSON document.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), BadIdentity> {
        let mut rest = piece;
        loop {
            let length = match self.place {
                Place::Value(member) => self.value(member, rest)?,
                Place::Before | Place::Members | Place::Behind => match self.walk.step(rest) {
                    Some((part, length)) => self.token(part, rest.get(..length).unwrap_or_default())?,
                    None => return Ok(()),
                },
            };
            rest = rest.get(length..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes a token between values; gives its length.
    fn token(&mut self, part: Part, text: &[u8]) -> Result<usize, BadIdentity> {
        match (self.place, part) {
            (_, Part::Space) | (Place::Members, Part::Comma) => {}
            (Place::Before, Part::OpenObject) => self.place = Place::Members,
            (Place::Members, Part::Name) => self.keep(text, LONGEST_NAME),
            (Place::Members, Part::Colon) => self.place = Place::Value(self.member()?),
            (Place::Members, Part::Close) if text == b"}" => self.place = Place::Behind,
            _ => return Err(BadIdentity::NoObject),
        }
        Ok(text.len())
    }

    /// Takes a value, or a part of one; gives its length.
    fn value(&mut self, member: Member, rest: &[u8]) -> Result<usize, BadIdentity> {
        let (length, ended) = self.walk.skip(rest);
        if member != Member::Other {
            self.keep(rest.get(..length).unwrap_or_default(), LONGEST_VALUE);
        }
        if ended {
            self.compare(member)?;
            self.text.clear();
            self.place = Place::Members;
        }
        Ok(length)
    }

    /// Keeps a text that comes in pieces; of one that is too long, enough to tell that it is.
    fn keep(&mut self, text: &[u8], most: usize) {
        let room = (most + 1).saturating_sub(self.text.len());
        self.text.extend_from_slice(text.get(..room.min(text.len())).unwrap_or_default());
    }

    /// The member whose name was kept.
    fn member(&mut self) -> Result<Member, BadIdentity> {
        let text = std::mem::take(&mut self.text);
        if text.len() > LONGEST_NAME {
            return Ok(Member::Other);
        }
        let name: String = serde_json::from_slice(&text).map_err(|_| BadIdentity::NoObject)?;
        let (member, name, seen) = match name.as_str() {
            "resourceType" => (Member::ResourceType, "resourceType", &mut self.has_type),
            "id" => (Member::Id, "id", &mut self.has_id),
            _ => return Ok(Member::Other),
        };
        if std::mem::replace(seen, true) { Err(BadIdentity::Twice(name)) } else { Ok(member) }
    }

    /// Compares a value that was kept with what the URL says.
    fn compare(&self, member: Member) -> Result<(), BadIdentity> {
        let is = |expected: &str| serde_json::from_slice::<String>(&self.text).is_ok_and(|value| value == expected);
        match member {
            Member::ResourceType if !is(&self.resource_type) => Err(BadIdentity::OtherType),
            Member::Id if !self.id.as_deref().is_none_or(is) => Err(BadIdentity::OtherId),
            Member::ResourceType | Member::Id | Member::Other => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
