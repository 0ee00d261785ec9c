//! The table of policy cases: a client, a request, and the one right decision. The end-to-end test, `access explain` and the unit
//! test of `decide` go through the same rows.
//!
//! In texts, `{P1}` and its like stand for ids, `{VS}` and `{LAB}` for the tokens of two categories.

/// What is decided on a request, and what comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It goes on as it came, and is answered with success.
    Allow,
    /// The policy permits it. What else becomes of it is no matter of policies: OpenEMR may not have it.
    Permitted,
    /// This parameter is added to the search, and `self` shows it; the answer is tested.
    Narrow(&'static str),
    /// It goes on, and the answer is tested.
    Check,
    /// 403, without asking OpenEMR.
    Refused,
    /// 404 with the same bytes as for an unknown id.
    Hidden,
    /// 400, without asking OpenEMR.
    Bad,
    /// 400, or an answer in which nothing foreign is: either is right.
    BadOrNarrow,
    /// This status, without asking OpenEMR, before any policy is asked.
    Early(u16),
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub number: &'static str,
    pub client: &'static str,
    /// Method and target below the FHIR base.
    pub request: &'static str,
    /// The type and the text of a body.
    pub body: Option<(&'static str, &'static str)>,
    /// A further field.
    pub field: Option<(&'static str, &'static str)>,
    pub expected: Expected,
    /// Ids of what must be in the answer.
    pub shows: &'static str,
    /// Ids of what must not.
    pub hides: &'static str,
}

const FORM: &str = "application/x-www-form-urlencoded";
const FHIR: &str = "application/fhir+json";

const fn row(number: &'static str, client: &'static str, request: &'static str, expected: Expected) -> Case {
    Case { number, client, request, body: None, field: None, expected, shows: "", hides: "P9 O9 C9 D9 T9 G9" }
}

impl Case {
    const fn shows(self, shows: &'static str) -> Self {
        Self { shows, ..self }
    }

    const fn hides(self, hides: &'static str) -> Self {
        Self { hides, ..self }
    }

    const fn form(self, body: &'static str) -> Self {
        Self { body: Some((FORM, body)), ..self }
    }

    const fn json(self, body: &'static str) -> Self {
        Self { body: Some((FHIR, body)), ..self }
    }

    const fn field(self, name: &'static str, value: &'static str) -> Self {
        Self { field: Some((name, value)), ..self }
    }
}

use Expected::{Allow, Bad, BadOrNarrow, Check, Early, Hidden, Narrow, Permitted, Refused};

/// The clients: name, scopes with blanks between them, and further keys of the policy in JSON.
pub const CLIENTS: [(&str, &str, &str); 20] = [
    ("all", "system/*.cruds", ""),
    ("pat", "system/Patient.rs", ""),
    ("split", "system/Patient.r system/Observation.s", ""),
    ("v1", "system/Patient.read system/Observation.write", ""),
    ("vit", "system/Observation.rs?category={VS}", ""),
    ("two", "system/Observation.rs?category={VS} system/Observation.rs?category={LAB}", ""),
    ("panel", "system/*.rs", r#""patients": {"ids": ["{P1}", "{P2}"]}"#),
    ("pvit", "system/Observation.rs?category={VS}", r#""patients": {"ids": ["{P1}", "{P2}"]}"#),
    ("wri", "system/Patient.cu", ""),
    ("exp", "system/Patient.rs system/Observation.rs", r#""export": ["patient"]"#),
    ("grp", "system/*.rs", r#""export": ["Group/{G1}"]"#),
    ("none", "", ""),
    // Neighbours.
    ("org", "system/Organization.r", ""),
    ("doc", "system/DocumentReference.rs", r#""operations": ["DocumentReference/$docref"]"#),
    ("inc", "system/Observation.rs?category={VS} system/Patient.r", ""),
    ("pwri", "system/*.cruds", r#""patients": {"ids": ["{P1}", "{P2}"]}"#),
    ("vexp", "system/Observation.rs?category={VS}", r#""export": ["patient"]"#),
    ("pexp", "system/*.rs", r#""patients": {"ids": ["{P1}", "{P2}"]}, "export": ["patient"]"#),
    ("far", "system/Patient.rs", ""),
    ("prov", "system/Patient.rs system/Provenance.rs", ""),
];

/// The rows.
pub const CASES: &[Case] = &[
    // B. Types and interactions
    row("B1", "pat", "GET /Patient/{P1}", Allow).shows("P1"),
    row("B2", "pat", "GET /Patient?_id={P1}", Allow).shows("P1"),
    row("B3", "pat", "GET /Observation/{O1}", Refused),
    row("B3a", "pat", "GET /Observation/10000000-0000-4000-8000-00000000ffff", Refused),
    row("B4", "pat", "GET /Observation?patient={P1}", Refused),
    row("B4a", "pat", "POST /Observation/_search", Refused).form("patient={P1}"),
    row("B4b", "pat", "HEAD /Observation/{O1}", Refused),
    row("B5", "split", "GET /Observation/{O1}", Refused),
    row("B6", "split", "GET /Observation?patient={P1}", Allow).shows("O1 O2"),
    row("B6a", "split", "GET /Patient?_id={P1}", Refused),
    row("B7", "split", "GET /Patient/_history", Refused),
    row("B8", "split", "GET /Patient/{P1}/_history", Permitted),
    row("B8a", "split", "GET /Patient/{P1}/_history/1", Permitted),
    row("B8b", "split", "GET /_history", Refused),
    row("B9", "v1", "POST /Observation", Permitted)
        .json(r#"{"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/{P1}"}}"#),
    row("B10", "v1", "GET /Observation/{O1}", Refused),
    row("B10a", "v1", "DELETE /Observation/{O1}", Permitted),
    row("B10b", "v1", "POST /Patient", Refused).json(r#"{"resourceType": "Patient"}"#),
    row("B10c", "v1", "GET /Patient?_id={P1}", Allow).shows("P1"),
    row("B11", "wri", "POST /Patient", Allow).json(
        r#"{"resourceType": "Patient", "name": [{"use": "official", "family": "New", "given": ["A"]}], "gender": "female", "birthDate": "1990-01-01"}"#,
    ),
    row("B12", "wri", "GET /Patient/{P1}", Refused),
    row("B12a", "wri", "POST /Observation", Refused).json(r#"{"resourceType": "Observation"}"#),
    row("B13", "wri", "PATCH /Patient/{P1}", Permitted).json(r#"{"resourceType": "Patient", "id": "{P1}"}"#),
    row("B14", "wri", "DELETE /Patient/{P1}", Refused),
    row("B14a", "wri", "DELETE /Patient?_id={P1}", Refused),
    row("B15", "pat", "GET /patient/{P1}", Early(404)),
    row("B15a", "pat", "GET /PATIENT/{P1}", Early(404)),
    row("B16", "none", "GET /Patient/{P1}", Refused),
    row("B16a", "none", "GET /metadata", Allow),
    row("B17", "pat", "GET /?_type=Patient,Observation", Refused),
    row("B17a", "pat", "GET /?_type=Patient", Refused),
    row("B18", "all", "GET /?_type=Patient,Observation", Permitted),
    row("B18a", "panel", "GET /?_type=Patient", Refused),
    row("B20", "pat", "GET /Observatoin/{O1}", Early(404)),
    // C. Constraints by search parameter
    row("C1", "vit", "GET /Observation?patient={P1}", Narrow("category={VS}")).shows("O1").hides("O2"),
    row("C2", "vit", "GET /Observation?patient={P1}&category={LAB}", Narrow("category={VS}")).hides("O1 O2"),
    row("C3", "vit", "GET /Observation?patient={P1}&category=vital-signs", Narrow("category={VS}")).shows("O1").hides("O2"),
    row("C4", "vit", "GET /Observation?category={LAB}", Narrow("category={VS}")).hides("O1 O2"),
    row("C5", "vit", "GET /Observation?patient={P1}&category={VS},{LAB}", Narrow("category={VS}")).shows("O1").hides("O2"),
    row("C6", "vit", "GET /Observation?patient={P1}&category={VS}&category={LAB}", BadOrNarrow).hides("O2"),
    row("C7", "vit", "GET /Observation?patient={P1}&category:not={VS}", BadOrNarrow).hides("O2"),
    row("C8", "vit", "GET /Observation?patient={P1}&category:missing=true", BadOrNarrow).hides("O2"),
    row("C9", "vit", "GET /Observation/{O1}", Check).shows("O1"),
    row("C10", "vit", "GET /Observation/{O2}", Hidden).hides("O2"),
    row("C11", "vit", "POST /Observation/_search", Narrow("category={VS}")).form("category={LAB}").hides("O1 O2"),
    row("C12", "vit", "POST /Observation/_search", Narrow("category={VS}")).form("patient={P1}").shows("O1").hides("O2"),
    row("C13", "two", "GET /Observation?patient={P1}", Check).shows("O1 O2").hides("O3"),
    row("C14", "two", "GET /Observation?patient={P1}&category={LAB}", Check).shows("O2").hides("O1 O3"),
    row("C17", "vit", "GET /Observation?patient={P1}&_summary=count", Narrow("category={VS}")).hides("O2"),
    row("C18", "vit", "GET /Observation?patient={P1}&_elements=status", Narrow("category={VS}")).shows("O1").hides("O2"),
    row("C18a", "vit", "GET /Patient/{P1}", Refused),
    row("C18b", "vit", "GET /Observation/{O1}/_history", Refused),
    row("C18c", "pvit", "GET /Observation?patient={P1}", Narrow("category={VS}")).shows("O1").hides("O2 O9"),
    row("C18d", "pvit", "GET /Observation/{O9}", Hidden),
    row("C18e", "pvit", "GET /Observation/{O2}", Hidden).hides("O2"),
    // D. Patients
    row("D1", "panel", "GET /Patient/{P1}", Check).shows("P1"),
    row("D2", "panel", "GET /Patient/{P9}", Refused),
    row("D2a", "panel", "GET /Patient/10000000-0000-4000-8000-00000000ffff", Refused),
    row("D3", "panel", "GET /Patient?name=Abel", Narrow("_id={P1},{P2}")).shows("P1 P2"),
    row("D4", "panel", "GET /Patient?_id={P9}", Refused),
    row("D5", "panel", "GET /Patient?_id={P1}&_id={P9}", BadOrNarrow),
    row("D6", "panel", "GET /Patient?_id={P1},{P9}", BadOrNarrow),
    row("D7", "panel", "GET /Observation?patient={P9}", Refused),
    row("D7a", "panel", "GET /Observation?subject=Patient/{P9}", Refused),
    row("D7b", "panel", "POST /Observation/_search", Refused).form("patient={P9}"),
    row("D8", "panel", "GET /Observation?patient={P1},{P9}", BadOrNarrow),
    row("D9", "panel", "GET /Observation?patient=Patient/{P1},https://gw/fhir/Patient/{P9}", BadOrNarrow),
    row("D10", "panel", "GET /Observation?_count=200", Check).shows("O1 O2"),
    row("D11", "panel", "GET /Observation/{O9}", Hidden),
    row("D12", "panel", "GET /Observation/{O1}", Check).shows("O1"),
    row("D12a", "panel", "GET /Condition/{C9}", Hidden),
    row("D12b", "panel", "GET /Condition/{C1}", Check).shows("C1"),
    row("D14", "panel", "GET /Practitioner", Check),
    row("D15", "panel", "GET /Group/{G9}", Hidden),
    row("D16", "panel", "GET /Group/{G1}", Check).shows("G1"),
    row("D17", "panel", "GET /Binary/10000000-0000-4000-8000-00000000ffff", Refused),
    row("D18", "panel", "GET /DocumentReference/{D9}", Hidden),
    row("D18a", "panel", "GET /DocumentReference/{D1}", Check).shows("D1"),
    row("D19", "panel", "GET /Appointment/{A19}", Check).shows("A19").hides("O9"),
    row("D20", "panel", "GET /Observation/{O0}", Hidden).hides("O0"),
    row("D22", "panel", "GET /Observation/_history", Refused),
    row("D22a", "panel", "GET /_history", Refused),
    row("D23", "panel", "GET /Patient/{P9}/Observation", Refused),
    row("D24", "panel", "GET /Patient/{P9}/$everything", Refused),
    // E. Parameters that widen
    row("E1", "vit", "GET /Observation?patient={P1}&_include=Observation:patient", Refused),
    row("E2", "inc", "GET /Observation?patient={P1}&_include=Observation:subject", BadOrNarrow).hides("O2"),
    row("E3", "pat", "GET /Patient?_id={P1}&_revinclude=Observation:subject", Refused),
    row("E4", "prov", "GET /Patient?_id={P1}&_revinclude=Provenance:target", Allow).shows("P1"),
    row("E4a", "pat", "GET /Patient?_id={P1}&_revinclude=Provenance:target", Refused),
    row("E5", "vit", "GET /Observation?patient={P1}&_include:iterate=Observation:patient", Refused),
    row("E5a", "vit", "GET /Observation?patient={P1}&_include:recurse=Observation:patient", Refused),
    row("E6", "vit", "GET /Observation?patient={P1}&_include=*", Refused),
    row("E7", "vit", "GET /Observation?patient={P1}&%5Finclude=Observation:patient", Refused),
    row("E7a", "vit", "GET /Observation?patient={P1}&_include%3Aiterate=Observation:patient", Refused),
    row("E7b", "vit", "POST /Observation/_search", Refused).form("patient={P1}&_include=Observation:patient"),
    row("E8", "pat", "GET /Patient?_id={P1}&_revinclude:iterate=Observation:subject", Refused),
    row("E9", "vit", "GET /Observation?patient.name=Smith", Refused),
    row("E9a", "vit", "GET /Observation?subject:Patient.name=Smith", Refused),
    row("E10", "pat", "GET /Patient?_has:Observation:patient:code=1234", Refused),
    row("E11", "pat", "GET /Patient?_filter=name%20eq%20a", BadOrNarrow),
    row("E11a", "vit", "GET /Observation?_query=x", BadOrNarrow).hides("O2"),
    row("E11b", "panel", "GET /Patient?_list=42", BadOrNarrow),
    row("E11c", "panel", "GET /Patient?_text=a", BadOrNarrow),
    row("E11d", "panel", "GET /Patient?_content=a", BadOrNarrow),
    row("E12", "pat", "GET /Patient/{P1}/Observation", Refused),
    row("E13", "pat", "GET /Patient/{P1}/*", Refused),
    // F. Operations and bulk
    row("F1", "pat", "GET /Patient/{P1}/$everything", Refused),
    row("F2", "panel", "GET /Patient/{P1}/$everything", Refused),
    row("F3", "pat", "POST /DocumentReference/$docref?patient={P1}", Refused),
    row("F3a", "none", "GET /Patient/$unknown", Refused),
    row("F4", "doc", "POST /DocumentReference/$docref?patient={P1}", Permitted),
    row("F5", "exp", "GET /Patient/$export?_type=Patient,Condition", Refused),
    row("F6", "exp", "GET /Patient/$export?_type=Patient", Allow),
    row("F7", "exp", "GET /$export", Refused),
    row("F8", "exp", "GET /Group/{G1}/$export", Refused),
    row("F8a", "grp", "GET /Group/{G1}/$export?_type=Patient", Allow),
    row("F8b", "grp", "GET /Group/{G9}/$export?_type=Patient", Refused),
    row("F8c", "grp", "GET /Patient/$export?_type=Patient", Refused),
    row("F10", "pat", "GET /Patient/$export?_type=Patient", Refused),
    // G. Bodies
    row("G1", "pat", "POST /", Refused).json(
        r#"{"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": "Patient/{P1}"}}, {"request": {"method": "GET", "url": "Observation/{O1}"}}]}"#,
    ),
    row("G2", "panel", "POST /", Refused).json(r#"{"resourceType": "Bundle", "type": "transaction", "entry": []}"#),
    row("G5", "wri", "POST /Bundle", Refused).json(r#"{"resourceType": "Bundle", "type": "collection", "entry": []}"#),
    row("G6", "wri", "POST /Patient", Bad).json(r#"{"resourceType": "Observation", "status": "final"}"#),
    row("G7", "wri", "PUT /Patient/{P1}", Bad).json(
        r#"{"resourceType": "Patient", "id": "{P9}", "name": [{"use": "official", "family": "Abel", "given": ["A"]}], "birthDate": "1990-01-01", "gender": "male"}"#,
    ),
    row("G9", "wri", "PUT /Patient/{P1}", Bad).json(r#"{"resourceType": "Patient", "id": "{P1}", "id": "{P9}"}"#),
    row("G9a", "wri", "POST /Patient", Bad).json(r#"{"resourceType": "Patient", "resourceType": "Observation"}"#),
    row("G9b", "wri", "PUT /Patient/{P1}", Bad).json(r#"{"resourceType": "Patient", "id": "{P1}", "\u0069d": "{P9}"}"#),
    row("G10", "pwri", "POST /Observation", Refused)
        .json(r#"{"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/{P9}"}}"#),
    row("G10a", "pwri", "PUT /Patient/{P9}", Refused).json(r#"{"resourceType": "Patient", "id": "{P9}"}"#),
    row("G11", "pwri", "POST /Observation", Refused).json(r#"{"resourceType": "Observation", "status": "final"}"#),
    row("G13", "wri", "POST /Patient", Refused)
        .json(r#"{"resourceType": "Patient", "name": [{"use": "official", "family": "New", "given": ["A"]}]}"#)
        .field("If-None-Exist", "identifier=1"),
    // H. What OpenEMR would understand otherwise
    row("H1", "org", "GET /Organization/10000000-0000-4000-8000-00000000ffff?_REWRITE_COMMAND=default/fhir/Patient/{P1}", Bad)
        .hides("P1"),
    row("H2", "org", "GET /Organization/10000000-0000-4000-8000-00000000ffff?_REWRITE.COMMAND=default/fhir/Patient/{P1}", Bad)
        .hides("P1"),
    row("H3", "all", "POST /Organization/_search", Bad).form("_REWRITE_COMMAND=default/fhir/Patient/{P1}"),
    row("H4", "pat", "POST /Patient/{P1}", Refused).field("X-HTTP-Method-Override", "DELETE").json(r#"{"resourceType": "Patient"}"#),
    row("H5", "panel", "GET /Observation?patient[]={P9}", BadOrNarrow),
    row("H5a", "panel", "GET /Observation?patient[0]={P9}", BadOrNarrow),
    row("H6", "panel", "GET /Observation?patient={P1}&pa%74ient={P9}", BadOrNarrow),
    row("H7", "panel", "GET /Observation?patient={P1};patient={P9}", BadOrNarrow),
    row("H9", "pat", "GET /Patient;x=1/{P1}", Early(400)),
    row("H9a", "pat", "GET /Patient%2F{P1}", Early(400)),
    row("H9b", "pat", "GET //Patient", Early(400)),
    row("H9c", "pat", "GET /./Patient", Early(400)),
    row("H9d", "pat", "GET /Patient/{P1}%00", Early(400)),
    row("H10", "pat", "GET /Patient/../Observation/{O1}", Early(400)),
];

/// The ids that stand for the letters, and the two categories.
#[must_use]
pub fn filled(text: &str) -> String {
    let mut filled = text.to_owned();
    for (name, id) in names() {
        filled = filled.replace(&format!("{{{name}}}"), &id);
    }
    let category = |code: &str| format!("http://terminology.hl7.org/CodeSystem/observation-category|{code}");
    filled.replace("{VS}", &category("vital-signs")).replace("{LAB}", &category("laboratory"))
}

/// The letters and their ids.
pub fn names() -> impl Iterator<Item = (&'static str, String)> {
    let letters = ["P1", "P2", "P9", "O1", "O2", "O3", "O9", "O0", "C1", "C9", "D1", "D9", "G1", "G9", "T1", "T9", "A19", "T2"];
    letters.into_iter().enumerate().map(|(at, name)| (name, format!("10000000-0000-4000-8000-0000000000{:02x}", at + 0xa0)))
}
