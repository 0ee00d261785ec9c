// Runs the collection against a demo of its own: starts it on a free port, waits until it has a token, runs newman,
// stops it. Usage: node run.js path/to/openemr-gateway

'use strict';

const path = require('path');
const newman = require('newman');
const { startDemo, stopOnSignals } = require('../scripts/demo.js');

const RUN_WITHIN = 120_000;

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
  stopOnSignals();
  let demo;
  try {
    demo = await startDemo(path.resolve(gateway));
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
    await demo?.stop();
  }
}

main().then((code) => process.exit(code));
