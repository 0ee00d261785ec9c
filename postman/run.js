// Runs the collection against a demo of its own: starts it on a free port, waits until it has a token, runs newman,
// stops it. Usage: node run.js path/to/openemr-gateway

'use strict';

const { spawn } = require('child_process');
const http = require('http');
const net = require('net');
const path = require('path');
const newman = require('newman');

const READY_WITHIN = 60_000;
const RUN_WITHIN = 120_000;
const STOP_WITHIN = 5_000;
const ATTEMPTS = 3;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// The gateway's health, or undefined while nothing answers.
function health(baseUrl) {
  return new Promise((resolve) => {
    const request = http.get(`${baseUrl}/health`, { timeout: 2_000, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (body += chunk));
      response.on('error', () => resolve(undefined));
      response.on('end', () => {
        try {
          resolve(JSON.parse(body));
        } catch {
          resolve(undefined);
        }
      });
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(undefined));
  });
}

class Demo {
  constructor(gateway, port) {
    this.baseUrl = `http://127.0.0.1:${port}`;
    this.output = '';
    this.over = false;
    const keep = (chunk) => (this.output = (this.output + chunk).slice(-20_000));
    this.process = spawn(gateway, ['demo', '--listen', `127.0.0.1:${port}`], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.process.stdout.on('data', keep);
    this.process.stderr.on('data', keep);
    this.ended = new Promise((resolve) => {
      this.process.on('error', (error) => {
        keep(`${gateway} cannot be started: ${error.message}\n  build it:  cargo build\n`);
        this.over = true;
        resolve();
      });
      this.process.on('exit', () => {
        this.over = true;
        resolve();
      });
    });
  }

  async ready() {
    const deadline = Date.now() + READY_WITHIN;
    while (!this.over && Date.now() < deadline) {
      const known = await health(this.baseUrl);
      if (known && known.status === 'ok' && known.sites.every((site) => site.token === 'valid')) {
        return true;
      }
      await pause(50);
    }
    return false;
  }

  async stop() {
    if (this.over) {
      return;
    }
    this.process.kill('SIGINT');
    const timer = setTimeout(() => this.process.kill('SIGKILL'), STOP_WITHIN);
    await this.ended;
    clearTimeout(timer);
  }
}

async function startDemo(gateway, running) {
  let output = '';
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const demo = new Demo(gateway, await freePort());
    running.demo = demo;
    if (await demo.ready()) {
      return demo;
    }
    // Another program may have taken the port in between; any other trouble will show again.
    const diedEarly = demo.over;
    await demo.stop();
    output = demo.output;
    if (!diedEarly) {
      break;
    }
  }
  throw new Error(`the demo does not come up; it said:\n${output}`);
}

function runCollection(baseUrl) {
  return new Promise((resolve, reject) => {
    newman.run(
      {
        collection: path.join(__dirname, 'openemr-gateway.postman_collection.json'),
        environment: path.join(__dirname, 'openemr-gateway.postman_environment.json'),
        envVar: [{ key: 'baseUrl', value: baseUrl }],
        reporters: ['cli'],
        reporter: { cli: { noBanner: true } },
        timeout: RUN_WITHIN,
        timeoutRequest: 30_000,
      },
      (error, summary) => (error ? reject(error) : resolve(summary)),
    );
  });
}

// No assertion at all would be a failure too: a collection that was emptied must not pass.
function passed(summary) {
  const { assertions, requests, testScripts } = summary.run.stats;
  return summary.run.failures.length === 0 && !summary.error && assertions.total > 0 && requests.total > 0 && testScripts.failed === 0;
}

async function main() {
  const gateway = process.argv[2];
  if (!gateway) {
    console.error('usage: node run.js path/to/openemr-gateway');
    return 2;
  }
  const running = {};
  process.on('exit', () => running.demo && !running.demo.over && running.demo.process.kill('SIGKILL'));
  for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) {
    process.on(signal, async () => {
      await running.demo?.stop();
      process.exit(code);
    });
  }
  try {
    const demo = await startDemo(path.resolve(gateway), running);
    const summary = await runCollection(demo.baseUrl);
    const good = passed(summary);
    if (!good) {
      console.error(`the demo said:\n${demo.output}`);
    }
    return good ? 0 : 1;
  } catch (error) {
    console.error(`error: ${error.message}`);
    return 1;
  } finally {
    await running.demo?.stop();
  }
}

main().then((code) => process.exit(code));
