// @ts-check
/** What holds for every call of the server, before and around its handler (product_service.proto, "What holds for connections"). */
import { ServerInterceptingCall, status as Code } from "@grpc/grpc-js";
import { Refusal, undecodable } from "./refusals.js";

/** @typedef {import("@grpc/grpc-js").ServerInterceptingCallInterface} Base */

/** "which comes within 5 s of its headers (REQUEST_INCOMPLETE)" */
const MESSAGE_MS = 5000;
/** "A server admits so many calls at a time; more are refused (TOO_MANY_CALLS)": the number is the server's own. */
const CALLS = 1000;
/** "Streams: four a connection, more are refused (TOO_MANY_CALLS)" */
const STREAMS_PER_CONNECTION = 4;

export class Calls {
  #calls = 0;
  /** @type {Map<string, Set<Base>>} */
  #streams = new Map();

  /** "A server that stops ends every stream at once (UNAVAILABLE)" */
  endStreams() {
    for (const streams of this.#streams.values()) {
      for (const call of streams) call.sendStatus({ code: Code.UNAVAILABLE, details: "The server stops." });
    }
  }

  /** @type {import("@grpc/grpc-js").ServerInterceptor} */
  interceptor = (method, call) =>
    new ServerInterceptingCall(call, {
      start: (next) => {
        // grpc-js takes the header away before an interceptor sees it; this field of 1.14 is all that is left of it.
        const encoding = /** @type {any} */ (call).incomingEncoding ?? "identity";
        if (encoding !== "identity") {
          // "A compressed request is refused unread (UNIMPLEMENTED, no details, nothing was done)"
          call.sendStatus({ code: Code.UNIMPLEMENTED, details: "Compressed requests are not taken." });
          return;
        }
        const leave = method.responseStream ? this.#enterStream(call) : this.#enterCall();
        if (leave) next(this.#listener(call, leave));
        else call.sendStatus(new Refusal("TOO_MANY_CALLS").ending());
      },
    });

  #enterCall() {
    if (this.#calls >= CALLS) return undefined;
    this.#calls++;
    return () => void this.#calls--;
  }

  /** @param {Base} call */
  #enterStream(call) {
    const peer = call.getPeer();
    const streams = this.#streams.get(peer) ?? new Set();
    if (streams.size >= STREAMS_PER_CONNECTION) return undefined;
    this.#streams.set(peer, streams.add(call));
    return () => {
      streams.delete(call);
      if (streams.size === 0) this.#streams.delete(peer);
    };
  }

  /**
   * "A call is one message, which comes within 5 s of its headers and is followed by none."
   *
   * @param {Base} call
   * @param {() => void} leave
   * @returns {import("@grpc/grpc-js").ServerListener}
   */
  #listener(call, leave) {
    let messages = 0;
    const late = setTimeout(() => call.sendStatus(new Refusal("REQUEST_INCOMPLETE").ending()), MESSAGE_MS);
    return /** @type {any} */ ({
      onReceiveMessage(/** @type {any} */ message, /** @type {(message: any) => void} */ next) {
        if (++messages === 1) next(message);
        else call.sendStatus(undecodable().ending());
      },
      onReceiveHalfClose(/** @type {() => void} */ next) {
        clearTimeout(late);
        // "or the call ended without one" (error_reason.proto, UNDECODABLE_REQUEST)
        if (messages === 1) next();
        else call.sendStatus(undecodable().ending());
      },
      // Called at the end of every call, however it ends.
      onCancel() {
        clearTimeout(late);
        leave();
      },
    });
  }
}
