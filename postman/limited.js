// A gateway with one client, which may have little: for the folder "A limited client". Its configuration is the lab feed of
// docs/access.md, and its key is made by the gateway's own command.

'use strict';

const { execFileSync } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { Program, onFreePort } = require('../scripts/demo.js');

const CLIENT_ID = 'postman';
// Of the sandbox, as docs/access.md names them.
const PATIENTS = ['7d350fc5-06dd-4573-938e-3232afcee970', 'c4d51b85-31a1-4b1b-a92c-b900228eb9a2'];
const LABORATORY = 'http://terminology.hl7.org/CodeSystem/observation-category|laboratory';

// JSON is YAML, too.
function configuration(folder, openemr, port, apiKeys) {
  const at = (...names) => path.join(folder, ...names);
  const lab = { scopes: ['system/Patient.r', `system/Observation.rs?category=${LABORATORY}`], patients: { ids: PATIENTS }, api_keys: apiKeys };
  const site = {
    openemr,
    client_id: CLIENT_ID,
    private_key: at('keys', 'private_key.pem'),
    jwks: at('keys', 'jwks.json'),
    scopes: ['system/Patient.read', 'system/Observation.read'],
    bulk_data: { folder: at('bulk') },
  };
  return JSON.stringify({ listen: [{ address: `127.0.0.1:${port}` }], sites: { default: site }, access: { clients: { lab } } });
}

// Resolves to a gateway with `baseUrl`, and the `apiKey` of its client.
async function startLimited(program) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'openemr-gateway-postman-'));
  const run = (...options) => execFileSync(program, options, { cwd: folder, encoding: 'utf8', timeout: 60_000 });
  const remove = () => fs.rmSync(folder, { recursive: true, force: true });
  let sandbox;
  try {
    run('keys', 'generate', '--bits', '2048', '--out', 'keys');
    const made = run('access', 'new-key', 'lab');
    const apiKey = /oegw_\S+/.exec(made)[0];
    const apiKeys = JSON.parse(/api_keys: (\[.*\])/.exec(made)[1]);
    const keys = path.join(folder, 'keys', 'jwks.json');
    sandbox = new Program(program, ['sandbox', '--listen', '127.0.0.1:0', '--client-id', CLIENT_ID, '--jwks', keys]);
    const openemr = await sandbox.until(({ output }) => /listening on (\S+)/.exec(output)?.[1]);
    if (!openemr) {
      throw new Error(`the sandbox does not come up; it said:\n${sandbox.output}`);
    }
    const gateway = await onFreePort(program, 'the gateway with a limited client', (port) => {
      const file = path.join(folder, 'gateway.yaml');
      fs.writeFileSync(file, configuration(folder, openemr, port, apiKeys));
      return ['serve', '--config', file];
    });
    const stop = async () => {
      await gateway.stop();
      await sandbox.stop();
      remove();
    };
    return { baseUrl: gateway.baseUrl, apiKey, stop, output: () => gateway.output };
  } catch (error) {
    await sandbox?.stop();
    remove();
    throw error;
  }
}

module.exports = { startLimited };
