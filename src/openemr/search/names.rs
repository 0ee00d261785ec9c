//! Names of parameters that nobody knows: what browsers' tools add, and what was probably meant by the others.

/// The names that scripts, libraries and links of advertisers add to a URL, besides `utm_…`. They ask for nothing.
const OF_BROWSERS: [&str; 18] = [
    // jQuery, against caches.
    "_",
    "_ga",
    "_gl",
    "fbclid",
    "gclid",
    "gclsrc",
    "gbraid",
    "wbraid",
    "dclid",
    "msclkid",
    "yclid",
    "twclid",
    "ttclid",
    "li_fat_id",
    "igshid",
    "mc_cid",
    "mc_eid",
    // fhirpy's count(), beside _count=0 or _summary=count.
    "_totalMethod",
];

/// What clients write for FHIR's names, without blanks and dashes and in small letters.
const MEANT: [(&str, &[&str]); 17] = [
    ("birthdate", &["dob", "dateofbirth", "birthday", "born"]),
    ("given", &["first", "firstname", "forename", "givenname", "fname"]),
    ("family", &["last", "lastname", "surname", "familyname", "lname"]),
    ("gender", &["sex"]),
    ("identifier", &["mrn", "ssn", "pid", "medicalrecordnumber"]),
    ("patient", &["patientid", "patientuuid", "subjectid", "puuid"]),
    ("address-postalcode", &["zip", "zipcode", "postcode", "postalcode"]),
    ("address-city", &["city", "town"]),
    ("address-state", &["state", "region"]),
    ("email", &["mail", "emailaddress"]),
    ("phone", &["tel", "telephone", "mobile", "phonenumber"]),
    ("code", &["loinc", "snomed"]),
    ("_id", &["id", "uuid", "resourceid"]),
    ("_lastUpdated", &["lastupdated", "updated", "modified", "lastmodified", "since", "updatedsince"]),
    ("_count", &["limit", "pagesize", "perpage", "size", "max", "top"]),
    ("_offset", &["page", "skip", "start", "from"]),
    ("_sort", &["sortby", "order", "orderby"]),
];

/// The result parameters that the gateway or OpenEMR carries out.
const OF_RESULTS: [&str; 8] = ["_count", "_offset", "_sort", "_total", "_summary", "_elements", "_format", "_revinclude"];

/// Whether browsers' tools add a parameter of this name.
#[must_use]
pub(crate) fn is_of_browsers(name: &str) -> bool {
    OF_BROWSERS.contains(&name) || name.starts_with("utm_")
}

/// Returns the name that was probably meant, of those by which the type can be searched and of the result parameters.
#[must_use]
pub(crate) fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let plain = plain(name);
    if plain.is_empty() {
        return None;
    }
    let known = known.chain(OF_RESULTS);
    let means = |candidate: &str| MEANT.iter().any(|(meant, written)| *meant == candidate && written.contains(&plain.as_str()));
    let synonym = known.clone().find(|candidate| means(candidate));
    synonym.or_else(|| {
        known
            .map(|candidate| (strsim::damerau_levenshtein(&plain, &self::plain(candidate)), candidate))
            .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, candidate)| candidate)
    })
}

/// The letters and digits of a name, small.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENTS: [&str; 10] = [
        "_id",
        "_lastUpdated",
        "address-postalcode",
        "birthdate",
        "family",
        "gender",
        "generalPractitioner",
        "given",
        "identifier",
        "name",
    ];

    #[test]
    fn what_was_meant() {
        for (name, expected) in [
            ("nam", Some("name")),
            ("Name", Some("name")),
            ("naem", Some("name")),
            ("dob", Some("birthdate")),
            ("birthDate", Some("birthdate")),
            ("birth_date", Some("birthdate")),
            ("dateOfBirth", Some("birthdate")),
            ("lastName", Some("family")),
            ("first_name", Some("given")),
            ("general-practitioner", Some("generalPractitioner")),
            ("zip", Some("address-postalcode")),
            ("count", Some("_count")),
            ("limit", Some("_count")),
            ("_lastupdated", Some("_lastUpdated")),
            ("id", Some("_id")),
            // No synonym for what this type does not have.
            ("loinc", None),
            ("shoe-size", None),
            ("_", None),
            ("", None),
        ] {
            assert_eq!(meant(name, PATIENTS.into_iter()), expected, "{name}");
        }
        assert_eq!(meant("patinet", ["_id", "patient", "date"].into_iter()), Some("patient"));
    }

    #[test]
    fn what_browsers_add_is_no_question() {
        for name in ["_", "utm_source", "utm_", "fbclid", "gclid"] {
            assert!(is_of_browsers(name), "{name}");
        }
        for name in ["_id", "utm", "name", "__", "", "_tag"] {
            assert!(!is_of_browsers(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_panics(name in ".{0,80}") {
            let _ = meant(&name, PATIENTS.into_iter());
        }
    }
}
