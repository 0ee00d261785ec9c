// A sandbox of one's own, asked directly, as no client of the gateway can: what it writes is what OpenEMR writes.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

const { Program } = createRequire(import.meta.url)('../../scripts/demo.js');

const CLIENT_ID = 'judge';
const ANSWER_WITHIN = 60_000;

const base64url = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

// A signed assertion, good for one token.
function assertion(privateKey, audience) {
  const now = Math.floor(Date.now() / 1_000);
  const head = { alg: 'RS384', typ: 'JWT', kid: 'one' };
  const claims = { iss: CLIENT_ID, sub: CLIENT_ID, aud: audience, iat: now, exp: now + 240, jti: crypto.randomUUID() };
  const signed = `${base64url(head)}.${base64url(claims)}`;
  return `${signed}.${crypto.sign('sha384', Buffer.from(signed), privateKey).toString('base64url')}`;
}

// Starts a sandbox of this OpenEMR; `stop` it at the end.
export async function startSandbox(openemr, ...options) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'judge-'));
  const { publicKey, privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwks = path.join(folder, 'jwks.json');
  fs.writeFileSync(jwks, JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'RS384', use: 'sig' }] }));
  const program = new Program(process.env.GATEWAY, [
    'sandbox', '--listen', '127.0.0.1:0', '--openemr', openemr, '--patients', '40', '--client-id', CLIENT_ID, '--jwks', jwks, ...options,
  ]);
  const base = await program.until(({ output }) => /listening on (\S+)/.exec(output)?.[1]);
  assert.ok(base, `the sandbox ${openemr} does not come up; it said:\n${program.output}`);
  const fetched = async (target, init) => {
    const answer = await fetch(`${base}${target}`, { signal: AbortSignal.timeout(ANSWER_WITHIN), ...init });
    assert.equal(answer.status, 200, target);
    return answer.json();
  };
  const known = (await fetched('/oauth2/default/.well-known/openid-configuration')).scopes_supported;
  const readable = known.filter((scope) => /^system\/[A-Z][A-Za-z]+\.read$/.test(scope));
  const newer = known.filter((scope) => /^system\/[A-Z][A-Za-z]+\.rs$/.test(scope) && !readable.includes(scope.replace(/rs$/, 'read')));
  const { access_token: token } = await fetched('/oauth2/default/token', {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion(privateKey, `${base}/oauth2/default/token`),
      scope: [...readable, ...newer].join(' '),
    }),
  });
  const fhir = (target) => fetched(`/apis/default/fhir/${target}`, { headers: { authorization: `Bearer ${token}` } });
  return {
    fhir,
    // The types that it offers a search of; Provenance takes a minute without an id.
    async types() {
      const { rest: [{ resource }] } = await fhir('metadata');
      return resource
        .filter(({ type, interaction }) => !['Provenance', 'OperationDefinition'].includes(type) && interaction.some(({ code }) => code === 'search-type'))
        .map(({ type }) => type);
    },
    async all(type) {
      const found = [];
      for (let target = type; target; ) {
        const { entry = [], link = [] } = await fhir(target);
        found.push(...entry.map(({ resource }) => resource));
        target = link.find(({ relation }) => relation === 'next')?.url.split('/fhir/')[1];
      }
      return found;
    },
    async stop() {
      await program.stop();
      fs.rmSync(folder, { recursive: true, force: true });
    },
  };
}
