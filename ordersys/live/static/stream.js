// The stream of the server: sections of one document, all of them first, then those that have changed.
// The browser comes back by itself, and tells which state it has seen. A tab that nobody sees does not listen.

// A secret is taken out of the address, so that no screenshot or copied address has it; a reload finds it here.
export function kept(name) {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const given = parameters.get(name);
  if (given) {
    sessionStorage.setItem(name, given);
    parameters.delete(name);
    history.replaceState(null, "", `#${parameters}`);
  }
  return sessionStorage.getItem(name) ?? "";
}

export const key = () => kept("key");

export class Stream {
  #source = null;
  #document = {};

  constructor(key, onSections, onState) {
    this.key = key;
    this.onSections = onSections;
    this.onState = onState;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.#open()));
    if (!document.hidden) this.#open();
  }

  get document() {
    return this.#document;
  }

  #open() {
    if (this.#source) return;
    const source = (this.#source = new EventSource(`live/events?key=${encodeURIComponent(this.key)}`));
    source.onopen = () => this.onState("live");
    source.onmessage = (event) => {
      const sections = JSON.parse(event.data);
      Object.assign(this.#document, sections);
      this.onSections(sections);
    };
    source.onerror = () => {
      // CLOSED: it was refused, and the browser does not try again by itself.
      this.onState(source.readyState === EventSource.CLOSED ? "refused" : "lost");
      if (source.readyState === EventSource.CLOSED) {
        this.#source = null;
        setTimeout(() => document.hidden || this.#open(), 3000);
      }
    };
  }

  #close() {
    this.#source?.close();
    this.#source = null;
  }

  async order(id) {
    const answer = await fetch(`live/orders/${encodeURIComponent(id)}?key=${encodeURIComponent(this.key)}`);
    return answer.headers.get("Content-Type")?.startsWith("application/json")
      ? answer.json()
      : { error: await answer.text() };
  }
}
