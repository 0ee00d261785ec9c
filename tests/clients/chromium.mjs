// Chromium without a window, if this machine has one. Nothing is downloaded: it is the distribution's own.

import fs from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

// Where it is; undefined where there is none.
export function findChromium() {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  const places = folders.flatMap((folder) => NAMES.map((name) => path.join(folder, name)));
  return process.env.CHROMIUM ?? places.find((place) => fs.existsSync(place));
}

export function startChromium(executablePath) {
  // Root has no sandbox of its own, and containers have little shared memory.
  const args = ['--disable-dev-shm-usage', ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])];
  return chromium.launch({ executablePath, args, timeout: 60_000 });
}
