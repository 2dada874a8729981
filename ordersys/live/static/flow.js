// The drawing: boxes and ways as the contract has them, with rates on the ways and depths in the queues.
// It is drawn once; afterwards only texts and classes change, so that nothing moves but what flows.

import { byId, element, keyed, rate, say, svg } from "./dom.js";

const WIDTH = 178, HEIGHT = 58, ACROSS = 246, DOWN = 84, MARGIN = 12;

export class Flow {
  #nodes = new Map();
  #edges = [];
  #graph = null;

  draw(graph) {
    const drawing = JSON.stringify(graph);
    if (this.drawing === drawing) return;
    this.drawing = drawing;
    this.#graph = graph;
    this.consumers = Object.fromEntries(Object.values(graph.consumers).map((consumer) => [consumer, true]));
    this.places = new Map(graph.nodes.map((node) => [node.name, place(node)]));
    const columns = Math.max(...graph.nodes.map((node) => node.column));
    const rows = Math.max(...graph.nodes.map((node) => node.row));
    const root = byId("flow");
    root.setAttribute("viewBox", `0 0 ${columns * ACROSS + WIDTH + 2 * MARGIN} ${rows * DOWN + HEIGHT + 2 * MARGIN}`);
    this.#edges = graph.edges.map((edge) => this.#edge(edge));
    this.#nodes = new Map(graph.nodes.map((node) => [node.name, this.#node(node)]));
    root.replaceChildren(...this.#edges.map((edge) => edge.node), ...[...this.#nodes.values()].map((node) => node.node));
  }

  show({ services = [], broker = {}, rates = {}, outboxes = {}, letters = [] }) {
    if (!this.#graph) return;
    const states = [];
    for (const node of this.#graph.nodes) {
      const [condition, text] = this.#condition(node, services, broker, outboxes, letters);
      const drawn = this.#nodes.get(node.name);
      drawn.node.setAttribute("class", `${node.kind} ${condition}`);
      say(drawn.text, text);
      if (text) states.push({ name: node.name, text });
    }
    keyed(byId("states"), states, (state) => state.name,
      ({ name, text }) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, text)));
    for (const { edge, node, text } of this.#edges) {
      const value = this.#rate(edge, rates);
      node.classList.toggle("alive", value > 0);
      node.style.setProperty("--pace", `${Math.max(0.25, 1.6 / Math.sqrt(1 + value)).toFixed(2)}s`);
      say(text, rate(value));
    }
    const said = { up: "RabbitMQ answers", away: `RabbitMQ is away: ${broker.reason}`, unknown: broker.reason };
    say(byId("broker"), said[broker.state] ?? "");
    byId("broker").className = broker.state === "away" ? "lost" : "";
  }

  #condition(node, services, broker, outboxes, letters) {
    if (node.kind === "queue" || node.kind === "dead-letters") {
      const depth = broker.queues?.[node.name];
      if (broker.state === "away") return ["bad", "broker away"];
      if (!depth) return ["", "depth not known"];
      if (node.kind === "dead-letters") return this.#deadLetters(node, depth, letters);
      const unheard = depth.consumers === 0;
      return [unheard ? "bad" : depth.messages > 100 ? "busy" : "",
        `${depth.messages.toLocaleString()} ready${unheard ? ", no consumer" : ""}`];
    }
    if (node.kind === "exchange") return [broker.state === "away" ? "bad" : "", broker.state === "away" ? "broker away" : "exchange"];
    if (node.kind === "client") return ["", ""];
    const processes = services.filter((process) => process.name === node.name);
    const well = processes.filter((process) => process.well).length;
    if (!processes.length) return ["", "not looked at"];
    const health = processes.find((process) => !process.well)?.health ?? "";
    const many = processes.length > 1 ? `${well} of ${processes.length} serving` : "serving";
    const waiting = Object.entries(outboxes).filter(([name]) => name.split("-")[0].replaceAll("_", "-") === node.name);
    const outbox = waiting.reduce((sum, [, box]) => sum + box.events, 0);
    const age = Math.max(0, ...waiting.map(([, box]) => box.age));
    const held = waiting.length ? ` · outbox ${outbox.toLocaleString()}${age >= 1 ? `, ${Math.round(age)} s` : ""}` : "";
    if (well === processes.length) return [age > 10 ? "busy" : "good", many + held];
    return [well ? "busy" : "bad", (well ? many : health === "NOT_SERVING" ? "not serving" : health) + held];
  }

  // The subscriber keeps them: their queue is empty once it has taken them over.
  #deadLetters(node, depth, letters) {
    const rejecting = this.#graph.edges.find((edge) => edge.target === node.name)?.source;
    const of = letters.find(({ consumer }) => consumer === this.#graph.consumers[rejecting]);
    const kept = of ? `${of.letters.length.toLocaleString()}${of.more ? "+" : ""} kept` : "not known";
    const waiting = depth.messages ? `, ${depth.messages.toLocaleString()} to take over` : "";
    return [of?.letters.length || depth.messages ? "busy" : "", kept + waiting];
  }

  // Events are counted as their subscribers record them, calls as processes tell in their metrics.
  #rate({ source, target, labels }, { records = {}, calls = [] }) {
    const consumer = this.#graph.consumers[target] ?? (records[target] ? target : null);
    const of = (name) => Math.max(0, ...Object.values(records).map((kinds) => kinds[name] ?? 0));
    if (labels[0] === "rejected") return 0;
    if (labels[0] === "feeds") {
      const fed = this.#graph.edges.filter((edge) => edge.target === source).flatMap((edge) => edge.labels);
      return fed.reduce((sum, name) => sum + of(name), 0);
    }
    if (consumer) return labels.reduce((sum, name) => sum + (records[consumer]?.[name] ?? 0), 0);
    const called = calls.filter((call) => call.service === target && labels.includes(call.method.split("/").pop()));
    return called.reduce((sum, call) => sum + call.rate, 0) || labels.reduce((sum, name) => sum + of(name), 0);
  }

  #node(node) {
    const { x, y } = this.places.get(node.name);
    const text = svg("text", { class: "small", x: x + 26, y: y + 44 });
    const name = { "dead-letters": "dead letters", queue: "queue" }[node.kind] ?? node.name.replaceAll("-", " ");
    const group = svg("g", { class: node.kind },
      svg("title", {}, node.name),
      svg("rect", { class: "box", x, y, width: WIDTH, height: HEIGHT, rx: node.kind === "exchange" ? 29 : node.kind === "queue" ? 4 : 10 }),
      svg("circle", { class: "dot", cx: x + 16, cy: y + 40, r: 4 }),
      svg("text", { class: "name", x: x + 12, y: y + (node.kind === "client" ? 34 : 24) }, name), text);
    return { node: group, text };
  }

  #edge(edge) {
    const source = this.places.get(edge.source), target = this.places.get(edge.target);
    const d = source.x === target.x ? below(source, target) : across(source, target);
    const middle = { x: (source.x + WIDTH + target.x) / 2, y: (source.y + target.y + HEIGHT) / 2 };
    const isAside = edge.labels[0] === "rejected";
    const text = svg("text", { class: "rate", x: middle.x, y: middle.y + 16 });
    const names = edge.labels.length > 1 ? `${edge.labels.length} kinds` : edge.labels[0];
    const label = svg("text", { x: middle.x, y: middle.y - 6 }, isAside || edge.target in this.consumers ? "" : names);
    return { edge, text, node: svg("g", { class: isAside ? "edge aside" : "edge" },
      svg("title", {}, `${edge.source} → ${edge.target}: ${edge.labels.join(", ")}`),
      svg("path", { class: "way", d }), svg("path", { class: "moving", d }), label, text) };
  }
}

const place = ({ column, row }) => ({ x: MARGIN + column * ACROSS, y: MARGIN + row * DOWN });

function across(source, target) {
  const x1 = source.x + WIDTH, y1 = source.y + HEIGHT / 2, x2 = target.x, y2 = target.y + HEIGHT / 2;
  const bend = Math.max(30, (x2 - x1) / 2);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

const below = (source, target) => `M${source.x + WIDTH / 2} ${source.y + HEIGHT}V${target.y}`;

export function showHistory(counts) {
  const most = Math.max(1, ...counts), step = 100 / Math.max(1, counts.length - 1);
  const points = counts.map((count, number) => `${(number * step).toFixed(1)} ${(24 - (22 * count) / most).toFixed(1)}`);
  const root = byId("history");
  root.setAttribute("viewBox", "0 0 100 25");
  root.setAttribute("preserveAspectRatio", "none");
  root.replaceChildren(svg("path", { d: `M0 24L${points.join("L")}L100 24` }));
}
