// Orders, events and dead letters as rows, and one order in full.

import { byId, element, keyed, rate, say, short, time } from "./dom.js";

const row = (...cells) => element("tr", {}, ...cells.map((cell) => (cell instanceof Node && cell.tagName === "TD" ? cell : element("td", {}, cell))));
const empty = (columns, text) => () => element("tr", {}, element("td", { class: "empty", colspan: columns }, text));
const body = (id) => byId(id).querySelector("tbody");

export class Lists {
  constructor(onOrder) {
    this.onOrder = onOrder;
  }

  showOrders(orders, filter) {
    const shown = (orders ?? []).filter((order) => matches(filter, order.id, order.customer));
    say(byId("orders-count"), orders === null ? "the Order Service does not answer" : filter ? `${shown.length} of ${orders.length}` : "");
    keyed(body("orders"), shown, (order) => order.id, (order) => row(
      this.#link(order.id), cut(order.customer), stateOf(order.state), number(order.total), time(order.created), heardBy(order.heard)),
      empty(6, filter ? "None of the newest orders fits the filter." : "No orders yet. Place one: ordersys place oak-desk=1"));
  }

  showEvents(events, filter) {
    const shown = events.filter((event) => matches(filter, event.order, event.customer));
    keyed(body("events"), shown, (event) => event.id, (event) => this.#event(event), empty(5, "No events yet."));
  }

  showLetters(subscribers, filter) {
    const letters = subscribers.flatMap(({ consumer, letters: of }) => of.map((letter) => ({ consumer, ...letter })));
    const more = subscribers.some((subscriber) => subscriber.more);
    say(byId("letters-count"), letters.length ? `${letters.length}${more ? " and more" : ""}` : "");
    keyed(body("letters"), letters, (letter) => `${letter.consumer} ${letter.id}`, (letter) => row(
      letter.consumer, cut(`${letter.kind || "no type"} ${letter.event}`), letter.reason.replaceAll("_", " "),
      element("td", { class: "wide" }, letter.obstacle || "nothing: a replay would be taken"),
      letter.time === null ? "not known" : time(letter.time), letter.replay ? copying("Copy command", letter.replay) : ""),
      empty(6, "None."));
  }

  showRate(rates) {
    const total = Math.max(0, ...Object.values(rates.records ?? {}).map((kinds) => Object.values(kinds).reduce((a, b) => a + b, 0)));
    say(byId("events-rate"), rate(total));
  }

  showOrder(order) {
    say(byId("order-title"), `Order ${order.id ?? ""}`);
    const target = byId("order-body");
    if (order.error) {
      target.replaceChildren(element("p", { class: "empty" }, order.error));
      return;
    }
    const facts = { Customer: order.customer, State: order.state, Version: String(order.version), "Total (EUR)": order.total,
      Created: new Date(order.created).toLocaleString(), Changed: new Date(order.updated).toLocaleString() };
    target.replaceChildren(
      element("dl", { class: "facts" }, ...Object.entries(facts).map(([name, value]) =>
        element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
      table(["Product", "Units", "Price (EUR)"], order.items.map((item) => row(item.product, number(String(item.quantity)), number(item.price)))),
      element("h3", {}, "Events, as each subscriber recorded them"),
      table(["Event", "Version", "Recorded by", "Told"], order.events.map((event) => row(event.kind, number(String(event.version || "")),
        recordedBy(event), element("td", { class: "wide" }, event.text)))));
  }

  #event(event) {
    const kind = element("td", { title: event.text }, event.kind);
    if (event.late) kind.append(" ", element("span", { class: "late" }, "late"));
    return row(kind, this.#link(event.order), cut(event.customer), number(event.version ? String(event.version) : "–"), recordedBy(event));
  }

  #link(id) {
    const button = element("button", { class: "link", type: "button", title: id, "aria-label": `Order ${id}` }, short(id));
    button.addEventListener("click", () => this.onOrder(id));
    return button;
  }
}

const matches = (filter, ...texts) => !filter || texts.some((text) => text.toLowerCase().includes(filter));

const number = (text) => element("td", { class: "number" }, text);

const cut = (text) => element("td", { class: "cut", title: text }, text);

const stateOf = (state) => element("td", {}, element("span", { class: "state", "data-state": state }, state));

// The last word of a subscriber's name tells it from the others: notification-service-2 is 2.
const numberOf = (consumer) => consumer.split("-").pop();

function mark(consumer, isHeard, text) {
  const said = isHeard ? `${consumer} has recorded it` : `${consumer} has not recorded it yet`;
  return element("span", { class: isHeard ? "heard" : "missing", title: said },
    element("span", { "aria-hidden": "true" }, `${isHeard ? "✓" : "…"} ${numberOf(consumer)}${text}`), element("span", { class: "hidden" }, said));
}

const heardBy = (heard) => element("td", {}, ...Object.entries(heard).map(([consumer, isHeard]) => mark(consumer, isHeard, "")));

const recordedBy = ({ heard, missing }) => element("td", {},
  ...Object.entries(heard).sort().map(([consumer, when]) => mark(consumer, true, ` ${time(when)}`)),
  ...missing.map((consumer) => mark(consumer, false, "")));

function table(names, rows) {
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col", ...(rows[0]?.children[names.indexOf(name)]?.className === "number" ? { class: "number" } : {}) }, name)));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}

export function copying(label, text) {
  const button = element("button", { class: "command", type: "button", title: text }, label);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    say(button, "Copied");
    setTimeout(() => say(button, label), 1500);
  });
  return button;
}
