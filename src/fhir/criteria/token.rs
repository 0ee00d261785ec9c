//! Tokens: codes with their systems (FHIR R4, "Search", 3.1.1.4.10).
//!
//! The code of a Coding, an Identifier or a ContactPoint is compared without regard to the case of ASCII letters, as FHIR advises
//! where a code system's rule is not known. A `code`, a boolean and a string are compared as they are, and so are systems.

use std::cmp::Ordering;

use crate::fhir::criteria::definition::DataType;
use crate::fhir::criteria::json::{Illegible, Json};
use crate::fhir::criteria::values::{Untestable, split, unescaped};

/// The systems of boolean values (FHIR R4, "Search", 3.1.1.4.10, and where the code system is published).
const BOOLEANS: [&str; 2] = ["http://hl7.org/fhir/special-values", "http://terminology.hl7.org/CodeSystem/special-values"];

/// The tokens of which an element must have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    /// Those with a code, sorted by it without regard to the case of ASCII letters, by their systems, and by the code as it is.
    codes: Vec<Token>,
    /// The systems of which any code will do, sorted.
    systems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    code: String,
    system: System<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum System<S> {
    Any,
    None,
    Is(S),
}

impl System<String> {
    fn as_deref(&self) -> System<&str> {
        match self {
            Self::Any => System::Any,
            Self::None => System::None,
            Self::Is(system) => System::Is(system),
        }
    }
}

/// A code in a resource.
struct Code<'a> {
    /// The systems by which it is known.
    systems: &'a [&'a str],
    /// Whether it can pass as one without a system.
    is_bare: bool,
    code: Option<&'a str>,
    /// Whether the case of its letters counts.
    is_exact: bool,
}

impl Tokens {
    /// Reads the values of a parameter.
    ///
    /// # Errors
    /// One of them is no token.
    pub(super) fn read(value: &str) -> Result<Self, Untestable> {
        let (mut codes, mut systems) = (Vec::new(), Vec::new());
        for part in split(value, ',') {
            let mut halves = split(part, '|');
            match (halves.next(), halves.next(), halves.next()) {
                (Some(code), None, None) if !code.is_empty() => {
                    codes.push(Token { code: unescaped(code)?, system: System::Any });
                }
                (Some(""), Some(code), None) if !code.is_empty() => {
                    codes.push(Token { code: unescaped(code)?, system: System::None });
                }
                (Some(system), Some(""), None) if !system.is_empty() => systems.push(unescaped(system)?),
                (Some(system), Some(code), None) if !system.is_empty() => {
                    codes.push(Token { code: unescaped(code)?, system: System::Is(unescaped(system)?) });
                }
                _ => return Err(Untestable::Value),
            }
        }
        codes.sort_by(|one: &Token, other| {
            let by_code = folded_order(&one.code, &other.code);
            by_code.then_with(|| one.system.as_deref().cmp(&other.system.as_deref())).then_with(|| one.code.cmp(&other.code))
        });
        codes.dedup();
        systems.sort_unstable();
        systems.dedup();
        Ok(Self { codes, systems })
    }

    /// Whether an element has one of them.
    ///
    /// # Errors
    /// The element cannot be read.
    pub(super) fn are_met_by(&self, element: &Json<'_>, data_type: DataType) -> Result<bool, Illegible> {
        Ok(match (data_type, element) {
            (DataType::Code(system), Json::Text(code)) => {
                self.have(&Code { systems: system.as_slice(), is_bare: false, code: Some(code), is_exact: true })
            }
            (DataType::String, Json::Text(code)) => {
                self.have(&Code { systems: &[], is_bare: true, code: Some(code), is_exact: true })
            }
            (DataType::Boolean, Json::Bool(value)) => self.have_code(if *value { "true" } else { "false" }),
            (DataType::Exists, _) => self.have_code("true"),
            (DataType::Coding, _) => self.have_coding(element, "code")?,
            (DataType::Identifier, _) => self.have_coding(element, "value")?,
            (DataType::ContactPoint, _) => {
                // The system of a ContactPoint is no namespace, but some clients write it as one.
                let system = element.text("system")?;
                self.have(&Code { systems: system.as_slice(), is_bare: true, code: element.text("value")?, is_exact: false })
            }
            (DataType::CodeableConcept, _) => {
                for coding in element.items("coding")? {
                    if self.have_coding(coding, "code")? {
                        return Ok(true);
                    }
                }
                false
            }
            _ => false,
        })
    }

    /// Whether a code of FHIR's own, or a boolean, is one of them.
    pub(super) fn have_code(&self, code: &str) -> bool {
        self.have(&Code { systems: &BOOLEANS, is_bare: false, code: Some(code), is_exact: true })
    }

    fn have_coding(&self, coding: &Json<'_>, name: &str) -> Result<bool, Illegible> {
        let system = coding.text("system")?.filter(|system| !system.is_empty());
        let code = coding.text(name)?;
        Ok(self.have(&Code { systems: system.as_slice(), is_bare: system.is_none(), code, is_exact: false }))
    }

    fn have(&self, found: &Code<'_>) -> bool {
        let is_listed = |system: &&str| self.systems.binary_search_by(|one| one.as_str().cmp(system)).is_ok();
        if !self.systems.is_empty() && found.systems.iter().any(is_listed) {
            return true;
        }
        let Some(code) = found.code else { return false };
        let has = |system| self.has(system, code, found.is_exact);
        has(System::Any) || found.is_bare && has(System::None) || found.systems.iter().any(|system| has(System::Is(*system)))
    }

    fn has(&self, system: System<&str>, code: &str, is_exact: bool) -> bool {
        let order = |token: &Token| folded_order(&token.code, code).then_with(|| token.system.as_deref().cmp(&system));
        if is_exact {
            return self.codes.binary_search_by(|token| order(token).then_with(|| token.code.as_str().cmp(code))).is_ok();
        }
        self.codes.binary_search_by(order).is_ok()
    }
}

fn folded_order(one: &str, other: &str) -> Ordering {
    one.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(other.bytes().map(|byte| byte.to_ascii_lowercase()))
}
