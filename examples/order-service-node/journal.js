// @ts-check
/**
 * An append-only file of JSON lines: what is synced in it survives kill -9 and loss of power.
 *
 * A line is `CRC JSON`. Entries that are appended while the disk is busy share the next line and its fdatasync (group
 * commit). A crash in the midst of a write leaves a broken line at the end, none of whose entries was answered or
 * published: it is dropped at the next start. A broken line with good ones behind it is damage, and nothing is served.
 *
 * A database does all of this as well. Node 20 has none built in, and one that has to be compiled when it is installed
 * does not install everywhere (README.md).
 */
import { existsSync, readFileSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { createServer } from "node:net";
import { createHash } from "node:crypto";
import { dirname, resolve } from "node:path";
import { crc32 } from "node:zlib";
import { log } from "./log.js";

/** @typedef {Record<string, any>} Entry something that is written whole or not at all */

const ENTRIES_PER_LINE = 1000;

/** @param {Entry[]} entries */
function line(entries) {
  const json = JSON.stringify(entries);
  return `${checksum(json)} ${json}\n`;
}

/** @param {string | Buffer} text */
const checksum = (text) => crc32(text).toString(16).padStart(8, "0");

/**
 * The entries of a journal, those of a broken last line excepted. Raises an error where the file is damaged.
 *
 * @param {string} path
 * @returns {Generator<Entry>}
 */
export function* entriesOf(path) {
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  let broken = -1;
  for (let start = 0, end; (end = bytes.indexOf(10, start)) !== -1; start = end + 1) {
    const json = bytes.subarray(start + 9, end);
    if (bytes.toString("latin1", start, start + 9) !== `${checksum(json)} `) broken = broken < 0 ? start : broken;
    else if (broken >= 0) throw new Error(`${path} is damaged at byte ${broken}: put a backup in its place`);
    else yield* JSON.parse(json.toString());
  }
}

/**
 * Replaces a journal, so that it has these entries only; after a crash it is the old file or the new one.
 *
 * @param {string} path
 * @param {Entry[]} entries
 */
export async function writeAnew(path, entries) {
  const file = await open(`${path}.new`, "w");
  for (let start = 0; start < entries.length; start += ENTRIES_PER_LINE) {
    await file.appendFile(line(entries.slice(start, start + ENTRIES_PER_LINE)));
  }
  await file.sync();
  await file.close();
  await rename(`${path}.new`, path);
  const folder = await open(dirname(path));
  await folder.sync();
  await folder.close();
}

/**
 * Holds the file for this process alone, until it ends, however it ends: two writers would ruin it. Linux only, where
 * the name of a socket can be abstract; elsewhere nothing is held.
 *
 * @param {string} path
 */
export function holdAlone(path) {
  if (process.platform !== "linux") return Promise.resolve();
  const name = createHash("sha256").update(resolve(path)).digest("hex");
  return new Promise((done, fail) => {
    const holder = createServer().unref();
    holder.once("error", () => fail(new Error(`${path} is in use by another process`)));
    holder.listen(`\0ordersys-${name}`, () => done(undefined));
  });
}

/** The storage can't be written for the moment. What was appended and not synced is undone. */
export class StorageUnavailable extends Error {}

export class Journal {
  /** @type {Entry[]} */
  #waiting = [];
  #appended = 0;
  #synced = 0;
  #undone = 0;
  #bytes = 0;
  /** @type {Promise<void> | undefined} */
  #writing;
  #file;
  #undo;

  /**
   * @param {import("node:fs/promises").FileHandle} file
   * @param {number} bytes that are in it
   * @param {() => void} undo called when the disk took nothing more: makes the memory equal to the file again
   */
  constructor(file, bytes, undo) {
    this.#file = file;
    this.#bytes = bytes;
    this.#undo = undo;
  }

  /** @param {string} path @param {() => void} undo */
  static async open(path, undo) {
    const file = await open(path, "a");
    return new Journal(file, (await file.stat()).size, undo);
  }

  /** How many entries are on disk, of those appended since the start. */
  get synced() {
    return this.#synced;
  }

  /** Puts an entry behind the others and returns its number, from 1. @param {Entry} entry */
  append(entry) {
    this.#waiting.push(entry);
    return ++this.#appended;
  }

  /** Resolves once all that has been appended until now is on disk; rejects with StorageUnavailable. */
  async sync() {
    const [wanted, undone] = [this.#appended, this.#undone];
    while (this.#synced < wanted) {
      await (this.#writing ??= this.#write().finally(() => (this.#writing = undefined)));
      if (this.#undone !== undone) throw new StorageUnavailable();
    }
  }

  async #write() {
    const text = line(this.#waiting.splice(0));
    const last = this.#appended;
    try {
      await this.#file.appendFile(text);
    } catch (error) {
      // A full disk, most of the time. The file ends again where it did; what memory has beyond it goes, too.
      log("the journal could not be written", { error: String(error) });
      await this.#file.truncate(this.#bytes).catch(giveUp);
      this.#waiting.length = 0;
      this.#synced = this.#appended;
      this.#undone++;
      this.#undo();
      return;
    }
    // After a failed fsync nobody knows what is on disk, not even a second fsync: only reading it anew tells.
    await this.#file.datasync().catch(giveUp);
    this.#bytes += Buffer.byteLength(text);
    this.#synced = last;
  }
}

/** Ends the process: whoever started it starts it again, and it reads what the disk has. @param {unknown} error */
function giveUp(error) {
  log("the journal failed", { error: String(error) });
  process.exit(1);
}
