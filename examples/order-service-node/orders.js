// @ts-check
/** The rules of an order: its life cycle, its versions, its total, and the events about it. Pure: no I/O. */
import { clone, create, equals, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Order, OrderCreated, OrderUpdated, State } from "./contract.js";
import { stateNotAllowed } from "./refusals.js";

const { PLACED, PAID, SHIPPED, DELIVERED, CANCELLED } = State;
const NANOS = 1_000_000_000n;

/** "PLACED → PAID → SHIPPED → DELIVERED, and CANCELLED from PLACED or PAID" (order.proto). @type {Record<number, number[]>} */
const NEXT = { [PLACED]: [PAID, CANCELLED], [PAID]: [SHIPPED, CANCELLED], [SHIPPED]: [DELIVERED] };

/** "The sum of quantity × unit price over all items": in nanos, as integers. @param {any[]} items */
function total(items) {
  let nanos = 0n;
  for (const { quantity, unitPrice } of items) {
    nanos += BigInt(quantity) * (unitPrice.units * NANOS + BigInt(unitPrice.nanos));
  }
  return { currencyCode: "EUR", units: nanos / NANOS, nanos: Number(nanos % NANOS) };
}

/** "An order at version 1 in state PLACED" (order_service.proto). @param {any} request normalised @param {number} now */
export function placed(request, now) {
  const { orderId: id, customerId, items } = request;
  const time = timestampFromMs(now);
  return /** @type {any} */ (
    create(Order, /** @type {any} */ ({
      id, customerId, items, total: total(items), state: PLACED, version: 1n, createTime: time, updateTime: time,
    }))
  );
}

/**
 * The order as a change makes it, and the names of what differs; none of them where it has those items already.
 * Raises STATE_NOT_ALLOWED.
 *
 * @param {any} order
 * @param {{case: "items" | "state", value: any}} change
 * @param {number} now
 * @returns {{order: any, changedFields: string[]}}
 */
export function changed(order, change, now) {
  const next = /** @type {any} */ (clone(Order, order));
  if (change.case === "state") {
    if (!NEXT[order.state]?.includes(change.value)) throw stateNotAllowed(order.id, order.state, change.value);
    next.state = change.value;
  } else {
    if (order.state !== PLACED) throw stateNotAllowed(order.id, order.state, order.state);
    next.items = change.value.items;
    next.total = /** @type {any} */ (create(Order, /** @type {any} */ ({ total: total(next.items) }))).total;
  }
  const changedFields = ["items", "total", "state"].filter((name) => differs(name, order, next));
  if (changedFields.length) {
    next.version += 1n;
    // "When this version came to be: create_time at version 1, never before it later" (order.proto): a clock may be
    // set back.
    next.updateTime = timestampFromMs(Math.max(now, timestampMs(order.updateTime)));
  }
  return { order: next, changedFields };
}

/** @param {string} name @param {any} before @param {any} after */
function differs(name, before, after) {
  const only = (/** @type {any} */ order) => create(Order, /** @type {any} */ ({ [name]: order[name] }));
  return !equals(Order, only(before), only(after));
}

/** OrderCreated, to be published. @param {any} order @param {string} traceparent */
export const creation = (order, traceparent) => event(OrderCreated, { order }, traceparent);

/** OrderUpdated, to be published. @param {any} order @param {number} previousState @param {string[]} changedFields @param {string} traceparent */
export const update = (order, previousState, changedFields, traceparent) =>
  event(OrderUpdated, { order, previousState, changedFields }, traceparent);

/** @param {import("@bufbuild/protobuf").DescMessage} type @param {any} fields @param {string} traceparent @returns {import("./store.js").Event} */
function event(type, fields, traceparent) {
  const { id, version, updateTime } = fields.order;
  return {
    // "`message_id`: the event's id: `ORDER.VERSION`" (docs/implement.md).
    id: `${id}.${version}`,
    orderId: id,
    type: type.typeName,
    // "the event's time in RFC 3339, to the microsecond".
    time: new Date(timestampMs(updateTime)).toISOString().replace("Z", "000Z"),
    traceparent,
    body: toBinary(type, create(type, fields)),
  };
}
