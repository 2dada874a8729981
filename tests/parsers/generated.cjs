// Reads golden messages with code that protoc-gen-es has made: generated.cjs FOLDER < GOLDEN.
const { readdirSync, readFileSync } = require("node:fs");
const { resolve } = require("node:path");
const { createRegistry, fromBinary, toBinary } = require("@bufbuild/protobuf");
const { say } = require("./facts.cjs");

const folder = process.argv[2];
const modules = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith("_pb.js"));
const files = modules.flatMap((name) => Object.values(require(resolve(folder, name)))).filter(({ kind }) => kind === "file");
const registry = createRegistry(...files);

function again({ type, bytes }) {
  const kind = registry.getMessage(type);
  return Buffer.from(toBinary(kind, fromBinary(kind, Buffer.from(bytes, "hex")))).toString("hex");
}

say({ golden: JSON.parse(readFileSync(0, "utf8")).map(again) });
