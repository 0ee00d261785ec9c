// The judges see what is wrong: without that, "no complaints" would prove nothing.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { problems } from './r4.mjs';

const patient = { resourceType: 'Patient', id: 'a', gender: 'female', birthDate: '1984-02-29', name: [{ family: 'Probe' }] };
const observation = { resourceType: 'Observation', id: 'a', status: 'final', code: { text: 'Pulse' } };
const bundle = { resourceType: 'Bundle', type: 'searchset', total: 1, entry: [{ resource: patient, search: { mode: 'match' } }] };

it('nothing to say about what is right', () => {
  [patient, observation, bundle].forEach((resource) => assert.deepEqual(problems(resource), []));
});

const wrong = {
  'an instant without a zone': { ...bundle, meta: { lastUpdated: '2026-11-24T22:46:28' } },
  'a total of a collection': { ...bundle, type: 'collection' },
  'no type': { id: 'a' },
  'a type that R4 does not have': { resourceType: 'Patent' },
  'a member that R4 does not have': { ...patient, shoeSize: 44 },
  'a code out of nowhere': { ...patient, gender: 'f' },
  'a date that is none': { ...patient, birthDate: '29.02.1984' },
  'one where many are due': { ...patient, name: { family: 'Probe' } },
  'a mandatory member missing': { ...observation, code: undefined },
  'a mandatory primitive missing': { ...observation, status: undefined },
  'an id with a blank': { ...patient, id: 'a b' },
  'an OperationOutcome without an issue': { resourceType: 'OperationOutcome', issue: [] },
  'a fault inside a Bundle': { ...bundle, entry: [{ resource: { ...patient, gender: 'f' } }] },
  'a fault inside what is contained': { ...patient, contained: [{ ...observation, status: 'done' }] },
};

for (const [what, resource] of Object.entries(wrong)) {
  it(what, () => assert.notDeepEqual(problems(JSON.parse(JSON.stringify(resource))), []));
}

it('what is let pass is one complaint about one member', () => {
  const condition = (display) => ({
    resourceType: 'Condition',
    id: 'a',
    subject: { reference: 'Patient/a' },
    code: { coding: [{ code: 'E11.9', display }] },
  });
  assert.deepEqual(problems(condition('')), []);
  assert.notDeepEqual(problems(condition(1)), []);
  assert.notDeepEqual(problems({ ...condition('x'), category: [{ coding: [{ display: '' }] }] }), []);
});
