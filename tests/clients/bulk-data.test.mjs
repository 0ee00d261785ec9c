// The flow of the HL7 Bulk Data Access guide: kick-off, status until it is done, every file to its last byte, DELETE.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GATEWAYS, WITHIN, ask, assertValid, eventually, ids, outcome, whole } from './support.mjs';
import { problems } from './r4.mjs';

const KICK_OFF = { accept: 'application/fhir+json', prefer: 'respond-async' };
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
const DONE_WITHIN = 60_000;

async function kickOff(base, path, headers = KICK_OFF) {
  const answer = await ask(`${base}/${path}`, { headers });
  assert.equal(answer.status, 202, `${answer.what}: ${answer.text.slice(0, 500)}`);
  const status = answer.headers.get('content-location');
  assert.ok(status?.startsWith(`${base}/`), `${answer.what}: Content-Location ${status}`);
  return status;
}

// Asks until the manifest is there, as often as Retry-After allows; tells how often X-Progress was seen.
async function manifestOf(status) {
  let progress = 0;
  const answer = await eventually(`the manifest at ${status}`, async () => {
    const asked = await ask(status, { headers: { accept: 'application/json' } });
    if (asked.status === 202) {
      assert.ok(asked.headers.get('x-progress').length <= 100, 'X-Progress');
      assert.match(asked.headers.get('retry-after'), /^\d+$/);
      progress += 1;
      return undefined;
    }
    return asked;
  }, DONE_WITHIN, 200);
  assert.equal(answer.status, 200, answer.text.slice(0, 500));
  assert.match(answer.headers.get('content-type'), /^application\/json/);
  return { manifest: answer.json, expires: answer.headers.get('expires'), progress };
}

// The resources of a file. Its last line is whole, too.
async function download({ type, url, count }, base) {
  assert.ok(url.startsWith(`${base}/`), url);
  const answer = await ask(url, { headers: { accept: 'application/fhir+ndjson' } });
  assert.equal(answer.status, 200, `${answer.what}: ${answer.text.slice(0, 300)}`);
  assert.match(answer.headers.get('content-type'), /^application\/fhir\+ndjson/);
  const lines = answer.text.split('\n').filter(Boolean);
  const resources = lines.map((line) => JSON.parse(line));
  resources.forEach((one) => assert.equal(one.resourceType, type, url));
  if (count !== undefined) assert.equal(resources.length, count);
  const found = resources.flatMap(problems);
  assert.deepEqual([...new Set(found)].slice(0, 5), [], url);
  return resources;
}

for (const [name, gateway] of Object.entries(GATEWAYS)) {
  const base = `${gateway}/fhir`;

  describe(`bulk data, OpenEMR ${name} behind`, () => {
    it('the types that were asked for, whole', WITHIN, async () => {
      const path = 'Patient/$export?_type=Patient,Observation,Condition';
      const status = await kickOff(base, path);
      const { manifest, expires } = await manifestOf(status);
      assert.match(manifest.transactionTime, INSTANT);
      assert.equal(decodeURIComponent(manifest.request), `${base}/${path}`);
      assert.equal(manifest.requiresAccessToken, false);
      assert.deepEqual(manifest.error, []);
      if (expires !== null) assert.ok(Date.parse(expires) > Date.now(), expires);
      assert.deepEqual([...new Set(manifest.output.map(({ type }) => type))].sort(), ['Condition', 'Observation', 'Patient']);
      for (const type of ['Patient', 'Observation', 'Condition']) {
        const files = manifest.output.filter((file) => file.type === type);
        const resources = (await Promise.all(files.map((file) => download(file, base)))).flat();
        assert.deepEqual(ids(resources).sort(), (await whole(base, type)).sort(), type);
      }
      assert.equal((await ask(status, { method: 'DELETE' })).status, 202);
      outcome(await ask(status), 404);
      outcome(await ask(status, { method: 'DELETE' }), 404);
    });

    it('at the system and for a Group; one type that fails takes no other with it', WITHIN, async () => {
      for (const path of ['$export?_type=Patient,Provenance', 'Group/1/$export?_type=Patient,Provenance']) {
        const status = await kickOff(base, path);
        const { manifest } = await manifestOf(status);
        assert.deepEqual(manifest.output.filter(({ type }) => type === 'Patient').length > 0, true, JSON.stringify(manifest));
        for (const file of manifest.error) {
          const told = await download(file, base);
          told.forEach((one) => assertValid(one, file.url));
          assert.ok(JSON.stringify(told).includes('Provenance'));
        }
        const answered = [...manifest.output.map(({ type }) => type), ...(manifest.error.length > 0 ? ['Provenance'] : [])];
        assert.ok(answered.includes('Patient'));
        assert.equal((await ask(status, { method: 'DELETE' })).status, 202);
      }
    });

    it('each resource has its Provenance', WITHIN, async () => {
      const status = await kickOff(base, '$export?_type=Condition,Provenance');
      const { manifest } = await manifestOf(status);
      assert.deepEqual(manifest.error, []);
      const all = (await Promise.all(manifest.output.map((file) => download(file, base)))).flat();
      const of = (type) => all.filter(({ resourceType }) => resourceType === type);
      const targets = of('Provenance').map(({ target }) => target[0].reference).sort();
      assert.ok(targets.length > 0);
      assert.deepEqual(targets, of('Condition').map(({ id }) => `Condition/${id}`).sort());
      assert.equal((await ask(status, { method: 'DELETE' })).status, 202);
    });

    it('valid spellings of Accept and Prefer', WITHIN, async () => {
      const spellings = [
        { accept: 'application/fhir+json;charset=utf-8', prefer: 'respond-async' },
        { accept: 'application/json', prefer: 'handling=lenient, respond-async' },
        { accept: 'application/fhir+json, application/json;q=0.9', prefer: 'respond-async; foo=bar' },
        { accept: '*/*', prefer: 'Respond-Async' },
      ];
      for (const headers of spellings) {
        const status = await kickOff(base, '$export?_type=Location&_outputFormat=ndjson', headers);
        await manifestOf(status);
        assert.equal((await ask(status, { method: 'DELETE' })).status, 202, JSON.stringify(headers));
      }
    });

    it('what cannot be exported so is refused', WITHIN, async () => {
      outcome(await ask(`${base}/$export`, { headers: { accept: 'application/fhir+json' } }), 400);
      outcome(await ask(`${base}/$export?_outputFormat=text/csv`, { headers: KICK_OFF }), 400);
      outcome(await ask(`${base}/$export?_since=yesterday`, { headers: KICK_OFF }), 400);
      const unknown = new URL(await kickOff(base, '$export?_type=Location'));
      await manifestOf(unknown.href);
      const wrong = unknown.href.replace(/[0-9a-f]{12}$/, '0'.repeat(12));
      assert.notEqual(wrong, unknown.href);
      outcome(await ask(wrong), 404);
    });

    it('DELETE while it runs', WITHIN, async () => {
      const status = await kickOff(base, '$export');
      assert.equal((await ask(status, { method: 'DELETE' })).status, 202);
      outcome(await ask(status), 404);
    });

    // smart-fetch 1.0.3, the fetcher of SMART Health IT, sends this by default: commas within a filter are encoded twice.
    it('the default run of SMART Fetch: Observations of nine categories', WITHIN, async () => {
      const categories = 'social-history,vital-signs,imaging,laboratory,survey,exam,procedure,therapy,activity';
      const filter = encodeURIComponent(`Observation?category=${categories.replaceAll(',', '%2C')}`);
      const status = await kickOff(base, `$export?_type=${encodeURIComponent('Condition,Observation,Patient')}&_typeFilter=${filter}`);
      const { manifest } = await manifestOf(status);
      assert.deepEqual(manifest.error, []);
      const all = (await Promise.all(manifest.output.map((file) => download(file, base)))).flat();
      const of = (type) => all.filter(({ resourceType }) => resourceType === type);
      const named = (one) => (one.category ?? []).flatMap(({ coding }) => coding).some(({ code }) => categories.split(',').includes(code));
      assert.ok(of('Observation').length > 0 && of('Observation').every(named));
      for (const type of ['Condition', 'Patient']) assert.deepEqual(ids(of(type)).sort(), (await whole(base, type)).sort(), type);
      assert.equal((await ask(status, { method: 'DELETE' })).status, 202);
    });

    it('_typeFilter: or between searches, and within one, by GET and by POST', WITHIN, async () => {
      const resources = async (status) => {
        const { manifest } = await manifestOf(status);
        assert.deepEqual(manifest.error, []);
        const all = (await Promise.all(manifest.output.map((file) => download(file, base)))).flat();
        assert.equal((await ask(status, { method: 'DELETE' })).status, 202);
        return all;
      };
      const everyone = await resources(await kickOff(base, '$export?_type=Patient'));
      const wanted = everyone.filter(({ gender, birthDate }) => (gender === 'female' && birthDate < '1970') || birthDate >= '2000');
      assert.ok(wanted.length > 0 && wanted.length < everyone.length);
      const searches = ['Patient?gender=female&birthdate=lt1970-01-01', 'Patient?birthdate=ge2000-01-01'];
      const query = searches.map((search) => `&_typeFilter=${encodeURIComponent(search)}`).join('');
      const parameter = [{ name: '_type', valueString: 'Patient' }, { name: '_typeFilter', valueString: searches.join(',') }];
      const body = JSON.stringify({ resourceType: 'Parameters', parameter });
      const posted = await ask(`${base}/$export`, { method: 'POST', headers: { ...KICK_OFF, 'content-type': 'application/fhir+json' }, body });
      assert.equal(posted.status, 202, posted.text);
      for (const status of [await kickOff(base, `$export?_type=Patient${query}`), posted.headers.get('content-location')]) {
        assert.deepEqual(ids(await resources(status)).sort(), ids(wanted).sort());
      }
      for (const search of ['Patient?shoe=1', 'Patient?_has:Observation:patient:code=1', 'Nonsense?x=1', 'Observation?code=1']) {
        const refused = await ask(`${base}/$export?_type=Patient&_typeFilter=${encodeURIComponent(search)}`, { headers: KICK_OFF });
        outcome(refused, 400);
      }
    });

    it('_since', WITHIN, async () => {
      const status = await kickOff(base, 'Patient/$export?_type=Patient&_since=2000-01-01T00:00:00Z');
      const { manifest } = await manifestOf(status);
      const resources = (await Promise.all(manifest.output.map((file) => download(file, base)))).flat();
      assert.ok(resources.length > 0);
    });
  });
}
