// Runs other people's FHIR clients against the gateway: a demo (OpenEMR 8.0), two installations with a certificate
// (8.0 and 7.0.3), and one whose clients have to authenticate. One test file after the other, so that none changes what
// another pages through.
//
//   node run.js path/to/openemr-gateway path/to/python [part of a file's name ...]

'use strict';

const { spawn } = require('child_process');
const fs = require('fs');
const path = require('path');
const { startDemo, stopOnSignals } = require('../../scripts/demo.js');
const { PUBLIC_ADDRESS, startInstallation } = require('./installation');

const FILE_WITHIN = 300_000;

// What a test file is run with.
function command(python, file) {
  return file.endsWith('.py')
    ? [python, ['-W', 'ignore::ResourceWarning', '-m', 'unittest', '-v', path.basename(file, '.py')]]
    : [process.execPath, ['--test', '--test-reporter=spec', file]];
}

function run(program, options, environment) {
  return new Promise((resolve) => {
    const child = spawn(program, options, {
      cwd: __dirname,
      env: { ...process.env, ...environment, NO_COLOR: '1', PYTHONDONTWRITEBYTECODE: '1', PYTHONIOENCODING: 'utf-8' },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const timer = setTimeout(() => {
      console.error(`${options.at(-1)} takes longer than ${FILE_WITHIN / 1000} s`);
      child.kill('SIGKILL');
    }, FILE_WITHIN);
    child.on('error', (error) => {
      clearTimeout(timer);
      console.error(`${program} cannot be started: ${error.message}`);
      resolve(false);
    });
    child.on('exit', (code) => {
      clearTimeout(timer);
      resolve(code === 0);
    });
  });
}

async function main() {
  const [gateway, interpreter, ...wanted] = process.argv.slice(2);
  if (!gateway || !interpreter) {
    console.error('usage: node run.js path/to/openemr-gateway path/to/python [part of a file\'s name ...]');
    return 2;
  }
  const files = fs
    .readdirSync(__dirname)
    .filter((file) => /^test_.*\.py$|\.test\.mjs$/.test(file))
    .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
    .sort();
  if (files.length === 0) {
    console.error(`no test file is called ${wanted.join(' or ')}`);
    return 2;
  }
  stopOnSignals();
  const program = path.resolve(gateway);
  const python = path.resolve(interpreter);
  const started = {};
  const passed = [];
  const failed = [];
  try {
    started.demo = await startDemo(program);
    started.modern = await startInstallation(program, '8.0');
    started.old = await startInstallation(program, '7.0.3');
    started.smart = await startInstallation(program, '8.0', true);
    const environment = {
      GATEWAY: program,
      DEMO: started.demo.baseUrl,
      MODERN: started.modern.baseUrl,
      MODERN_ADMIN: started.modern.adminUrl,
      MODERN_TLS: started.modern.tlsUrl,
      MODERN_CERTIFICATE: started.modern.certificate,
      OLD: started.old.baseUrl,
      SMART: started.smart.baseUrl,
      SMART_KEYS: started.smart.folder,
      SMART_API_KEY: started.smart.apiKey,
      PYTHON: python,
      // Behind both are the same people, as long as nobody has written anything.
      SMART_HOLDS: JSON.stringify(await held(started.modern.baseUrl, ['Patient', 'Condition'])),
      // What no answer may hold: the addresses at which OpenEMR is, and by which it knows itself.
      HIDDEN_ADDRESSES: [PUBLIC_ADDRESS, started.modern.sandbox.base, started.old.sandbox.base, started.smart.sandbox.base, sandboxOf(started.demo)].join(' '),
    };
    for (const file of files) {
      console.log(`\n${file}`);
      const good = await run(...command(python, file), environment);
      (good ? passed : failed).push(file);
    }
  } catch (error) {
    console.error(`error: ${error.message}`);
    failed.push('the start');
  } finally {
    if (failed.length > 0) {
      Object.entries(started).forEach(([name, one]) => console.error(`\n${name} said:\n${one.output.replace(/^.* INFO  access .*\n/gm, '').slice(-4_000)}`));
    }
    await Promise.all(Object.values(started).map((one) => one.stop()));
  }
  // The line by which a reader, or a machine, knows how it went.
  console.log(`\nclients: ${passed.length} passed, ${failed.length} failed${failed.map((file) => `\n  ${file}`).join('')}`);
  return failed.length === 0 ? 0 : 1;
}

// The ids of all resources of these types.
async function held(gateway, types) {
  const of = async (type) => {
    const answer = await fetch(`${gateway}/fhir/${type}`, { signal: AbortSignal.timeout(60_000) });
    const { entry } = await answer.json();
    return [type, entry.map(({ resource }) => resource.id).sort()];
  };
  return Object.fromEntries(await Promise.all(types.map(of)));
}

// The demo says where its sandbox is.
function sandboxOf(demo) {
  const found = /(?:stand-in for OpenEMR|sandbox) at (http:\/\/[0-9.:]+\d)/.exec(demo.output);
  if (!found) {
    throw new Error(`the demo does not say where its sandbox is:\n${demo.output}`);
  }
  return found[1];
}

main().then((code) => process.exit(code));
