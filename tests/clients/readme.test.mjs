// The commands in README.md and docs/ are run as they stand there: against the demo, and from the key to the first token
// against a sandbox.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import demo from '../../scripts/demo.js';
import { DOCUMENTS, ROOT, document } from './documents.mjs';
import { DEMO, GATEWAYS, WITHIN, assertEachOnce, ids, matches, whole } from './support.mjs';

// The one block of this document that does this.
function example(file, mark) {
  const scripts = [...document(file).matchAll(/^```sh\n(.*?)^```$/gms)].map(([, script]) => script);
  const found = scripts.filter((script) => mark.test(script));
  assert.equal(found.length, 1, `${found.length} examples of ${mark} in ${file}`);
  return found[0];
}

function run(script, folder, environment = {}) {
  const done = spawnSync('bash', ['-euo', 'pipefail', '-c', script.replaceAll('http://localhost:8000', GATEWAYS.demo)], {
    cwd: folder,
    env: { ...process.env, ...environment },
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

it('commands and their options are there', WITHIN, () => {
  const code = DOCUMENTS.flatMap(({ text }) => text.match(/^```sh\n.*?^```$|`[^`\n]+`/gms) ?? []).join('\n');
  const calls = [...code.replaceAll('-u openemr-gateway', '').matchAll(/(?<!etc\/)\bopenemr-gateway +((?:(?:access|audit|keys|config) )?[a-z]+(?:-[a-z]+)*)\b([^\n`#&|>]*)/g)];
  const unknown = calls.flatMap(([call, command, rest]) => {
    const help = spawnSync(process.env.GATEWAY, [...command.split(' '), '--help'], { encoding: 'utf8', timeout: 10_000 });
    const options = rest.match(/(?<= )--[a-z-]+/g) ?? [];
    return help.status === 0 && options.every((option) => new RegExp(`^ +(?:-\\w, )?${option}\\b`, 'm').test(help.stdout)) ? [] : [call];
  });
  assert.ok(calls.length > 10, `${calls.length} commands`);
  assert.deepEqual(unknown, []);
});

// What the README has people do at their OpenEMR by hand, done by the sandbox's administrator.
async function enable(admin, clientId) {
  const answer = await fetch(`${admin}/__sandbox/faults`, {
    method: 'POST',
    body: JSON.stringify({ clients: { [clientId]: { enabled: true } } }),
    signal: AbortSignal.timeout(10_000),
  });
  assert.equal(answer.status, 200, await answer.text());
}

// conf/gateway.yaml with the values that the README says to set, and a free port.
function configure(folder, port, values) {
  let text = fs.readFileSync(path.join(ROOT, 'conf/gateway.yaml'), 'utf8');
  const set = (old, value) => {
    assert.match(text, old);
    text = text.replace(old, value);
  };
  set(/address: 127\.0\.0\.1:8000/, `address: 127.0.0.1:${port}`);
  set(/^    openemr: .*$/m, `    openemr: ${values.openemr}`);
  set(/^    client_id: .*$/m, `    client_id: ${values.client_id}`);
  set(/^    scopes:\n(      - .*\n)+/m, `    scopes: ${JSON.stringify(values.scopes)}\n`);
  fs.mkdirSync(path.join(folder, 'conf'), { recursive: true });
  fs.writeFileSync(path.join(folder, 'conf/gateway.yaml'), text);
}

for (const openemr of ['8.0', '7.0.3']) {
  it(`the steps from a key to the first token, OpenEMR ${openemr}`, WITHIN, () => inFolder(async (folder) => {
    const program = process.env.GATEWAY;
    fs.mkdirSync(path.join(folder, 'bin'));
    fs.symlinkSync(program, path.join(folder, 'bin/openemr-gateway'));
    const environment = { PATH: `${path.join(folder, 'bin')}:${process.env.PATH}` };
    const sandbox = new demo.Program(program, ['sandbox', '--listen', '127.0.0.1:0', '--patients', '5', '--openemr', openemr]);
    let gateway;
    try {
      const base = await sandbox.until(({ output }) => /listening on (\S+)/.exec(output)?.[1]);
      const admin = /admin (\S+)/.exec(sandbox.output)[1];
      run(example('README.md', /keys generate/), folder, environment);
      const method = openemr === '7.0.3' ? 'client_secret_post' : 'private_key_jwt';
      const registration = example('README.md', /registration/).replace('private_key_jwt', method);
      const { client_id, scope } = JSON.parse(run(registration, folder, { ...environment, EMR: base }));
      const scopes = scope.split(' ');
      await enable(admin, client_id);
      fs.writeFileSync(path.join(folder, '.env'), [
        `OEMR_BASE=${base}`, `CLIENT_ID=${client_id}`, `SCOPE=${scope}`, 'PRIVATE_KEY_PATH=keys/private_key.pem', 'JWKS_PATH=keys/jwks.json',
      ].join('\n'));
      const [test] = example('docs/migration.md', /--env-file/).split('\n');
      assert.match(run(test, folder, environment), /is good/);
      gateway = await demo.onFreePort('bash', 'the gateway of the README', (port) => {
        configure(folder, port, { openemr: base, client_id, scopes });
        assert.match(run(example('README.md', /config check/), folder, environment), new RegExp(client_id));
        const serve = example('README.md', /serve --config/).trim();
        return ['-c', `cd '${folder}' && PATH='${environment.PATH}' exec ${serve}`];
      });
      const bundle = await (await fetch(`${gateway.baseUrl}/fhir/Patient`)).json();
      assert.equal(matches(bundle).length, 5, JSON.stringify(bundle));
    } finally {
      await gateway?.stop();
      await sandbox.stop();
    }
  }));
}
