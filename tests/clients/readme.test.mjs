// What the README says about paging and bulk export is run as it stands there, against the demo.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { DEMO, WITHIN, assertEachOnce, whole } from './support.mjs';

const README = fs.readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const blocks = [...README.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block);

// The block that does this; without one there is nothing to try.
function example(mark) {
  const found = blocks.filter((block) => mark.test(block));
  assert.ok(found.length < 2, `two examples of ${mark}`);
  return found[0];
}

function run(script, folder) {
  const done = spawnSync('bash', ['-euo', 'pipefail', '-c', script.replaceAll('http://localhost:8000/fhir', DEMO)], {
    cwd: folder,
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(done.status, 0, `${script}\n${done.stderr}${done.error ?? ''}`);
  return done.stdout;
}

const paging = example(/while .*next/);
const bulk = example(/_type=[^]*respond-async[^]*manifest/);

it('paging', { ...WITHIN, skip: paging === undefined && 'the README has no example' }, async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'openemr-gateway-readme-'));
  try {
    const type = /localhost:8000\/fhir\/([A-Za-z]+)\?/.exec(paging)[1];
    assertEachOnce(run(paging, folder).split('\n').filter(Boolean), await whole(DEMO, type), type);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

it('bulk export', { ...WITHIN, skip: bulk === undefined && 'the README has no example' }, async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'openemr-gateway-readme-'));
  try {
    run(bulk, folder);
    const types = /_type=([A-Za-z,]+)/.exec(bulk)[1].split(',');
    for (const type of types) {
      const files = fs.readdirSync(folder).filter((file) => file.startsWith(`${type}-`));
      const lines = files.flatMap((file) => fs.readFileSync(path.join(folder, file), 'utf8').split('\n').filter(Boolean));
      assertEachOnce(lines.map((line) => JSON.parse(line).id).sort(), (await whole(DEMO, type)).sort(), type);
    }
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
