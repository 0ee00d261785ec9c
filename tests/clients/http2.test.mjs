// HTTP/2 by Node.js's own client, over TLS with ALPN, as a browser or a Java client would speak it.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import zlib from 'node:zlib';
import { after, before, it } from 'node:test';
import { SAMPLE, TLS, WITHIN, assertDiscreet, assertEachOnce, assertValid, ids, links, matches } from './support.mjs';

const ca = fs.readFileSync(TLS.certificate);
const base = `${TLS.url}/fhir`;
let session;

before(async () => {
  session = http2.connect(TLS.url, { ca });
  await new Promise((resolve, reject) => {
    session.once('connect', resolve);
    session.once('error', reject);
  });
});

after(() => session?.close());

function ask(path, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': method, ':path': path, ...headers });
    const chunks = [];
    let head;
    stream.setTimeout(60_000, () => stream.close(http2.constants.NGHTTP2_CANCEL));
    stream.on('response', (found) => (head = found));
    stream.on('data', (chunk) => chunks.push(chunk));
    stream.on('error', reject);
    stream.on('close', () => (head && stream.rstCode === 0 ? resolve({ head, body: Buffer.concat(chunks) }) : reject(new Error(`${path}: reset ${stream.rstCode}`))));
    stream.end(body);
  });
}

async function json(path, options) {
  const { head, body } = await ask(path, options);
  assertDiscreet(JSON.stringify(head), body.toString(), path);
  return { head, json: JSON.parse(body) };
}

const fhir = (url) => url.replace(TLS.url, '');

it('is agreed on by ALPN; HTTP/1.1 stays for the others', WITHIN, async () => {
  assert.equal(session.alpnProtocol, 'h2');
  const status = await new Promise((resolve, reject) => {
    https.get(`${base}/metadata`, { ca, ALPNProtocols: ['http/1.1'] }, (response) => {
      response.resume();
      response.on('end', () => resolve(`${response.httpVersion} ${response.statusCode}`));
    }).on('error', reject);
  });
  assert.equal(status, '1.1 200');
});

it('pages through all, by links that say https', WITHIN, async () => {
  const everyone = ids(matches((await json('/fhir/Patient')).json));
  const found = [];
  let path = '/fhir/Patient?_count=7';
  while (path) {
    const { json: page } = await json(path);
    assertValid(page, path);
    Object.values(links(page)).forEach((url) => assert.ok(url.startsWith(`${base}/Patient`), url));
    page.entry.forEach(({ fullUrl, resource }) => assert.equal(fullUrl, `${base}/Patient/${resource.id}`));
    found.push(...ids(matches(page)));
    path = links(page).next && fhir(links(page).next);
  }
  assertEachOnce(found, everyone, 'Patient');
});

it('many requests at once on one connection', WITHIN, async () => {
  const { json: bundle } = await json('/fhir/Patient?_count=50');
  const asked = ids(matches(bundle));
  const answers = await Promise.all(asked.map((id) => json(`/fhir/Patient/${id}`)));
  assert.deepEqual(answers.map(({ json: patient }) => patient.id), asked);
});

it('HEAD, POST and errors', WITHIN, async () => {
  const { head, body } = await ask('/fhir/Patient?_count=1', { method: 'HEAD' });
  assert.equal(head[':status'], 200);
  assert.equal(body.length, 0);
  const headers = { 'content-type': 'application/fhir+json', prefer: 'return=representation' };
  const created = await json('/fhir/Patient', { method: 'POST', headers, body: JSON.stringify(SAMPLE) });
  assert.equal(created.head[':status'], 201);
  assert.equal((await json(fhir(created.head.location))).json.id, created.json.id);
  const missing = await json('/fhir/Patient/00000000-0000-4000-8000-000000000000');
  assert.equal(missing.head[':status'], 404);
  assert.equal(missing.json.resourceType, 'OperationOutcome');
});

it('a large answer travels compressed', WITHIN, async () => {
  const plain = await ask('/fhir/Observation');
  assert.equal(plain.head['content-encoding'], undefined);
  const codings = { gzip: zlib.gunzipSync, br: zlib.brotliDecompressSync };
  for (const [coding, decode] of Object.entries(codings)) {
    const { head, body } = await ask('/fhir/Observation', { headers: { 'accept-encoding': coding } });
    assert.equal(head['content-encoding'], coding);
    assert.match(head.vary, /accept-encoding/i);
    assert.ok(body.length * 8 < plain.body.length, `${coding}: ${body.length} of ${plain.body.length}`);
    assert.deepEqual(ids(matches(JSON.parse(decode(body)))), ids(matches(JSON.parse(plain.body))));
  }
});
