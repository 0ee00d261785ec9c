// Medplum's client (npm @medplum/core), which speaks bulk data as well.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { MedplumClient } from '@medplum/core';
import { GATEWAYS, SAMPLE, WITHIN, assertEachOnce, ids, whole } from './support.mjs';

const connect = (gateway) => new MedplumClient({ baseUrl: `${gateway}/`, fhirUrlPath: 'fhir', fetch });
const client = connect(GATEWAYS.demo);
const base = `${GATEWAYS.demo}/fhir`;

for (const [name, gateway] of Object.entries(GATEWAYS)) {
  it(`goes through all pages, OpenEMR ${name} behind`, WITHIN, async () => {
    const here = connect(gateway);
    const found = [];
    for await (const page of here.searchResourcePages('Encounter', '_count=43')) {
      found.push(...ids(page));
    }
    assertEachOnce(found, await whole(`${gateway}/fhir`, 'Encounter'), 'Encounter');
  });

  it(`exports to the last byte, OpenEMR ${name} behind`, WITHIN, async () => {
    const here = connect(gateway);
    const manifest = await here.bulkExport('', 'Patient,Condition', undefined, { pollStatusOnAccepted: true, pollStatusPeriod: 200 });
    assert.deepEqual(manifest.output.map(({ type }) => type).sort(), ['Condition', 'Patient']);
    for (const { type, url } of manifest.output) {
      const lines = (await (await here.download(url)).text()).split('\n').filter(Boolean);
      assert.deepEqual(ids(lines.map((line) => JSON.parse(line))).sort(), (await whole(`${gateway}/fhir`, type)).sort(), type);
    }
  });
}

it('follows references, creates and updates', WITHIN, async () => {
  const { subject } = await client.searchOne('Observation');
  assert.equal(`Patient/${(await client.readReference(subject)).id}`, subject.reference);
  const created = await client.createResource(SAMPLE);
  assert.equal((await client.readResource('Patient', created.id)).birthDate, SAMPLE.birthDate);
  assert.equal((await client.updateResource({ ...created, gender: 'male' })).gender, 'male');
});

it('shows the words of a refusal', WITHIN, async () => {
  const [patient] = await whole(base, 'Patient');
  await assert.rejects(client.deleteResource('Patient', patient), (error) => {
    assert.equal(error.outcome.resourceType, 'OperationOutcome');
    assert.equal(error.message, error.outcome.issue[0].diagnostics);
    return true;
  });
});
