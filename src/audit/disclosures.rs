//! An accounting of disclosures (45 CFR 164.528): which answers with a patient's data reached whom.
//!
//! A disclosure is an answer that reached a client, whole or in part, with something in it. An answer about many patients has several
//! records: some of kind `patients` while it passes, and that of its request at its end. They are one disclosure. Where the last one
//! is missing because the gateway was killed, the others still show that data left.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Serialize;

use self::csv::add;
use super::period::Period;
use super::record::{Kind, Outcome, Record, Text};
use super::sought::Sought;

mod csv;

/// The accounting of one patient, made of records in order. Its memory grows with the answers that have begun and not ended.
#[derive(Debug)]
pub(crate) struct Accounting {
    patient: Sought,
    period: Period,
    /// Records of kind `patients` with the patient, by the id of their request, whose own record has not come.
    begun: HashMap<Text, Vec<Record>>,
    doubts: Doubts,
}

/// What the accounting cannot say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Doubts {
    /// How many answers of the period may be about patients that could not be found out.
    pub(crate) unknown: u64,
    /// How many records of the period were lost.
    pub(crate) lost: u64,
}

/// One disclosure: what 45 CFR 164.528(b)(2) asks for, and how to find it in the trail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Disclosure {
    /// When the answer ended, in UTC.
    pub(crate) date: String,
    /// Name and address of who received the data, as configured; the client's name where nothing is.
    pub(crate) recipient: Text,
    /// What was disclosed, in words.
    pub(crate) disclosed: String,
    /// What for, as configured.
    pub(crate) purpose: Option<Text>,
    /// The client's name.
    pub(crate) client: Option<Text>,
    /// From where it called.
    pub(crate) address: Option<IpAddr>,
    /// What showed who it is.
    pub(crate) credential: Option<Text>,
    /// The site.
    pub(crate) site: Option<Text>,
    /// The interaction's code.
    pub(crate) interaction: Option<Text>,
    /// The operation, without its `$`.
    pub(crate) operation: Option<Text>,
    /// The resource type.
    #[serde(rename = "type")]
    pub(crate) resource_type: Option<Text>,
    /// How many resources the answer had, those about other patients included.
    pub(crate) resources: Option<u64>,
    /// The status of the answer.
    pub(crate) status: Option<u16>,
    /// How it ended; `None` where the gateway was killed before.
    pub(crate) outcome: Option<Outcome>,
    /// The request's id.
    pub(crate) request_id: Option<Text>,
}

impl Accounting {
    /// Begins the accounting of a patient for a period.
    #[must_use]
    pub(crate) fn new(patient: Sought, period: Period) -> Self {
        Self { patient, period, begun: HashMap::new(), doubts: Doubts::default() }
    }

    /// Takes the next record, and returns the disclosure that it ends.
    pub(crate) fn take(&mut self, record: Record) -> Option<Disclosure> {
        match record.kind {
            Kind::Patients => self.begin(record),
            Kind::Request => self.end(record),
            Kind::Lost => {
                if self.period.has(record.time) {
                    self.doubts.lost = self.doubts.lost.saturating_add(record.entries.unwrap_or(1));
                }
                None
            }
            _ => None,
        }
    }

    /// Returns the disclosures whose end was not recorded, in order of time, and what is in doubt.
    #[must_use]
    pub(crate) fn finish(self) -> (Vec<Disclosure>, Doubts) {
        let mut left: Vec<Record> = self.begun.into_values().flatten().filter(|part| self.period.has(part.time)).collect();
        left.sort_by_key(|part| part.time);
        (left.into_iter().map(Disclosure::of).collect(), self.doubts)
    }

    fn begin(&mut self, part: Record) -> Option<Disclosure> {
        if !self.patient.is_in(&part) {
            return None;
        }
        let Some(id) = part.request_id.clone() else {
            return self.period.has(part.time).then(|| Disclosure::of(part));
        };
        let parts = self.begun.entry(id).or_default();
        match parts.iter_mut().find(|begun| is_of_one_answer(begun, &part)) {
            Some(begun) => begun.time = part.time,
            None => parts.push(part),
        }
        None
    }

    fn end(&mut self, record: Record) -> Option<Disclosure> {
        let has_begun = record.parts > 0 && self.take_begun(&record);
        let is_in_period = self.period.has(record.time);
        let has_left = has_begun || has_data(&record);
        if has_left && record.patients_unknown && is_in_period {
            self.doubts.unknown += 1;
        }
        let is_meant = has_begun || (has_left && self.patient.is_in(&record));
        (is_meant && is_in_period).then(|| Disclosure::of(record))
    }

    /// Whether earlier records of this request have the patient. They are done with.
    fn take_begun(&mut self, record: &Record) -> bool {
        let Some(id) = &record.request_id else { return false };
        let Some(parts) = self.begun.get_mut(id) else { return false };
        let Some(at) = parts.iter().position(|part| is_of_one_answer(part, record)) else { return false };
        parts.remove(at);
        if parts.is_empty() {
            self.begun.remove(id);
        }
        true
    }
}

/// Whether records with the same id are of the same request: trusted proxies give ids, and may give the same twice.
fn is_of_one_answer(part: &Record, other: &Record) -> bool {
    part.serial == other.serial
        && (part.client.is_none() || part.client == other.client)
        && (part.address.is_none() || part.address == other.address)
        && (part.interaction.is_none() || part.interaction == other.interaction)
}

/// Whether a request's answer reached the client with something in it.
fn has_data(record: &Record) -> bool {
    match record.outcome {
        Some(Outcome::Success | Outcome::BrokenOff) => {
            record.bytes != Some(0) && record.status.is_some_and(|status| status < 400)
        }
        Some(Outcome::Refused | Outcome::Failed) | None => false,
    }
}

impl Disclosure {
    /// The names of the columns, which are those of the members.
    const COLUMNS: [&'static str; 15] = [
        "date",
        "recipient",
        "disclosed",
        "purpose",
        "client",
        "address",
        "credential",
        "site",
        "interaction",
        "operation",
        "type",
        "resources",
        "status",
        "outcome",
        "request_id",
    ];

    fn of(record: Record) -> Self {
        let is_whole = record.kind == Kind::Request;
        let recipient = record.recipient.clone().or_else(|| record.client.clone());
        Self {
            date: format!("{:.3}", record.time),
            recipient: recipient.unwrap_or(Text::Borrowed("a caller without credentials")),
            disclosed: described(&record),
            purpose: record.purpose,
            client: record.client,
            address: record.address,
            credential: record.credential,
            site: record.site,
            interaction: record.interaction,
            operation: record.operation,
            resource_type: record.resource_type,
            resources: record.entries.filter(|_| is_whole),
            status: record.status,
            outcome: record.outcome.filter(|_| is_whole),
            request_id: record.request_id,
        }
    }

    /// The heading of a table of comma-separated values.
    #[must_use]
    pub(crate) fn csv_heading() -> String {
        let mut text = String::new();
        add(&mut text, Self::COLUMNS);
        text
    }

    /// Adds its row.
    pub(crate) fn write_csv(&self, text: &mut String) {
        let optional = |member: &Option<Text>| member.as_deref().unwrap_or_default().to_owned();
        let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        let outcome = self.outcome.map(|outcome| serde_json::to_value(outcome).unwrap_or_default());
        let row: [String; Self::COLUMNS.len()] = [
            self.date.clone(),
            self.recipient.clone().into_owned(),
            self.disclosed.clone(),
            optional(&self.purpose),
            optional(&self.client),
            self.address.map_or_else(String::new, |address| address.to_string()),
            optional(&self.credential),
            optional(&self.site),
            optional(&self.interaction),
            optional(&self.operation),
            optional(&self.resource_type),
            number(self.resources),
            number(self.status.map(u64::from)),
            outcome.as_ref().and_then(|outcome| outcome.as_str()).unwrap_or_default().to_owned(),
            optional(&self.request_id),
        ];
        add(text, row.iter().map(String::as_str));
    }

    /// Adds its JSON object.
    pub(crate) fn write_json(&self, text: &mut String) {
        // A struct of texts and numbers always serialises.
        text.push_str(&serde_json::to_string(self).unwrap_or_default());
    }
}

/// What an answer had, in words: `Observation: 12 resources by search-type`.
fn described(record: &Record) -> String {
    let named = record.resource_type.as_deref().unwrap_or("resources of any type");
    let count = match record.entries.filter(|_| record.kind == Kind::Request) {
        Some(1) => "1 resource".to_owned(),
        Some(count) => format!("{count} resources"),
        None => "resources that were not counted".to_owned(),
    };
    let way = match (record.operation.as_deref(), record.interaction.as_deref()) {
        (Some(operation), _) => format!(" by the operation ${operation}"),
        (None, Some("export-file")) => " in a file of a bulk export".to_owned(),
        (None, Some(interaction)) => format!(" by {interaction}"),
        (None, None) => String::new(),
    };
    let left = match (record.kind, record.outcome) {
        (Kind::Request, Some(Outcome::BrokenOff)) => ", sent at least in part",
        (Kind::Request, _) => "",
        _ => ", sent at least in part; the end was not recorded",
    };
    format!("{named}: {count}{way}{left}")
}

#[cfg(test)]
mod tests;
