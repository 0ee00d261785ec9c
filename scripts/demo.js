// A demo of one's own, on a free port: for what runs other people's clients against the gateway.

'use strict';

const { spawn } = require('child_process');
const http = require('http');
const net = require('net');

const READY_WITHIN = 60_000;
const STOP_WITHIN = 5_000;
const ATTEMPTS = 3;
const KEPT_OUTPUT = 20_000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// All that run, so that whoever ends early leaves none behind.
const running = new Set();
process.on('exit', () => running.forEach((one) => one.process.kill('SIGKILL')));

const given = new Set();

// A port that nothing listens on and that was not given before. Outside the range that systems take the ports of outgoing
// connections from, as in ports.py.
function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    const look = () => server.listen(10_000 + Math.floor(Math.random() * 20_000), '0.0.0.0');
    server.on('error', (error) => (error.code === 'EADDRINUSE' ? look() : reject(error)));
    server.on('listening', () => {
      const { port } = server.address();
      const isNew = !given.has(port);
      given.add(port);
      server.close(() => (isNew ? resolve(port) : look()));
    });
    look();
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

// A run of the program, with the end of what it said.
class Program {
  constructor(gateway, options) {
    this.output = '';
    this.over = false;
    const keep = (chunk) => (this.output = (this.output + chunk).slice(-KEPT_OUTPUT));
    this.process = spawn(gateway, options, { stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this);
    this.process.stdout.on('data', keep);
    this.process.stderr.on('data', keep);
    const ended = () => {
      this.over = true;
      running.delete(this);
    };
    this.ended = new Promise((resolve) => {
      this.process.on('error', (error) => {
        keep(`${gateway} cannot be started: ${error.message}\n  build it:  cargo build\n`);
        ended();
        resolve();
      });
      this.process.on('exit', () => {
        ended();
        resolve();
      });
    });
  }

  // Waits until `look` finds something; undefined when the program ends, or the deadline passes, before that.
  async until(look, within = READY_WITHIN) {
    const deadline = Date.now() + within;
    while (!this.over && Date.now() < deadline) {
      const found = await look(this);
      if (found) {
        return found;
      }
      await pause(50);
    }
    return undefined;
  }

  // Waits until the gateway at `baseUrl`, which this program is, has a token for every site.
  ready(baseUrl) {
    return this.until(async () => {
      const known = await health(baseUrl);
      return known && known.status === 'ok' && known.sites.every((site) => site.token === 'valid');
    });
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

// Runs what `options` makes of a free port until it is ready. Another program may take the port in between; any other
// trouble shows again.
async function onFreePort(gateway, what, options) {
  let output = '';
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = await freePort();
    const baseUrl = `http://127.0.0.1:${port}`;
    const program = new Program(gateway, await options(port));
    if (await program.ready(baseUrl)) {
      return Object.assign(program, { baseUrl });
    }
    const diedEarly = program.over;
    await program.stop();
    output = program.output;
    if (!diedEarly) {
      break;
    }
  }
  throw new Error(`${what} does not come up; it said:\n${output}`);
}

// A demo that is ready, with its `baseUrl`.
function startDemo(gateway) {
  return onFreePort(gateway, 'the demo', (port) => ['demo', '--listen', `127.0.0.1:${port}`]);
}

// Stops all that run, then ends with the code, when a signal comes.
function stopOnSignals() {
  for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) {
    process.on(signal, async () => {
      await Promise.all([...running].map((one) => one.stop()));
      process.exit(code);
    });
  }
}

module.exports = { Program, freePort, onFreePort, startDemo, stopOnSignals };
