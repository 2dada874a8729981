// The banner: whether everything comes out even, and what can't be read.

import { byId, element, keyed, say } from "./dom.js";

const WORDS = {
  even: ["Even", "Nothing is lost, nothing is there twice, stock is conserved."],
  moving: ["At work", "Nothing is missing for longer than it may be on its way."],
  uneven: ["Not even", "Something is missing for longer than it may be on its way, or there is too much of it."],
  unknown: ["Not known", "Not everything could be read so far."],
};

export function showVerdict({ checks: { verdict, checks } = {}, broker = {}, services = [] }) {
  if (!checks) return;
  const away = services.filter((process) => !process.well).map((process) => process.name);
  if (broker.state === "away") away.unshift("RabbitMQ");
  const isWaiting = away.length && verdict !== "uneven" && verdict !== "even";
  const [word, sentence] = isWaiting
    ? ["Waiting", `For ${[...new Set(away)].join(", ")}. What is on its way is kept.`]
    : WORDS[verdict] ?? [verdict, ""];
  byId("verdict").dataset.verdict = verdict;
  say(byId("overall"), word);
  say(byId("explained"), sentence);
  document.title = verdict === "uneven" ? "(!) ordersys live" : "ordersys live";
  const list = byId("checks");
  for (const { subject, verdict: of, sentence: why } of checks) {
    const cell = list.querySelector(`[data-subject="${CSS.escape(subject)}"]`) ?? list.appendChild(
      element("div", { "data-subject": subject },
        element("dt", {}, `${subject} `, element("span")), element("dd", { "aria-live": "off" })));
    cell.dataset.verdict = of;
    say(cell.querySelector("span"), of === "uneven" ? "not even" : of);
    say(cell.querySelector("dd"), why);
    cell.querySelector("dd").title = why;
  }
}

export function showTroubles(troubles) {
  keyed(byId("troubles"), troubles, (trouble) => trouble.source,
    ({ source, reason }) => element("li", {}, `${source}: ${reason}`));
}
