// Reads the contract's descriptor set with @bufbuild/protobuf (protobuf-es), and says what it has found:
// protobuf-es.cjs FILE < GOLDEN.
const { readFileSync } = require("node:fs");
const { createFileRegistry, fromBinary, getOption, hasOption, ScalarType, toBinary, toJson } = require("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = require("@bufbuild/protobuf/wkt");
const { leaves, say } = require("./facts.cjs");

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(process.argv[2])));
const JSON_OPTIONS = { registry, useProtoFieldName: true };
const extensions = [...registry].filter((each) => each.kind === "extension");
const bare = (name) => name.replace(/^\./, "");

function options(thing) {
  const set = extensions.filter(
    (each) => each.extendee.typeName === thing.proto.options?.$typeName && hasOption(thing, each),
  );
  return set.flatMap((each) => optionLeaves(each, getOption(thing, each))).sort();
}

function optionLeaves(extension, value) {
  const path = `(${extension.typeName})`;
  if (extension.message) return leaves(toJson(extension.message, value, JSON_OPTIONS), path);
  if (extension.enum) return leaves(extension.enum.value[value].name, path);
  return leaves(value, path);
}

function typeOf(field) {
  const inside = field.fieldKind === "map" ? field.mapKind : field.fieldKind === "list" ? field.listKind : field.fieldKind;
  const name = inside === "scalar" ? ScalarType[field.scalar].toLowerCase() : (field.message ?? field.enum).typeName;
  return field.fieldKind === "map" ? `map<${ScalarType[field.mapKey].toLowerCase()},${name}>` : name;
}

const fieldOf = (field) => ({
  number: field.number,
  type: typeOf(field),
  repeated: field.fieldKind === "list",
  oneof: field.oneof?.name ?? "",
  options: options(field),
});

const methodOf = (method) => ({
  takes: method.input.typeName,
  answers: method.output.typeName,
  streams: [method.methodKind.startsWith("client") || method.methodKind === "bidi_streaming",
            method.methodKind.startsWith("server") || method.methodKind === "bidi_streaming"],
  options: options(method),
});

const byName = (list, describe) => Object.fromEntries(list.map((each) => [each.name, describe(each)]));

function facts() {
  const found = { messages: {}, enums: {}, services: {}, extensions: {} };
  for (const thing of registry) {
    if (thing.kind === "message") {
      found.messages[thing.typeName] = { fields: byName(thing.fields, fieldOf), options: options(thing) };
    } else if (thing.kind === "enum") {
      found.enums[thing.typeName] = Object.fromEntries(thing.values.map(({ name, number }) => [name, number]));
    } else if (thing.kind === "service") {
      found.services[thing.typeName] = { methods: byName(thing.methods, methodOf), options: options(thing) };
    } else {
      found.extensions[thing.typeName] = {
        number: thing.number, extends: thing.extendee.typeName, options: options(thing),
      };
    }
  }
  return found;
}

const golden = JSON.parse(readFileSync(0, "utf8")).map(({ type, bytes }) => {
  const kind = registry.getMessage(type);
  const message = fromBinary(kind, Buffer.from(bytes, "hex"));
  return [Buffer.from(toBinary(kind, message)).toString("hex"), toJson(kind, message, JSON_OPTIONS)];
});
say({ ...facts(), golden: golden.map(([bytes]) => bytes), says: golden.map(([, says]) => says) });
