// A gateway as an operator would set it up, in front of a sandbox that knows itself by another address:
// keys, certificate and configuration by the gateway's own commands.

'use strict';

const { execFileSync } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { Program, freePort, onFreePort } = require('../../scripts/demo.js');

const CLIENT_ID = 'clients';
// What OpenEMR calls itself. No answer of the gateway may name it.
const PUBLIC_ADDRESS = 'https://emr.clinic.example:8443/openemr';

// Every scope that this OpenEMR knows for a program without a user: read what there is, export, and write Patient.
async function everyScope(base, openemr) {
  const answer = await fetch(`${base}/oauth2/default/.well-known/openid-configuration`, { signal: AbortSignal.timeout(10_000) });
  const known = (await answer.json()).scopes_supported.filter((scope) => /^system\/[A-Z*]/.test(scope));
  // Types that came later are known in the newer spelling alone.
  const readable = known.filter((scope) => /\.read$/.test(scope) && !scope.includes('*'));
  const newer = known.filter((scope) => /^system\/[A-Za-z]+\.rs$/.test(scope) && !readable.includes(scope.replace(/rs$/, 'read')));
  const operations = known.filter((scope) => scope.includes('.$'));
  return [...readable, ...newer, ...operations, ...(openemr === '7.0.3' ? [] : ['system/Patient.write'])];
}

class Installation {
  constructor(folder, sandbox, gateway, openemr, { tlsPort, adminPort }) {
    this.folder = folder;
    this.sandbox = sandbox;
    this.gateway = gateway;
    this.baseUrl = gateway.baseUrl;
    this.tlsUrl = `https://localhost:${tlsPort}`;
    this.adminUrl = `http://127.0.0.1:${adminPort}`;
    this.certificate = path.join(folder, 'certs', 'localhost.pem');
    this.openemr = openemr;
  }

  get output() {
    return `${this.sandbox.output}\n${this.gateway.output}`;
  }

  async stop() {
    await this.gateway.stop();
    await this.sandbox.stop();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

async function startSandbox(program, folder, openemr) {
  const sandbox = new Program(program, [
    'sandbox', '--listen', '127.0.0.1:0', '--openemr', openemr, '--patients', '60',
    '--client-id', CLIENT_ID, '--jwks', path.join(folder, 'keys', 'jwks.json'), '--site-address', PUBLIC_ADDRESS,
  ]);
  const base = await sandbox.until(({ output }) => /listening on (\S+)/.exec(output)?.[1]);
  if (!base) {
    throw new Error(`the sandbox ${openemr} does not come up; it said:\n${sandbox.output}`);
  }
  return Object.assign(sandbox, { base });
}

// Programs that call the gateway with SMART Backend Services, each with the algorithm of its key.
const SMART_CLIENTS = { fetcher: 'RS384', kit: 'ES384' };

function smartAccess(at, digest) {
  const clients = Object.keys(SMART_CLIENTS).map((name) => `
    ${name}:
      scopes: ["system/*.rs"]
      export: [system, patient, group]
      smart: { jwks: ${at(name, 'jwks.json')} }`);
  return `
access:
  allow_from: [127.0.0.0/8]
  token_key: ${at('state', 'token-key.pem')}
  clients:${clients.join('')}
    scripts:
      scopes: ["system/*.rs"]
      api_keys: [${JSON.stringify(digest)}]
`;
}

function configuration(folder, base, scopes, { port, tlsPort, adminPort }, digest) {
  const at = (...names) => JSON.stringify(path.join(folder, ...names));
  return `${digest ? smartAccess(at, digest) : ''}
listen:
  - address: 127.0.0.1:${port}
  - address: 127.0.0.1:${tlsPort}
    tls: { certificate: ${at('certs', 'localhost.pem')}, private_key: ${at('certs', 'localhost-key.pem')} }
admin: { address: 127.0.0.1:${adminPort} }
sites:
  default:
    openemr: ${base}
    token_audience: ${PUBLIC_ADDRESS}/oauth2/default/token
    client_id: ${CLIENT_ID}
    private_key: ${at('keys', 'private_key.pem')}
    jwks: ${at('keys', 'jwks.json')}
    scopes: ${JSON.stringify(scopes)}
    cors: { origins: ["https://app.example.org"] }
    bulk_data: { folder: ${at('bulk')} }
`;
}

// `openemr` is the version that the sandbox plays. With `hasClients`, nobody calls without credentials; `apiKey` is one.
async function startInstallation(program, openemr, hasClients = false) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'openemr-gateway-clients-'));
  const run = (...options) => execFileSync(program, options, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'], timeout: 60_000 });
  let sandbox;
  try {
    run('keys', 'generate', '--bits', '2048', '--out', 'keys');
    for (const [name, algorithm] of Object.entries(hasClients ? SMART_CLIENTS : {})) {
      run('keys', 'generate', '--algorithm', algorithm, '--kid-method', 'rfc7638', '--out', name);
    }
    run('keys', 'certificate', '--host', 'localhost', '--out', 'certs');
    const said = execFileSync(program, ['access', 'new-key', 'scripts'], { encoding: 'utf8', timeout: 60_000 });
    const [[apiKey], [digest]] = [/oegw_\S+/.exec(said), /sha256:[0-9a-f]{64}/.exec(said)];
    sandbox = await startSandbox(program, folder, openemr);
    const scopes = await everyScope(sandbox.base, openemr);
    let ports;
    const gateway = await onFreePort(program, `the gateway for OpenEMR ${openemr}`, async (port) => {
      ports = { port, tlsPort: await freePort(), adminPort: await freePort() };
      const file = path.join(folder, 'gateway.yaml');
      fs.writeFileSync(file, configuration(folder, sandbox.base, scopes, ports, hasClients ? digest : undefined));
      return ['serve', '--config', file];
    });
    const installation = new Installation(folder, sandbox, gateway, openemr, ports);
    return Object.assign(installation, { apiKey });
  } catch (error) {
    await sandbox?.stop();
    fs.rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

module.exports = { PUBLIC_ADDRESS, startInstallation };
