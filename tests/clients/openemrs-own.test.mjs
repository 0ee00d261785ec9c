// OpenEMR's own mistakes: the judges object to each where the sandbox writes it.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { COMPLAINTS, RULES } from './openemrs-own.mjs';
import { allComplaints } from './r4.mjs';
import { startSandbox } from './sandbox.mjs';
import { WITHIN, ids } from './support.mjs';

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

function expected(version) {
  const rows = [...COMPLAINTS, ...RULES].filter(({ on }) => on.includes(version));
  return rows.map(named).sort();
}

for (const version of ['8.0', '7.0.3', 'next']) {
  describe(`what OpenEMR ${version} writes`, () => {
    let openemr;
    let types;
    before(async () => {
      openemr = await startSandbox(version, '--resources', 'openemr');
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
      assert.deepEqual(judged(everything), { broken: expected(version), unexpected: [] });
      const shots = ids(await openemr.all('Immunization'));
      assert.equal(new Set(shots).size, shots.length / 2, 'each Immunization twice');
    });
  });
}
