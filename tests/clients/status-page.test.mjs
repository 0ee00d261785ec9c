// The status page in a browser: it shows a token that fails and heals, by keyboard, on a phone, dark and light, and asks for the
// key where one is needed.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { findChromium, startChromium } from './chromium.mjs';
import { startWatched } from './watched.mjs';

const WITHIN = { timeout: 120_000 };
const SEEN_WITHIN = { timeout: 60_000 };
const AXE = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const executable = findChromium();
if (!executable) {
  console.log('the status page is not tested: there is no Chromium (apt-get install chromium, or CHROMIUM=path)');
}
const skip = !executable && !process.env.REQUIRE_CHROMIUM;

describe('the status page', { skip }, () => {
  let browser;
  let watched;
  let page;
  const told = [];
  const asked = [];

  before(async () => {
    assert.ok(executable, 'REQUIRE_CHROMIUM is set, and there is no Chromium');
    [browser, watched] = await Promise.all([startChromium(executable), startWatched()]);
    page = await open(await browser.newContext());
  }, WITHIN);

  after(async () => {
    await browser?.close();
    await watched?.stop();
  });

  async function open(context, of = watched) {
    const opened = await context.newPage();
    opened.on('pageerror', (error) => told.push(`error: ${error.message}`));
    opened.on('console', (message) => told.push(`${message.type()}: ${message.text()}`));
    opened.on('request', (request) => asked.push(request.url()));
    await opened.goto(`${of.admin}/`);
    return opened;
  }

  const state = (word) => page.locator(`#state[data-state="${word}"]`).waitFor(SEEN_WITHIN);
  const text = (selector) => page.locator(selector).first().innerText();

  it('shows the site, and its token counting down', WITHIN, async () => {
    await state('ok');
    assert.equal(await text('article[data-site="default"] h3'), 'default');
    assert.match(await text('.token-state'), /^valid/);
    assert.match(await page.locator('.ring').getAttribute('aria-label'), /^\d+ (seconds|minutes) left of the token's 5 minutes$/);
    const time = page.locator('.ring .time');
    const first = await time.textContent();
    assert.match(first, /^[0-4]:[0-5]\d$/);
    await page.waitForFunction((shown) => document.querySelector('.ring .time').textContent !== shown, first, SEEN_WITHIN);
    assert.match(await text('.exchanges tbody tr td:nth-child(3)'), /a new token/);
    assert.match(await text('.nodes tbody tr'), /127\.0\.0\.1.*healthy/s);
  });

  it('shows a token that fails, and why, and that it heals', WITHIN, async () => {
    await watched.order({ token: { refuse: 'unknown_client' } });
    assert.equal(await watched.refresh(), 502);
    await state('degraded');
    assert.match(await text('#problems li'), /^default: the token exchange fails/);
    assert.match(await text('.token-state'), /^valid, exchange failing since /);
    assert.match(await text('.exchanges tbody tr td:nth-child(3)'), /invalid_client/);
    assert.equal(await page.locator('.ring').getAttribute('data-state'), 'failing');
    await watched.order({ token: null });
    await page.waitForFunction(() => document.querySelector('#state').dataset.state === 'ok', undefined, SEEN_WITHIN);
    assert.match(await text('.exchanges tbody tr td:nth-child(3)'), /a new token/);
    assert.equal(await page.locator('#problems li').count(), 0);
    assert.equal(await page.locator('#no-problems').isVisible(), true);
  });

  it('shows traffic, and nothing of what was asked', WITHIN, async () => {
    await Promise.all(Array.from({ length: 12 }, () => watched.fhir('Patient?_count=1&family=Zebedee').then((answer) => answer.text())));
    assert.equal((await watched.fhir('Nonsense/1')).status, 404);
    await page.waitForFunction(() => Number(document.querySelector('#clients tbody td:nth-child(3)').textContent) >= 13, undefined, SEEN_WITHIN);
    assert.match(await page.locator('#traffic').getAttribute('aria-label'), /^Requests a minute: 13 in all, 1 refused with 4xx, 0 failed with 5xx$/);
    assert.match(await page.locator('#latency').getAttribute('aria-label'), /95 of 100 within [\d.,]+ ms/);
    assert.match(await page.locator('#traffic .bars.ok').getAttribute('d'), /^M[\d.]+ [\d.]+h/);
    assert.doesNotMatch(await page.content(), /Zebedee|family/);
  });

  it('is used by keyboard, and its stream leaves what is open and focused alone', WITHIN, async () => {
    await page.reload();
    await state('ok');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    await page.locator('summary').focus();
    await page.keyboard.press('Enter');
    await page.locator('#minutes tbody tr').first().waitFor(SEEN_WITHIN);
    const shown = await text('#connection');
    await page.waitForFunction((before) => document.querySelector('#connection').textContent !== before, shown, SEEN_WITHIN);
    assert.equal(await page.evaluate(() => document.activeElement.tagName), 'SUMMARY');
    assert.equal(await page.evaluate(() => document.querySelector('details').open), true);
    assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll('[aria-live],[role=status],[role=alert]')].map(({ id }) => id)), ['state', 'key-problem']);
  });

  for (const colorScheme of ['light', 'dark']) {
    for (const [name, viewport] of [['wide', { width: 1280, height: 900 }], ['phone', { width: 360, height: 740 }]]) {
      it(`is accessible and fits: ${colorScheme}, ${name}`, WITHIN, async () => {
        const context = await browser.newContext({ colorScheme, viewport, reducedMotion: 'reduce' });
        const opened = await open(context);
        await opened.locator('#state[data-state="ok"]').waitFor(SEEN_WITHIN);
        await opened.evaluate(AXE);
        const { violations } = await opened.evaluate(() => globalThis.axe.run());
        assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
        const [whole, seen] = await opened.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
        assert.ok(whole <= seen, `${whole} pixels wide on ${seen}`);
        assert.equal(await opened.evaluate(() => getComputedStyle(document.querySelector('.ring .left')).transitionDuration), '0s');
        await context.close();
      });
    }
  }

  it('asks for the key where one is needed, and keeps it in its tab', WITHIN, async () => {
    const guarded = await startWatched({ needsKey: true });
    try {
      const context = await browser.newContext();
      const opened = await open(context, guarded);
      const key = opened.getByLabel('Key', { exact: true });
      await key.waitFor(SEEN_WITHIN);
      assert.equal(await opened.locator('#content').isVisible(), false);
      await key.fill('oegw_wrong');
      await opened.keyboard.press('Enter');
      await opened.getByText('This key is not accepted.').waitFor(SEEN_WITHIN);
      await key.fill(guarded.key);
      await opened.keyboard.press('Enter');
      await opened.locator('#state[data-state="ok"]').waitFor(SEEN_WITHIN);
      assert.equal(await opened.locator('#key-form').isVisible(), false);
      await opened.reload();
      await opened.locator('#state[data-state="ok"]').waitFor(SEEN_WITHIN);
      assert.ok(!opened.url().includes('oegw_') && !(await opened.content()).includes(guarded.key));
      assert.equal(await opened.evaluate(() => localStorage.length + document.cookie.length), 0);
      // Another tab knows nothing of it.
      const other = await open(context, guarded);
      await other.getByLabel('Key', { exact: true }).waitFor(SEEN_WITHIN);
    } finally {
      await guarded.stop();
    }
  });

  it('tells that the gateway is gone', WITHIN, async () => {
    const second = await startWatched();
    const opened = await open(await browser.newContext(), second);
    await opened.locator('#state[data-state="ok"]').waitFor(SEEN_WITHIN);
    await second.stop();
    await opened.getByText('not connected').waitFor(SEEN_WITHIN);
  });

  it('has complained of nothing, and asked nobody but its gateway', () => {
    // What a gateway that is gone, and one that wants a key, are the cause of.
    const known = /Failed to load resource: (the server responded with a status of 401|net::ERR_)|ERR_INCOMPLETE_CHUNKED/;
    assert.deepEqual(told.filter((one) => !known.test(one)), []);
    assert.deepEqual(asked.filter((url) => !/^http:\/\/127\.0\.0\.1:\d+\/(events)?$/.test(url)), []);
  });
});
