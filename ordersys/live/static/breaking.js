// Break it: buttons that have the launcher kill, pause, cut and flood the system, and what was done so far.
// They are there only where the launcher was told so; whoever has no token sees what is broken, and no buttons.

import { byId, element, keyed, say, time } from "./dom.js";
import { kept } from "./stream.js";

const LABELS = {
  burst: ["Place orders", "A burst of orders, as clients place them"],
  kill: ["Kill", "kill -9; it is started again after 2.5 s"],
  pause: ["Pause process", "SIGSTOP: it is there, and does nothing"],
  cut: ["Cut", "Resets each connection of the link, and each new one"],
  poison: ["Send poison", "A message that nobody can read, to every subscriber"],
  fill: ["Fill its queue", "Pauses a subscriber, and places orders meanwhile"],
  mend: ["Mend everything", "Takes everything back at once"],
};
const STATES = { kill: "killed", pause: "paused", cut: "cut" };

const token = () => kept("token");
const shownTo = token();
addEventListener("hashchange", token);

let state = {};
let forms = "";
let asked = false;
let isAway = false;

export function showBreaking(next) {
  state = next;
  byId("breaking").hidden = false;
  const drawing = JSON.stringify(state.actions ?? []);
  if (drawing !== forms && state.actions) draw(drawing);
  if (state.error || isAway) say(byId("breaking-said"), state.error ?? "");
  isAway = Boolean(state.error);
  keyed(byId("done"), state.done ?? [], (entry) => entry.number,
    ({ time: when, text }) => element("li", {}, element("time", {}, time(when)), ` ${text}`),
    () => element("li", { class: "empty" }, "Nothing was broken yet."));
  tick();
}

function draw(drawing) {
  forms = drawing;
  byId("break-actions").replaceChildren(...(shownTo ? state.actions.map(form) : [
    element("p", { class: "empty" }, "Only the link that was printed when the system was started has the token for the buttons.")]));
}

function form(action) {
  const [label, meaning] = LABELS[action.name] ?? [action.name, ""];
  const node = element("form", { "data-action": action.name, title: meaning });
  const targets = action.targets.filter(Boolean);
  if (!targets.length && action.targets[0] !== "" && action.name !== "mend") return "";
  if (targets.length) {
    const select = element("select", { name: "target", "aria-label": `${label}: whom` });
    for (const target of targets) select.append(element("option", { value: target }, named(target)));
    node.append(select);
  }
  if (action.unit) {
    node.append(element("input", { name: "amount", type: "number", min: action.least, max: action.most, value: action.usual,
      required: "", "aria-label": `${label}: ${action.unit}` }), element("span", { class: "unit" }, action.unit));
  }
  node.prepend(element("button", { type: "submit" }, label));
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = new FormData(node);
    const request = { action: action.name };
    if (fields.has("target")) request.target = fields.get("target");
    if (fields.has("amount")) request.amount = Number(fields.get("amount"));
    ask(request);
  });
  node.addEventListener("change", tick);
  return node;
}

async function ask(request) {
  asked = true;
  tick();
  say(byId("breaking-said"), "");
  try {
    const answer = await fetch("live/break", { method: "POST", body: JSON.stringify(request),
      headers: { "Content-Type": "application/json", "X-Ordersys-Token": shownTo } });
    const body = await answer.json();
    if (answer.ok) showBreaking(body);
    else say(byId("breaking-said"), body.error);
  } catch {
    say(byId("breaking-said"), "The live page does not answer.");
  }
  asked = false;
  tick();
}

// Buttons rest while their action runs. The time that is left is counted here; the server says only until when.
function tick() {
  const effects = state.effects ?? [];
  keyed(byId("effects"), effects.map((effect) => ({ ...effect, words: words(effect) })),
    (effect) => `${effect.action} ${effect.target}`,
    ({ words: text }) => element("li", {}, text));
  for (const node of byId("break-actions").querySelectorAll("form")) {
    const target = node.elements.target?.value ?? "";
    node.querySelector("button").disabled = asked || isBusy(node.dataset.action, target, effects);
  }
}

function isBusy(action, target, effects) {
  const is = (name) => effects.some((effect) => effect.action === name && effect.target === target);
  if (action === "kill") return is("kill");
  if (action === "pause") return is("kill") || is("pause");
  if (action === "cut") return is("cut");
  const isBurst = effects.some((effect) => effect.action === "burst");
  if (action === "burst") return isBurst;
  return action === "fill" && (isBurst || is("kill") || is("pause"));
}

function words({ action, target, until, ended, count }) {
  if (action === "burst") return `placing orders: ${ended} of ${count}`;
  const left = Math.ceil((until - Date.now()) / 1000);
  const back = action === "kill" ? "is started again" : action === "cut" ? "is mended" : "goes on";
  return `${named(target)}: ${STATES[action] ?? action}, ${left > 0 ? `${back} in ${left} s` : "comes back now"}`;
}

const named = (target) => target.replaceAll("_", "-").replace("/", " – ");

setInterval(() => state.effects?.length && tick(), 500);
