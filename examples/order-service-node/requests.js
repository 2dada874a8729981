// @ts-check
/** Requests: decoded, held against the rules, in normal form, and told apart by a fingerprint. */
import { createHash, randomBytes } from "node:crypto";
import { clone, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { registry } from "./contract.js";
import { invalid, undecodable } from "./refusals.js";
import { knownFields } from "./wire.js";

/** @typedef {import("@bufbuild/protobuf").DescMessage} DescMessage */

/** @type {Map<string, RegExp>} */
const patterns = new Map();

/** JavaScript's own expressions: faster than protovalidate's RE2, which is for patterns that nobody has looked at.
 * @param {string} pattern of the contract @param {string} text */
function regexMatch(pattern, text) {
  const known = patterns.get(pattern) ?? new RegExp(pattern, "u");
  patterns.set(pattern, known);
  return known.test(text);
}

const validator = createValidator({ registry, regexMatch });

/**
 * The request that stands in the bytes. Raises UNDECODABLE_REQUEST or INVALID_REQUEST.
 *
 * @param {DescMessage} type
 * @param {Uint8Array} bytes
 * @returns {any}
 */
export function read(type, bytes) {
  let request;
  try {
    request = fromBinary(type, knownFields(type, bytes), { readUnknownFields: false });
  } catch {
    throw undecodable();
  }
  const result = validator.validate(type, request);
  if (result.kind === "invalid") throw invalid(result.violations);
  if (result.kind === "error") throw result.error;
  return request;
}

/**
 * "Normalise: UUIDs in lower case, items sorted by product id, unknown fields removed" (docs/implement.md); the last
 * was done on reading.
 *
 * @param {any} request a CreateOrderRequest or an UpdateOrderRequest, which is changed
 */
export function normalise(request) {
  request.requestId = request.requestId.toLowerCase();
  request.orderId = request.orderId.toLowerCase();
  const items = request.items ?? (request.change.case === "items" ? request.change.value.items : []);
  // Product ids are slugs, and so ASCII: by code unit is byte by byte (`sorted_by`, rules.proto).
  items.sort((/** @type {any} */ a, /** @type {any} */ b) => (a.productId < b.productId ? -1 : 1));
  return request;
}

/**
 * "Fingerprint the normalised request without `request_id` and `traceparent`, together with its type"
 * (docs/implement.md).
 *
 * @param {DescMessage} type
 * @param {any} request
 */
export function fingerprint(type, request) {
  const asked = /** @type {any} */ (clone(type, request));
  asked.requestId = "";
  if ("traceparent" in asked) asked.traceparent = "";
  return createHash("sha256").update(type.typeName).update("\0").update(toBinary(type, asked)).digest("base64");
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/**
 * A trace, as version 00: the first of `given` that is a W3C trace context, or a new one. "Of a
 * later version what is known of it is kept, ids and sampled flag; one that is invalid counts as none, and a trace is
 * begun, which is sampled only where whoever begins it records it" (order_events.proto).
 *
 * @param {(string | Buffer)[]} given
 */
export function traceOf(given) {
  for (const text of given) {
    const [, version, trace, span, flags, more] = TRACEPARENT.exec(String(text)) ?? [];
    const valid = version && version !== "ff" && !(version === "00" && more) && /[^0]/.test(trace) && /[^0]/.test(span);
    if (valid) return `00-${trace}-${span}-0${parseInt(flags, 16) & 1}`;
  }
  return `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-00`;
}
