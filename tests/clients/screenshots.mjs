// Makes the pictures in docs/images/: a gateway in front of a sandbox gets requests for some minutes, then its status page is
// photographed, the last time while a token exchange fails.
//
//   node tests/clients/screenshots.mjs path/to/openemr-gateway [minutes]

import assert from 'node:assert/strict';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findChromium, startChromium } from './chromium.mjs';

const IMAGES = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'docs', 'images');
const SEEN_WITHIN = { timeout: 60_000 };
const PICTURES = [
  { name: 'light', colorScheme: 'light', viewport: { width: 1040, height: 1180 } },
  { name: 'dark', colorScheme: 'dark', viewport: { width: 1040, height: 1180 } },
  { name: 'phone', colorScheme: 'light', viewport: { width: 390, height: 844 }, isFailing: true },
];
const TARGETS = ['Patient?_count=3', 'Observation?_count=5', 'Encounter?_count=2', 'Patient?_count=1', 'metadata', 'Nonsense/1'];

const [gateway, minutes = '3'] = process.argv.slice(2);
assert.ok(gateway, 'usage: node screenshots.mjs path/to/openemr-gateway [minutes]');
process.env.GATEWAY = path.resolve(gateway);
const { startWatched } = await import('./watched.mjs');
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const [browser, watched] = await Promise.all([startChromium(findChromium()), startWatched()]);
try {
  const end = Date.now() + Number(minutes) * 60_000;
  for (let sent = 0; Date.now() < end; sent += 1) {
    await (await watched.fhir(TARGETS[sent % TARGETS.length])).text();
    // Ebb and flow within a quarter of an hour.
    await pause(500 + 400 * Math.sin(Date.now() / 140_000));
  }
  for (const { name, colorScheme, viewport, isFailing = false } of PICTURES) {
    if (isFailing) {
      await watched.order({ token: { refuse: 'unknown_client' } });
      await watched.refresh();
    }
    const context = await browser.newContext({ colorScheme, viewport, reducedMotion: 'reduce' });
    const page = await context.newPage();
    await page.goto(`${watched.admin}/`);
    await page.locator(`#state[data-state="${isFailing ? 'degraded' : 'ok'}"]`).waitFor(SEEN_WITHIN);
    await page.screenshot({ path: path.join(IMAGES, `status-page-${name}.png`) });
    await context.close();
  }
} finally {
  await browser.close();
  await watched.stop();
}
