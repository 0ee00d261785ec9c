//! Who took part in an event.

use serde_json::{Value, json};

use super::coding::{DCM, coding, set};
use super::forms::{Form, Pattern};
use crate::audit::record::{Kind, Record};

/// The codes of PurposeOfUse (HL7 v3 ActReason).
const PURPOSES: [&str; 54] = [
    "TREAT",
    "CAREMGT",
    "CLINTRCH",
    "HDIRECT",
    "HMARKT",
    "HOPERAT",
    "DONAT",
    "FRAUD",
    "GOV",
    "HACCRED",
    "HCOMPL",
    "HDECD",
    "HLEGAL",
    "HOUTCOMS",
    "HPRGRP",
    "HQUALIMP",
    "HSYSADMIN",
    "LABELING",
    "METAMGT",
    "MEMADMIN",
    "MILCDM",
    "PATADMIN",
    "PATSFTY",
    "PERFMSR",
    "RECORDMGT",
    "SYSDEV",
    "HTEST",
    "TRAIN",
    "HPAYMT",
    "CLMATTCH",
    "COVAUTH",
    "COVERAGE",
    "ELIGDTRM",
    "ELIGVER",
    "ENROLLM",
    "MILDCRG",
    "REMITADV",
    "HRESCH",
    "BIORCH",
    "CLINTRCHNPC",
    "CLINTRCHPC",
    "PRECLINTRCH",
    "DSRCH",
    "POARCH",
    "TRANSRCH",
    "PATRQT",
    "FAMRQT",
    "PWATRNY",
    "SUPNWK",
    "PUBHLTH",
    "DISASTER",
    "THREAT",
    "ETREAT",
    "BTG",
];

/// The gateway, as its events name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observer {
    /// The name of the trail, as configured.
    pub(crate) name: String,
}

/// The agents of an event.
#[must_use]
pub(super) fn of(record: &Record, form: &Form, observer: &Observer) -> Value {
    const APPLICATION: [&str; 3] = [DCM, "110150", "Application"];
    const SOURCE: [&str; 3] = [DCM, "110153", "Source Role ID"];
    const DESTINATION: [&str; 3] = [DCM, "110152", "Destination Role ID"];
    const CUSTODIAN: [&str; 3] = ["http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian", "Custodian"];
    const AUTHORIZER: [&str; 3] =
        ["http://terminology.hl7.org/CodeSystem/extra-security-role-type", "authserver", "authorization server"];
    let client = |role| client(record, role);
    let own = |role, requestor| {
        let network = network(&observer.name);
        json!({"type": concept(role), "who": gateway(observer), "requestor": requestor, "network": network})
    };
    match form.pattern {
        // Data flow from the server to the client here, and as BALP sees it, the other way with a query.
        Pattern::Read | Pattern::Disclosure => json!([client(DESTINATION), own(SOURCE, false)]),
        Pattern::Query | Pattern::Create | Pattern::Update | Pattern::Other => json!([client(SOURCE), own(DESTINATION, false)]),
        Pattern::Delete => json!([client(APPLICATION), own(CUSTODIAN, false)]),
        Pattern::Security => match record.kind {
            Kind::TokenIssued | Kind::CredentialRefused => json!([client(APPLICATION), own(AUTHORIZER, false)]),
            Kind::ForcedRefresh if record.client.is_some() || record.address.is_some() => {
                json!([client(APPLICATION), own(AUTHORIZER, false)])
            }
            Kind::TokenExchange => {
                let site = record.site.as_deref().unwrap_or("OpenEMR");
                let server = json!({"type": concept(AUTHORIZER), "who": {"display": site}, "requestor": false});
                json!([own(APPLICATION, true), server])
            }
            _ => json!([own(APPLICATION, true)]),
        },
    }
}

/// The gateway, wherever it is referred to.
#[must_use]
pub(super) fn gateway(observer: &Observer) -> Value {
    json!({"type": "Device", "identifier": {"value": observer.name}})
}

/// What data are for, as a code of PurposeOfUse where it is one.
#[must_use]
pub(super) fn purpose(purpose: &str) -> Value {
    match PURPOSES.contains(&purpose) {
        true => json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": purpose}]}),
        false => json!({"text": purpose}),
    }
}

fn client(record: &Record, role: [&str; 3]) -> Value {
    let who = match record.client.as_deref() {
        Some(name) => json!({"identifier": {"value": name}}),
        None => json!({"display": "a caller without credentials"}),
    };
    let mut agent = json!({"type": concept(role), "who": who});
    set(&mut agent, "name", record.recipient.as_deref().map(Value::from));
    set(&mut agent, "requestor", Some(true.into()));
    let address = record.address.map(|address| json!({"address": address.to_string(), "type": "2"}));
    // RFC 7239 section 6.2 has this word for it.
    set(&mut agent, "network", Some(address.unwrap_or_else(|| network("unknown"))));
    set(&mut agent, "purposeOfUse", record.purpose.as_deref().map(|text| json!([purpose(text)])));
    agent
}

/// A machine by its name.
fn network(name: &str) -> Value {
    json!({"address": name, "type": "1"})
}

fn concept([system, code, display]: [&str; 3]) -> Value {
    json!({"coding": [coding(system, code, display)]})
}
