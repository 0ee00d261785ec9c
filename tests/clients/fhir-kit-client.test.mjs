// Vermonster's client (npm fhir-kit-client).

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Client } from 'fhir-kit-client';
import { DEMO, GATEWAYS, SAMPLE, WITHIN, assertEachOnce, assertValid, ids, matches, steady, whole } from './support.mjs';

const client = new Client({ baseUrl: DEMO });
const NOBODY = '00000000-0000-4000-8000-000000000000';

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error.response, error.stack);
    const { status, data } = error.response;
    assert.equal(data.resourceType, 'OperationOutcome', JSON.stringify(data));
    assertValid(data, 'the OperationOutcome');
    return { status, outcome: data };
  }
  return assert.fail('not refused');
}

async function everyPage(here, first) {
  const pages = [];
  for (let page = first; page; page = await here.nextPage({ bundle: page })) {
    pages.push(page);
  }
  return pages;
}

it('reads the CapabilityStatement and the SMART configuration', WITHIN, async () => {
  const statement = await client.capabilityStatement();
  assert.equal(statement.fhirVersion, '4.0.1');
  // The first of three documents to come; there is nothing to log in to.
  assert.equal(typeof (await client.smartAuthMetadata()), 'object');
});

for (const [name, gateway] of Object.entries(GATEWAYS)) {
  it(`nextPage and prevPage go through all, OpenEMR ${name} behind`, WITHIN, async () => {
    const base = `${gateway}/fhir`;
    const here = new Client({ baseUrl: base });
    for (const [resourceType, count] of [['Patient', 11], ['Encounter', 77]]) {
      const pages = await everyPage(here, await here.search({ resourceType, searchParams: { _count: count } }));
      const everything = await whole(base, resourceType);
      assertEachOnce(pages.flatMap((page) => ids(matches(page))), everything, resourceType);
      assert.equal(pages.length, Math.ceil(everything.length / count));
      let page = pages.at(-1);
      for (let at = pages.length - 2; at >= 0; at -= 1) {
        page = await here.prevPage({ bundle: page });
        assert.deepEqual(ids(matches(page)), ids(matches(pages[at])));
      }
      assert.equal(await here.prevPage({ bundle: page }), undefined);
    }
  });
}

it('follows references: relative, absolute, within a Bundle', WITHIN, async () => {
  const bundle = await client.search({ resourceType: 'Observation', searchParams: { _count: 2 } });
  const [observation] = matches(bundle);
  const subject = await client.resolve({ reference: observation.subject.reference });
  assert.equal(`Patient/${subject.id}`, observation.subject.reference);
  assert.deepEqual(steady(await client.resolve({ reference: bundle.entry[0].fullUrl })), steady(observation));
  assert.deepEqual(await client.resolve({ reference: `Observation/${observation.id}`, context: bundle }), observation);
});

it('searches by POST as by GET', WITHIN, async () => {
  const searchParams = { gender: 'female', _count: 5 };
  const posted = await client.search({ resourceType: 'Patient', searchParams, options: { postSearch: true } });
  const got = await client.search({ resourceType: 'Patient', searchParams });
  assert.deepEqual(ids(matches(posted)), ids(matches(got)));
  assert.equal(matches(posted).length, 5);
  const pages = await everyPage(client, posted);
  const { total } = await client.search({ resourceType: 'Patient', searchParams: { gender: 'female', _summary: 'count' } });
  assert.equal(new Set(pages.flatMap((page) => ids(matches(page)))).size, total);
});

it('creates a patient, reads it by its Location, updates it', WITHIN, async () => {
  const created = await client.create({ resourceType: 'Patient', body: SAMPLE, options: { headers: { prefer: 'return=representation' } } });
  const { response } = Client.httpFor(created);
  assert.equal(response.status, 201);
  const read = await client.request(response.headers.get('location'));
  assert.equal(read.id, created.id);
  assert.equal(read.name[0].family, SAMPLE.name[0].family);
  const body = { ...read, gender: 'male' };
  const updated = await client.update({ resourceType: 'Patient', id: read.id, body, options: { headers: { prefer: 'return=representation' } } });
  assert.equal(updated.gender, 'male');
  assert.equal((await client.read({ resourceType: 'Patient', id: read.id })).gender, 'male');
});

it('reads every refusal', WITHIN, async () => {
  const patient = { resourceType: 'Patient', id: NOBODY };
  assert.equal((await refused(client.read(patient))).status, 404);
  assert.equal((await refused(client.read({ resourceType: 'Patient', id: 'no-uuid' }))).status, 400);
  const invalid = await refused(client.create({ resourceType: 'Patient', body: { resourceType: 'Patient' } }));
  assert.equal(invalid.status, 400);
  const unrouted = [
    () => client.vread({ ...patient, version: '1' }),
    () => client.resourceHistory(patient),
    () => client.typeHistory({ resourceType: 'Patient' }),
    () => client.systemHistory(),
    () => client.delete(patient),
    () => client.patch({ ...patient, jsonPatch: [{ op: 'replace', path: '/gender', value: 'male' }] }),
    () => client.batch({ body: { resourceType: 'Bundle', type: 'batch', entry: [] } }),
    () => client.transaction({ body: { resourceType: 'Bundle', type: 'transaction', entry: [] } }),
    () => client.create({ resourceType: 'Observation', body: { resourceType: 'Observation' } }),
  ];
  for (const one of unrouted) {
    const { status, outcome } = await refused(one());
    assert.ok([405, 501].includes(status), `${status} ${JSON.stringify(outcome)}`);
  }
});

it('sends _format, _summary and _elements', WITHIN, async () => {
  const search = (searchParams) => client.search({ resourceType: 'Patient', searchParams });
  assert.equal(matches(await search({ _format: 'json', _count: 5 })).length, 5);
  const [summary] = matches(await search({ _summary: 'true', _count: 1 }));
  assert.ok(summary.birthDate && !summary.text);
  const [elements] = matches(await search({ _elements: 'id,birthDate', _count: 1 }));
  assert.ok(elements.birthDate && !elements.telecom);
  assert.ok((await search({ _summary: 'count' })).total >= 300);
});
