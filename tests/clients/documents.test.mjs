// README.md and docs/: links lead somewhere, and quoted messages are those of the gateway.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';
import Ajv from 'ajv';
import { parse } from 'yaml';
import { DOCUMENTS, ROOT, document } from './documents.mjs';

it('the README is short enough to be read', () => {
  const lines = document('README.md').split('\n').length - 1;
  assert.ok(lines <= 150, `${lines} lines`);
});

it('links lead to files and headings that are there', () => {
  const broken = DOCUMENTS.flatMap(({ file, text }) =>
    linksOf(text).filter((link) => !isThere(file, link)).map((link) => `${file}: ${link}`),
  );
  assert.deepEqual(broken, []);
});

// A document without its code.
function prose(text) {
  return text.replaceAll(/^```.*?^```$/gms, '').replaceAll(/(`+)(?!`).*?\1/g, '``');
}

// Links within the repository.
function linksOf(text) {
  return [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link).filter((link) => !/^[a-z]+:/.test(link));
}

function isThere(from, link) {
  const [to, anchor] = link.split('#');
  const file = to === '' ? from : path.join(path.dirname(from), to);
  if (!fs.existsSync(path.join(ROOT, file))) {
    return false;
  }
  return anchor === undefined || anchors(fs.readFileSync(path.join(ROOT, file), 'utf8')).includes(anchor);
}

// As GitHub names headings.
function anchors(text) {
  return [...text.replaceAll(/^```.*?^```$/gms, '').matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, '').trim().replaceAll(/\s/g, '-'),
  );
}

it('one word for one thing', () => {
  const others = { sandbox: /\bstand-ins?\b/i, upgrade: /\btake-?overs?\b/i, repair: /\bsmooth/i };
  const found = DOCUMENTS.filter(({ file }) => file !== 'CHANGELOG.md').flatMap(({ file, text }) =>
    Object.entries(others).filter(([, other]) => other.test(prose(text))).map(([word, other]) => `${file}: ${other} for ${word}`),
  );
  assert.deepEqual(found, []);
});

it('files that are named are there', () => {
  const missing = DOCUMENTS.flatMap(({ file, text }) =>
    [...text.matchAll(/`((?:src|tests|bench|docs|conf|deploy|scripts)\/[\w./-]*)`/g)]
      .map(([, named]) => named)
      .filter((named) => !fs.existsSync(path.join(ROOT, named)))
      .map((named) => `${file}: ${named}`),
  );
  assert.deepEqual(missing, []);
});

it('each decision is named in the code that it is about', () => {
  const code = [path.join(ROOT, 'Cargo.toml')].concat(sources()).map((file) => fs.readFileSync(file, 'utf8')).join('\n');
  const decisions = DOCUMENTS.map(({ file }) => file).filter((file) => /^docs\/decisions\/\d/.test(file));
  assert.ok(decisions.length > 20, `${decisions.length} decisions`);
  assert.deepEqual(decisions.filter((file) => !code.includes(file)), []);
  const named = [...new Set(code.match(/docs\/decisions\/[\w-]+\.md/g))];
  assert.deepEqual(named.filter((file) => !decisions.includes(file)), []);
});

function sources() {
  return fs
    .readdirSync(path.join(ROOT, 'src'), { recursive: true })
    .filter((file) => file.endsWith('.rs'))
    .map((file) => path.join(ROOT, 'src', file));
}

it('messages that are quoted are those of the gateway', () => {
  const source = sources()
    .filter((file) => !file.includes('/src/sandbox/'))
    .map((file) => fs.readFileSync(file, 'utf8'))
    .join('\n')
    .replaceAll(/\\\n\s*/g, '');
  const text = document('docs/troubleshooting.md');
  // The rows about the gateway's own answers and log lines, and in them what is in italics.
  const quoted = text
    .split('\n')
    .filter((line) => /^\|.*\| gateway \|/.test(line) || line.startsWith('| log:'))
    .flatMap((line) => [...line.split('|')[1].matchAll(/(?<!\*)\*([^*]+)\*(?!\*)/g)].map(([, words]) => words))
    .flatMap((words) => words.split('…').map((part) => part.trim()).filter((part) => part.length > 3));
  assert.ok(quoted.length > 10, `${quoted.length} messages`);
  assert.deepEqual(quoted.filter((words) => !source.includes(words)), []);
});

it('configurations that are shown have keys and values that there are', () => {
  const schema = JSON.parse(fs.readFileSync(path.join(ROOT, 'conf/gateway.schema.json'), 'utf8'));
  const test = new Ajv({ strict: false, allErrors: true }).compile(schema);
  const has = (properties, keys) => keys.every((key) => properties[key] !== undefined);
  // Those of Prometheus, of its adapter, and of Traefik.
  const others = ['scrape_configs', 'rules', 'http'];
  const shown = DOCUMENTS.flatMap(({ file, text }) => [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, yaml]) => ({ file, yaml, value: parse(yaml) })))
    .filter(({ value }) => !others.includes(Object.keys(value)[0]));
  assert.ok(shown.length > 20, `${shown.length} configurations`);
  const wrong = shown.flatMap(({ file, yaml, value }) => {
    // Some are of a site, and most are a part of a whole one.
    test(has(schema.properties, Object.keys(value)) ? value : { sites: { default: value } });
    const errors = (test.errors ?? []).filter(({ keyword }) => keyword !== 'required');
    return errors.length === 0 ? [] : [`${file}: ${yaml}: ${errors.map(({ instancePath, message }) => `${instancePath} ${message}`)}`];
  });
  assert.deepEqual(wrong, []);
});
