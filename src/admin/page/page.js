
'use strict';

// The status comes as server-sent events. EventSource cannot send a key, so the stream is read by hand. Whatever comes is
// written as text, never as markup.

const KEY = 'openemr-gateway admin key';
const SVG = 'http://www.w3.org/2000/svg';
const HOUR = 60;
const CHART = { width: 600, height: 160 };
// Without an event for this long, the connection counts as lost.
const SILENCE = 10000;

const byId = (id) => document.getElementById(id);

// Writes only what has changed: a screen reader and a selection stay where they are.
function write(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) {
    element.textContent = wanted;
  }
}

function attribute(element, name, value) {
  const wanted = String(value);
  if (element.getAttribute(name) !== wanted) {
    element.setAttribute(name, wanted);
  }
}

// Makes a list of elements as long as a list of data, and fills each in.
function fill(parent, data, make, update) {
  while (parent.children.length > data.length) {
    parent.lastElementChild.remove();
  }
  data.forEach((one, index) => {
    const element = parent.children[index] ?? parent.appendChild(make());
    update(element, one);
  });
}

// A cell is a text, or { text, tone }, or { text, value, most } with a bar.
function row(element, cells) {
  fill(element, cells, () => document.createElement('td'), (cell, content) => {
    const { text, tone = '', most } = typeof content === 'object' ? content : { text: content };
    attribute(cell, 'data-tone', tone);
    if (most === undefined) {
      write(cell, text);
      return;
    }
    if (cell.children.length !== 2) {
      cell.replaceChildren(document.createElement('progress'), document.createElement('span'));
    }
    const [bar, words] = cell.children;
    attribute(bar, 'max', Math.max(most, 1));
    attribute(bar, 'value', content.value);
    attribute(bar, 'aria-label', text);
    write(words, ` ${text}`);
  });
}

function table(element, rows, nothing) {
  const columns = element.tHead.rows[0].cells.length;
  const shown = rows.length > 0 ? rows : [[nothing, ...Array(columns - 1).fill('')]];
  fill(element.tBodies[0], shown, () => document.createElement('tr'), row);
}

const two = (number) => String(number).padStart(2, '0');
const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const day = (at) => new Date(at * 1000).toLocaleDateString([], { dateStyle: 'medium' });
const count = (number) => number.toLocaleString();
const perSecond = (rate) => rate.toLocaleString([], { maximumFractionDigits: rate < 10 ? 1 : 0 });

function milliseconds(value) {
  if (value === null) {
    return '–';
  }
  return value.toLocaleString([], { maximumFractionDigits: value < 10 ? 1 : 0 });
}

function duration(ms) {
  return ms < 1000 ? `${milliseconds(ms)} ms` : `${(ms / 1000).toLocaleString([], { maximumFractionDigits: 1 })} s`;
}

// As on a kitchen clock, 4:05 or 1:04:05.
function countdown(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function spoken(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 120) {
    return `${whole} seconds`;
  }
  return whole < 7200 ? `${Math.floor(whole / 60)} minutes` : `${Math.floor(whole / 3600)} hours`;
}

function untilThen(end, now) {
  const days = Math.floor((end - now) / 86400);
  if (end <= now) {
    return { text: `expired, ${day(end)}`, tone: 'bad' };
  }
  const left = days > 1 ? `in ${count(days)} days` : `in ${spoken(end - now)}`;
  return { text: `${left}, ${day(end)}`, tone: days < 14 ? 'warn' : '' };
}

const TONES = { healthy: 'good', degraded: 'warn', ejected: 'bad' };

function tokenState(token) {
  const next = token.next_in === null ? '' : `, next in ${Math.ceil(token.next_in)} s`;
  const failing = `failing since ${clock(token.failing_since)}${next}`;
  if (token.is_valid && token.failures > 0) {
    return { text: `valid, exchange ${failing}`, tone: 'warn' };
  }
  if (token.is_valid) {
    return { text: token.is_exchanging ? 'valid, being renewed' : 'valid', tone: 'good' };
  }
  return { text: token.failures > 0 ? `none, ${failing}` : 'none yet', tone: 'bad' };
}

function ring(element, token) {
  const state = token.is_valid ? (token.failures > 0 ? 'failing' : 'valid') : 'missing';
  attribute(element, 'data-state', state);
  const share = token.is_valid && token.life > 0 ? Math.min(1, token.left / token.life) : 0;
  element.querySelector('.left').style.strokeDasharray = `${(100 * share).toFixed(1)} 100`;
  write(element.querySelector('.time'), token.is_valid ? countdown(token.left) : '0:00');
  write(element.querySelector('.of'), token.is_valid ? `of ${countdown(token.life)}` : 'no token');
  attribute(element, 'aria-label', token.is_valid ? `${spoken(token.left)} left of the token's ${spoken(token.life)}` : 'no token');
}

function site(element, data) {
  const part = (selector) => element.querySelector(selector);
  attribute(element, 'data-site', data.name);
  write(part('.name'), data.name);
  ring(part('.ring'), data.token);
  const { text, tone } = tokenState(data.token);
  write(part('.token-state'), text);
  attribute(part('.token-state'), 'data-tone', tone);
  write(part('.kid'), data.token.kid);
  write(part('.in-flight'), `${data.in_flight} of ${data.limit}`);
  attribute(part('meter'), 'max', Math.max(1, data.limit));
  attribute(part('meter'), 'value', data.in_flight);
  attribute(part('meter'), 'aria-label', `${data.in_flight} of ${data.limit} requests at OpenEMR`);
  write(part('.waiting'), data.waiting);
  table(part('.nodes'), data.nodes.map((node) => [node.url, { text: node.state, tone: TONES[node.state] ?? '' }]), 'none');
  table(
    part('.exchanges'),
    data.exchanges.map(({ at, took_ms: took, failure }) => [
      clock(at),
      duration(took),
      failure === null ? { text: 'a new token', tone: 'good' } : { text: failure, tone: 'bad' },
    ]),
    'none yet',
  );
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  return element;
}

// The children of a chart are made once; then only their paths change.
function chart(svg, names, kind) {
  if (svg.children.length === 0) {
    [0.25, 0.5, 0.75].forEach((share) => {
      svg.append(shape('line', { class: 'grid', x1: 0, x2: CHART.width, y1: share * CHART.height, y2: share * CHART.height }));
    });
    names.forEach((name) => svg.append(shape('path', { class: `${kind} ${name}` })));
  }
  return Object.fromEntries(names.map((name) => [name, svg.querySelector(`.${kind}.${name}`)]));
}

// A round number that is not below.
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 1.5, 2, 3, 4, 6, 8, 10].map((factor) => factor * unit).find((top) => top >= value);
}

// The last minute stands at the right edge.
const slot = (index, minutes) => ((HOUR - minutes.length + index) * CHART.width) / HOUR;

function traffic(minutes) {
  const svg = byId('traffic');
  const stacked = { ok: (one) => one.requests - one.refused - one.failed, refused: (one) => one.refused, failed: (one) => one.failed };
  const paths = chart(svg, Object.keys(stacked), 'bars');
  const top = ceiling(Math.max(...minutes.map((one) => one.requests), 1));
  const heights = minutes.map(() => 0);
  const width = CHART.width / HOUR - 1;
  Object.entries(stacked).forEach(([name, of]) => {
    const bars = minutes.map((one, index) => {
      const height = (of(one) / top) * CHART.height;
      heights[index] += height;
      return height > 0 ? `M${slot(index, minutes).toFixed(1)} ${(CHART.height - heights[index]).toFixed(1)}h${width}v${height.toFixed(1)}h-${width}z` : '';
    });
    attribute(paths[name], 'd', bars.join('') || 'M0 0');
  });
  const sum = (of) => count(minutes.reduce((all, one) => all + of(one), 0));
  attribute(svg, 'aria-label', `Requests a minute: ${sum((one) => one.requests)} in all, ${sum(stacked.refused)} refused with 4xx, ${sum(stacked.failed)} failed with 5xx`);
  write(byId('traffic-top'), `top: ${count(top)}`);
}

function latency(minutes) {
  const svg = byId('latency');
  const curves = { p50: 'p50', p95: 'p95', p99: 'p99', openemr: 'openemr_p95' };
  const paths = chart(svg, Object.keys(curves), 'curve');
  const top = ceiling(Math.max(...minutes.flatMap((one) => Object.values(curves).map((name) => one[name] ?? 0)), 1));
  const width = CHART.width / HOUR;
  Object.entries(curves).forEach(([name, from]) => {
    let isDrawing = false;
    // A minute has the width of its bar, so that one alone is seen. A minute without a request is a gap.
    const points = minutes.map((one, index) => {
      if (one[from] === null) {
        isDrawing = false;
        return '';
      }
      const begin = isDrawing ? 'L' : 'M';
      isDrawing = true;
      return `${begin}${slot(index, minutes).toFixed(1)} ${(CHART.height * (1 - one[from] / top)).toFixed(1)}h${width}`;
    });
    attribute(paths[name], 'd', points.join('') || 'M0 0');
  });
  const last = minutes.findLast((one) => one.p50 !== null);
  attribute(svg, 'aria-label', last
    ? `Time to the answer's end in the last minute with requests: half within ${milliseconds(last.p50)} ms, 95 of 100 within ${milliseconds(last.p95)} ms, 99 of 100 within ${milliseconds(last.p99)} ms`
    : 'Time to the answer\'s end: no requests yet');
  write(byId('latency-top'), `top: ${duration(top)}`);
}

function auditRows(audit) {
  if (audit === null) {
    return [];
  }
  const rows = [
    ['Writing', audit.is_ready ? { text: 'ready', tone: 'good' } : { text: 'cannot be written', tone: 'bad' }],
    ['Records written', count(audit.recorded)],
    ['Records lost', { text: count(audit.lost), tone: audit.lost > 0 ? 'bad' : '' }],
  ];
  if (audit.repository !== null) {
    const { posted, refused, pending_bytes: pending, trouble } = audit.repository;
    rows.push(
      ['Repository', trouble === null ? { text: 'takes events', tone: 'good' } : { text: trouble, tone: 'bad' }],
      ['Events posted', count(posted)],
      ['Events refused', { text: count(refused), tone: refused > 0 ? 'bad' : '' }],
      ['Bytes that wait', count(pending)],
    );
  }
  return rows;
}

function exportRows(sites) {
  return sites.flatMap(({ name, exports }) => exports.map((one) => [
    name,
    one.id,
    one.level,
    one.client,
    `${day(one.asked_at)}, ${clock(one.asked_at)}`,
    one.failed > 0 ? { text: `${one.parts}, ${one.failed} failed`, tone: 'bad' } : one.parts,
    one.finished_at === null
      ? { text: `${one.ended} of ${one.parts}`, value: one.ended, most: one.parts }
      : { text: `ended at ${clock(one.finished_at)}` },
  ]));
}

const CERTIFICATES = { listener: 'certificate of a listener', client_ca: 'CA of client certificates', ca: 'CA of OpenEMR', jwks: 'JWK Set' };

function show(status) {
  write(byId('version'), status.version);
  attribute(byId('state'), 'data-state', status.state);
  write(byId('state-word'), status.state);
  document.title = `${status.state} – openemr-gateway`;
  fill(byId('problems'), status.problems, () => document.createElement('li'), (item, { site: of, text }) => write(item, of === null ? text : `${of}: ${text}`));
  byId('no-problems').hidden = status.problems.length > 0;
  fill(byId('sites'), status.sites, () => byId('site-template').content.firstElementChild.cloneNode(true), site);
  write(byId('rate'), perSecond(status.rate));
  write(byId('requests'), count(status.requests));
  write(byId('connections'), `${count(status.connections)} of ${count(status.most_connections)}`);
  traffic(status.minutes);
  latency(status.minutes);
  table(byId('minutes'), status.minutes.toReversed().map((one) => [
    clock(one.at), count(one.requests), count(one.refused), count(one.failed),
    milliseconds(one.p50), milliseconds(one.p95), milliseconds(one.p99), milliseconds(one.openemr_p95),
  ]), 'none yet');
  table(byId('clients'), status.clients.map((one) => [
    one.name, perSecond(one.rate), count(one.requests),
    { text: count(one.refused), tone: one.refused > 0 ? 'warn' : '' },
    { text: count(one.failed), tone: one.failed > 0 ? 'bad' : '' },
  ]), 'no requests');
  table(byId('reasons'), status.reasons.map((one) => [one.code, count(one.count)]), 'none');
  table(byId('exports'), exportRows(status.sites), 'none');
  table(byId('certificates'), status.certificates.map((one) => [CERTIFICATES[one.kind] ?? one.kind, one.file, untilThen(one.ends, status.at)]), 'none');
  table(byId('audit'), auditRows(status.audit), 'no trail is kept');
  byId('content').hidden = false;
}

function connection(text) {
  write(byId('connection'), text);
}

function lost(text) {
  connection(text);
  attribute(byId('state'), 'data-state', 'unknown');
  write(byId('state-word'), 'not connected');
  document.title = 'not connected – openemr-gateway';
}

function askForKey(problem) {
  byId('content').hidden = true;
  byId('key-form').hidden = false;
  write(byId('key-problem'), problem);
  lost('a key is needed');
  byId('key').focus();
}

class Refused extends Error {}

// Reads one stream to its end.
async function follow(key) {
  const control = new AbortController();
  let timer = setTimeout(() => control.abort(), SILENCE);
  try {
    const answer = await fetch('events', {
      headers: key === null ? {} : { Authorization: `Bearer ${key}` },
      cache: 'no-store',
      signal: control.signal,
    });
    if (answer.status === 401) {
      throw new Refused(key === null ? '' : 'This key is not accepted.');
    }
    if (!answer.ok) {
      const { message } = await answer.json().catch(() => ({}));
      throw new Error(message ?? `status ${answer.status}`);
    }
    byId('key-form').hidden = true;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) {
        throw new Error('the stream has ended');
      }
      clearTimeout(timer);
      timer = setTimeout(() => control.abort(), SILENCE);
      const events = (rest + value).split('\n\n');
      rest = events.pop();
      // Of several that came at once the last one counts.
      const latest = events.findLast((event) => event.startsWith('data: '));
      if (latest !== undefined) {
        const status = JSON.parse(latest.slice('data: '.length));
        show(status);
        connection(`live, ${clock(status.at)}`);
      }
    }
  } finally {
    clearTimeout(timer);
    control.abort();
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function run() {
  let wait = 1000;
  for (;;) {
    const began = Date.now();
    try {
      await follow(sessionStorage.getItem(KEY));
    } catch (error) {
      if (error instanceof Refused) {
        sessionStorage.removeItem(KEY);
        askForKey(error.message);
        return;
      }
      lost(error.name === 'AbortError' ? 'connection lost; trying again' : `${error.message}; trying again`);
    }
    wait = Date.now() - began > SILENCE ? 1000 : Math.min(2 * wait, 15000);
    await pause(wait);
  }
}

byId('key-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const key = byId('key').value.trim();
  byId('key').value = '';
  // Other characters cannot stand in a field.
  if (!/^[!-~]+$/.test(key)) {
    write(byId('key-problem'), 'This is no key.');
    return;
  }
  sessionStorage.setItem(KEY, key);
  connection('connecting');
  run();
});
run();
