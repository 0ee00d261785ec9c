// What the tests share: where the gateways are, asking with a deadline, and what holds of every answer.

import assert from 'node:assert/strict';
import { problems } from './r4.mjs';

function given(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run  node tests/clients/run.js`);
  return value;
}

// The gateways by what is behind them. All have the same people for the same version.
export const GATEWAYS = { demo: given('DEMO'), 8: given('MODERN'), '7.0.3': given('OLD') };
export const DEMO = `${GATEWAYS.demo}/fhir`;
export const TLS = { url: given('MODERN_TLS'), certificate: given('MODERN_CERTIFICATE') };

const HIDDEN = given('HIDDEN_ADDRESSES')
  .split(' ')
  .flatMap((address) => [address, address.replaceAll('/', '\\/'), new URL(address).host]);

// A test that hangs fails within this.
export const WITHIN = { timeout: 120_000 };
const ANSWER_WITHIN = 60_000;

// No answer tells where OpenEMR is, and none passes on its cookies.
export function assertDiscreet(head, body, what) {
  const said = `${head}\n${body}`;
  HIDDEN.forEach((address) => assert.ok(!said.includes(address), `${what} names ${address}: ${around(said, address)}`));
  assert.doesNotMatch(head, /set-cookie/i, what);
}

function around(text, what) {
  const at = text.indexOf(what);
  return text.slice(Math.max(0, at - 80), at + 160);
}

// Asks and reads to the end. `json` is what the body says, if it is JSON.
export async function ask(url, options = {}) {
  const response = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(ANSWER_WITHIN), ...options });
  const text = await response.text();
  const what = `${options.method ?? 'GET'} ${url}`;
  const head = [...response.headers].map((field) => field.join(': ')).join('\n');
  assertDiscreet(head, text, what);
  assert.ok(response.headers.get('x-request-id'), `${what}: X-Request-Id`);
  const json = /\bjson/.test(response.headers.get('content-type') ?? '') && text ? parsed(text, what) : undefined;
  return { status: response.status, headers: response.headers, text, json, what };
}

function parsed(text, what) {
  try {
    return JSON.parse(text);
  } catch (error) {
    assert.fail(`${what}: ${error.message}: ${text.slice(0, 300)}`);
  }
}

export function assertFhirJson({ headers, what }) {
  assert.match(headers.get('content-type') ?? '', /^application\/fhir\+json; *charset=utf-8$/i, what);
}

export function assertValid(resource, what) {
  const found = problems(resource);
  assert.ok(found.length === 0, `${what}: ${found.length} problems:\n${[...new Set(found)].slice(0, 12).join('\n')}`);
}

// An answer of this status that is a resource of R4.
export function resource(answer, status = 200) {
  assert.equal(answer.status, status, `${answer.what}: ${answer.text.slice(0, 600)}`);
  assertFhirJson(answer);
  assertValid(answer.json, answer.what);
  return answer.json;
}

// An error that a FHIR client, and a human, can read.
export function outcome(answer, status) {
  const told = resource(answer, status);
  assert.equal(told.resourceType, 'OperationOutcome', answer.what);
  const issue = told.issue[0];
  assert.match(issue.severity, /^(error|fatal)$/, answer.what);
  assert.ok((issue.diagnostics ?? issue.details?.text ?? '').length > 10, `${answer.what}: no words for a human: ${answer.text}`);
  assert.ok(answer.text.includes(answer.headers.get('x-request-id')), `${answer.what}: no request id: ${answer.text}`);
  assert.doesNotMatch(answer.text, /\.php|OpenEMR\\|#\d+ |Route not found|<html|stack ?trace/i, answer.what);
  return told;
}

// Links by relation; a relation that comes twice is a failure.
export function links(bundle) {
  const found = {};
  for (const { relation, url } of bundle.link ?? []) {
    assert.ok(!(relation in found), `two links ${relation}`);
    found[relation] = url;
  }
  return found;
}

// A page of a search of `type` at the FHIR base, as R4 wants it and as the schema cannot say.
export function searchset(answer, { base, type, count }) {
  const bundle = resource(answer);
  const { what } = answer;
  assert.equal(bundle.resourceType, 'Bundle', what);
  assert.equal(bundle.type, 'searchset', what);
  const related = links(bundle);
  Object.values(related).forEach((url) => assert.ok(url.startsWith(`${base}/${type}`), `${what}: a link to ${url}`));
  assert.ok(related.self, `${what}: no link to itself`);
  const entries = bundle.entry ?? [];
  entries.forEach((entry) => {
    assert.ok(['match', 'include', 'outcome'].includes(entry.search?.mode), `${what}: search.mode of ${entry.fullUrl}`);
    if (entry.search.mode === 'outcome') {
      assert.equal(entry.resource.resourceType, 'OperationOutcome', what);
      return;
    }
    const { resourceType, id } = entry.resource;
    // An OperationDefinition of OpenEMR's has no id.
    assert.equal(entry.fullUrl, id === undefined ? undefined : `${base}/${resourceType}/${id}`, what);
    assert.equal(resourceType === type, entry.search.mode === 'match', `${what}: ${entry.search.mode} ${resourceType}`);
    assert.match(entry.resource.meta?.lastUpdated ?? 'Z', /(Z|[+-]\d\d:\d\d)$/, what);
  });
  const urls = entries.map(({ fullUrl }) => fullUrl).filter(Boolean);
  assert.equal(new Set(urls).size, urls.length, `${what}: an entry twice`);
  const found = matches(bundle);
  assert.ok(count === undefined || found.length <= count, `${what}: ${found.length} matches`);
  assert.ok(bundle.total === undefined || bundle.total >= found.length, `${what}: total ${bundle.total}`);
  return bundle;
}

export function matches(bundle) {
  return (bundle.entry ?? []).filter(({ search }) => search?.mode === 'match').map(({ resource: found }) => found);
}

// A resource without the times that OpenEMR invents at each answer.
export function steady({ meta: { lastUpdated, ...meta } = {}, address, ...others }) {
  const places = [address].flat().filter(Boolean).map(({ period, ...place }) => place);
  return { ...others, meta, places };
}

export function ids(resources) {
  return resources.map(({ id }) => id);
}

// The ids of a whole type, in the order in which it is listed without pages.
export async function whole(base, type) {
  return ids(matches(resource(await ask(`${base}/${type}`))));
}

// Exactly these, each once; the order too, unless it does not matter.
export function assertEachOnce(found, expected, what) {
  assert.equal(new Set(found).size, found.length, `${what}: repeated: ${found.filter((id, at) => found.indexOf(id) !== at).slice(0, 5)}`);
  assert.deepEqual(found, expected, what);
}

// Waits for what `look` finds, until the deadline.
export async function eventually(what, look, within = 60_000, every = 100) {
  const deadline = Date.now() + within;
  for (;;) {
    const found = await look();
    if (found) {
      return found;
    }
    assert.ok(Date.now() < deadline, `not within ${within / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

export const SAMPLE = {
  resourceType: 'Patient',
  name: [{ use: 'official', family: 'Probe', given: ['Ada', 'Q'] }],
  gender: 'female',
  birthDate: '1984-02-29',
};
