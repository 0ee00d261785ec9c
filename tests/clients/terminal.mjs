// A terminal for the commands of the documents: a folder that takes the place of `/`, free ports in the place of those that stand
// there, and the gateway, sudo and systemctl on the PATH.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import demo from '../../scripts/demo.js';
import { DOCUMENTS } from './documents.mjs';

// Every block of commands in the documents; `line` is where it begins.
export const BLOCKS = DOCUMENTS.flatMap(({ file, text }) =>
  [...text.matchAll(/^( *)```sh\n(.*?)^\1```$/gms)].map(({ 1: indent, 2: script, index }) => ({
    file,
    line: text.slice(0, index).split('\n').length,
    script: script.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  })),
);

// The one block of this document that has this in it.
export function block(file, mark) {
  const found = BLOCKS.filter((one) => one.file === file && one.script.includes(mark));
  assert.equal(found.length, 1, `${found.length} blocks with ${mark} in ${file}`);
  return found[0];
}

// The blocks that were run.
export const ran = new Set();

// As systemd does it with deploy/openemr-gateway.service, for one process.
const SYSTEMCTL = `#!/bin/bash
set -eu
cd "$ROOT/etc/openemr-gateway"
log=$ROOT/gateway.log pid=$ROOT/gateway.pid
healthy() { for _ in $(seq 300); do curl -sf -o /dev/null "http://127.0.0.1:$GATEWAY_PORT/ready" && return; sleep 0.1; done; cat "$log" >&2; exit 1; }
gone() { for _ in $(seq 300); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done; echo "$1 does not end" >&2; exit 1; }
serve() { setsid openemr-gateway serve --config gateway.yaml "$@" >>"$log" 2>&1 </dev/null & }
start() { serve; echo $! >"$pid"; healthy; }
stop() { kill "$(cat "$pid")"; gone "$(cat "$pid")"; }
case $* in
    "start openemr-gateway" | "enable --now openemr-gateway") start ;;
    "stop openemr-gateway") stop ;;
    "restart openemr-gateway") [ ! -e "$pid" ] || ! kill -0 "$(cat "$pid")" 2>/dev/null || stop; start ;;
    "reload openemr-gateway")
        old=$(cat "$pid")
        openemr-gateway serve --test --config gateway.yaml
        serve --upgrade
        new=$!
        kill -QUIT "$old"
        gone "$old"
        echo "$new" >"$pid"
        healthy
        ;;
    "kill -s HUP openemr-gateway") kill -HUP "$(cat "$pid")" ;;
    "kill -s USR1 --kill-whom=main openemr-gateway") kill -USR1 "$(cat "$pid")" ;;
    "daemon-reload") [ -s "$ROOT/etc/systemd/system/openemr-gateway.service" ] ;;
    *) echo "systemctl $*: not known here" >&2; exit 1 ;;
esac
`;
// Everything here belongs to the user of the tests.
const SUDO = `#!/bin/bash
[ "$1" != -u ] || shift 2
exec "$@"
`;
// Whether the options are journalctl's. There need not be a journal.
const JOURNALCTL = `#!/bin/bash
while [ $# -gt 0 ]; do
    case $1 in
        -u | -t | -o | -p | --since) [ -n "\${2:-}" ] || exit 1; shift ;;
        -f | --priority=* | [A-Z_]*=*) ;;
        *) echo "journalctl: $1" >&2; exit 1 ;;
    esac
    shift
done
`;
const NOTHING = '#!/bin/bash\n';
// In the place of an engine of containers, and of a cluster: the files that they are given are there.
const ENGINE = `#!/bin/bash
for word in "$@"; do
    file=\${word##*=}
    case $file in */*.* | deploy/*) [ -e "$file" ] || { echo "$file is not there" >&2; exit 1; } ;; esac
done
`;
// As install(1), but for the owner, who need not be there.
const INSTALL = `#!/bin/bash
options=()
while [ $# -gt 0 ]; do
    case $1 in -o | -g) shift ;; *) options+=("$1") ;; esac
    shift
done
exec /usr/bin/env -i PATH=/usr/bin:/bin install "\${options[@]}"
`;

export class Terminal {
  static async open(numbers) {
    const ports = Object.fromEntries(await Promise.all(numbers.map(async (number) => [number, await demo.freePort()])));
    return new Terminal(fs.mkdtempSync(path.join(os.tmpdir(), 'openemr-gateway-commands-')), ports);
  }

  constructor(root, ports) {
    this.root = root;
    this.ports = ports;
    this.started = [];
    this.folder = path.join(root, 'home');
    ['bin', 'home', 'etc/openemr-gateway', 'etc/systemd/system', 'var/lib/openemr-gateway', 'var/backups'].forEach((name) => fs.mkdirSync(path.join(root, name), { recursive: true }));
    fs.symlinkSync(process.env.GATEWAY, path.join(root, 'bin/openemr-gateway'));
    for (const [name, text] of Object.entries({ systemctl: SYSTEMCTL, sudo: SUDO, journalctl: JOURNALCTL, useradd: NOTHING, chown: NOTHING, install: INSTALL, docker: ENGINE, kubectl: ENGINE, helm: ENGINE })) {
      fs.writeFileSync(path.join(root, 'bin', name), text, { mode: 0o755 });
    }
    this.environment = {
      ...process.env,
      PATH: `${path.join(root, 'bin')}:${process.env.PATH}`,
      ROOT: root,
      GATEWAY_PORT: String(ports[8000]),
      XDG_RUNTIME_DIR: path.join(root, 'home'),
    };
  }

  // Text with the folders and the ports of this terminal.
  here(text) {
    return text
      .replaceAll(/(?<![\w/])\/(etc\/openemr-gateway|etc\/systemd\/system|var\/lib\/openemr-gateway|var\/backups)/g, `${this.root}/$1`)
      .replaceAll(/ -C \/(?= |$)/gm, ` -C ${this.root}`)
      .replaceAll(/(?<=localhost:|127\.0\.0\.1:)(\d+)/g, (port) => this.ports[port] ?? port);
  }

  write(name, text) {
    const file = path.join(this.folder, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, this.here(text));
  }

  // Runs the block of a document, and gives what it prints. What does not end by itself goes on in the background. `change` fills in
  // what a reader has to.
  async run(file, mark, change = (script) => script) {
    const one = block(file, mark);
    const lines = change(one.script).trimEnd().split('\n');
    const stays = /^(openemr-gateway (sandbox|serve(?!.*--test))|python3 -m http\.server) ?/;
    const ends = lines.filter((line) => !stays.test(line) || / &( |$)/.test(line));
    const output = await this.bash(ends.join('\n'));
    lines.filter((line) => !ends.includes(line)).forEach((line) => this.start(line));
    ran.add(one);
    return output;
  }

  async bash(script) {
    const child = spawn('bash', ['-euo', 'pipefail', '-c', this.here(script)], { cwd: this.folder, env: this.environment, stdio: ['ignore', 'pipe', 'pipe'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
    let [output, errors] = ['', ''];
    child.stdout.on('data', (piece) => (output += piece));
    child.stderr.on('data', (piece) => (errors += piece));
    // What was started in the background keeps its output open.
    const closed = new Promise((resolve) => child.on('close', resolve));
    const code = await new Promise((resolve) => child.on('exit', resolve));
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 300))]);
    clearTimeout(timer);
    assert.equal(code, 0, `${script}\n${output.slice(-2_000)}\n${errors.slice(-4_000)}`);
    return output + errors;
  }

  // Starts what goes on, such as a gateway.
  start(line) {
    const program = new demo.Program('bash', ['-c', `cd '${this.folder}' && export PATH='${this.environment.PATH}' XDG_RUNTIME_DIR='${this.environment.XDG_RUNTIME_DIR}' && exec ${this.here(line)}`]);
    this.started.push(program);
    return program;
  }

  async until(program, pattern) {
    const found = await program.until(({ output }) => pattern.exec(output));
    assert.ok(found, `${pattern} is not in\n${program.output}`);
    return found;
  }

  async close() {
    await Promise.all(this.started.map((program) => program.stop()));
    try {
      process.kill(Number(fs.readFileSync(path.join(this.root, 'gateway.pid'), 'utf8')), 'SIGKILL');
    } catch {
      // There is none, or it has ended.
    }
    fs.rmSync(this.root, { recursive: true, force: true, maxRetries: 5 });
  }
}
