// Runs the collection against a demo of its own: starts it on a free port, waits until it has a token, runs newman,
// stops it. Then the same for the folder of a limited client, against a gateway that has one.
// Usage: node run.js path/to/openemr-gateway

'use strict';

const path = require('path');
const newman = require('newman');
const { startDemo, stopOnSignals } = require('../scripts/demo.js');
const { startLimited } = require('./limited.js');

const RUN_WITHIN = 120_000;
const LIMITED_FOLDER = 'A limited client';

// `more`: further options of newman.
function runCollection(variables, more = {}) {
  return new Promise((resolve, reject) => {
    newman.run(
      {
        collection: path.join(__dirname, 'openemr-gateway.postman_collection.json'),
        environment: path.join(__dirname, 'openemr-gateway.postman_environment.json'),
        envVar: Object.entries(variables).map(([key, value]) => ({ key, value })),
        reporters: ['cli'],
        reporter: { cli: { noBanner: true } },
        timeout: RUN_WITHIN,
        timeoutRequest: 30_000,
        ...more,
      },
      (error, summary) => (error ? reject(error) : resolve(summary)),
    );
  });
}

// No assertion at all would be a failure too: a collection that was emptied, or is skipped, must not pass.
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
  stopOnSignals();
  const program = path.resolve(gateway);
  let demo;
  let limited;
  try {
    demo = await startDemo(program);
    const whole = passed(await runCollection({ baseUrl: demo.baseUrl }));
    if (!whole) {
      console.error(`the demo said:\n${demo.output}`);
    }
    limited = await startLimited(program);
    const part = passed(await runCollection({ baseUrl: limited.baseUrl, apiKey: limited.apiKey }, { folder: LIMITED_FOLDER }));
    if (!part) {
      console.error(`the gateway with a limited client said:\n${limited.output()}`);
    }
    return whole && part ? 0 : 1;
  } catch (error) {
    console.error(`error: ${error.message}`);
    return 1;
  } finally {
    await demo?.stop();
    await limited?.stop();
  }
}

main().then((code) => process.exit(code));
