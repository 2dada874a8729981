// @ts-check
/** The five RPCs. Each takes a request that keeps the rules, and returns the bytes of its response. */
import { createHmac } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as contract from "./contract.js";
import { changed, creation, placed, update } from "./orders.js";
import * as refusals from "./refusals.js";
import { fingerprint, normalise, traceOf } from "./requests.js";

/** @typedef {{traceparent: string}} Call what a call carries besides its request: the trace it is part of */

// "`page_size` 0 means 50, more than 500 means 500, and a page ends before it exceeds 2 MiB" (docs/implement.md).
const DEFAULT_PAGE = 50;
const LARGEST_PAGE = 500;
const PAGE_BYTES = 2 * 1024 * 1024;
/** What an order needs in a page besides its bytes, a tag and a length, and what a token needs, are less than this. */
const FRAMING_BYTES = 8;
const TOKEN_BYTES = 300;

/** @param {Uint8Array} bytes @returns {any} */
const orderIn = (bytes) => fromBinary(contract.Order, bytes);
/** @param {import("@bufbuild/protobuf").DescMessage} type @param {Uint8Array} order */
const answer = (type, order) => toBinary(type, create(type, /** @type {any} */ ({ order: orderIn(order) })));

export class OrderService {
  #store;

  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.#store = store;
  }

  /** @param {any} request @param {Call} call */
  async createOrder(request, call) {
    const order = this.#create(request, call);
    await this.#store.synced();
    return answer(contract.CreateOrderResponse, order);
  }

  /** "Many orders in one commit, each as CreateOrder would: one that is refused does not hinder the others."
   * @param {any} request @param {Call} call */
  async batchCreateOrders(request, call) {
    const results = request.requests.map((/** @type {any} */ one) => {
      try {
        return { result: { case: "order", value: orderIn(this.#create(one, call)) } };
      } catch (error) {
        if (!(error instanceof refusals.Refusal)) throw error;
        return { result: { case: "status", value: error.status() } };
      }
    });
    await this.#store.synced();
    const type = contract.BatchCreateOrdersResponse;
    return toBinary(type, create(type, /** @type {any} */ ({ results })));
  }

  /** @param {any} request @param {Call} call */
  async updateOrder(request, call) {
    const order = this.#update(request, call);
    await this.#store.synced();
    return answer(contract.UpdateOrderResponse, order);
  }

  /** @param {any} request */
  async getOrder(request) {
    const { bytes } = this.#existing(request.orderId.toLowerCase());
    // What is read may be on its way to the disk yet: who has read it shall find it after a crash.
    await this.#store.synced();
    return answer(contract.GetOrderResponse, bytes);
  }

  /** @param {any} request */
  async listOrders(request) {
    const { customerId, state, pageSize, pageToken } = request;
    const most = Math.min(pageSize || DEFAULT_PAGE, LARGEST_PAGE);
    const orders = [];
    let [bytes, nextPageToken, last] = [TOKEN_BYTES, "", -1];
    for (const kept of this.#store.newestFirst(customerId, this.#placeOf(pageToken, customerId, state))) {
      if (state && kept.state !== state) continue;
      bytes += kept.bytes.length + FRAMING_BYTES;
      if (orders.length === most || bytes > PAGE_BYTES) {
        nextPageToken = this.#token(last, customerId, state);
        break;
      }
      orders.push(orderIn(kept.bytes));
      last = kept.place;
    }
    await this.#store.synced();
    const type = contract.ListOrdersResponse;
    return toBinary(type, create(type, /** @type {any} */ ({ orders, nextPageToken })));
  }

  /** Creates an order, or finds out that it was created; the order as it was answered. @param {any} request @param {Call} call */
  #create(request, call) {
    normalise(request);
    // The type is that of CreateOrder alone and in a batch: "CreateOrder and an order of BatchCreateOrders count as
    // the same RPC: a repeat may come through either" (docs/implement.md).
    const asked = fingerprint(contract.CreateOrderRequest, request);
    const before = this.#answered(request, asked);
    if (before) return before;
    if (this.#store.order(request.orderId)) throw refusals.orderAlreadyExists(request.orderId);
    const order = placed(request, Date.now());
    // "stands here since a batch has one set of metadata for many traces" (order_service.proto).
    const trace = traceOf([request.traceparent, call.traceparent]);
    return this.#commit(request, asked, order, creation(order, trace));
  }

  /** Changes an order, or finds out that it was changed; the order as it was answered. @param {any} request @param {Call} call */
  #update(request, call) {
    normalise(request);
    const asked = fingerprint(contract.UpdateOrderRequest, request);
    const before = this.#answered(request, asked);
    if (before) return before;
    const kept = this.#existing(request.orderId);
    const order = orderIn(kept.bytes);
    const { expectedVersion, change } = request;
    if (expectedVersion !== undefined && expectedVersion !== order.version) {
      throw refusals.versionMismatch(order.id, order.version);
    }
    const { order: next, changedFields } = changed(order, change, Date.now());
    if (changedFields.length === 0) return this.#commit(request, asked, next);
    const event = update(next, order.state, changedFields, call.traceparent);
    return this.#commit(request, asked, next, event);
  }

  /** The order that a repeat is answered with; undefined for a new request. Raises REQUEST_ID_REUSED.
   * @param {any} request @param {string} asked its fingerprint */
  #answered({ requestId }, asked) {
    const before = this.#store.request(requestId);
    if (before && before.fingerprint !== asked) throw refusals.requestIdReused(requestId);
    return before?.answer;
  }

  /** @param {any} request @param {string} asked @param {any} order @param {import("./store.js").Event} [event] */
  #commit({ requestId }, asked, order, event) {
    const bytes = toBinary(contract.Order, order);
    this.#store.commit({ id: requestId, fingerprint: asked, at: Date.now(), answer: bytes }, bytes, event);
    return bytes;
  }

  /** @param {string} id */
  #existing(id) {
    const kept = this.#store.order(id);
    if (!kept) throw refusals.orderNotFound(id);
    return kept;
  }

  /** "It carries the key of the last entry and is bound to the filters" (docs/implement.md, Pages).
   * @param {number} place @param {string} customerId @param {number} state */
  #token(place, customerId, state) {
    const seal = createHmac("sha256", this.#store.secret).update(JSON.stringify([place, customerId, state]));
    return `${place.toString(36)}.${seal.digest("base64url")}`;
  }

  /** Where the page of a token begins. "Any other token is PAGE_TOKEN_INVALID", so it is compared as text, "to the letter".
   * @param {string} token @param {string} customerId @param {number} state */
  #placeOf(token, customerId, state) {
    if (token === "") return Infinity;
    const place = parseInt(token, 36);
    if (token !== this.#token(place, customerId, state)) throw new refusals.Refusal("PAGE_TOKEN_INVALID");
    return place;
  }
}
