// OpenEMR's own mistakes: the judges object to each where the sandbox writes it, and behind the gateway to none but
// those that no gateway can mend.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { COMPLAINTS, RULES } from './openemrs-own.mjs';
import { allComplaints } from './r4.mjs';
import { startSandbox } from './sandbox.mjs';
import { GATEWAYS, WITHIN, ask, ids, matches } from './support.mjs';

// The names of the rows that resources of these types break, and what no row expects.
function judged(resources) {
  const broken = new Set();
  const unexpected = new Set();
  for (const one of resources) {
    for (const { path, says } of allComplaints(one)) {
      const row = COMPLAINTS.find((known) => known.path === path && known.says.test(says));
      (row ? broken : unexpected).add(row ? named(row) : `${path}: ${says}`);
    }
    RULES.filter(({ type, holds }) => type === one.resourceType && !holds(one)).forEach((row) => broken.add(named(row)));
  }
  return { broken: [...broken].sort(), unexpected: [...unexpected] };
}

const named = ({ path, says, type, what }) => (path ? `${path} ${says}` : `${type}: ${what}`);

function expected(version, isLeft) {
  const rows = [...COMPLAINTS, ...RULES].filter(({ on, left }) => on.includes(version) && (!isLeft || left));
  return rows.map(named).sort();
}

for (const [version, gateway] of [['8.0', GATEWAYS[8]], ['7.0.3', GATEWAYS['7.0.3']], ['next', undefined]]) {
  describe(`what OpenEMR ${version} writes`, () => {
    let openemr;
    let types;
    before(async () => {
      openemr = await startSandbox(version);
      types = await openemr.types();
    });
    after(() => openemr?.stop());

    it('is invalid in each of the known ways, and in no other', WITHIN, async () => {
      const everything = [];
      for (const type of types) {
        const found = await openemr.all(type);
        assert.ok(found.length > 1, `${type}: ${found.length}`);
        everything.push(...found);
      }
      assert.deepEqual(judged(everything), { broken: expected(version, false), unexpected: [] });
      const shots = ids(await openemr.all('Immunization'));
      assert.equal(new Set(shots).size, shots.length / 2, 'each Immunization twice');
    });

    if (gateway) {
      it('is valid behind the gateway, but for what cannot be mended', WITHIN, async () => {
        const everything = [];
        for (const type of types) {
          const answer = await ask(`${gateway}/fhir/${type}`);
          assert.equal(answer.status, 200, type);
          const found = matches(answer.json);
          assert.ok(found.length > 1, `${type}: ${found.length}`);
          assert.equal(new Set(ids(found)).size, found.length, `${type}: one twice`);
          everything.push(...found);
        }
        assert.deepEqual(judged(everything), { broken: expected(version, true), unexpected: [] });
      });

      it('is as valid when it is read', WITHIN, async () => {
        for (const type of ['Patient', 'Goal', 'Organization', 'Immunization', 'Group', 'Device', 'Condition']) {
          for (const { id } of matches((await ask(`${gateway}/fhir/${type}?_count=3`)).json)) {
            const { broken, unexpected } = judged([(await ask(`${gateway}/fhir/${type}/${id}`)).json]);
            assert.deepEqual([...broken, ...unexpected], [], `${type}/${id}`);
          }
        }
      });
    }
  });
}
