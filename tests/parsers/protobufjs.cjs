// Loads the contract's .proto files with protobufjs, whose package is named first (7 and 8 are there), and says what
// it has found: protobufjs.cjs PACKAGE FOLDER < GOLDEN.
const { readdirSync, readFileSync } = require("node:fs");
const { join } = require("node:path");
const { leaves, say } = require("./facts.cjs");

const [, , name, folder] = process.argv;
const { Enum, Field, MapField, Namespace, Root, Service, Type } = require(name);

const bare = (fullName) => fullName.replace(/^\./, "");

function load() {
  const root = new Root();
  root.resolvePath = (_origin, target) => join(folder, target);
  const files = readdirSync(folder, { recursive: true }).filter((file) => file.endsWith(".proto"));
  root.loadSync(files.sort(), { keepCase: true });
  root.resolveAll();
  return root;
}

const typeOf = (field) => {
  const type = field.resolvedType ? bare(field.resolvedType.fullName) : field.type;
  return field instanceof MapField ? `map<${field.keyType},${type}>` : type;
};

const options = (thing) => leaves(thing.parsedOptions ?? []).sort();

function fieldOf(field) {
  const oneof = field.partOf && !field.partOf.isProto3Optional ? field.partOf.name : "";
  return { number: field.id, type: typeOf(field), repeated: field.repeated, oneof, options: options(field) };
}

const byName = (list, describe) => Object.fromEntries(list.map((each) => [each.name, describe(each)]));

function* things(namespace) {
  for (const thing of namespace.nestedArray) {
    yield thing;
    if (thing instanceof Namespace) yield* things(thing);
  }
}

const methodOf = (method) => ({
  takes: bare(method.resolvedRequestType.fullName),
  answers: bare(method.resolvedResponseType.fullName),
  streams: [Boolean(method.requestStream), Boolean(method.responseStream)],
  options: options(method),
});

function facts(root) {
  const found = { messages: {}, enums: {}, services: {}, extensions: {} };
  for (const thing of things(root)) {
    const fullName = bare(thing.fullName);
    if (thing instanceof Type) {
      // A message also has a field for each extension of it.
      const own = thing.fieldsArray.filter((field) => !field.declaringField);
      found.messages[fullName] = { fields: byName(own, fieldOf), options: options(thing) };
    } else if (thing instanceof Enum) {
      found.enums[fullName] = { ...thing.values };
    } else if (thing instanceof Service) {
      found.services[fullName] = { methods: byName(thing.methodsArray, methodOf), options: options(thing) };
    } else if (thing instanceof Field && thing.extend) {
      found.extensions[fullName] = { number: thing.id, extends: bare(thing.extend), options: options(thing) };
    }
  }
  return found;
}

function again(root, { type, bytes }) {
  const kind = root.lookupType(type);
  return Buffer.from(kind.encode(kind.decode(Buffer.from(bytes, "hex"))).finish()).toString("hex");
}

const root = load();
const golden = JSON.parse(readFileSync(0, "utf8"));
say({ ...facts(root), golden: golden.map((entry) => again(root, entry)) });
