// Elements, and lists of them that keep their rows. Text is only ever set as text: nothing that others wrote is markup.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children); // a string becomes a text node
  return node;
}

export const byId = (id) => document.getElementById(id);

// A write that changes nothing would still be read out by a screen reader, and would lose a selection.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Makes the children of `parent` those of `items`, in their order; a row that is there already stays where it is, and is
// made anew only when its item has changed.
export function keyed(parent, items, key, make, empty) {
  const rows = parent.rowsByKey ?? (parent.rowsByKey = new Map());
  const wanted = new Map();
  for (const item of items) {
    const text = JSON.stringify(item);
    const before = rows.get(key(item));
    const row = before?.text === text ? before : { text, node: make(item) };
    if (before && before !== row) before.node.replaceWith(row.node);
    wanted.set(key(item), row);
  }
  for (const [name, row] of rows) if (!wanted.has(name)) row.node.remove();
  let place = parent.firstChild;
  if (parent.emptyNode) { parent.emptyNode.remove(); parent.emptyNode = null; place = parent.firstChild; }
  for (const { node } of wanted.values()) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  parent.rowsByKey = wanted;
  if (!wanted.size && empty) parent.append((parent.emptyNode = empty()));
}

export const time = (milliseconds) => new Date(milliseconds).toLocaleTimeString([], { hour12: false });

// Ids begin with the time they were made at; what tells them apart is their end.
export const short = (id) => id.slice(-8);

export function rate(value) {
  if (!value) return "";
  return value >= 10 ? `${Math.round(value)}/s` : `${value.toFixed(1)}/s`;
}
