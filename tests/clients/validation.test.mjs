// Every kind of answer is what FHIR R4 says it is, whichever OpenEMR is behind.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  GATEWAYS, WITHIN, ask, assertEachOnce, assertValid, ids, links, matches, outcome, resource, searchset, steady, whole,
} from './support.mjs';

const JSON_BODY = { 'content-type': 'application/fhir+json' };
const FORM_BODY = { 'content-type': 'application/x-www-form-urlencoded' };
const NOBODY = '00000000-0000-4000-8000-000000000000';
const STRICT = { headers: { prefer: 'handling=strict' } };
const LENIENT = { headers: { prefer: 'handling=lenient' } };

async function everyPage(base, type, query, count) {
  const pages = [];
  let url = `${base}/${type}?${query}`;
  while (url) {
    assert.ok(pages.length < 2_000, `${url}: pages without end`);
    const page = searchset(await ask(url), { base, type, count });
    pages.push(page);
    url = links(page).next;
  }
  return pages;
}

for (const [name, gateway] of Object.entries(GATEWAYS)) {
  const base = `${gateway}/fhir`;

  describe(`answers, OpenEMR ${name} behind`, () => {
    it('CapabilityStatement', WITHIN, async () => {
      const found = resource(await ask(`${base}/metadata`));
      assert.equal(found.resourceType, 'CapabilityStatement');
      assert.equal(found.implementation.url, base);
      const tag = (await ask(`${base}/metadata`)).headers.get('etag');
      assert.match(tag ?? '', /^(W\/)?".+"$/);
      const again = await ask(`${base}/metadata`, { headers: { 'if-none-match': tag } });
      assert.equal(again.status, 304);
      assert.equal(again.text, '');
    });

    it('SMART configuration', WITHIN, async () => {
      const answer = await ask(`${base}/.well-known/smart-configuration`);
      assert.equal(answer.status, 200);
      // Nobody logs in at the gateway, nor at the OpenEMR behind it.
      assert.ok(Array.isArray(answer.json.capabilities));
      ['token_endpoint', 'authorization_endpoint'].forEach((endpoint) => assert.ok(!(endpoint in answer.json), endpoint));
    });

    it('every type, whole and in pages', WITHIN, async () => {
      const { rest: [{ resource: types }] } = await (await fetch(`${base}/metadata`)).json();
      // OpenEMR would work on all Provenance for minutes.
      const tooCostly = outcome(await ask(`${base}/Provenance`), 400);
      assert.equal(tooCostly.issue[0].code, 'too-costly');
      const isSearched = ({ type, interaction }) => type !== 'Provenance' && interaction?.some(({ code }) => code === 'search-type');
      const searchable = types.filter(isSearched);
      let seen = 0;
      for (const { type } of searchable) {
        const everything = searchset(await ask(`${base}/${type}`), { base, type });
        const expected = ids(matches(everything));
        assert.equal(everything.total, expected.length, type);
        seen += expected.length;
        const count = Math.max(7, Math.ceil(expected.length / 10));
        const pages = await everyPage(base, type, `_count=${count}`, count);
        assertEachOnce(pages.flatMap((page) => ids(matches(page))), expected, `${type} in pages of ${count}`);
        pages.forEach(({ total }) => assert.ok([undefined, expected.length].includes(total), `${type}: total ${total}`));
        const counted = searchset(await ask(`${base}/${type}?_count=${count}&_total=accurate`), { base, type, count });
        assert.equal(counted.total, expected.length, type);
      }
      assert.ok(searchable.length > 10 && seen > 500, `${searchable.length} types, ${seen} resources`);
    });

    it('pages of one, of just the whole, of more than OpenEMR gives', WITHIN, async () => {
      for (const type of ['Patient', 'Condition', 'Encounter']) {
        const everyone = await whole(base, type);
        for (const count of [everyone.length - 1, everyone.length, everyone.length + 1, 1_000]) {
          const pages = await everyPage(base, type, `_count=${count}`, count);
          assertEachOnce(pages.flatMap((page) => ids(matches(page))), everyone, `${type} in pages of ${count}`);
          assert.equal(pages.length, Math.ceil(everyone.length / count), `${type} in pages of ${count}`);
        }
      }
      const one = await everyPage(base, 'Practitioner', '_count=1', 1);
      assertEachOnce(one.flatMap((page) => ids(matches(page))), await whole(base, 'Practitioner'), 'one by one');
    });

    it('back again by previous, and to the first', WITHIN, async () => {
      const pages = await everyPage(base, 'Encounter', '_count=50', 50);
      assert.equal(links(pages[0]).previous, undefined);
      for (let at = pages.length - 1; at > 0; at -= 1) {
        const before = searchset(await ask(links(pages[at]).previous), { base, type: 'Encounter', count: 50 });
        assert.deepEqual(ids(matches(before)), ids(matches(pages[at - 1])));
        const first = searchset(await ask(links(pages[at]).first), { base, type: 'Encounter', count: 50 });
        assert.deepEqual(ids(matches(first)), ids(matches(pages[0])));
        if (at < pages.length - 2) break;
      }
    });

    it('included entries stay with their matches', WITHIN, async () => {
      const everyone = await whole(base, 'Patient');
      const pages = await everyPage(base, 'Patient', `_count=${Math.ceil(everyone.length / 6)}&_revinclude=Provenance:target`);
      assertEachOnce(pages.flatMap((page) => ids(matches(page))), everyone, 'patients with their Provenance');
      pages.forEach((page) => {
        const here = new Set(ids(matches(page)));
        const included = page.entry.filter(({ search }) => search.mode === 'include');
        assert.equal(included.length, here.size);
        included.forEach(({ resource: found }) => assert.ok(here.has(found.target[0].reference.replace('Patient/', ''))));
      });
    });

    it('reads of what was found', WITHIN, async () => {
      for (const type of ['Patient', 'Observation', 'Condition', 'Encounter', 'Organization', 'Location', 'Practitioner']) {
        const [found] = matches(searchset(await ask(`${base}/${type}?_count=1`), { base, type, count: 1 }));
        assert.deepEqual(steady(resource(await ask(`${base}/${type}/${found.id}`))), steady(found));
        const head = await ask(`${base}/${type}/${found.id}`, { method: 'HEAD' });
        assert.equal(head.status, 200);
        assert.equal(head.text, '');
        assert.match(head.headers.get('content-type'), /^application\/fhir\+json/);
        assert.deepEqual(steady(resource(await ask(`${base}/${type}/${found.id}/`))), steady(found));
      }
    });

    it('POST _search is the search', WITHIN, async () => {
      const form = { method: 'POST', headers: FORM_BODY, body: '_count=5' };
      const posted = searchset(await ask(`${base}/Patient/_search`, form), { base, type: 'Patient', count: 5 });
      const got = searchset(await ask(`${base}/Patient?_count=5`), { base, type: 'Patient', count: 5 });
      assert.deepEqual(ids(matches(posted)), ids(matches(got)));
      const next = searchset(await ask(links(posted).next), { base, type: 'Patient', count: 5 });
      assert.equal(new Set([...ids(matches(posted)), ...ids(matches(next))]).size, 10);
    });

    it('formats', WITHIN, async () => {
      for (const format of ['json', 'application/json', 'application/fhir+json', 'application%2Ffhir%2Bjson']) {
        const found = searchset(await ask(`${base}/Patient?_count=3&_format=${format}`), { base, type: 'Patient', count: 3 });
        assert.equal(matches(found).length, 3, format);
      }
      const pretty = await ask(`${base}/Patient?_count=1&_pretty=true`);
      searchset(pretty, { base, type: 'Patient', count: 1 });
      assert.match(pretty.text, /\n {2,}"/);
    });

    it('only what was asked for: _summary, _elements, _total', WITHIN, async () => {
      const everyone = await whole(base, 'Patient');
      const counted = searchset(await ask(`${base}/Patient?_summary=count`), { base, type: 'Patient' });
      assert.equal(counted.total, everyone.length);
      assert.equal(counted.entry, undefined);
      const counting = searchset(await ask(`${base}/Patient?_count=0`), { base, type: 'Patient' });
      assert.equal(counting.total, everyone.length);
      assert.equal(counting.entry, undefined);
      const cut = {
        '_elements=birthDate,name': { has: ['birthDate', 'name'], hasNot: ['telecom', 'text', 'gender'] },
        '_summary=true': { has: ['birthDate', 'name', 'gender'], hasNot: ['text', 'communication'] },
        '_summary=text': { has: ['text'], hasNot: ['name', 'telecom'] },
        '_summary=data': { has: ['name', 'telecom'], hasNot: ['text'] },
      };
      for (const [query, { has, hasNot }] of Object.entries(cut)) {
        const found = matches(searchset(await ask(`${base}/Patient?_count=4&${query}`), { base, type: 'Patient', count: 4 }));
        assert.equal(found.length, 4, query);
        found.forEach((one) => {
          has.forEach((member) => assert.ok(member in one, `${query}: ${member} is missing`));
          hasNot.forEach((member) => assert.ok(!(member in one), `${query}: ${member} is there`));
          assert.ok(one.meta.tag.some(({ code }) => code === 'SUBSETTED'), `${query}: not tagged as a part`);
        });
      }
      const untold = searchset(await ask(`${base}/Patient?_count=4&_total=none`), { base, type: 'Patient', count: 4 });
      assert.equal(matches(untold).length, 4);
    });

    it('parameters that OpenEMR does not know neither empty nor widen the answer', WITHIN, async () => {
      const [patient] = await whole(base, 'Patient');
      const odd = `${base}/Patient?birthdate=ge1900&shoe-size=44&_count=3`;
      const lenient = searchset(await ask(odd, LENIENT), { base, type: 'Patient', count: 3 });
      assert.equal(matches(lenient).length, 3);
      const told = lenient.entry.find(({ search }) => search.mode === 'outcome').resource;
      assert.ok(JSON.stringify(told).includes('shoe-size'));
      assert.ok(!links(lenient).self.includes('shoe-size'), links(lenient).self);
      for (const [query, options] of [[odd, {}], [odd, STRICT], [`${base}/Patient?shoe-size=44`, LENIENT]]) {
        assert.ok(JSON.stringify(outcome(await ask(query, options), 400)).includes('shoe-size'));
      }
      const misspelt = JSON.stringify(outcome(await ask(`${base}/Patient?nam=Smith`, LENIENT), 400));
      assert.ok(misspelt.includes('Probably name was meant'), misspelt);
      for (const query of [`patient=${patient}`, `subject=Patient/${patient}`, `patient=Patient/${patient}`, `patient=${base}/Patient/${patient}`]) {
        const found = matches(searchset(await ask(`${base}/Observation?${query}`), { base, type: 'Observation' }));
        assert.ok(found.length > 0, query);
        found.forEach(({ subject }) => assert.equal(subject.reference, `Patient/${patient}`, query));
      }
      const byId = matches(searchset(await ask(`${base}/Patient?_id=Patient/${patient}`), { base, type: 'Patient' }));
      assert.deepEqual(ids(byId), [patient]);
    });

    it('errors', WITHIN, async () => {
      const patient = { resourceType: 'Patient', name: [{ family: 'Nobody' }] };
      const post = (body) => ({ method: 'POST', headers: JSON_BODY, body: typeof body === 'string' ? body : JSON.stringify(body) });
      const cases = [
        ['Patient/not-a-uuid', {}, [400, 404]],
        [`Patient/${NOBODY}`, {}, [404]],
        ['Patient?birthdate=notadate', {}, [400]],
        ['Nonsense', {}, [404]],
        ['patient', {}, [404]],
        [`Patient/${NOBODY}`, { method: 'PATCH', headers: { 'content-type': 'application/json-patch+json' }, body: '[]' }, [405, 501]],
        [`Patient/${NOBODY}`, { method: 'DELETE' }, [405, 501]],
        [`Patient/${NOBODY}/_history`, {}, [405, 501]],
        [`Patient/${NOBODY}/_history/1`, {}, [405, 501]],
        ['', post({ resourceType: 'Bundle', type: 'batch' }), [405, 501]],
        ['Observation', post({ ...patient, resourceType: 'Observation' }), [405, 501]],
        ['Patient', { method: 'POST', headers: JSON_BODY, body: 'x'.repeat(65 * 1024 * 1024) }, [413]],
        [`Patient?name=${'x'.repeat(60 * 1024)}`, {}, [414]],
      ];
      for (const [path, options, statuses] of cases) {
        const answer = await ask(`${base}/${path}`, options);
        assert.ok(statuses.includes(answer.status), `${answer.what}: ${answer.status} ${answer.text.slice(0, 300)}`);
        outcome(answer, answer.status);
        if (answer.status === 405) assert.ok(answer.headers.get('allow'), `${answer.what}: Allow`);
      }
    });

    it('no XML; but who prefers it can read the error', WITHIN, async () => {
      const cases = [
        ['Patient?_format=xml', '*/*', 406],
        ['Patient?_format=application/fhir%2Bxml', 'application/fhir+json', 406],
        ['Patient?_count=1', 'application/fhir+xml', 406],
        [`Patient/${NOBODY}`, 'application/fhir+xml, application/fhir+json;q=0.1', 404],
      ];
      for (const [path, accept, status] of cases) {
        const answer = await ask(`${base}/${path}`, { headers: { accept } });
        assert.equal(answer.status, status, answer.what);
        assert.match(answer.headers.get('content-type'), /^application\/fhir\+xml/, answer.what);
        assert.match(answer.text, /<OperationOutcome xmlns="http:\/\/hl7.org\/fhir">.*<severity value="error"\/>/, answer.what);
        assert.ok(answer.text.includes(answer.headers.get('x-request-id')), answer.what);
      }
    });
  });
}

// Writing needs 8.x.
describe('writing', () => {
  for (const name of ['demo', '8']) {
    const base = `${GATEWAYS[name]}/fhir`;
    const patient = { resourceType: 'Patient', name: [{ use: 'official', family: 'Valid', given: ['Eve'] }], gender: 'female', birthDate: '1990-01-01' };
    const send = (method, path, body, more = {}) =>
      ask(`${base}/${path}`, { method, headers: { ...JSON_BODY, ...more }, body: JSON.stringify(body) });

    it(`create and update, ${name}`, WITHIN, async () => {
      const created = await send('POST', 'Patient', patient, { prefer: 'return=representation' });
      const made = resource(created, 201);
      assert.equal(made.name[0].family, 'Valid');
      const location = new URL(created.headers.get('location'), base).href;
      assert.equal(location.replace(/\/_history\/.*$/, ''), `${base}/Patient/${made.id}`);
      assert.deepEqual(resource(await ask(location.replace(/\/_history\/.*$/, ''))), made);
      const minimal = await send('POST', 'Patient', patient, { prefer: 'return=minimal' });
      assert.equal(minimal.status, 201);
      assert.equal(minimal.text, '');
      assert.ok(minimal.headers.get('location'));
      const updated = await send('PUT', `Patient/${made.id}`, { ...patient, id: made.id, birthDate: '1991-02-03' }, { prefer: 'return=representation' });
      assert.equal(resource(updated).birthDate, '1991-02-03');
      assert.ok(updated.headers.get('location') || updated.headers.get('content-location'));
    });

    it(`what OpenEMR refuses, with the members that it names, ${name}`, WITHIN, async () => {
      const refused = outcome(await send('POST', 'Patient', { resourceType: 'Patient', gender: 'female' }), 400);
      assert.ok(refused.issue.some(({ expression }) => expression?.length > 0), JSON.stringify(refused));
      outcome(await send('POST', 'Patient', { name: [{ family: 'Untyped' }] }), 400);
      outcome(await ask(`${base}/Patient`, { method: 'POST', headers: JSON_BODY, body: '{"resourceType":' }), 400);
    });
  }
});
