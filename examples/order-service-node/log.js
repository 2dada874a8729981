// @ts-check
/** The log: one JSON object a line. */

/** @param {string} event @param {object} [more] */
export function log(event, more = {}) {
  console.log(JSON.stringify({ time: new Date().toISOString(), event, ...more }));
}
