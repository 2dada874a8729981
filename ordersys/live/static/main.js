// Puts the stream, the views and the address together. The address says which view it is: #order=…&filter=….

import { showBreaking } from "./breaking.js";
import { byId, say } from "./dom.js";
import { Flow, showHistory } from "./flow.js";
import { Lists } from "./lists.js";
import { Stream, key } from "./stream.js";
import { showTroubles, showVerdict } from "./verdict.js";
import { watchWaterfall } from "./waterfall.js";

const STATES = {
  live: "connected",
  lost: "The live page does not answer; trying again.",
  refused: "Refused. Open the link that was printed when the system was started: it has the key.",
};
const flow = new Flow();
const lists = new Lists((id) => go({ order: id }));
let paused = null; // the document as it was when somebody paused
let opened = "";

const stream = new Stream(key(), (sections) => paused || show(sections), (state) => {
  const isLost = state !== "live";
  document.body.classList.toggle("lost", isLost);
  byId("connection").classList.toggle("lost", isLost);
  say(byId("connection"), STATES[state]);
});

function show(sections) {
  const filter = parameters().get("filter")?.toLowerCase() ?? "";
  if (sections.graph) flow.draw(sections.graph);
  if (sections.checks || sections.broker || sections.services) showVerdict(view());
  if (sections.troubles) showTroubles(sections.troubles);
  const drawn = ["graph", "services", "broker", "rates", "outboxes", "letters"];
  if (drawn.some((name) => sections[name])) flow.show(view());
  if (sections.rates) {
    showHistory(sections.rates.history);
    lists.showRate(sections.rates);
  }
  if ("orders" in sections) lists.showOrders(sections.orders, filter);
  if (sections.events) lists.showEvents(sections.events, filter);
  if (sections.breaking) showBreaking(sections.breaking);
  if (sections.letters) lists.showLetters(sections.letters);
}

const view = () => paused ?? stream.document;

const parameters = () => new URLSearchParams(location.hash.slice(1));

function go(changes, isStep = true) {
  const next = parameters();
  for (const [name, value] of Object.entries(changes)) value ? next.set(name, value) : next.delete(name);
  history[isStep ? "pushState" : "replaceState"](null, "", `#${next}`);
  follow();
}

async function follow() {
  const wanted = parameters();
  byId("filter").value = wanted.get("filter") ?? "";
  show(view());
  const id = wanted.get("order") ?? "";
  if (id === opened) return;
  opened = id;
  watchWaterfall(id, stream.key);
  const dialog = byId("order");
  if (!id) {
    dialog.close();
    return;
  }
  let order;
  try {
    order = await stream.order(id);
  } catch {
    order = { error: STATES.lost };
  }
  if (opened !== id) return;
  lists.showOrder({ id, ...order });
  if (!dialog.open) dialog.showModal();
}

function pause() {
  paused = paused ? null : { ...stream.document };
  document.body.classList.toggle("paused", Boolean(paused));
  byId("pause").setAttribute("aria-pressed", String(Boolean(paused)));
  say(byId("pause"), paused ? "Go on" : "Pause");
  show(view());
}

byId("pause").addEventListener("click", pause);
byId("filter").addEventListener("input", (event) => go({ filter: event.target.value.trim() }, false));
byId("order").addEventListener("close", () => opened && go({ order: "" }));
byId("copy").addEventListener("click", async () => {
  const shared = parameters();
  shared.set("key", stream.key);
  await navigator.clipboard.writeText(`${location.origin}/#${shared}`);
  say(byId("copy"), "Copied");
  setTimeout(() => say(byId("copy"), "Copy link"), 1500);
});
addEventListener("hashchange", () => (key() === stream.key ? follow() : location.reload()));
addEventListener("popstate", follow);
addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement;
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || byId("order").open) return;
  if (event.key === "/") {
    event.preventDefault();
    byId("filter").focus();
  } else if (event.key === "p") {
    pause();
  }
});
follow();
