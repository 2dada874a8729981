// The waterfall of an order: a table whose last column is drawn. A screen reader has the same rows as text, and the
// arrow keys go from row to row; a row that has the focus shows its attributes.

import { byId, element } from "./dom.js";

const AGAIN_MILLISECONDS = 1000;
let shown = ""; // the order that is open
let timer = 0;

// Shows it for as long as `order` is open: spans come some hundred milliseconds after what they tell.
export function watchWaterfall(order, key) {
  clearTimeout(timer);
  shown = order;
  const target = byId("waterfall");
  target.replaceChildren();
  target.text = "";
  if (order) read(order, key, target);
}

async function read(order, key, target) {
  let answered;
  try {
    const answer = await fetch(`live/orders/${encodeURIComponent(order)}/trace?key=${encodeURIComponent(key)}`);
    answered = await answer.json();
  } catch {
    answered = null; // the page says by itself that its server is away
  }
  if (shown !== order) return;
  if (answered) show(target, answered);
  timer = setTimeout(() => read(order, key, target), AGAIN_MILLISECONDS);
}

function show(target, found) {
  const { quiet, ...lasting } = found;
  const text = JSON.stringify(lasting);
  if (target.text === text) return; // what has not changed keeps its focus, its selection and its place
  target.text = text;
  if (found.error) {
    target.replaceChildren(element("p", { class: "empty" }, found.error));
    return;
  }
  const focused = document.activeElement?.dataset?.span;
  target.replaceChildren(...found.traces.flatMap((trace) => [heading(trace), drawing(trace)]));
  if (focused) [...target.querySelectorAll("tr")].find((row) => row.dataset.span === focused)?.focus();
}

const heading = (trace) => element("p", { class: "trace" },
  `${new Date(trace.began).toLocaleString()}, ${duration(trace.duration)}, ${trace.services.length} services, trace `,
  element("code", {}, trace.trace));

function drawing(trace) {
  const head = element("tr", {}, ...["Step", "Service", "Took", "When"].map((name) => element("th", { scope: "col" }, name)));
  const body = element("tbody", {}, ...trace.rows.map((row, number) => step(row, trace, number)));
  const table = element("table", {}, element("caption", { class: "hidden" }, "Waterfall: up and down go from step to step"),
    element("thead", {}, head), body);
  const detail = element("dl", { class: "detail", "aria-live": "polite" });
  body.addEventListener("focusin", (event) => detail.replaceChildren(...facts(trace.rows[event.target.dataset.number])));
  body.addEventListener("keydown", move);
  if (trace.omitted) detail.append(element("div", {}, element("dd", {}, `${trace.omitted} more steps are not shown`)));
  const others = `linked with ${trace.linked} traces, and ${trace.omitted_linked} others, which are not shown`;
  return element("div", { class: "waterfall" }, table, detail, ...trace.omitted_linked ? [element("p", {}, others)] : []);
}

function step(row, trace, number) {
  const name = element("th", { scope: "row" }, row.label);
  name.style.setProperty("--depth", Math.min(row.depth, 12));
  for (const note of row.notes) name.append(" ", element("span", { class: "note" }, note));
  const bar = element("span", { class: "bar" });
  const whole = Math.max(trace.duration, 1);
  bar.style.setProperty("--start", row.start / whole);
  bar.style.setProperty("--length", row.duration / whole);
  bar.dataset.service = trace.services.indexOf(row.service) % 6;
  const when = element("td", { class: "when" }, element("span", { class: "hidden" }, `after ${duration(row.start)}`), bar);
  const state = [row.status === "error" ? "failed" : "", row.others === null ? "" : "shared", row.recorded ? "" : "absent"].join(" ").trim();
  return element("tr", { class: state, tabindex: number ? -1 : 0, "data-span": row.id, "data-number": number },
    name, element("td", {}, row.service || "–"), element("td", { class: "number" }, duration(row.duration)), when);
}

function move(event) {
  const row = event.target.closest("tr");
  const rows = [...row.parentElement.children];
  const to = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling, Home: rows[0], End: rows.at(-1) }[event.key];
  if (!to) return;
  event.preventDefault();
  row.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

const facts = (row) => Object.entries({ name: row.name, kind: row.kind, status: row.status, ...(row.part_of ? { "part of": row.part_of } : {}), ...row.attributes })
  .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));

function duration(microseconds) {
  if (microseconds < 1000) return `${microseconds} µs`;
  return microseconds < 1e6 ? `${(microseconds / 1000).toFixed(1)} ms` : `${(microseconds / 1e6).toFixed(2)} s`;
}
