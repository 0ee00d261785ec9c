// The judges see what is wrong: without that, "no complaints" would prove nothing.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { problems } from './r4.mjs';

const patient = { resourceType: 'Patient', id: 'a', gender: 'female', birthDate: '1984-02-29', name: [{ family: 'Probe' }] };
const observation = { resourceType: 'Observation', id: 'a', status: 'final', code: { text: 'Pulse' } };
const bundle = { resourceType: 'Bundle', type: 'searchset', total: 1, entry: [{ resource: patient, search: { mode: 'match' } }] };

it('nothing to say about what is right', () => {
  const text = { status: 'generated', div: '<div xmlns="http://www.w3.org/1999/xhtml"> <p class="a">A &amp; &#66;<br/></p></div>' };
  [patient, observation, bundle, { ...patient, text }].forEach((resource) => assert.deepEqual(problems(resource), []));
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
  'a narrative with markup of a name': { ...patient, text: { status: 'generated', div: '<div xmlns="http://www.w3.org/1999/xhtml"><p>A & <B></p></div>' } },
  'a narrative that is not closed': { ...patient, text: { status: 'generated', div: '<div xmlns="http://www.w3.org/1999/xhtml"><p>A</div>' } },
  'a system that is no URI': { ...observation, code: { coding: [{ system: '2.16.840.1.113883.6.1', code: '8867-4' }] } },
  'a fault inside a Bundle': { ...bundle, entry: [{ resource: { ...patient, gender: 'f' } }] },
  'a fault inside what is contained': { ...patient, contained: [{ ...observation, status: 'done' }] },
};

for (const [what, resource] of Object.entries(wrong)) {
  it(what, () => assert.notDeepEqual(problems(JSON.parse(JSON.stringify(resource))), []));
}

it('what is let pass is one complaint about one member', () => {
  const valueSet = { resourceType: 'ValueSet', id: 'message_status', status: 'active' };
  assert.deepEqual(problems(valueSet), []);
  assert.notDeepEqual(problems({ ...valueSet, status: 'current' }), []);
  assert.notDeepEqual(problems({ ...patient, id: 'message_status' }), []);
});
