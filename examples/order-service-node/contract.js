// @ts-check
/**
 * The contract, read from its descriptor set when the program starts: no generated code, no build step.
 *
 * `nox -s codegen` in the repository makes contract/, which has all that is needed: descriptors.binpb with every
 * import, and topology.json. Copy that folder if you copy this example, and say where it is by ORDERSYS_CONTRACT_DIR.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createFileRegistry, fromBinary, getOption } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const FOLDER = process.env.ORDERSYS_CONTRACT_DIR ?? fileURLToPath(new URL("../../contract", import.meta.url));

/** @param {string} name @returns {Buffer} */
function read(name) {
  try {
    return readFileSync(`${FOLDER}/${name}`);
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    console.error(`can't read the contract (${why}): run \`nox -s codegen\`, or set ORDERSYS_CONTRACT_DIR`);
    process.exit(2);
  }
}

export const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, read("descriptors.binpb")));

/**
 * Something of the contract that has to be there, by its full name.
 *
 * @template T
 * @param {T | undefined} found
 * @param {string} name
 * @returns {T}
 */
function present(found, name) {
  if (found === undefined) throw new Error(`the contract has no ${name}`);
  return found;
}

/** @param {string} name */
export const message = (name) => present(registry.getMessage(name), name);
/** @param {string} name */
export const service = (name) => present(registry.getService(name), name);
/** @param {string} name */
const extension = (name) => present(registry.getExtension(name), name);

export const SERVICE = "ordersys.api.order.v1.OrderService";
export const HEALTH = "grpc.health.v1.Health";

const ORDER = "ordersys.api.order.v1";
export const Order = message(`${ORDER}.Order`);
export const CreateOrderRequest = message(`${ORDER}.CreateOrderRequest`);
export const CreateOrderResponse = message(`${ORDER}.CreateOrderResponse`);
export const BatchCreateOrdersResponse = message(`${ORDER}.BatchCreateOrdersResponse`);
export const UpdateOrderRequest = message(`${ORDER}.UpdateOrderRequest`);
export const UpdateOrderResponse = message(`${ORDER}.UpdateOrderResponse`);
export const GetOrderResponse = message(`${ORDER}.GetOrderResponse`);
export const ListOrdersResponse = message(`${ORDER}.ListOrdersResponse`);
export const OrderCreated = message(`${ORDER}.OrderCreated`);
export const OrderUpdated = message(`${ORDER}.OrderUpdated`);
export const HealthCheckResponse = message("grpc.health.v1.HealthCheckResponse");
export const Status = message("google.rpc.Status");
export const BadRequest = message("google.rpc.BadRequest");
export const ErrorInfo = message("google.rpc.ErrorInfo");
export const ResourceInfo = message("google.rpc.ResourceInfo");
export const RetryInfo = message("google.rpc.RetryInfo");

/** The numbers of the life cycle: order.proto, OrderState. */
export const State = Object.freeze({ PLACED: 1, PAID: 2, SHIPPED: 3, DELIVERED: 4, CANCELLED: 5 });
const states = present(registry.getEnum(`${ORDER}.OrderState`), "OrderState");
/** The name of a state as the details of a refusal say it, such as ORDER_STATE_PAID. @param {number} state */
export const stateName = (state) => present(states.value[state], `state ${state}`).name;

/** @typedef {{code: number, message: string, retryable: boolean}} Refusal */

// "Choose an ErrorReason. Its option `refusal` gives the gRPC code, the text, and whether it is `retryable` or `final`:
// read the option at run time" (docs/implement.md, Errors).
const reasons = present(registry.getEnum("ordersys.api.error.v1.ErrorReason"), "ErrorReason");
const refusal = extension("ordersys.api.error.v1.refusal");
export const DOMAIN = String(getOption(reasons, extension("ordersys.api.error.v1.domain")));
/** @type {Record<string, Refusal>} */
export const REASONS = Object.fromEntries(
  reasons.values.slice(1).map((value) => [value.name, /** @type {any} */ (getOption(value, refusal))]),
);

/**
 * "An event is published to the exchange and with the routing key of its `publication` option" (docs/implement.md).
 *
 * @param {string} type the full name of an event
 * @returns {{exchange: string, routingKey: string, publisher: string}}
 */
export const publication = (type) =>
  /** @type {any} */ (getOption(message(type), extension("ordersys.api.amqp.v1.publication")));

/**
 * Exchanges, queues and bindings, in the form of RabbitMQ's definitions; of virtual host "/", whichever is used.
 *
 * @type {{
 *   exchanges: {name: string, type: string, durable: boolean, arguments: object}[],
 *   queues: {name: string, durable: boolean, arguments: object}[],
 *   bindings: {source: string, destination: string, destination_type: string, routing_key: string}[]
 * }}
 */
export const topology = JSON.parse(read("topology.json").toString());
