// A gateway with an admin listener, in front of a sandbox that can be told to fail.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import demo from '../../scripts/demo.js';

const CLIENT_ID = 'watched';
const ANSWER_WITHIN = 60_000;
const { Program, freePort, onFreePort } = demo;

const signal = () => AbortSignal.timeout(ANSWER_WITHIN);

function configuration(folder, base, port, adminPort, access, keys) {
  const at = (...names) => JSON.stringify(path.join(folder, ...names));
  return `${access}
listen:
  - address: 127.0.0.1:${port}
admin:
  address: 127.0.0.1:${adminPort}
  api_keys: ${JSON.stringify(keys)}
sites:
  default:
    openemr: ${base}
    client_id: ${CLIENT_ID}
    private_key: ${at('keys', 'private_key.pem')}
    jwks: ${at('keys', 'jwks.json')}
    scopes: [system/Patient.read, system/Observation.read, system/Encounter.read]
`;
}

// `needsKey`: the admin listener wants an API key. `access`: that part of the configuration.
export async function startWatched({ needsKey = false, access = '', lines = [] } = {}) {
  const program = process.env.GATEWAY;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'openemr-gateway-watched-'));
  const run = (...options) => execFileSync(program, options, { cwd: folder, encoding: 'utf8', timeout: 60_000 });
  run('keys', 'generate', '--bits', '2048', '--out', 'keys');
  const key = needsKey ? run('access', 'new-key', 'operator') : '';
  const sandbox = new Program(program, [
    'sandbox', '--listen', '127.0.0.1:0', '--patients', '40', '--client-id', CLIENT_ID, '--jwks', path.join(folder, 'keys', 'jwks.json'), ...lines,
  ]);
  const base = await sandbox.until(({ output }) => /listening on (\S+)/.exec(output)?.[1]);
  assert.ok(base, `the sandbox does not come up; it said:\n${sandbox.output}`);
  const orders = await sandbox.until(({ output }) => /^admin (http:\S+)/m.exec(output)?.[1]);
  assert.ok(orders, `the sandbox does not say where it takes orders:\n${sandbox.output}`);
  let adminPort;
  const gateway = await onFreePort(program, 'the gateway', async (port) => {
    adminPort = await freePort();
    const file = path.join(folder, 'gateway.yaml');
    fs.writeFileSync(file, configuration(folder, base, port, adminPort, access, key.match(/sha256:[0-9a-f]+/g) ?? []));
    return ['serve', '--config', file];
  });
  const admin = `http://127.0.0.1:${adminPort}`;
  return {
    admin,
    key: /oegw_[0-9A-Za-z_-]+/.exec(key)?.[0],
    fhir: (target, init) => fetch(`${gateway.baseUrl}/fhir/${target}`, { signal: signal(), ...init }),
    // Asks for a new token now, and gives the status.
    async refresh() {
      const { status } = await fetch(`${admin}/refresh`, { method: 'POST', headers: { 'x-admin': '1' }, signal: signal() });
      return status;
    },
    async order(faults) {
      const answer = await fetch(`${orders}/__sandbox/faults`, { method: 'POST', body: JSON.stringify(faults), signal: signal() });
      assert.equal(answer.status, 200);
    },
    async stop() {
      await gateway.stop();
      await sandbox.stop();
      fs.rmSync(folder, { recursive: true, force: true });
    },
  };
}
