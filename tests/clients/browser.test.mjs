// What a browser does before a web page of another origin may read an answer, and after.

import assert from 'node:assert/strict';
import http from 'node:http';
import { describe, it } from 'node:test';
import { GATEWAYS, WITHIN } from './support.mjs';

// As configured in installation.js.
const APP = 'https://app.example.org';
const STRANGER = 'https://stranger.example';
const EXPOSED = ['etag', 'location', 'content-location', 'x-request-id'];

// fetch() keeps Origin and the Access-Control-Request-* fields to itself.
function ask(url, method, headers) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, headers, agent: false, timeout: 30_000 }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error(`${url} hangs`)));
    request.on('error', reject);
    request.end();
  });
}

const words = (field) => (field ?? '').toLowerCase().split(/ *, */);

// A browser's preflight: may this page send this?
async function mayI(url, origin, method, fields) {
  const answer = await ask(url, 'OPTIONS', {
    origin,
    'access-control-request-method': method,
    ...(fields.length > 0 && { 'access-control-request-headers': fields.join(',') }),
  });
  assert.equal(answer.headers['access-control-allow-credentials'], undefined);
  return (
    answer.status >= 200 &&
    answer.status < 300 &&
    answer.headers['access-control-allow-origin'] === origin &&
    (method === 'GET' || words(answer.headers['access-control-allow-methods']).includes(method.toLowerCase())) &&
    fields.every((field) => words(answer.headers['access-control-allow-headers']).includes(field))
  );
}

for (const name of ['8', '7.0.3']) {
  const base = `${GATEWAYS[name]}/fhir`;

  describe(`web pages, OpenEMR ${name} behind`, () => {
    it('a configured origin may', WITHIN, async () => {
      assert.ok(await mayI(`${base}/Patient?_count=1`, APP, 'GET', []));
      assert.ok(await mayI(`${base}/Patient`, APP, 'POST', ['content-type', 'prefer']));
      assert.ok(await mayI(`${base}/Patient/1`, APP, 'PUT', ['content-type', 'if-match']));
      assert.ok(await mayI(`${base}/metadata`, APP, 'GET', ['accept', 'if-none-match']));
    });

    it('nobody else may', WITHIN, async () => {
      for (const origin of [STRANGER, 'null', `${APP}.evil.example`, 'http://app.example.org']) {
        assert.equal(await mayI(`${base}/Patient`, origin, 'GET', []), false, origin);
        const answer = await ask(`${base}/Patient?_count=1`, 'GET', { origin });
        assert.equal(answer.headers['access-control-allow-origin'], undefined, origin);
      }
    });

    it('what it may read of an answer, errors included', WITHIN, async () => {
      for (const path of ['Patient?_count=1', 'metadata', 'Patient/00000000-0000-4000-8000-000000000000', 'Nonsense']) {
        const answer = await ask(`${base}/${path}`, 'GET', { origin: APP });
        assert.equal(answer.headers['access-control-allow-origin'], APP, path);
        assert.ok(words(answer.headers.vary).includes('origin'), path);
        EXPOSED.forEach((field) => assert.ok(words(answer.headers['access-control-expose-headers']).includes(field), `${path}: ${field}`));
      }
    });
  });
}
