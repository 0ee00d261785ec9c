// What OpenEMR writes that R4 or US Core does not allow, in the words of the judges. `on` are the versions; `left` says
// why a gateway cannot mend it: it would make something up. Everything else is mended.

const BOTH = ['8.0', '7.0.3'];
const EIGHT = ['8.0'];
const SEVEN = ['7.0.3'];

// Complaints of the judges of R4, each about one member of one type.
export const COMPLAINTS = [
  { on: BOTH, path: 'ValueSet.status', says: /Missing required property/ },
  { on: BOTH, path: 'ValueSet.compose.include.concept.display', says: /must match pattern/ },
  { on: BOTH, path: 'ValueSet.id', says: /must match pattern/, left: 'OpenEMR finds the ValueSet by this id alone' },
  { on: BOTH, path: 'ValueSet.compose.include', says: /vsd-1/, left: 'a list of OpenEMR has no system' },
  { on: BOTH, path: 'Group', says: /grp-1/ },
  { on: BOTH, path: 'Group.type', says: /Missing required property/ },
  { on: BOTH, path: 'Group.actual', says: /Missing required property/ },
  { on: BOTH, path: 'Goal.target.measure.coding.display', says: /must be string/ },
  { on: BOTH, path: 'Person.address', says: /Invalid null value/ },
  { on: BOTH, path: 'Organization.address', says: /Invalid null value/ },
  { on: BOTH, path: 'Immunization.site.coding.code', says: /must be string|Invalid null value/ },
  { on: EIGHT, path: 'Medication.code.coding.code', says: /must be string|expected string/ },
  { on: BOTH, path: 'Patient.text.div', says: /must be XHTML/ },
  { on: BOTH, path: 'Organization.text.div', says: /must be XHTML/ },
  { on: EIGHT, path: 'Patient.extension.valueCoding.system', says: /must be an absolute URI/ },
  { on: BOTH, path: 'Observation.performer.extension.url', says: /Missing required property/ },
  { on: SEVEN, path: 'Observation.code.coding.display', says: /must match pattern/ },
  { on: SEVEN, path: 'Condition.code.coding.display', says: /must match pattern/ },
  { on: SEVEN, path: 'Condition.code.coding.system', says: /must be an absolute URI/ },
  { on: SEVEN, path: 'Device.type.coding.display', says: /must match pattern/ },
];

const codings = (concept) => concept?.coding ?? [];
const isSmokingStatus = ({ code }) => codings(code).some(({ code: is }) => is === '72166-2');

// What R4 lets pass, and US Core or a client that follows references does not.
export const RULES = [
  {
    on: EIGHT,
    type: 'Procedure',
    what: 'a code of SNOMED CT is a number',
    holds: ({ code }) => codings(code).every(({ system, code: is }) => system !== 'http://snomed.info/sct' || /^\d+$/.test(is)),
  },
  {
    on: EIGHT,
    type: 'Observation',
    what: 'a smoking status is a concept',
    holds: (observation) => !isSmokingStatus(observation) || observation.valueCodeableConcept,
    left: 'a text may say more than its code',
  },
  {
    on: EIGHT,
    type: 'Observation',
    what: 'a performer is somebody',
    holds: ({ performer = [] }) => performer.every(({ reference }) => !reference || /\/[0-9a-f-]{36}$/.test(reference)),
    left: 'nobody knows who it was',
  },
  {
    on: SEVEN,
    type: 'Observation',
    what: 'there is a value, or a reason why not',
    holds: (one) => one.hasMember || one.dataAbsentReason || Object.keys(one).some((member) => member.startsWith('value')),
    left: 'nobody knows why',
  },
];
