// The OpenAPI documents, and what they say of an answer.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';
import { ROOT } from './documents.mjs';

const METHODS = ['get', 'put', 'post', 'delete', 'patch'];

// A document, with its operations.
export class Description {
  constructor(file) {
    this.file = file;
    this.document = parse(fs.readFileSync(path.join(ROOT, file), 'utf8'), { maxAliasCount: 1_000 });
    // Formats are told in words, and `examples` are for readers.
    this.ajv = new Ajv({ strict: false, allErrors: true });
    addFormats(this.ajv);
    this.ajv.addSchema(this.document, 'document');
    this.compiled = new Map();
  }

  // What stands there, or where it refers to.
  at(value) {
    if (value?.$ref === undefined) {
      return value;
    }
    const parts = value.$ref.replace(/^#\//, '').split('/').map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    const found = parts.reduce((from, part) => from?.[part], this.document);
    assert.ok(found !== undefined, `${this.file}: ${value.$ref} leads nowhere`);
    return this.at(found);
  }

  // Every operation: its method, its path, and its answers by status.
  operations() {
    return Object.entries(this.document.paths).flatMap(([target, item]) =>
      METHODS.filter((method) => item[method]).map((method) => ({
        name: `${method.toUpperCase()} ${target}`,
        method: method.toUpperCase(),
        target,
        servers: item.servers ?? this.document.servers,
        responses: Object.fromEntries(Object.entries(item[method].responses).map(([status, response]) => [status, this.at(response)])),
      })),
    );
  }

  // All references lead somewhere.
  checkReferences(value = this.document) {
    if (value && typeof value === 'object') {
      this.at(value);
      Object.values(value).forEach((inner) => this.checkReferences(inner));
    }
  }

  // What an answer has that its description does not, or lacks that it has.
  problems(response, answer) {
    const found = [];
    for (const [name, described] of Object.entries(response.headers ?? {})) {
      const { required, schema } = this.at(described);
      const value = answer.headers[name.toLowerCase()];
      if (value === undefined ? required : !this.fits(schema, value)) {
        found.push(`${name}: ${value}`);
      }
    }
    const essence = (answer.headers['content-type'] ?? '').split(';')[0].trim();
    if (response.content === undefined) {
      return answer.text === '' ? found : [...found, `a body: ${answer.text.slice(0, 200)}`];
    }
    const described = response.content[essence];
    if (described === undefined) {
      return [...found, `Content-Type: ${essence}`];
    }
    const body = /[/+]json$/.test(essence) ? JSON.parse(answer.text) : /yaml$/.test(essence) ? parse(answer.text) : answer.text;
    if (!this.fits(described.schema, body)) {
      found.push(`${this.ajv.errorsText(this.errors)}: ${answer.text.slice(0, 400)}`);
    }
    return found;
  }

  fits(schema, value) {
    let test = this.compiled.get(schema);
    if (!test) {
      test = this.ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"document#/')));
      this.compiled.set(schema, test);
    }
    const good = test(value);
    this.errors = test.errors;
    return good;
  }
}

// Asks, with whatever fields. With `first` it does not wait for the end of the body, which may never come.
export function send(base, { method = 'GET', target, headers = {}, body, first = false, from }) {
  return new Promise((resolve, reject) => {
    const url = new URL(base);
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
    const options = { host: url.hostname, port: url.port, path: target, method, headers: { ...length, ...headers }, agent: false, timeout: 20_000, localAddress: from };
    const request = http.request(options, (response) => {
      let text = '';
      const answered = () => resolve({ status: response.statusCode, headers: response.headers, text, close: () => request.destroy() });
      response.setEncoding('utf8');
      response.on('data', (piece) => {
        text += piece;
        if (first) {
          answered();
        }
      });
      response.on('end', answered);
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error(`${method} ${target}: no answer`)));
    request.on('error', reject);
    request.end(body);
  });
}
