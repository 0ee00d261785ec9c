// Every block of commands in the documents is run: here, by another test, or there is a reason why not.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ROOT, document } from './documents.mjs';
import { WITHIN, eventually } from './support.mjs';
import { BLOCKS, Terminal, block, ran } from './terminal.mjs';

// Blocks that are not run, and why.
const NOT_RUN = [
  ['CONTRIBUTING.md', 'cargo test --lib', 'parts of what `make test` runs'],
  ['README.md', 'make demo', 'builds the program; what it starts then is what run.js starts, by scripts/demo'],
  ['README.md', 'make build', 'compiles for many minutes with all optimisations'],
  ['README.md', 'openemr-gateway init', 'asks at a terminal: tests/it/commands/init.rs answers'],
  ['bench/README.md', 'bench/faults.sh', 'measures for half an hour'],
  ['docs/benchmarks.md', 'make bench', 'measures for half an hour; `make test` runs its tests'],
  ['deploy/python/README.md', 'demo &', 'tests/packages/test_wheel.py runs the demo out of the wheel'],
  ['docs/deploy.md', 'maturin build', 'compiles with all optimisations; tests/packages/test_wheel.py does the same with the debug build'],
  ['docs/deploy.md', 'pip install openemr_gateway', 'tests/packages/test_wheel.py installs the wheel of the debug build'],
  ['docs/deploy.md', 'scripts/deb', 'tests/packages/test_debian.py installs the package of the debug build'],
  ['docs/deploy.md', 'init --config gateway.yaml --force', 'tests/packages/test_debian.py does it in a Debian of its own'],
  ['docs/deploy.md', 'sha256sum --check', 'needs what `make release` builds; scripts/release tries the programs'],
  ['docs/fhir.md', 'newman', '`make postman` runs the same collection with the same program'],
  ['fuzz/README.md', 'cargo +nightly fuzz', 'needs a nightly compiler; tests/it/fuzz.rs runs the targets over their corpora'],
];

// A configuration in front of a sandbox, as operators have it under systemd.
const OPERATED = (openemr, digests) => `
listen:
  - address: 127.0.0.1:8000
  - { address: 127.0.0.1:8443, tls: { certificate: /etc/openemr-gateway/certs/localhost.pem, private_key: /etc/openemr-gateway/certs/localhost-key.pem } }
admin: { address: 127.0.0.1:9464 }
audit:
  folder: /var/lib/openemr-gateway/audit
  ids_key: /var/lib/openemr-gateway/audit-ids.key
  checkpoint_key: /var/lib/openemr-gateway/audit-checkpoint.key
access:
  allow_from: [127.0.0.0/8]
  anonymous: reading
  policies: { reading: { scopes: [system/*.rs] } }
  clients:
    lab: { scopes: [system/Patient.rs], recipient: The laboratory, purpose: Treatment, api_keys: [${JSON.stringify(digests.lab)}] }
    emergency: { scopes: [system/*.rs], api_keys: [${JSON.stringify(digests.emergency)}] }
sites:
  default:
    openemr: ${openemr}
    client_id: demo
    private_key: keys/private_key.pem
    jwks: keys/jwks.json
    scopes: [system/Patient.read, system/Observation.read]
    bulk_data: { folder: /var/lib/openemr-gateway/bulk }
`;

function newKey(name) {
  const said = execFileSync(process.env.GATEWAY, ['access', 'new-key', name], { encoding: 'utf8' });
  return { key: /oegw_\S+/.exec(said)[0], digest: /sha256:[0-9a-f]{64}/.exec(said)[0] };
}

// A terminal, closed at the end.
async function inTerminal(ports, act) {
  const terminal = await Terminal.open(ports);
  try {
    await act(terminal);
  } catch (error) {
    terminal.started.forEach((program) => console.error(program.output.slice(-3_000)));
    throw error;
  } finally {
    await terminal.close();
  }
}

// Starts a sandbox with these options; gives the address of its administrator.
async function sandboxIn(terminal, options) {
  const sandbox = terminal.start(`openemr-gateway sandbox --listen 127.0.0.1:9300 --patients 20 ${options}`);
  await terminal.until(sandbox, /listening on/);
  return /admin (\S+)/.exec(sandbox.output)[1];
}

// What an administrator of OpenEMR clicks: enables the client that a file names, as soon as it names another one than before.
async function enableNext(admin, file) {
  const id = () => /client_id: "?([\w-]+)/.exec(fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '')?.[1];
  const before = id();
  const next = await eventually('a client is registered', () => id() !== before && id());
  const orders = JSON.stringify({ clients: { [next]: { enabled: true } } });
  const answer = await fetch(`${admin}/__sandbox/faults`, { method: 'POST', body: orders, signal: AbortSignal.timeout(10_000) });
  assert.equal(answer.status, 200, await answer.text());
}

describe('a gateway under systemd', { timeout: 180_000 }, () => {
  const lab = newKey('lab');
  const emergency = newKey('emergency');
  let terminal;
  let admin;
  let patient;

  before(async () => {
    terminal = await Terminal.open([8000, 8443, 9300, 9464]);
    const { folder, root } = terminal;
    await terminal.bash('openemr-gateway keys generate --bits 2048 --out keys && openemr-gateway keys certificate --host localhost --out certs');
    fs.cpSync(path.join(folder, 'certs'), path.join(root, 'etc/openemr-gateway/certs'), { recursive: true });
    fs.cpSync(path.join(ROOT, 'deploy'), path.join(folder, 'deploy'), { recursive: true });
    fs.mkdirSync(path.join(folder, 'state'));
    fs.symlinkSync(path.join(root, 'var/lib/openemr-gateway/audit'), path.join(folder, 'state/audit'));
    admin = await sandboxIn(terminal, '--client-id demo --jwks keys/jwks.json');
    terminal.write('conf/gateway.yaml', OPERATED('http://127.0.0.1:9300', { lab: lab.digest, emergency: emergency.digest }));
    await terminal.run('docs/deploy.md', 'useradd --system');
    const got = await terminal.bash(`
curl -sf -H 'X-API-Key: ${lab.key}' http://127.0.0.1:8000/fhir/Patient
curl -s -o refused -H 'X-API-Key: ${lab.key}' http://127.0.0.1:8000/fhir/Observation
curl -s -o refused -H 'X-API-Key: oegw_no' http://127.0.0.1:8000/fhir/Patient
curl -sf -o emergency -H 'X-API-Key: ${emergency.key}' http://127.0.0.1:8000/fhir/Observation?_count=2`);
    patient = JSON.parse(got).entry[0].resource.id;
  }, { timeout: 60_000 });
  after(() => terminal?.close());

  const today = (script) => script.replaceAll(/--since \d{4}-\d\d-\d\d/g, `--since ${new Date(Date.now() - 86_400_000).toISOString().slice(0, 10)}`);

  it('its configuration', WITHIN, async () => {
    assert.match(await terminal.run('docs/deploy.md', 'config check'), /client_id: demo/);
    assert.match(await terminal.run('docs/operation.md', 'config check'), /client_id: demo/);
    assert.match(await terminal.run('docs/configuration.md', 'config schema'), /client_id: demo[^]*"\$schema"[^]*# Configuration/);
    assert.match(await terminal.run('docs/access.md', 'access check'), /allowed|refused|narrowed/);
  });

  it('its state', WITHIN, async () => {
    const url = terminal.here('https://localhost:8443 --ca-file /etc/openemr-gateway/certs/localhost.pem');
    const said = await terminal.run('docs/operation.md', 'openemr-gateway health', (script) => script.replace('https://gateway.example.org:8443', url));
    assert.deepEqual(said.trim().split('\n'), ['ok', 'ready', 'ok']);
    assert.match(await terminal.run('docs/operation.md', 'localhost:8000/ready'), /"ready":true/);
    assert.match(await terminal.run('docs/status-page.md', '/status'), /"ok"/);
    assert.match(await terminal.run('docs/metrics.md', 'log-level'), /"level":"debug"/);
    assert.match(await terminal.run('docs/metrics.md', 'new-key operator'), /api_keys: \["sha256:/);
    assert.match(await terminal.run('docs/check.md', 'check --config conf/gateway.yaml\n'), /patient/i);
    assert.equal(await terminal.run('docs/check.md', '--json'), '');
    assert.match(await terminal.run('docs/runbook.md', 'journalctl'), /"has_token":true/);
    assert.match(await terminal.run('docs/sandbox.md', "curl -s -w '\\n%{http_code}\\n'"), /\n200\n$/);
    await terminal.run('docs/logs.md', 'REASON=queue_full');
    await terminal.run('docs/operation.md', 'journalctl');
  });

  it('its audit trail', WITHIN, async () => {
    const files = () => fs.readdirSync(path.join(terminal.folder, 'state/audit')).filter((file) => file.endsWith('.jsonl'));
    const there = (script) =>
      script
        .replace(/audit-\d{8}T\S+\.jsonl/, `state/audit/${files()[0]}`)
        .replace('--key checkpoint.key.pub', '--key /var/lib/openemr-gateway/audit-checkpoint.key.pub');
    assert.match(await terminal.run('docs/audit.md', 'audit verify', there), /nothing was changed[^]*nothing was changed/);
    await terminal.run('docs/audit.md', 'audit disclosures', (script) => script.replace(/--patient \S+/, `--patient ${patient}`));
    assert.match(fs.readFileSync(path.join(terminal.folder, 'disclosures.csv'), 'utf8'), /The laboratory/);
    const found = await terminal.run('docs/audit.md', 'audit search', today);
    assert.match(found, /"client":"lab"[^]*"outcome":"refused"[^]*1 127\.0\.0\.1/);
    assert.match(await terminal.run('docs/hipaa.md', 'audit search', today), /"client":"emergency"/);
  });

  it('a reload, and an upgrade', WITHIN, async () => {
    const log = () => fs.readFileSync(path.join(terminal.root, 'gateway.log'), 'utf8');
    await terminal.run('docs/operation.md', 'systemctl kill -s HUP');
    await eventually('the configuration is read again', () => /reading the configuration again/.test(log()));
    const before = fs.readFileSync(path.join(terminal.root, 'gateway.pid'), 'utf8');
    await terminal.run('docs/operation.md', 'systemctl reload');
    assert.notEqual(fs.readFileSync(path.join(terminal.root, 'gateway.pid'), 'utf8'), before);
    await terminal.run('docs/deploy.md', 'low-ports.conf');
    assert.ok(fs.existsSync(path.join(terminal.root, 'etc/systemd/system/openemr-gateway.service.d/low-ports.conf')));
  });

  it('a backup, and the drill', WITHIN, async () => {
    assert.match(await terminal.run('docs/deploy.md', '/var/backups/openemr-gateway.tar.gz -C / etc'), /private_key\.pem[^]*audit\//);
    await terminal.run('docs/deploy.md', 'systemctl stop');
    assert.deepEqual(fs.readdirSync(path.join(terminal.root, 'var/lib')), ['openemr-gateway.before']);
    const restored = await terminal.run('docs/deploy.md', 'tar -xzpf');
    assert.match(restored, /nothing was changed[^]*the configuration is good/);
    const read = await terminal.run('docs/deploy.md', '--ready');
    assert.match(read, /^ready\n[^]*"resourceType":"Bundle"/);
    assert.match(await terminal.run('docs/deploy.md', 'audit tail'), /nothing was changed[^]*Patient/);
    assert.deepEqual(fs.readdirSync(path.join(terminal.root, 'var/lib')), ['openemr-gateway']);
    const disclosures = await terminal.bash(`openemr-gateway audit disclosures --config conf/gateway.yaml --patient ${patient} --since 2020-11-29`);
    assert.match(disclosures, /The laboratory/, 'what was recorded before the loss');
  });

  it('the key is replaced', WITHIN, async () => {
    const state = () => terminal.bash('cd /etc/openemr-gateway && openemr-gateway keys status --config gateway.yaml');
    await terminal.bash('cd /etc/openemr-gateway && rm -r keys');
    const enabled = enableNext(admin, path.join(terminal.root, 'etc/openemr-gateway/gateway.yaml'));
    await terminal.run('docs/deploy.md', 'keys generate --out keys --force', (script) => script.replace('--out keys', '--bits 2048 --out keys'));
    await enabled;
    assert.match(await terminal.bash('curl -sf http://127.0.0.1:8000/fhir/Patient?_count=1'), /"Bundle"/);
    const rotated = await terminal.run('docs/operation.md', 'keys rotate', (script) => `cd /etc/openemr-gateway\n${script.replaceAll('conf/gateway.yaml', 'gateway.yaml')}`);
    assert.match(rotated, /published|phase/i);
    assert.match(await state(), /phase/);
  });
});

it('a first set-up, without questions', WITHIN, () =>
  inTerminal([8000, 9300], async (terminal) => {
    const admin = await sandboxIn(terminal, '');
    const enabled = enableNext(admin, path.join(terminal.folder, 'conf/gateway.yaml'));
    const said = await terminal.run('docs/operation.md', 'init --yes', (script) => script.replace('https://emr.example.org', 'http://127.0.0.1:9300'));
    await enabled;
    assert.match(said, /enabled/i);
  }));

it('a registration, and a certificate of its own', WITHIN, () =>
  inTerminal([8000, 9300], async (terminal) => {
    await terminal.bash('openemr-gateway keys generate --bits 2048 --out keys');
    const admin = await sandboxIn(terminal, '--tls');
    const trusted = await terminal.run('docs/openemr.md', 'openssl s_client', (script) => script.replace('emr.example.org:443', '127.0.0.1:9300'));
    assert.match(trusted, /fingerprint=/i);
    terminal.write('conf/gateway.yaml', `sites:
  default:
    openemr: https://127.0.0.1:9300
    ca_file: emr.pem
    private_key: keys/private_key.pem
    jwks: keys/jwks.json
    scopes: [system/Patient.read]
`);
    const enabled = enableNext(admin, path.join(terminal.folder, 'conf/gateway.yaml'));
    assert.match(await terminal.run('docs/openemr.md', 'openemr-gateway register'), /enabled/i);
    await enabled;
  }));

it('the settings of the Python proxy, and an upgrade without systemd', WITHIN, () =>
  inTerminal([8000, 9300], async (terminal) => {
    await terminal.bash('openemr-gateway keys generate --bits 2048 --out keys');
    await sandboxIn(terminal, '--client-id demo --jwks keys/jwks.json');
    terminal.write('.env', 'OEMR_BASE=http://127.0.0.1:9300\nCLIENT_ID=demo\nSCOPE=system/Patient.read\nPRIVATE_KEY_PATH=keys/private_key.pem\nJWKS_PATH=keys/jwks.json\n');
    fs.mkdirSync(path.join(terminal.folder, 'conf'));
    await terminal.run('docs/migration.md', 'import-env');
    const file = path.join(terminal.folder, 'conf/gateway.yaml');
    // Port 8000 can be taken on the machine of the tests.
    fs.appendFileSync(file, terminal.here('\nlisten: [{ address: 127.0.0.1:8000 }]\n'));
    const first = await serving(terminal, async () => {
      await terminal.run('docs/migration.md', '--env-file .env --test', (script) => script.replaceAll('--env-file .env', '--env-file .env --config conf/gateway.yaml'));
      return terminal.started.at(-1);
    });
    await first.stop();
    const old = await serving(terminal, () => terminal.start('openemr-gateway serve --config conf/gateway.yaml'));
    terminal.environment.PID_OF_THE_RUNNING_ONE = String(old.process.pid);
    await terminal.run('docs/operation.md', '--upgrade &', (script) => `${script}\necho "$!" > ../gateway.pid`);
    await eventually('the old process ends', () => old.over);
    assert.match(await terminal.bash('curl -sf http://127.0.0.1:8000/health'), /"valid"/);
  }));

// Waits until what `start` gives serves.
async function serving(terminal, start) {
  const program = await start();
  await terminal.until(program, /listening on http/);
  return program;
}

it('what an engine of containers and a cluster are told', WITHIN, () =>
  inTerminal([8000], async (terminal) => {
    fs.cpSync(path.join(ROOT, 'deploy'), path.join(terminal.folder, 'deploy'), { recursive: true });
    terminal.write('values.yaml', '{}');
    await terminal.bash('openemr-gateway keys generate --bits 2048 --out keys');
    for (const mark of ['docker build', 'compose.demo.yaml up', '--build gateway', 'create namespace', '--out keys-2', 'gateway-admin-key']) {
      await terminal.run('docs/deploy.md', mark);
    }
  }));

it('more rehearsals', WITHIN, () =>
  inTerminal([9300, 9311, 9312, 9321, 9322], async (terminal) => {
    await terminal.bash('openemr-gateway keys generate --bits 2048 --out keys');
    const listen = (script) => script.replace('--tls ', '--tls --listen 127.0.0.1:9300 ');
    await terminal.run('docs/sandbox.md', '--tls --openemr', listen);
    await terminal.run('docs/sandbox.md', '--database db');
    assert.equal(terminal.started.length, 3);
    await Promise.all(terminal.started.map((program) => terminal.until(program, /listening on/)));
    assert.ok(fs.existsSync(path.join(terminal.folder, 'certs/openemr.pem')));
  }));

describe('the recipes of docs/access.md', { timeout: 120_000 }, () => {
  const text = document('docs/access.md');
  let terminal;

  before(async () => {
    terminal = await Terminal.open([8000, 8443, 9300, 9400]);
    await terminal.run('docs/access.md', 'sandbox --client-id', (script) => script.replace('sandbox ', 'sandbox --listen 127.0.0.1:9300 '));
    await terminal.until(terminal.started[0], /listening on/);
  }, { timeout: 60_000 });
  after(() => terminal?.close());

  // Serves the configuration of a recipe, while `act` asks.
  async function served(name, digest, act) {
    const [, configuration] = new RegExp(`\`${name}\\.yaml\`[^\\n]*:\\n\\n\`\`\`yaml\\n(.*?)^\`\`\`$`, 'ms').exec(text) ?? assert.fail(`no ${name}.yaml`);
    const listen = configuration.startsWith('listen:') ? '' : 'listen: [{ address: 127.0.0.1:8000 }]\n';
    terminal.write(`${name}.yaml`, listen + configuration.replace(/(sha256:)?<64 hexadecimal digits>/, (_, prefix) => digest.slice(prefix ? 0 : 7)));
    const gateway = terminal.start(`openemr-gateway serve --config ${name}.yaml`);
    await terminal.until(gateway, /listening on http/);
    await act();
    await gateway.stop();
  }

  it('one Postman user', WITHIN, async () => {
    const said = await terminal.run('docs/access.md', 'new-key jane');
    terminal.environment.KEY = /oegw_\S+/.exec(said)[0];
    await served('jane', /sha256:[0-9a-f]{64}|[0-9a-f]{64}/.exec(said)[0].replace(/^(?!sha256:)/, 'sha256:'), async () => {
      assert.equal(JSON.parse(await terminal.run('docs/access.md', 'Patient?_count=2')).entry.length, 2);
    });
  });

  it('a lab feed', WITHIN, async () => {
    const [, list] = /`lists\/panel\.txt`.*?\n\n```text\n(.*?)^```$/ms.exec(text);
    terminal.write('lists/panel.txt', list);
    const { key, digest } = newKey('lab');
    terminal.environment.KEY = key;
    await served('lab', digest, async () => {
      assert.equal(JSON.parse(await terminal.run('docs/access.md', 'Observation?_count=2')).total, 4);
      assert.match(await terminal.run('docs/access.md', 'access explain --config lab.yaml'), /^narrowed/m);
    });
  });

  it('a research export of one group', WITHIN, async () => {
    await terminal.run('docs/access.md', 'keys generate --out study-keys');
    const script = block('docs/access.md', 'jwt FOLDER CLAIMS');
    terminal.write('jwt.sh', script.script);
    ran.add(script);
    await served('study', '', async () => {
      assert.match(await terminal.run('docs/access.md', 'group=Group/'), /^HTTP\/1\.1 202/);
    });
  });

  it('an app behind an identity provider', WITHIN, async () => {
    await terminal.run('docs/access.md', 'http.server', (script) => script.replace('9400 --bind 127.0.0.1', `${terminal.ports[9400]} --bind 127.0.0.1`));
    await eventually('the keys are served', () => terminal.bash('curl -sf http://127.0.0.1:9400/jwks.json').then(() => true, () => false));
    await served('portal', '', async () => {
      assert.equal(JSON.parse(await terminal.run('docs/access.md', 'patient-portal')).total, 1);
    });
  });

  it('mutual TLS', WITHIN, async () => {
    await terminal.run('docs/access.md', 'monitor.csr');
    await served('monitor', '', async () => {
      assert.equal(JSON.parse(await terminal.run('docs/access.md', '--cert monitor.pem')).entry.length, 1);
    });
  });
});

// The blocks that other tests run: those that they choose by an expression, those of the steps that the rehearsal performs, and so on.
function runElsewhere() {
  const source = (name) => fs.readFileSync(path.join(ROOT, 'tests/clients', name), 'utf8');
  const chosen = [...source('readme.test.mjs').matchAll(/\bexample\('([^']+)', \/(.*?)\/\)/g)].flatMap(([, file, mark]) =>
    BLOCKS.filter((one) => one.file === file && new RegExp(mark).test(one.script)),
  );
  const steps = [...source('rehearsal.test.mjs').matchAll(/\bstep\('([^']+)'\)/g)].map(([, heading]) => heading);
  const manual = document('docs/sandbox.md').split('\n');
  const performed = BLOCKS.filter(({ file, line }) => {
    const heading = manual.slice(0, line).findLast((text) => text.startsWith('### ')) ?? '';
    return file === 'docs/sandbox.md' && steps.some((step) => heading.includes(step)) && !heading.includes('Break it');
  });
  // tests/containers/ runs those of a section.
  const containers = fs.readdirSync(path.join(ROOT, 'tests/containers')).map((name) => path.join('../containers', name)).filter((name) => name.endsWith('.py'));
  const sections = containers.flatMap((name) => [...source(name).matchAll(/\bblocks\("([^"]+)", "sh"\)/g)].map(([, heading]) => heading));
  const deploy = document('docs/deploy.md').split('\n');
  const ofSections = BLOCKS.filter(({ file, line }) => {
    const heading = deploy.slice(0, line).findLast((text) => /^#+ /.test(text)) ?? '';
    return file === 'docs/deploy.md' && sections.includes(heading.replace(/^#+ /, ''));
  });
  const examples = BLOCKS.filter(({ file }) => file === 'docs/clients.md');
  assert.match(source('clients-document.test.mjs'), /sh: \(code\)/);
  return [...chosen, ...performed, ...ofSections, ...examples];
}

it('every block is run, or has a reason why not', () => {
  const elsewhere = runElsewhere();
  const reasons = NOT_RUN.map(([file, mark, why]) => [block(file, mark), why]);
  const excused = reasons.map(([one]) => one);
  assert.ok(BLOCKS.length > 60, `${BLOCKS.length} blocks`);
  const name = ({ file, line, script }) => `${file}:${line}: ${script.split('\n')[0]}`;
  assert.deepEqual(excused.filter((one) => ran.has(one) || elsewhere.includes(one)).map(name), [], 'run after all');
  assert.deepEqual(BLOCKS.filter((one) => !ran.has(one) && !elsewhere.includes(one) && !excused.includes(one)).map(name), []);
});
