// Gateways for the answers that a single one does not give: without clients, with clients, out of reach of OpenEMR, and with rates
// that are used up at once.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import demo from '../../scripts/demo.js';

const CLIENT_ID = 'described';
const SCOPES = ['Patient', 'Observation', 'Group'].map((type) => `system/${type}.read`);
const EXPORTS = ['system/*.$export', 'system/Patient.$export', 'system/Group.$export', 'system/*.$bulkdata-status', 'system/Binary.read'];

// What the program says, run to its end.
export function run(options, folder) {
  const done = spawnSync(process.env.GATEWAY, options, { cwd: folder, encoding: 'utf8', timeout: 60_000 });
  assert.equal(done.status, 0, `${options.join(' ')}\n${done.stderr}`);
  return done.stdout;
}

export class Gateways {
  static async start() {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'openemr-gateway-described-'));
    const all = new Gateways(folder);
    try {
      await all.setUp();
    } catch (error) {
      await all.stop();
      throw error;
    }
    return all;
  }

  constructor(folder) {
    this.folder = folder;
    this.programs = [];
    this.keys = {};
  }

  async setUp() {
    run(['keys', 'generate', '--bits', '2048', '--out', 'keys'], this.folder);
    run(['keys', 'generate', '--algorithm', 'ES384', '--kid-method', 'rfc7638', '--out', 'kit'], this.folder);
    const sandbox = new demo.Program(process.env.GATEWAY, [
      'sandbox', '--listen', '127.0.0.1:0', '--patients', '5', '--client-id', CLIENT_ID, '--jwks', path.join(this.folder, 'keys/jwks.json'),
      '--site', 'default', '--site', 'clinic',
    ]);
    this.programs.push(sandbox);
    this.openemr = await sandbox.until(({ output }) => /listening on (\S+)/.exec(output)?.[1]);
    this.faults = /admin (\S+)/.exec(sandbox.output)[1];
    const nobody = `http://127.0.0.1:${await demo.freePort()}`;
    this.open = await this.serve('open', {
      sites: { default: { scopes: [...SCOPES, ...EXPORTS], forced_refreshes: { burst: 3, every: '1h' } }, clinic: { scopes: SCOPES } },
      limits: { head_timeout: '1s' },
      trusted_proxies: [{ from: '127.0.0.3', fields: 'x_forwarded' }],
      audit: { folder: path.join(this.folder, 'audit') },
    });
    this.guarded = await this.serve('guarded', this.guardedBy(['patient']));
    this.down = await this.serve('down', {
      sites: { default: { openemr: nobody, scopes: [...SCOPES, ...EXPORTS] } },
      store: { url: nobody.replace('http:', 'redis:') },
    });
    this.slow = await this.serve('slow', {
      sites: { default: { scopes: SCOPES } },
      limits: { rate_per_address: '1/h', burst_per_address: 1, local_rate_per_address: '1/h', local_burst_per_address: 1 },
    });
    const groups = await fetch(`${this.open.url}/fhir/Group`, { signal: AbortSignal.timeout(20_000) });
    this.group = (await groups.json()).entry[0].resource.id;
  }

  // The configuration of the gateway with clients; `fetcher` may export at these levels.
  guardedBy(levels) {
    const smart = { jwks: path.join(this.folder, 'kit/jwks.json') };
    return {
      sites: { default: { scopes: [...SCOPES, ...EXPORTS] } },
      access: {
        allow_from: ['127.0.0.0/8'],
        token_key: path.join(this.folder, 'token-key.pem'),
        clients: {
          reader: { scopes: ['system/Patient.rs'], api_keys: [this.digest('reader')] },
          fetcher: { scopes: ['system/Patient.rs'], export: levels, api_keys: [this.digest('fetcher')] },
          kit: { scopes: ['system/Patient.rs'], smart },
          elsewhere: { scopes: ['system/Patient.rs'], smart, allow_from: ['10.0.0.1'] },
          remote: { scopes: ['system/Patient.rs'], smart: { jwks_uri: 'http://127.0.0.1:1/jwks.json' } },
        },
      },
      admin: { api_keys: [this.digest('operator')] },
    };
  }

  // A gateway with this configuration, which listens and has tried to get its tokens.
  async serve(name, configuration) {
    const file = path.join(this.folder, `${name}.yaml`);
    const [port, adminPort] = [await demo.freePort(), await demo.freePort()];
    this.write(file, configuration, port, adminPort);
    const program = new demo.Program(process.env.GATEWAY, ['serve', '--config', file]);
    this.programs.push(program);
    const has = await program.until(({ output }) => / listening on http/.test(output) && (name === 'down' ? /no token/.test(output) : /token 1 for/.test(output)));
    assert.ok(has, `${name} does not come up; it said:\n${program.output}`);
    return { url: `http://127.0.0.1:${port}`, admin: `http://127.0.0.1:${adminPort}`, program, file, port, adminPort };
  }

  write(file, { sites, admin, ...others }, port, adminPort) {
    const folder = path.join(this.folder, `${path.basename(file, '.yaml')}-bulk`);
    const client = { client_id: CLIENT_ID, private_key: path.join(this.folder, 'keys/private_key.pem'), jwks: path.join(this.folder, 'keys/jwks.json') };
    const all = Object.entries(sites).map(([name, site]) => [name, { openemr: this.openemr, ...client, bulk_data: { folder }, ...site }]);
    // JSON is YAML.
    fs.writeFileSync(file, JSON.stringify({
      listen: [{ address: `127.0.0.1:${port}` }],
      admin: { address: `127.0.0.1:${adminPort}`, ...admin },
      sites: Object.fromEntries(all),
      ...others,
    }));
  }

  // The hash of a client's key, which is made for the first time that it is asked for.
  digest(name) {
    this.keys[name] ??= run(['access', 'new-key', name], this.folder);
    return /sha256:[0-9a-f]{64}/.exec(this.keys[name])[0];
  }

  // The field with a client's key.
  key(name) {
    return { 'x-api-key': /oegw_\S+/.exec(this.keys[name])[0] };
  }

  takeExportsAway() {
    const { file, port, adminPort, program } = this.guarded;
    this.write(file, this.guardedBy([]), port, adminPort);
    program.process.kill('SIGHUP');
  }

  // Puts a file in the place of the folder of exports.
  spoilFolder() {
    const folder = path.join(this.folder, 'open-bulk');
    fs.renameSync(folder, `${folder}.away`);
    fs.writeFileSync(folder, '');
  }

  // Orders faults of the sandbox.
  async tell(orders) {
    const answer = await fetch(`${this.faults}/__sandbox/faults`, { method: 'POST', body: JSON.stringify(orders), signal: AbortSignal.timeout(10_000) });
    assert.equal(answer.status, 200, await answer.text());
  }

  async stop() {
    await Promise.all(this.programs.map((program) => program.stop()));
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
