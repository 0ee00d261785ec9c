// The documents of this repository, for the tests that run their commands and those that check their words.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const DOCUMENTS = documents().map((file) => ({ file, text: fs.readFileSync(path.join(ROOT, file), 'utf8') }));

function documents() {
  const under = (folder) =>
    fs.readdirSync(path.join(ROOT, folder), { recursive: true }).map((file) => path.join(folder, file));
  return ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...['docs', 'keys', 'bench', 'tests/keys'].flatMap(under)]
    .filter((file) => file.endsWith('.md'));
}

export function document(name) {
  return DOCUMENTS.find(({ file }) => file === name).text;
}
