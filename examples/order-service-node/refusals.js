// @ts-check
/** Refused calls: the reasons of the contract, and the google.rpc.Status that each ends with. */
import { randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { pathToString } from "@bufbuild/protobuf/reflect";
import { Metadata } from "@grpc/grpc-js";
import { BadRequest, DOMAIN, ErrorInfo, Order, REASONS, ResourceInfo, RetryInfo, stateName, Status } from "./contract.js";
import { StorageUnavailable } from "./journal.js";
import { log } from "./log.js";

/** @typedef {import("@bufbuild/protobuf").Message} Message */
/** @typedef {import("@bufbuild/protobuf").DescMessage} DescMessage */

// "the first ones where there are more than a client would take (gRPC: 8 KiB of metadata by default)"
// (error_reason.proto, INVALID_REQUEST). A trailer is base64, a third longer than this, and not alone.
const MAX_DETAILS_BYTES = 5500;
const RETRY_SECONDS = 1n;

/** A call that is refused for a reason of the contract. */
export class Refusal extends Error {
  /**
   * @param {string} reason name of an ErrorReason
   * @param {Record<string, string>} [metadata] what the comment of the reason lists
   * @param {[DescMessage, Message][]} [details] further details that it names
   */
  constructor(reason, metadata = {}, details = []) {
    super(reason);
    this.reason = reason;
    this.metadata = metadata;
    this.details = details;
  }

  /** The google.rpc.Status, as a call ends with it and as it stands in the result of a batch. */
  status() {
    const { code, message, retryable } = REASONS[this.reason];
    const info = create(ErrorInfo, { reason: this.reason, domain: DOMAIN, metadata: this.metadata });
    /** @type {[DescMessage, Message][]} */
    const details = [[ErrorInfo, info], ...this.details];
    // "Where the reason is retryable, add google.rpc.RetryInfo with a delay greater than zero" (docs/implement.md).
    if (retryable) details.push([RetryInfo, create(RetryInfo, { retryDelay: { seconds: RETRY_SECONDS } })]);
    return create(Status, { code, message, details: details.map(([type, detail]) => anyPack(type, detail)) });
  }

  /** What gRPC ends the call with: the Status in the trailer `grpc-status-details-bin`. */
  ending() {
    const { code, message } = REASONS[this.reason];
    const metadata = new Metadata();
    metadata.set("grpc-status-details-bin", Buffer.from(toBinary(Status, this.status())));
    return { code, details: message, metadata };
  }
}

/** "Bytes that are no message of the type are UNDECODABLE_REQUEST, always in the same words" (docs/implement.md). */
export const undecodable = () => new Refusal("UNDECODABLE_REQUEST");

/**
 * "INVALID_REQUEST with, for each violation, the path of the field, the id of the rule in `reason`, and a description"
 * (docs/implement.md, Rules).
 *
 * @param {import("@bufbuild/protovalidate").Violation[]} violations
 */
export function invalid(violations) {
  const fieldViolations = [];
  let bytes = 0;
  for (const { field, message: description, ruleId: reason } of violations) {
    const violation = { field: pathToString(field), description, reason };
    bytes += 16 + Buffer.byteLength(violation.field + description + reason);
    if (bytes > MAX_DETAILS_BYTES) break;
    fieldViolations.push(violation);
  }
  const badRequest = create(BadRequest, /** @type {any} */ ({ fieldViolations }));
  return new Refusal("INVALID_REQUEST", {}, [[BadRequest, badRequest]]);
}

/** @param {string} reason @param {string} id of the order */
function aboutOrder(reason, id) {
  const resource = create(ResourceInfo, { resourceType: Order.typeName, resourceName: id });
  return new Refusal(reason, { order_id: id }, [[ResourceInfo, resource]]);
}

/** @param {string} id */
export const orderNotFound = (id) => aboutOrder("ORDER_NOT_FOUND", id);
/** @param {string} id */
export const orderAlreadyExists = (id) => aboutOrder("ORDER_ALREADY_EXISTS", id);
/** @param {string} requestId */
export const requestIdReused = (requestId) => new Refusal("REQUEST_ID_REUSED", { request_id: requestId });
/** @param {string} id @param {bigint} current */
export const versionMismatch = (id, current) =>
  new Refusal("VERSION_MISMATCH", { order_id: id, current_version: String(current) });
/** @param {string} id @param {number} from @param {number} to */
export const stateNotAllowed = (id, from, to) =>
  new Refusal("STATE_NOT_ALLOWED", { order_id: id, from_state: stateName(from), to_state: stateName(to) });

/**
 * "Never let anything of the implementation out. An unforeseen error is INTERNAL_ERROR with an `error_id` that your
 * log also has" (docs/implement.md).
 *
 * @param {unknown} error
 */
export function asRefusal(error) {
  if (error instanceof Refusal) return error;
  if (error instanceof StorageUnavailable) return new Refusal("STORAGE_UNAVAILABLE");
  const id = randomUUID();
  log("internal error", { error_id: id, error: error instanceof Error ? error.stack : String(error) });
  return new Refusal("INTERNAL_ERROR", { error_id: id });
}
