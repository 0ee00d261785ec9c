// SMART Backend Services by three packages of npm: fhir-kit-client finds the token endpoint, openid-client authenticates with
// private_key_jwt (ES384), and @medplum/core exports and downloads with the access token.

import assert from 'node:assert/strict';
import { createPrivateKey, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { MedplumClient } from '@medplum/core';
import { Client } from 'fhir-kit-client';
import { WITHIN, ask, ids, outcome } from './support.mjs';

// Node.js 18 has it, under no global name.
globalThis.crypto ??= webcrypto;
const openid = await import('openid-client');

const { SMART, SMART_HOLDS, SMART_KEYS } = process.env;
const held = JSON.parse(SMART_HOLDS);
const base = `${SMART}/fhir`;
const NAME = 'kit';

async function privateKey() {
  const pem = readFileSync(`${SMART_KEYS}/${NAME}/private_key.pem`);
  const pkcs8 = createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });
  const key = await crypto.subtle.importKey('pkcs8', pkcs8, { name: 'ECDSA', namedCurve: 'P-384' }, false, ['sign']);
  const { kid } = JSON.parse(readFileSync(`${SMART_KEYS}/${NAME}/jwks.json`, 'utf8')).keys[0];
  return { key, kid };
}

// Discovery, and a token for these scopes.
async function token(scope) {
  const { tokenUrl } = await new Client({ baseUrl: base }).smartAuthMetadata();
  const endpoint = String(tokenUrl);
  assert.equal(endpoint, `${SMART}/auth/token`);
  const server = { issuer: endpoint, token_endpoint: endpoint };
  const config = new openid.Configuration(server, NAME, {}, openid.PrivateKeyJwt(await privateKey()));
  openid.allowInsecureRequests(config);
  return openid.clientCredentialsGrant(config, { scope });
}

it('discovery, token, export and download', WITHIN, async () => {
  const given = await token('system/Patient.rs system/Condition.read');
  assert.deepEqual([given.token_type, given.expires_in, given.scope], ['bearer', 300, 'system/Patient.rs system/Condition.read']);
  const medplum = new MedplumClient({ baseUrl: `${SMART}/`, fhirUrlPath: 'fhir', fetch, accessToken: given.access_token });
  const manifest = await medplum.bulkExport('', 'Patient,Condition', undefined, { pollStatusOnAccepted: true, pollStatusPeriod: 200 });
  assert.deepEqual(manifest.output.map(({ type }) => type).sort(), ['Condition', 'Patient']);
  for (const { type, url } of manifest.output) {
    const lines = (await (await medplum.download(url)).text()).split('\n').filter(Boolean);
    assert.deepEqual(ids(lines.map((line) => JSON.parse(line))).sort(), held[type], type);
  }
});

it('a token has the scopes that were asked for, and no more', WITHIN, async () => {
  const { access_token: access } = await token('system/Patient.rs');
  const headers = { authorization: `Bearer ${access}` };
  assert.equal((await ask(`${base}/Patient?_count=1`, { headers })).status, 200);
  outcome(await ask(`${base}/Condition?_count=1`, { headers }), 403);
  outcome(await ask(`${base}/Patient?_count=1`), 401);
});
