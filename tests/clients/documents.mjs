// The documents of this repository, for the tests that run their commands and those that check their words.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const DOCUMENTS = documents().map((file) => ({ file, text: fs.readFileSync(path.join(ROOT, file), 'utf8') }));

function documents() {
  const under = (folder) =>
    fs.readdirSync(path.join(ROOT, folder), { recursive: true }).map((file) => path.join(folder, file));
  return ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', ...['docs', 'keys', 'bench', 'deploy', 'fuzz', 'conf', 'tests/keys'].flatMap(under)]
    // In bench/compare/ there are parts of docs/benchmarks.md, whose links lead on from docs/, and packages of others.
    .filter((file) => file.endsWith('.md') && !file.startsWith('bench/compare/'));
}

export function document(name) {
  return DOCUMENTS.find(({ file }) => file === name).text;
}
