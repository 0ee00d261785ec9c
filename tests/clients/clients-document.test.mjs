// docs/clients.md: its examples are run as they stand there, against the demo, and against a gateway whose clients authenticate.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { document } from './documents.mjs';
import { DEMO, GATEWAYS, WITHIN, whole } from './support.mjs';

const { SMART, SMART_API_KEY, SMART_HOLDS, SMART_KEYS, PYTHON } = process.env;
const HERE = fileURLToPath(new URL('.', import.meta.url));

// How a language is run. The others are not: their packages come from registries that the tests do not use.
const LANGUAGES = {
  sh: (code) => ['bash', ['-euo', 'pipefail', '-c', code]],
  python: (code) => [PYTHON, ['-c', code]],
  js: (code) => [process.execPath, ['--input-type=module', '-e', code]],
};
const NOT_RUN = { java: 'HAPI FHIR comes from Maven Central', csharp: 'the Firely SDK comes from NuGet', r: 'httr2 comes from CRAN' };

const examples = [...document('docs/clients.md').matchAll(/^## (.*?)\n(.*?)(?=^## |$(?![^]))/gms)].flatMap(([, heading, text]) =>
  [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, code]) => ({ heading, language, code })),
);

it('every example has a language that is run, or a reason why not', () => {
  assert.ok(examples.length > 8);
  assert.deepEqual(examples.filter(({ language }) => !LANGUAGES[language] && !NOT_RUN[language]), []);
  assert.deepEqual(Object.keys(NOT_RUN).filter((language) => !examples.some((example) => example.language === language)), []);
});

function run(language, code, gateway) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'openemr-gateway-examples-'));
  fs.symlinkSync(path.join(SMART_KEYS, 'fetcher'), path.join(folder, 'keys'));
  const [program, options] = LANGUAGES[language](code.replaceAll('http://localhost:8000', gateway).replaceAll('YOUR_API_KEY', SMART_API_KEY));
  const done = spawnSync(program, options, {
    // Node.js looks for packages beside the tests.
    cwd: language === 'js' ? HERE : folder,
    env: { ...process.env, PATH: `${path.dirname(PYTHON)}:${process.env.PATH}` },
    encoding: 'utf8',
    timeout: 60_000,
  });
  fs.rmSync(folder, { recursive: true });
  assert.equal(done.status, 0, `${code}\n${done.stderr}${done.error ?? ''}`);
  // A program can say more than ids.
  return done.stdout.split('\n').map((line) => line.trim()).filter((line) => /^[0-9a-f-]{36}$/.test(line));
}

// An example prints a page of ids, or all of them.
function assertIds(found, held, what) {
  assert.equal(new Set(found).size, found.length, `${what}: an id twice`);
  assert.deepEqual(found.filter((id) => !held.includes(id)), [], what);
  assert.ok(found.length >= Math.min(held.length, 50), `${what}: ${found.length} of ${held.length}`);
}

for (const { heading, language, code } of examples.filter((example) => LANGUAGES[example.language])) {
  it(heading, WITHIN, async (test) => {
    const isBulk = code.startsWith('smart-fetch');
    if (isBulk && !fs.existsSync(path.join(path.dirname(PYTHON), 'smart-fetch'))) {
      test.skip('SMART Fetch needs Python 3.11');
      return;
    }
    assertIds(run(language, code, SMART), JSON.parse(SMART_HOLDS).Patient, 'a gateway with clients');
    if (!isBulk) {
      assertIds(run(language, code, GATEWAYS.demo), await whole(DEMO, 'Patient'), 'the demo');
    }
  });
}
