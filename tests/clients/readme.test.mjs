// The commands in README.md and docs/ are run as they stand there, against the demo.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { document } from './documents.mjs';
import { DEMO, GATEWAYS, WITHIN, assertEachOnce, ids, matches, whole } from './support.mjs';

// The one block of this document that does this.
function example(file, mark) {
  const scripts = [...document(file).matchAll(/^```sh\n(.*?)^```$/gms)].map(([, script]) => script);
  const found = scripts.filter((script) => mark.test(script));
  assert.equal(found.length, 1, `${found.length} examples of ${mark} in ${file}`);
  return found[0];
}

function run(script, folder) {
  const done = spawnSync('bash', ['-euo', 'pipefail', '-c', script.replaceAll('http://localhost:8000', GATEWAYS.demo)], {
    cwd: folder,
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(done.status, 0, `${script}\n${done.stderr}${done.error ?? ''}`);
  return done.stdout;
}

async function inFolder(act) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'openemr-gateway-readme-'));
  try {
    await act(folder);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

// curl says nothing of a status that is an error, unless it is told to.
const failing = (script) => script.replaceAll('curl -s ', 'curl -sf ');

it('the first request', WITHIN, () => inFolder((folder) => {
  const bundle = JSON.parse(run(failing(example('README.md', /Patient\?_count=5/)), folder));
  assert.equal(matches(bundle).length, 5);
}));

it('requests of every kind', WITHIN, () => inFolder(async (folder) => {
  const [patient] = await whole(DEMO, 'Patient');
  const script = example('docs/fhir.md', /fhir\/metadata[^]*oauth\/token/);
  // One answer after the other, a line each.
  const answers = run(failing(script).replaceAll('PATIENT_ID', patient).replaceAll(/(?<=^curl) /gm, " -w '\\n' "), folder)
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    answers.map((answer) => answer.resourceType ?? answer.token_type),
    ['CapabilityStatement', 'Bundle', 'Bundle', 'Patient', 'Bearer'],
  );
  assert.ok(ids(matches(answers[2])).length > 0, 'no Observation');
}));

it('health and readiness', WITHIN, () => inFolder((folder) => {
  const said = run(failing(example('docs/operation.md', /\/health[^]*\/ready/)), folder);
  assert.match(said, /"status":"ok".*"ready":true/s);
}));

it('paging', WITHIN, () => inFolder(async (folder) => {
  const paging = example('docs/fhir.md', /while .*next/);
  const type = /localhost:8000\/fhir\/([A-Za-z]+)\?/.exec(paging)[1];
  assertEachOnce(run(paging, folder).split('\n').filter(Boolean), await whole(DEMO, type), type);
}));

it('bulk export', WITHIN, () => inFolder(async (folder) => {
  const bulk = example('docs/fhir.md', /_type=[^]*respond-async[^]*manifest/);
  run(bulk, folder);
  const types = /_type=([A-Za-z,]+)/.exec(bulk)[1].split(',');
  for (const type of types) {
    const files = fs.readdirSync(folder).filter((file) => file.startsWith(`${type}-`));
    const lines = files.flatMap((file) => fs.readFileSync(path.join(folder, file), 'utf8').split('\n').filter(Boolean));
    assertEachOnce(lines.map((line) => JSON.parse(line).id).sort(), (await whole(DEMO, type)).sort(), type);
  }
}));
