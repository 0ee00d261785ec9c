// The rehearsal in docs/sandbox.md, command by command, with free ports in place of those that stand there.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import demo from '../../scripts/demo.js';
import { document } from './documents.mjs';
import { WITHIN, eventually } from './support.mjs';

const manual = document('docs/sandbox.md');
const rehearsal = manual.slice(manual.indexOf('## Rehearsal'), manual.indexOf('### More rehearsals'));

// The blocks of a step, and what its table says to break.
function step(heading) {
  const [text] = rehearsal.split('\n### ').filter((part) => part.includes(heading));
  assert.ok(text, `docs/sandbox.md has no step ${heading}`);
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, script]) => script);
  const breaks = [...text.matchAll(/^\| ([^|]+) \| `'(\{.*\})'` \| (\d{3})/gm)];
  return { blocks, breaks: breaks.map(([, what, orders, status]) => ({ what, orders, status: Number(status) })) };
}

it('the rehearsal', WITHIN, async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'openemr-gateway-rehearsal-'));
  fs.mkdirSync(path.join(folder, 'bin'));
  fs.symlinkSync(process.env.GATEWAY, path.join(folder, 'bin/openemr-gateway'));
  const PATH = `${path.join(folder, 'bin')}:${process.env.PATH}`;
  const ports = { 9300: await demo.freePort(), 9301: await demo.freePort(), 8000: await demo.freePort() };
  const base = `http://127.0.0.1:${ports[8000]}`;
  const admin = `http://127.0.0.1:${ports[9301]}/__sandbox`;
  const started = [];
  const moved = (script) => script.replaceAll(/127\.0\.0\.1:(\d+)/g, (address, port) => `127.0.0.1:${ports[port] ?? port}`);

  // What does not end by itself goes on in the background.
  const perform = (script) => {
    const [last] = script.trimEnd().split('\n').slice(-1);
    const stays = /^openemr-gateway (sandbox|serve)/.test(last);
    const done = spawnSync('bash', ['-euo', 'pipefail', '-c', moved(stays ? script.slice(0, script.lastIndexOf(last)) : script)], {
      cwd: folder, env: { ...process.env, PATH }, encoding: 'utf8', timeout: 60_000,
    });
    assert.equal(done.status, 0, `${script}\n${done.stderr}`);
    if (stays) {
      started.push(new demo.Program('bash', ['-c', `cd '${folder}' && PATH='${PATH}' exec ${moved(last)}`]));
    }
    return done.stdout;
  };
  const request = async () => {
    const answer = await fetch(`${base}/fhir/Patient?_count=2`, { signal: AbortSignal.timeout(30_000) });
    await answer.text();
    return answer.status;
  };
  const tell = async (orders) => {
    const answer = await fetch(`${admin}/faults`, { method: 'POST', body: orders, signal: AbortSignal.timeout(10_000) });
    assert.equal(answer.status, 200, `${orders}: ${await answer.text()}`);
  };

  try {
    const [start] = step('Make a key').blocks;
    perform(start.replace('sandbox ', 'sandbox --listen 127.0.0.1:9300 '));
    await eventually('the sandbox listens', () => /listening on/.test(started[0].output));
    assert.match(perform(step('Register').blocks[0]), /\S/);
    const [configure] = step('Configure').blocks;
    // The second terminal knows the variable from the step before.
    const [variable] = step('Enable').blocks[0].split('\n');
    perform(`${variable}\n${configure.replace('sites:', 'listen:\n  - address: 127.0.0.1:8000\nsites:')}`);
    await eventually('the log says that the client is not enabled', () => /no token .*401 invalid_client/.test(started[1].output));

    const [enable, ask] = step('Enable').blocks;
    perform(enable);
    await eventually('a token', () => /token 1 for 300 s/.test(started[1].output));
    assert.match(perform(ask), /"token":"valid"[^]*"resourceType":"Bundle"/);

    const { breaks } = step('Break it');
    assert.ok(breaks.length > 5, `${breaks.length} ways to break it`);
    for (const { what, orders, status } of breaks) {
      await tell(orders);
      assert.equal(await request(), status, `${what}: ${orders}`);
    }

    perform(step('Mend it').blocks[0]);
    await eventually('it is mended', async () => (await request()) === 200);

    const [rotate, give] = step('Replace the key').blocks;
    perform(rotate);
    perform(`${variable}\n${give}`);
    await eventually('the rotation is over', () => /phase +idle/.test(perform('openemr-gateway keys status --config gateway.yaml')), 60_000, 500);
  } catch (error) {
    started.forEach((one) => console.error(one.output.slice(-4_000)));
    throw error;
  } finally {
    await Promise.all(started.map((one) => one.stop()));
    fs.rmSync(folder, { recursive: true });
  }
});
