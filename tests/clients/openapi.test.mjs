// docs/openapi.yaml, docs/openapi-admin.yaml and docs/endpoints.md: no route and no answer of the gateway is missing there, and
// every answer that they list is got from a running gateway, and is as described.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { ROOT, document } from './documents.mjs';
import { Gateways, run } from './gateways.mjs';
import { Description, send } from './openapi.mjs';
import { WITHIN, eventually } from './support.mjs';

const CLIENTS = new Description('docs/openapi.yaml');
const ADMIN = new Description('docs/openapi-admin.yaml');

// Answers that are listed and not provoked here, and why.
const NOT_PROVOKED = {
  'POST /oauth/token 503': 'for a moment at the start and at the end of the process',
  'POST /reload 409': 'only before the process has set itself up',
  'POST /drain 409': 'only before the process has set itself up',
};

for (const description of [CLIENTS, ADMIN]) {
  it(`${description.file} is an OpenAPI document`, async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(description.document));
    assert.ok(valid, JSON.stringify(errors, null, 1));
    description.checkReferences();
    const [, version] = /^version = "(.*)"$/m.exec(fs.readFileSync(path.join(ROOT, 'Cargo.toml'), 'utf8'));
    assert.equal(description.document.info.version, version);
    const ids = Object.values(description.document.paths).flatMap((item) => Object.values(item).map(({ operationId }) => operationId)).filter(Boolean);
    assert.equal(new Set(ids).size, description.operations().length, 'an operationId each');
  });
}

it('every route of the gateway is described', () => {
  const targets = (description) => Object.keys(description.document.paths);
  const routes = JSON.parse(run(['config', 'schema'])).properties.routes;
  const { fhir, ...local } = Object.fromEntries(Object.entries(resolved(routes).properties).map(([name, route]) => [name, route.default]));
  assert.deepEqual(Object.values(local).filter((route) => !targets(CLIENTS).includes(route)), [], 'routes of the configuration');
  const source = (file) => fs.readFileSync(path.join(ROOT, file), 'utf8').split('#[cfg(test)]')[0];
  const variants = /enum LocalRoute \{(.*?)\n\}/s.exec(source('src/gateway/destination.rs'))[1].match(/^ {4}[A-Z]\w+/gm);
  assert.equal(variants.length, Object.keys(local).length, `local routes: ${variants}`);
  const kinds = /enum FhirKind \{(.*?)\n\}/s.exec(source('src/gateway/destination.rs'))[1].match(/^ {4}([A-Z]\w+)/gm).map((kind) => kind.trim());
  assert.deepEqual(kinds, ['Export', 'Capabilities', 'SmartConfiguration', 'Proxied'], 'FHIR routes that the gateway answers');
  const exports = source('src/gateway/export_paths.rs').match(/"bulkdata-[a-z]+/g).map((name) => `${fhir}/$${name.slice(1)}`);
  assert.ok(exports.length > 2);
  assert.deepEqual(exports.filter((route) => !targets(CLIENTS).some((target) => target.startsWith(route))), []);
  const admin = [...new Set(source('src/admin/route.rs').match(/"\/[a-z-]*"/g).map((route) => route.slice(1, -1)))].sort();
  assert.deepEqual(targets(ADMIN).sort(), admin, 'routes of the admin listener');
});

// A schema of the configuration, or the one that it refers to.
function resolved(schema) {
  const { $ref } = schema.allOf?.[0] ?? schema;
  return $ref ? $ref.replace(/^#\//, '').split('/').reduce((from, part) => from[part], JSON.parse(run(['config', 'schema']))) : schema;
}

it('docs/endpoints.md lists the same routes, with the same answers', () => {
  const [clients, admin] = [CLIENTS, ADMIN].map((description) =>
    description.operations().map(({ name, servers, responses }) => [
      `${name}${servers.length > 1 ? ' *' : ''}`,
      Object.keys(responses).filter((status) => status !== 'default').sort().join(', '),
    ]),
  );
  const rows = [...document('docs/endpoints.md').matchAll(/^\| `([A-Z]+ [^`]+)`( \*)? \| [^|]+ \| ([\d, ]+) \|$/gm)];
  const listed = rows.map(([, name, each, statuses]) => [`${name}${each ?? ''}`, statuses]);
  assert.ok(listed.length > 20, `${listed.length} routes`);
  assert.deepEqual(listed.sort(), [...clients, ...admin].sort());
});

describe('answers', { timeout: 120_000 }, () => {
  const seen = new Set();
  let at;
  let job;

  before(async () => {
    at = await Gateways.start();
  }, { timeout: 90_000 });
  after(() => at?.stop());

  // Asks a gateway, and compares the answer with its description.
  async function expect(description, base, name, status, request = {}) {
    const operation = description.operations().find((one) => one.name === name);
    assert.ok(operation, `${description.file} has no ${name}`);
    const described = operation.responses[status];
    assert.ok(described, `${name} has no ${status}`);
    const answer = await send(base, { method: operation.method, target: operation.target, ...request });
    const what = `${request.method ?? operation.method} ${request.target ?? operation.target} at ${base}`;
    assert.equal(answer.status, Number(status), `${what}: ${answer.text.slice(0, 300)}`);
    assert.deepEqual(description.problems(described, answer), [], `${what} ${status}`);
    if (status === '405') {
      const methods = description.operations().filter(({ target }) => target === operation.target).map(({ method }) => method);
      const allowed = answer.headers.allow.split(', ').filter((method) => method !== 'HEAD' || !methods.includes('GET')).sort();
      assert.deepEqual(allowed, methods.sort(), `${what}: Allow`);
    }
    seen.add(`${name} ${status}`);
    return answer;
  }

  const client = (gateway, name, status, request) => expect(CLIENTS, at[gateway].url, name, status, request);
  const admin = (gateway, name, status, request) => expect(ADMIN, at[gateway].admin, name, status, request);

  it('health and readiness', WITHIN, async () => {
    for (const gateway of ['open', 'guarded', 'down']) {
      await client(gateway, 'GET /health', '200');
    }
    await client('open', 'GET /ready', '200');
    await client('down', 'GET /ready', '503');
    await client('open', 'GET /health', '405', { method: 'POST' });
    await client('open', 'GET /ready', '405', { method: 'DELETE' });
  });

  it('keys and tokens', WITHIN, async () => {
    for (const prefix of ['', '/clinic']) {
      await client('open', 'GET /.well-known/jwks.json', '200', { target: `${prefix}/.well-known/jwks.json` });
    }
    await client('open', 'GET /.well-known/jwks.json', '405', { method: 'POST' });
    const name = 'POST /oauth/token';
    assert.match((await client('open', name, '200')).text, /"access_token":/);
    assert.match((await client('open', name, '200', { headers: { 'x-forwarded-for': '10.0.0.1' } })).text, /sha256_prefix/);
    await client('open', name, '200', { target: '/oauth/token?site=clinic&force=true' });
    await client('open', name, '400', { target: '/oauth/token?force=perhaps' });
    await client('guarded', name, '401');
    await client('guarded', name, '403', { target: '/oauth/token?force=true', headers: at.key('reader') });
    await client('open', name, '404', { target: '/oauth/token?site=nowhere' });
    await client('open', name, '405', { method: 'GET' });
    await client('down', name, '502', { target: '/oauth/token?force=true' });
    await eventually('no more refreshes', async () => (await send(at.open.url, { method: 'POST', target: '/oauth/token?force=true' })).status === 429);
    await client('open', name, '429', { target: '/oauth/token?force=true' });
  });

  it('the token endpoint for clients', WITHIN, async () => {
    const name = 'POST /auth/token';
    const form = (values) => ({ headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams(values).toString() });
    const asked = (of, changed = {}) =>
      form({
        grant_type: 'client_credentials',
        scope: 'system/Patient.rs',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion(at.folder, of, `${at.guarded.url}/auth/token`),
        ...changed,
      });
    await client('guarded', name, '200', asked('kit'));
    await client('guarded', name, '400');
    await client('guarded', name, '400', asked('kit', { grant_type: 'password' }));
    await client('guarded', name, '400', asked('kit', { scope: 'system/Nothing.rs' }));
    await client('guarded', name, '401', asked('kit', { client_assertion: 'no.jwt.here' }));
    await client('guarded', name, '403', asked('elsewhere'));
    await client('open', name, '404', asked('kit'));
    await client('guarded', name, '405', { method: 'GET' });
    await client('guarded', name, '413', form({ scope: 'x'.repeat(33_000) }));
    await client('guarded', name, '503', asked('remote'));
  });

  it('documents', WITHIN, async () => {
    for (const [document, gateway] of [['metadata', 'open'], ['.well-known/smart-configuration', 'guarded'], ['.well-known/smart-configuration', 'open']]) {
      const name = `GET /fhir/${document}`;
      const { headers } = await client(gateway, name, '200');
      await client(gateway, name, '304', { headers: { 'if-none-match': headers.etag } });
    }
    await client('open', 'GET /fhir/metadata', '200', { target: '/clinic/fhir/metadata' });
    await client('down', 'GET /fhir/metadata', '503');
  });

  const LEVELS = ['/fhir/$export', '/fhir/Patient/$export', '/fhir/Group/{id}/$export'];
  const prefer = { prefer: 'respond-async' };
  // A kick-off of Patients alone; of a Group where the level is one.
  const kickOff = (target, headers = {}, more = {}) => ({ target: `${target.replace('{id}', at.group)}?_type=Patient`, headers: { ...prefer, ...headers }, ...more });

  it('a kick-off', WITHIN, async () => {
    const json = { 'content-type': 'application/fhir+json' };
    const body = JSON.stringify({ resourceType: 'Parameters', parameter: [] });
    for (const target of LEVELS) {
      const [get, post] = [`GET ${target}`, `POST ${target}`];
      for (const [name, more] of [[get, {}], [post, { headers: json, body }]]) {
        const { headers } = await client('open', name, '202', kickOff(target, more.headers, { body: more.body }));
        await send(at.open.url, { method: 'DELETE', target: headers['content-location'].slice(at.open.url.length) });
        await client('open', name, '400', { ...kickOff(target), headers: {} });
        await client('open', name, '400', { ...kickOff(target), target: `${target.replace('{id}', at.group)}?_type=Nonsense` });
        await client('guarded', name, '401', kickOff(target));
        await client('guarded', name, '403', kickOff(target, at.key('reader')));
        await client('open', name, '403', kickOff(`/clinic${target}`));
        await client('open', name, '405', { ...kickOff(target), method: 'DELETE' });
        await client('open', name, '406', kickOff(target, { accept: 'application/fhir+xml' }));
        await client('open', name, '413', kickOff(target, json, { body: 'x'.repeat(66_000) }));
        await client('open', name, '415', kickOff(target, { 'content-type': 'text/plain' }, { body: 'x' }));
        await client('down', name, '503', kickOff(target));
      }
    }
  });

  it('an export from its beginning to its end', WITHIN, async () => {
    await at.tell({ export: { type_takes_ms: 1_500 } });
    const begun = await client('open', 'GET /fhir/$export', '202', kickOff('/fhir/$export'));
    const status = begun.headers['content-location'].slice(at.open.url.length);
    await client('open', 'GET /fhir/$bulkdata-status', '202', { target: status });
    await eventually('the export ends', async () => (await send(at.open.url, { target: status })).status === 200);
    const manifest = JSON.parse((await client('open', 'GET /fhir/$bulkdata-status', '200', { target: status })).text);
    job = new URL(begun.headers['content-location']).searchParams.get('job');
    const file = new URL(manifest.output[0].url).pathname;
    const name = 'GET /fhir/$bulkdata-file/{job}/{name}';
    assert.match((await client('open', name, '200', { target: file })).text, /"resourceType":"Patient"/);
    await client('open', name, '404', { target: file.replace('Patient-', 'Goal-') });
    await client('open', name, '405', { target: file, method: 'PUT' });
    await client('guarded', name, '401', { target: file });
    await at.tell({ fhir: { answer: { status: 200, body: 'what?', content_type: 'text/plain' } } });
    await client('open', name, '502', { target: file });
    await at.tell({ fhir: { answer: { status: 503 } } });
    await client('open', name, '503', { target: file });
    await at.tell({ fhir: null, export: {} });
    const errors = `/fhir/$bulkdata-errors?job=${job}`;
    await client('open', 'GET /fhir/$bulkdata-errors', '200', { target: errors });
    for (const [one, target] of [['GET /fhir/$bulkdata-status', status], ['GET /fhir/$bulkdata-errors', errors], ['DELETE /fhir/$bulkdata-status', status]]) {
      await client('guarded', one, '401', { target });
      await client('guarded', one, '404', { target, headers: at.key('reader') });
      await client('open', one, '405', { target, method: 'POST' });
    }
    await client('open', 'DELETE /fhir/$bulkdata-status', '202', { target: status });
    await client('open', 'GET /fhir/$bulkdata-status', '404', { target: status });
  });

  it('an export whose client may have none any more', WITHIN, async () => {
    const begun = await client('guarded', 'GET /fhir/Patient/$export', '202', kickOff('/fhir/Patient/$export', at.key('fetcher')));
    const status = begun.headers['content-location'].slice(at.guarded.url.length);
    const asked = { target: status, headers: at.key('fetcher') };
    await eventually('the export ends', async () => (await send(at.guarded.url, asked)).status === 200);
    const { output } = JSON.parse((await send(at.guarded.url, asked)).text);
    at.takeExportsAway();
    await eventually('the policy is another one', async () => (await send(at.guarded.url, asked)).status === 403);
    const file = new URL(output[0].url).pathname;
    for (const [name, target] of [
      ['GET /fhir/$bulkdata-status', status],
      ['GET /fhir/$bulkdata-errors', status.replace('status', 'errors')],
      ['GET /fhir/$bulkdata-file/{job}/{name}', file],
      ['DELETE /fhir/$bulkdata-status', status],
    ]) {
      await client('guarded', name, '403', { target, headers: at.key('fetcher') });
    }
  });

  it('too many requests', WITHIN, async () => {
    await send(at.slow.url, { target: '/health' });
    await send(at.slow.url, { target: '/fhir/Patient' });
    for (const { name, responses } of CLIENTS.operations()) {
      if (responses['429']) {
        await client('slow', name, '429');
      }
    }
  });

  it('exports in a store that is away', WITHIN, async () => {
    const job = crypto.randomUUID();
    for (const [name, target] of [
      ['GET /fhir/$bulkdata-status', `/fhir/$bulkdata-status?job=${job}`],
      ['DELETE /fhir/$bulkdata-status', `/fhir/$bulkdata-status?job=${job}`],
      ['GET /fhir/$bulkdata-errors', `/fhir/$bulkdata-errors?job=${job}`],
      ['GET /fhir/$bulkdata-file/{job}/{name}', `/fhir/$bulkdata-file/${job}/Patient-1.ndjson`],
    ]) {
      await client('down', name, '503', { target });
    }
  });

  it('exports without a folder', WITHIN, async () => {
    at.spoilFolder();
    const target = `?job=${job}`;
    for (const level of LEVELS) {
      await client('open', `GET ${level}`, '500', kickOff(level));
      await client('open', `POST ${level}`, '500', kickOff(level));
    }
    await client('open', 'GET /fhir/$bulkdata-status', '500', { target: `/fhir/$bulkdata-status${target}` });
    await client('open', 'GET /fhir/$bulkdata-errors', '500', { target: `/fhir/$bulkdata-errors${target}` });
    await client('open', 'DELETE /fhir/$bulkdata-status', '500', { target: `/fhir/$bulkdata-status${target}` });
    await client('open', 'GET /fhir/$bulkdata-file/{job}/{name}', '500', { target: `/fhir/$bulkdata-file/${job}/Patient-1.ndjson` });
  });

  it('what is refused on every route', WITHIN, async () => {
    const rows = /## Answers of every route\n(.*?)\n## /s.exec(document('docs/endpoints.md'))[1];
    const listed = [...rows.matchAll(/^\| (\d{3}) \|/gm)].map(([, status]) => status);
    const target = '/health';
    const stranger = { from: '127.0.0.3', headers: { 'x-forwarded-for': '203.0.113.9' } };
    const asked = {
      400: { target, headers: { host: 'a@b' } },
      403: { target, ...stranger },
      404: { target: '/nothing' },
      405: { target, method: 'TRACE' },
      413: { target: '/auth/token', method: 'POST', headers: { 'content-length': String(2 ** 40) } },
      414: { target: `${target}?${'a'.repeat(60_000)}` },
      421: { target, headers: { host: 'evil.example' } },
      431: { target, headers: { 'x-long': 'a'.repeat(70_000) } },
      501: { target, method: 'PROPFIND' },
    };
    const refused = CLIENTS.at({ $ref: '#/components/responses/Refused' });
    for (const [status, request] of Object.entries(asked)) {
      const answer = await send(at.open.url, { ...request, first: true });
      answer.close();
      assert.equal(answer.status, Number(status), answer.text);
      assert.deepEqual(CLIENTS.problems(refused, answer), [], status);
    }
    const raw = {
      408: await exchange(at.open.url, 'GET /health HTTP/1.1\r\nHost: localhost\r\n'),
      505: await exchange(at.open.url, 'GET /health HTTP/3.0\r\nHost: localhost\r\n\r\n'),
    };
    for (const [status, text] of Object.entries(raw)) {
      const [head, body] = text.split('\r\n\r\n');
      assert.match(head, new RegExp(`^HTTP/1.1 ${status} `), text);
      const headers = { 'content-type': /content-type: (.*)/i.exec(head)[1].trim() };
      assert.deepEqual(CLIENTS.problems(refused, { headers, text: body }), [], status);
    }
    assert.deepEqual(listed.sort(), [...Object.keys(asked), ...Object.keys(raw)].sort());
    assert.ok(listed.every((status) => status === '404' || refused.description.includes(status)), refused.description);
  });

  it('the admin listener', WITHIN, async () => {
    const command = { 'x-admin': '1' };
    for (const { name, method, responses } of ADMIN.operations()) {
      const other = { method: 'PATCH', headers: command };
      await admin('open', name, '405', other);
      const is = (status) => responses[status] !== undefined;
      if (is('401')) {
        await admin('guarded', name, '401');
        await admin('open', name, '403', { headers: { ...command, origin: 'https://evil.example' } });
        await admin('open', name, '421', { headers: { ...command, host: 'evil.example' } });
      }
      if (is('413')) {
        await admin('open', name, '413', { headers: command, body: 'x'.repeat(2_000) });
      }
      if (method === 'GET') {
        const answer = await admin('open', name, '200', { first: name === 'GET /events' });
        answer.close();
        if (name !== 'GET /') {
          (await admin('guarded', name, '200', { headers: at.key('operator'), first: name === 'GET /events' })).close();
        }
      } else {
        assert.equal((await send(at.open.admin, { method, target: name.split(' ')[1] })).status, 403, `${name} without X-Admin`);
      }
    }
    await admin('open', 'GET /metrics', '200', { headers: { accept: 'application/openmetrics-text' } });
    for (const name of ['GET /health', 'GET /status']) {
      await admin('down', name, '200');
    }
    await admin('down', 'GET /ready', '503');
    await admin('open', 'PUT /log-level', '400', { headers: command, body: 'loud' });
    await admin('open', 'PUT /log-level', '200', { headers: command, body: 'info' });
    await admin('guarded', 'POST /refresh', '200', { headers: at.key('operator') });
    await admin('open', 'POST /refresh', '404', { headers: command, target: '/refresh?site=nowhere' });
    await admin('down', 'POST /refresh', '502', { headers: command });
    // The test of `POST /oauth/token` has used up what there was.
    await admin('open', 'POST /refresh', '429', { headers: command });
    await admin('open', 'POST /reload', '202', { headers: command });
    const streams = [];
    for (let n = 0; n < 8; n += 1) {
      streams.push(await send(at.open.admin, { target: '/events', first: true }));
    }
    await admin('open', 'GET /events', '503');
    streams.forEach((stream) => stream.close());
    const nothing = await send(at.open.admin, { target: '/nothing' });
    assert.equal(nothing.status, 404);
    assert.deepEqual(ADMIN.problems(ADMIN.at({ $ref: '#/components/responses/Refused' }), nothing), []);
    await admin('slow', 'POST /drain', '202', { headers: command });
  });

  it('no answer is listed that was not seen', () => {
    const listed = [CLIENTS, ADMIN].flatMap((description) =>
      description.operations().flatMap(({ name, responses }) => Object.keys(responses).filter((status) => status !== 'default').map((status) => `${name} ${status}`)),
    );
    assert.deepEqual(listed.filter((one) => !seen.has(one)).sort(), Object.keys(NOT_PROVOKED).sort());
  });
});

// A signed assertion of a client, good once.
function assertion(folder, name, audience) {
  const read = (file) => fs.readFileSync(path.join(folder, 'kit', file), 'utf8');
  const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const { kid } = JSON.parse(read('jwks.json')).keys[0];
  const claims = { iss: name, sub: name, aud: audience, exp: Math.floor(Date.now() / 1_000) + 240, jti: crypto.randomUUID() };
  const signed = `${base64url({ alg: 'ES384', typ: 'JWT', kid })}.${base64url(claims)}`;
  const signature = crypto.sign('sha384', Buffer.from(signed), { key: read('private_key.pem'), dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}

// Sends bytes, and reads until the gateway closes the connection.
function exchange(base, bytes) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(base);
    const socket = net.connect({ host: hostname, port: Number(port) }, () => socket.write(bytes));
    let text = '';
    socket.setEncoding('utf8');
    socket.setTimeout(30_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (piece) => (text += piece));
    socket.on('close', () => resolve(text));
    socket.on('error', reject);
  });
}
