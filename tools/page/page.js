"use strict";
// The search: by names first, then by all words of an entry. It reads this page and nothing else.
(() => {
  const by = (id) => document.getElementById(id);
  const [finder, search, found, hits, button] = ["finder", "search", "found", "hits", "examples"].map(by);
  const most = 40;
  const entries = [...document.querySelectorAll("[data-kind]")].map((element) => ({
    anchor: element.id,
    kind: element.dataset.kind,
    name: element.dataset.name,
    // Out of stock, out_of_stock and OUT_OF_STOCK are one name.
    key: plain(element.dataset.name),
    text: element.textContent.toLowerCase(),
  }));

  function plain(text) {
    return text.toLowerCase().replace(/[\s_-]/g, "");
  }

  function rank(entry, query, words) {
    const key = plain(query);
    if (entry.key === key || entry.key.endsWith(`.${key}`)) return 3;
    if (entry.key.includes(key)) return 2;
    return words.every((word) => entry.text.includes(word)) ? 1 : 0;
  }

  function hit({ anchor, kind, name }) {
    const [item, link, small] = ["li", "a", "small"].map((tag) => document.createElement(tag));
    link.href = `#${anchor}`;
    small.textContent = kind;
    link.append(name, small);
    item.append(link);
    return item;
  }

  function find() {
    const query = search.value.trim();
    const words = query.toLowerCase().split(/\s+/);
    const ranked = query ? entries.map((entry) => [rank(entry, query, words), entry]).filter(([value]) => value) : [];
    ranked.sort((one, other) => other[0] - one[0]); // stable: equal ones stay in the order of the page
    hits.replaceChildren(...ranked.slice(0, most).map(([, entry]) => hit(entry)));
    hits.hidden = !ranked.length;
    found.textContent = query ? `${ranked.length || "nothing"} found` : "";
  }

  function close() {
    search.value = "";
    find();
  }

  function move(event, step) {
    const links = [...hits.querySelectorAll("a")];
    const next = links.indexOf(document.activeElement) + step;
    event.preventDefault();
    (links[next] || (next < 0 ? search : links.at(-1)))?.focus();
  }

  function key(event) {
    const inside = finder.contains(event.target);
    if (event.key === "/" && !inside && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      search.focus();
    } else if (inside && event.key === "ArrowDown") move(event, 1);
    else if (inside && event.key === "ArrowUp") move(event, -1);
    else if (inside && event.key === "Escape") close();
    else if (event.target === search && event.key === "Enter") hits.querySelector("a")?.click();
  }

  function examples(open) {
    for (const details of document.querySelectorAll("details")) details.open = open;
  }

  search.addEventListener("input", find);
  document.addEventListener("keydown", key);
  hits.addEventListener("click", (event) => event.target.closest("a") && close());
  button.addEventListener("click", () => {
    const open = button.textContent.startsWith("Open");
    examples(open);
    button.textContent = open ? "Close all examples" : "Open all examples";
  });
  addEventListener("beforeprint", () => examples(true)); // what is folded would not be printed
  finder.hidden = false;
})();
