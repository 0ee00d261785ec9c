// SMART's JavaScript client (npm fhirclient), as its documentation has it for Node.js.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import smart from 'fhirclient';
import { DEMO, GATEWAYS, SAMPLE, WITHIN, assertEachOnce, assertValid, ids, whole } from './support.mjs';

function connect(serverUrl) {
  const request = { url: '/', headers: { host: 'app.example.org' }, socket: {} };
  const stored = {};
  const storage = {
    get: async (key) => stored[key],
    set: async (key, value) => (stored[key] = value),
    unset: async (key) => delete stored[key],
  };
  return smart(request, {}, storage).client({ serverUrl });
}

const client = connect(DEMO);
const NOBODY = '00000000-0000-4000-8000-000000000000';

it('knows the release from the CapabilityStatement', WITHIN, async () => {
  assert.equal(await client.getFhirVersion(), '4.0.1');
  assert.equal(await client.getFhirRelease(), 4);
});

for (const [name, gateway] of Object.entries(GATEWAYS)) {
  it(`pageLimit 0 brings every page, OpenEMR ${name} behind`, WITHIN, async () => {
    const here = connect(`${gateway}/fhir`);
    const pages = await here.request('Patient?_count=13', { pageLimit: 0 });
    const everyone = await whole(`${gateway}/fhir`, 'Patient');
    assert.equal(pages.length, Math.ceil(everyone.length / 13));
    assertEachOnce(ids(pages.flatMap((page) => page.entry.map(({ resource }) => resource))), everyone, 'Patient');
    const flat = await here.request('Condition?_count=4', { pageLimit: 0, flat: true });
    assertEachOnce(ids(flat), await whole(`${gateway}/fhir`, 'Condition'), 'Condition');
  });
}

it('pages() and resources() go through all', WITHIN, async () => {
  const found = [];
  for await (const page of client.pages('Observation?_count=250')) {
    assert.ok(page.entry.length <= 250);
    found.push(...ids(page.entry.map(({ resource }) => resource)));
  }
  assertEachOnce(found, await whole(DEMO, 'Observation'), 'Observation');
  const encounters = [];
  for await (const encounter of client.resources('Encounter?_count=100')) {
    encounters.push(encounter.id);
  }
  assertEachOnce(encounters, await whole(DEMO, 'Encounter'), 'Encounter');
});

it('resolves references, on every page', WITHIN, async () => {
  const patients = await whole(DEMO, 'Patient');
  const { data, references } = await client.request(`Observation?_count=3&patient=${patients[0]}`, {
    pageLimit: 0,
    graph: false,
    flat: true,
    resolveReferences: ['subject', 'encounter'],
  });
  assert.equal(data.length, 5);
  data.forEach(({ subject, encounter }) => {
    assert.equal(references[subject.reference].id, patients[0]);
    assert.equal(references[encounter.reference].resourceType, 'Encounter');
  });
});

it('creates a patient, reads and updates it', WITHIN, async () => {
  // The client sends no Prefer, and follows Location when the answer has no body.
  const created = await client.create(SAMPLE);
  assert.equal(created.resourceType, 'Patient');
  assertValid(created, 'the created patient');
  const read = await client.request(`Patient/${created.id}`);
  assert.equal(read.name[0].family, SAMPLE.name[0].family);
  assert.equal(read.birthDate, SAMPLE.birthDate);
  const { body, response } = await client.create(SAMPLE, { includeResponse: true });
  assert.equal(response.status, 201);
  const location = response.headers.get('location');
  assert.ok(location.startsWith(`${DEMO}/Patient/`), location);
  assert.equal((await client.request(location)).id, body.id);
  const updated = await client.update({ ...SAMPLE, id: created.id, birthDate: '1985-03-01' });
  assert.equal(updated.birthDate, '1985-03-01');
  assert.equal((await client.request(`Patient/${created.id}`)).birthDate, '1985-03-01');
});

it('shows a readable error', WITHIN, async () => {
  await assert.rejects(client.request(`Patient/${NOBODY}`), (error) => {
    assert.equal(error.status, 404);
    // The message of the error ends with the answer's JSON.
    const told = JSON.parse(error.message.slice(error.message.indexOf('{')));
    assert.equal(told.resourceType, 'OperationOutcome');
    assertValid(told, 'the OperationOutcome');
    return true;
  });
  await assert.rejects(client.delete(`Patient/${NOBODY}`), { status: 405 });
});

it('sends _format, _summary and _elements', WITHIN, async () => {
  const all = await client.request('Patient?_format=json&_count=5', { flat: true });
  assert.equal(all.length, 5);
  const [summary] = await client.request('Patient?_count=1&_summary=true&_format=application/fhir%2Bjson', { flat: true });
  assert.ok(summary.birthDate && !summary.text, JSON.stringify(summary));
  const [elements] = await client.request('Patient?_count=1&_elements=birthDate', { flat: true });
  assert.ok(elements.birthDate && !elements.telecom, JSON.stringify(elements));
  const counted = await client.request('Patient?_summary=count');
  assert.ok(counted.total >= 300);
  assert.equal(counted.entry, undefined);
});
