// @ts-check
/**
 * Orders, request_ids and the outbox: in memory, and in a journal that outlives the process.
 *
 * One commit has the order, the request with its answer, and the event, so that a crash leaves all of them or none:
 * "Store it in the same transaction as the effect" and "write the event into a table in the transaction of the change"
 * (docs/implement.md). Memory changes at once and the disk a moment later, so one rule holds for whoever uses this:
 * **nothing leaves the process, neither an answer nor an event, before `synced()`**.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { Order } from "./contract.js";
import { entriesOf, holdAlone, Journal, writeAnew } from "./journal.js";

// "Remember it for at least 24 hours from the answer on" (docs/implement.md, Idempotency).
const RETENTION_MS = 48 * 3600 * 1000;
const PURGE_EVERY_MS = 600 * 1000;
// What was published is noted with the next commit, or after this time. Lost in a crash, it is published again.
const NOTED_AFTER_MS = 50;

/**
 * @typedef {object} Kept an order as it is now
 * @property {number} place in the order of creation, from 0
 * @property {string} id
 * @property {string} customerId
 * @property {number} state
 * @property {Uint8Array} bytes the Order
 *
 * @typedef {{id: string, fingerprint: string, at: number, answer: Uint8Array}} Request with the Order it was answered
 * @typedef {{id: string, orderId: string, type: string, time: string, traceparent: string, body: Uint8Array}} Event
 * @typedef {Event & {entry: number}} Waiting an event, and the entry of the journal it is part of
 */

/** @param {Uint8Array} bytes */
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
/** @param {string} text */
const unbase64 = (text) => new Uint8Array(Buffer.from(text, "base64"));

export class Store {
  /** Events that are not confirmed by the broker, in the order of their commits. @type {Map<string, Waiting>} */
  outbox = new Map();
  /** A key for page tokens, so that they are good after a restart. */
  secret = "";
  /** Called when there are events to publish. */
  onSynced = () => {};

  /** @type {Kept[]} */
  #created = [];
  /** @type {Map<string, Kept>} */
  #orders = new Map();
  /** @type {Map<string, Kept[]>} */
  #byCustomer = new Map();
  /** @type {Map<string, Request>} */
  #requests = new Map();
  /** @type {NodeJS.Timeout | undefined} */
  #noting;
  #path;
  /** @type {Journal} */
  #journal;

  /** @param {string} path */
  constructor(path) {
    this.#path = path;
    this.#journal = /** @type {any} */ (undefined);
  }

  /** Opens the store in `folder`, which is made; raises an error where it is damaged or in use. @param {string} folder */
  static async open(folder) {
    mkdirSync(folder, { recursive: true });
    const store = new Store(join(folder, "orders.journal"));
    await holdAlone(store.#path);
    store.#read();
    store.secret ||= randomBytes(32).toString("hex");
    store.#purge();
    await writeAnew(store.#path, [...store.#entries()]);
    store.#journal = await Journal.open(store.#path, () => store.#read());
    setInterval(() => store.#purge(), PURGE_EVERY_MS).unref();
    return store;
  }

  /** @param {string} id @returns {Kept | undefined} */
  order(id) {
    return this.#orders.get(id);
  }

  /** @param {string} id @returns {Request | undefined} */
  request(id) {
    return this.#requests.get(id);
  }

  /** Orders, the newest first, from the one before `place` on. @param {string} customerId @param {number} place */
  *newestFirst(customerId, place = Infinity) {
    const all = customerId ? (this.#byCustomer.get(customerId) ?? []) : this.#created;
    for (let n = all.length - 1; n >= 0; n--) if (all[n].place < place) yield all[n];
  }

  /** Makes the parts of one change at once: an order as it became, the request, and the event if there is one.
   * @param {Request} request @param {Uint8Array} [order] @param {Event} [event] */
  commit(request, order, event) {
    const { answer, ...rest } = request;
    const entry = {
      ...(order && { order: base64(order) }),
      // Mostly the answer is the order as it became: it need not stand there twice.
      request: order === answer ? rest : { ...rest, answer: base64(answer) },
      ...(event && { event: { ...event, body: base64(event.body) } }),
    };
    this.#apply(entry, this.#journal.append(entry));
  }

  /** Resolves when everything done until now is on disk; rejects with StorageUnavailable. */
  async synced() {
    await this.#journal.sync();
    this.onSynced();
  }

  /** Whether an event may be published: its change is on disk. @param {Waiting} event */
  isSynced(event) {
    return event.entry <= this.#journal.synced;
  }

  /** Takes an event out of the outbox. @param {string} id */
  published(id) {
    if (!this.outbox.delete(id)) return;
    this.#journal.append({ published: id });
    this.#noting ??= setTimeout(() => this.#note(), NOTED_AFTER_MS);
  }

  #note() {
    this.#noting = undefined;
    // A failure is in the log, and is met by the next call as well.
    this.#journal.sync().catch(() => {});
  }

  #read() {
    this.#created = [];
    for (const index of [this.#orders, this.#byCustomer, this.#requests, this.outbox]) index.clear();
    for (const entry of entriesOf(this.#path)) this.#apply(entry, 0);
  }

  /** @param {import("./journal.js").Entry} entry @param {number} number of the entry in the journal */
  #apply({ order, request, event, published, secret }, number) {
    const bytes = order && unbase64(order);
    if (order) this.#keep(bytes);
    if (request) this.#requests.set(request.id, { ...request, answer: request.answer ? unbase64(request.answer) : bytes });
    if (event) this.outbox.set(event.id, { ...event, body: unbase64(event.body), entry: number });
    if (published) this.outbox.delete(published);
    if (secret) this.secret = secret;
  }

  /** @param {Uint8Array} bytes */
  #keep(bytes) {
    const { id, customerId, state } = /** @type {any} */ (fromBinary(Order, bytes));
    const there = this.#orders.get(id);
    if (there) return Object.assign(there, { state, bytes });
    const kept = { place: this.#created.length, id, customerId, state, bytes };
    this.#created.push(kept);
    this.#orders.set(id, kept);
    const ofCustomer = this.#byCustomer.get(customerId);
    if (ofCustomer) ofCustomer.push(kept);
    else this.#byCustomer.set(customerId, [kept]);
  }

  /** All there is, as entries of a journal that has nothing else. */
  *#entries() {
    yield { secret: this.secret };
    for (const { bytes } of this.#created) yield { order: base64(bytes) };
    for (const request of this.#requests.values()) yield { request: { ...request, answer: base64(request.answer) } };
    for (const { entry, ...event } of this.outbox.values()) yield { event: { ...event, body: base64(event.body) } };
  }

  /** Forgets requests that were answered long ago: the first ones. */
  #purge() {
    const before = Date.now() - RETENTION_MS;
    for (const { id, at } of this.#requests.values()) {
      if (at > before) return;
      this.#requests.delete(id);
    }
  }
}
