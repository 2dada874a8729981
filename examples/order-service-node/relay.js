// @ts-check
/**
 * The relay: publishes what waits in the outbox, and takes out what the broker has confirmed.
 *
 * "A nack, a returned message (no queue is bound), or a connection that breaks before the confirm: publish it again,
 * under the same id. An event may be published twice; it may not be lost." (docs/implement.md, Publish an event)
 */
import { connect } from "amqplib";
import { publication, topology } from "./contract.js";
import { log } from "./log.js";

/** @typedef {import("./store.js").Waiting} Waiting */

/** Events on their way to the broker at a time, and orders that may wait for another try meanwhile. */
const WINDOW = 256;
const CONNECT_MS = 5000;
const HEARTBEAT_SECONDS = 10;
/** A broker that confirms nothing for so long is asked again on a new connection. */
const CONFIRM_MS = 10_000;
/** Pauses before another try: from the first to the second, doubled each time. */
const PAUSE_MS = [100, 5000];

/** A jittered backoff: many who failed at once shall not come again at once. @param {number} failures */
const pauseMs = (failures) => Math.min(PAUSE_MS[0] * 2 ** failures, PAUSE_MS[1]) * (0.5 + Math.random() / 2);

/** @param {number} ms */
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class Relay {
  /** The order whose event is under way, with the time it was published. @type {Map<string, {id: string, at: number}>} */
  #inFlight = new Map();
  /** Orders whose event was nacked or returned: they wait. @type {Set<string>} */
  #putOff = new Set();
  /** How often that happened, one time after the other. @type {Map<string, number>} */
  #failures = new Map();
  /** Ids of messages that came back. @type {Set<string>} */
  #returned = new Set();
  /** @type {import("amqplib").ConfirmChannel | undefined} */
  #channel;
  /** @type {import("amqplib").ChannelModel | undefined} */
  #connection;
  /** Attempts to connect since the last one that went well. */
  #connects = 0;
  #stopping = false;
  #ended = Promise.resolve();
  #store;
  #url;

  /** @param {import("./store.js").Store} store @param {string} url of the broker */
  constructor(store, url) {
    this.#store = store;
    this.#url = new URL(url);
    if (!this.#url.searchParams.has("heartbeat")) this.#url.searchParams.set("heartbeat", String(HEARTBEAT_SECONDS));
    store.onSynced = () => this.#publishWaiting();
  }

  start() {
    this.#ended = this.#run();
  }

  /** Publishes what can be published in `ms`, and ends. The rest waits in the outbox for the next start. @param {number} ms */
  async stop(ms) {
    const end = Date.now() + ms;
    while (this.#channel && this.#store.outbox.size && Date.now() < end) await pause(20);
    this.#stopping = true;
    await Promise.race([this.#connection?.close().catch(() => {}), pause(ms)]);
    await Promise.race([this.#ended, pause(ms)]);
  }

  /** "Calls are answered while the broker is away. Waiting events are published when it is back." */
  async #run() {
    for (; !this.#stopping; this.#connects++) {
      const why = await this.#session().catch((error) => error);
      this.#channel = undefined;
      // Whatever is under way on a lost connection may have been lost with it.
      this.#inFlight.clear();
      this.#returned.clear();
      if (this.#stopping) return;
      log("the broker is away", { error: String(why), waiting: this.#store.outbox.size });
      await pause(pauseMs(this.#connects));
    }
  }

  /** Publishes on one connection until it ends; resolves with the reason. */
  async #session() {
    const connection = await connect(this.#url.href, { timeout: CONNECT_MS, noDelay: true });
    this.#connection = connection;
    const ended = new Promise((done) => {
      connection.on("error", done);
      connection.on("close", done);
    });
    const watch = setInterval(() => this.#giveUpLate(connection), CONFIRM_MS / 10);
    try {
      await declare(connection);
      const channel = await connection.createConfirmChannel();
      // A channel is closed where an exchange has gone: declared again by the next session.
      channel.on("error", (error) => void connection.close().catch(() => log("closing", { error: String(error) })));
      channel.on("return", (message) => this.#returned.add(message.properties.messageId));
      this.#channel = channel;
      this.#connects = 0;
      log("connected to the broker", { waiting: this.#store.outbox.size });
      this.#publishWaiting();
      return await ended;
    } finally {
      clearInterval(watch);
      connection.close().catch(() => {});
    }
  }

  /** @param {import("amqplib").ChannelModel} connection */
  #giveUpLate(connection) {
    const [oldest] = this.#inFlight.values();
    if (!oldest || Date.now() - oldest.at < CONFIRM_MS) return;
    // close() would wait for the answer of a broker that gives none.
    /** @type {any} */ (connection.connection).stream.destroy(new Error("no confirms"));
  }

  /**
   * "The events of one order are published in the order of its versions": one of each order at a time, and the next
   * one when it is confirmed. Events of different orders go together, up to the window.
   */
  #publishWaiting() {
    if (!this.#channel) return;
    for (const event of this.#store.outbox.values()) {
      if (this.#inFlight.size + this.#putOff.size >= WINDOW || !this.#store.isSynced(event)) return;
      if (!this.#inFlight.has(event.orderId) && !this.#putOff.has(event.orderId)) this.#publish(this.#channel, event);
    }
  }

  /** @param {import("amqplib").ConfirmChannel} channel @param {Waiting} event */
  #publish(channel, event) {
    const { exchange, routingKey, publisher } = publication(event.type);
    this.#inFlight.set(event.orderId, { id: event.id, at: Date.now() });
    const headers = {
      "cloudEvents:specversion": "1.0",
      "cloudEvents:source": publisher,
      "cloudEvents:subject": event.orderId,
      "cloudEvents:time": event.time,
      traceparent: event.traceparent,
    };
    const properties = {
      messageId: event.id,
      type: event.type,
      contentType: "application/protobuf",
      userId: decodeURIComponent(this.#url.username) || "guest", // as who it is logged in: RabbitMQ checks it
      timestamp: Math.floor(Date.parse(event.time) / 1000),
      persistent: true,
      mandatory: true,
      headers,
    };
    channel.publish(exchange, routingKey, Buffer.from(event.body), properties, (nacked) => {
      // A message that no queue took is returned first, and confirmed then.
      if (channel === this.#channel) this.#answered(event, !nacked && !this.#returned.delete(event.id));
    });
  }

  /** @param {Waiting} event @param {boolean} stored by the broker, in a queue */
  #answered(event, stored) {
    const { orderId } = event;
    this.#inFlight.delete(orderId);
    if (stored) {
      this.#failures.delete(orderId);
      this.#store.published(event.id);
    } else {
      const failures = this.#failures.get(orderId) ?? 0;
      this.#failures.set(orderId, failures + 1);
      this.#putOff.add(orderId);
      log("an event was not taken", { event_id: event.id, tries: failures + 1 });
      setTimeout(() => this.#tryAgain(orderId), pauseMs(failures)).unref();
    }
    this.#publishWaiting();
  }

  /** @param {string} orderId */
  #tryAgain(orderId) {
    this.#putOff.delete(orderId);
    this.#publishWaiting();
  }
}

/**
 * "Every service declares all of it when it connects, publishers too: a publisher whose subscriber has never run must
 * not lose that subscriber's events." (docs/implement.md, Topology)
 *
 * @param {import("amqplib").ChannelModel} connection
 */
async function declare(connection) {
  const channel = await connection.createChannel();
  channel.on("error", (error) => log("the topology differs", { error: String(error) }));
  for (const { name, type, durable, arguments: more } of topology.exchanges) {
    await channel.assertExchange(name, type, { durable, arguments: more });
  }
  for (const { name, durable, arguments: more } of topology.queues) {
    await channel.assertQueue(name, { durable, arguments: more });
  }
  for (const { source, destination, destination_type: kind, routing_key: key } of topology.bindings) {
    if (kind === "exchange") await channel.bindExchange(destination, source, key);
    else await channel.bindQueue(destination, source, key);
  }
  await channel.close();
}
