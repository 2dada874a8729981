#!/usr/bin/env node
// @ts-check
/**
 * An Order Service: ORDERSYS_ORDER_SERVICE_ADDRESS, ORDERSYS_AMQP_URL and ORDERSYS_DATA_DIR say where it listens,
 * publishes, and keeps its journal. SIGTERM ends it when the calls under way are answered.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, status as Code } from "@grpc/grpc-js";
import { Calls } from "./calls.js";
import { HEALTH, HealthCheckResponse, service, SERVICE } from "./contract.js";
import { log } from "./log.js";
import { asRefusal, Refusal } from "./refusals.js";
import { Relay } from "./relay.js";
import { read, traceOf } from "./requests.js";
import { OrderService } from "./service.js";
import { Store } from "./store.js";

const ADDRESS = process.env.ORDERSYS_ORDER_SERVICE_ADDRESS ?? "127.0.0.1:50052";
const AMQP_URL = process.env.ORDERSYS_AMQP_URL ?? "amqp://127.0.0.1:5672/";
const DATA_DIR = process.env.ORDERSYS_DATA_DIR ?? "orders-data";
/** "A request that is too large is refused with RESOURCE_EXHAUSTED, before it is read" (docs/implement.md, Calls). */
const REQUEST_BYTES = 4 * 1024 * 1024;
/** Programs that are certified end "within 20 s of SIGTERM" (docs/implement.md, Be certified). */
const GRACE_MS = 10_000;
const RELAY_GRACE_MS = 2_000;

const [SERVING, NOT_SERVING, SERVICE_UNKNOWN] = [1, 2, 3];

/** Bytes in, bytes out: "decode by yourself" (docs/implement.md, Errors). @param {Uint8Array} bytes */
const asBytes = (bytes) => Buffer.from(bytes);

/**
 * @param {import("@bufbuild/protobuf").DescService} contract
 * @returns {import("@grpc/grpc-js").ServiceDefinition}
 */
function definition(contract) {
  const methods = contract.methods.map((method) => [
    method.localName,
    {
      path: `/${contract.typeName}/${method.name}`,
      requestStream: false,
      responseStream: method.methodKind === "server_streaming",
      requestSerialize: asBytes,
      requestDeserialize: asBytes,
      responseSerialize: asBytes,
      responseDeserialize: asBytes,
    },
  ]);
  return Object.fromEntries(methods);
}

/**
 * @param {any} orders the OrderService, whose methods have the names of the RPCs
 * @param {import("@bufbuild/protobuf").DescMethod} method
 * @returns {import("@grpc/grpc-js").handleUnaryCall<Buffer, Uint8Array>}
 */
const handler = (orders, method) => (call, done) => {
  const answer = async () => {
    const request = read(method.input, call.request);
    // "A call whose deadline has passed when it arrives has no effect" (docs/implement.md, Calls). gRPC's timer says
    // the same to the client a moment later.
    if (Date.now() >= Number(call.getDeadline())) throw { code: Code.DEADLINE_EXCEEDED, details: "Deadline exceeded" };
    return orders[method.localName](request, { traceparent: traceOf(call.metadata.get("traceparent")) });
  };
  answer().then(
    (bytes) => done(null, bytes),
    (error) => done(error.code === Code.DEADLINE_EXCEEDED ? error : asRefusal(error).ending()),
  );
};

/** The process answers, whatever it depends on and also while it stops (product_service.proto). */
const LIVENESS = "liveness";
const SERVED = ["", SERVICE];

/** grpc.health.v1: SERVING until the server stops. An Order Service works without the broker: its events wait. */
class Health {
  #status = SERVING;
  /** @type {Set<import("@grpc/grpc-js").ServerWritableStream<Buffer, Uint8Array>>} */
  #watching = new Set();

  /** @type {import("@grpc/grpc-js").handleUnaryCall<Buffer, Uint8Array>} */
  check = (call, done) => {
    const name = this.#asked(call.request);
    if (name === LIVENESS) done(null, this.#said(SERVING));
    else if (SERVED.includes(name)) done(null, this.#said(this.#status));
    else done({ code: Code.NOT_FOUND, details: "No such service is served here." });
  };

  /** @type {import("@grpc/grpc-js").handleServerStreamingCall<Buffer, Uint8Array>} */
  watch = (call) => {
    const name = this.#asked(call.request);
    const status = SERVED.includes(name) ? this.#status : SERVICE_UNKNOWN;
    call.write(this.#said(name === LIVENESS ? SERVING : status));
    if (SERVED.includes(name)) this.#watching.add(call);
    call.on("cancelled", () => this.#watching.delete(call));
  };

  stop() {
    this.#status = NOT_SERVING;
    for (const call of this.#watching) call.write(this.#said(NOT_SERVING));
  }

  /** @param {number} status */
  #said = (status) => toBinary(HealthCheckResponse, create(HealthCheckResponse, /** @type {any} */ ({ status })));

  /** @param {Buffer} bytes @returns {string} */
  #asked = (bytes) => /** @type {any} */ (fromBinary(service(HEALTH).method.check.input, bytes)).service;
}

/** Compiles the rules, so that the first caller does not wait for it. */
function warmUp() {
  for (const { input } of service(SERVICE).methods) {
    try {
      read(input, new Uint8Array());
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }
}

async function main() {
  warmUp();
  const store = await Store.open(DATA_DIR);
  const [orders, health, calls, relay] = [new OrderService(store), new Health(), new Calls(), new Relay(store, AMQP_URL)];
  const server = new Server({
    "grpc.max_receive_message_length": REQUEST_BYTES,
    "grpc.max_send_message_length": -1,
    interceptors: [calls.interceptor],
  });
  const handlers = service(SERVICE).methods.map((method) => [method.localName, handler(orders, method)]);
  server.addService(definition(service(SERVICE)), Object.fromEntries(handlers));
  server.addService(definition(service(HEALTH)), { check: health.check, watch: health.watch });
  await new Promise((done, fail) => {
    server.bindAsync(ADDRESS, ServerCredentials.createInsecure(), (error, port) => (error ? fail(error) : done(port)));
  });
  relay.start();
  log("serving", { address: ADDRESS });

  const stop = async () => {
    log("stopping");
    health.stop();
    calls.endStreams();
    const forced = setTimeout(() => server.forceShutdown(), GRACE_MS);
    await new Promise((done) => server.tryShutdown(done));
    clearTimeout(forced);
    await relay.stop(RELAY_GRACE_MS);
    await store.synced();
    log("stopped", { waiting: store.outbox.size });
    process.exit(0);
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.once(signal, () => void stop());
}

main().catch((error) => {
  console.error(`can't start: ${error.message}`);
  process.exit(2);
});
