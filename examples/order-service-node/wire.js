// @ts-check
/**
 * Reads the wire format as strictly as the contract's decoder does, before protobuf-es reads the values.
 *
 * JavaScript's decoders look only at the number of a field, not at its wire type: a field of another wire type would
 * be read as garbage. By protobuf's specification it is an unknown field. So each record is looked at here: what is
 * known is kept, what is unknown is left out ("unknown fields: ignore them in requests", docs/implement.md), and what
 * is no record at all makes the request undecodable.
 */
import { ScalarType } from "@bufbuild/protobuf";

/** @typedef {import("@bufbuild/protobuf").DescMessage} DescMessage */
/** @typedef {import("@bufbuild/protobuf").DescField} DescField */

const VARINT = 0, I64 = 1, LEN = 2, START_GROUP = 3, END_GROUP = 4, I32 = 5;
/** What may be nested in a message: the default of protobuf's decoders. */
const DEPTH = 100;

/** The bytes are no message of the type. */
export class Undecodable extends Error {}

/**
 * The records of the fields that `type` knows, in their order.
 *
 * @param {DescMessage} type
 * @param {Uint8Array} bytes
 * @returns {Uint8Array} raises Undecodable
 */
export const knownFields = (type, bytes) => kept(type, new Reader(bytes), DEPTH);

class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  get done() {
    return this.at >= this.bytes.length;
  }

  /** A varint of at most `limit` bytes; its value is exact up to 2^53, which tags and lengths never reach. */
  varint(limit = 10) {
    let value = 0;
    for (let n = 0; n < limit; n++) {
      const byte = this.take(1)[0];
      value += (byte & 0x7f) * 2 ** (7 * n);
      if (byte < 0x80) return value;
    }
    throw new Undecodable("a varint is too long");
  }

  /** A tag or a length, which have 32 and 31 bits. @param {number} max */
  small(max) {
    const value = this.varint(5);
    if (value > max) throw new Undecodable("a tag or a length is too large");
    return value;
  }

  /** @param {number} size */
  take(size) {
    if (size > this.bytes.length - this.at) throw new Undecodable("the message is cut off");
    return this.bytes.subarray(this.at, (this.at += size));
  }
}

/** @param {DescMessage} type @param {Reader} reader @param {number} depth @returns {Uint8Array} */
function kept(type, reader, depth) {
  if (depth < 0) throw new Undecodable("nested too deep");
  const fields = fieldsOf(type);
  const parts = [];
  while (!reader.done) {
    const start = reader.at;
    const tag = reader.small(0xffffffff);
    const [number, wireType] = [Math.floor(tag / 8), tag % 8];
    const field = fields.get(number);
    if (field && wireType === LEN && field.message) {
      const head = reader.bytes.subarray(start, reader.at);
      const inner = kept(field.message, new Reader(reader.take(reader.small(0x7fffffff))), depth - 1);
      parts.push(head, varint(inner.length), inner);
    } else {
      skip(reader, number, wireType, depth);
      if (field && wireTypes(field).includes(wireType)) parts.push(reader.bytes.subarray(start, reader.at));
    }
  }
  return Buffer.concat(parts);
}

/** @type {WeakMap<DescMessage, Map<number, DescField>>} */
const known = new WeakMap();

/** @param {DescMessage} type */
function fieldsOf(type) {
  const fields = known.get(type) ?? new Map(type.fields.map((field) => [field.number, field]));
  known.set(type, fields);
  return fields;
}

/** Goes past the value of a record. @param {Reader} reader @param {number} number @param {number} wireType @param {number} depth */
function skip(reader, number, wireType, depth) {
  if (number === 0) throw new Undecodable("a field has no number 0");
  if (wireType === VARINT) reader.varint();
  else if (wireType === I64) reader.take(8);
  else if (wireType === LEN) reader.take(reader.small(0x7fffffff));
  else if (wireType === I32) reader.take(4);
  else if (wireType === START_GROUP) skipGroup(reader, number, depth - 1);
  else throw new Undecodable("a group ends that has not begun, or a wire type is none");
}

/** @param {Reader} reader @param {number} number @param {number} depth */
function skipGroup(reader, number, depth) {
  if (depth < 0) throw new Undecodable("nested too deep");
  for (;;) {
    const tag = reader.small(0xffffffff);
    const [inner, wireType] = [Math.floor(tag / 8), tag % 8];
    if (wireType !== END_GROUP) skip(reader, inner, wireType, depth);
    else if (inner === number) return;
    else throw new Undecodable("a group ends as another one");
  }
}

/** The wire types by which a field may come: its own, and that of a packed list. @param {DescField} field */
function wireTypes(field) {
  if (field.message) return [LEN];
  const own = field.enum ? VARINT : scalarWireType(field.scalar);
  return field.fieldKind === "list" && own !== LEN ? [own, LEN] : [own];
}

/** @param {ScalarType | undefined} scalar */
function scalarWireType(scalar) {
  switch (scalar) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return LEN;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return I64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return I32;
    default:
      return VARINT;
  }
}

/** @param {number} value */
function varint(value) {
  const bytes = [];
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  bytes.push(value);
  return Uint8Array.from(bytes);
}
