// Loads the contract with @grpc/proto-loader, from its .proto files or, where a file is named, from that descriptor
// set, and says what it has found: proto-loader.cjs FOLDER|FILE < GOLDEN.
const { readdirSync, readFileSync, statSync } = require("node:fs");
const loader = require("@grpc/proto-loader");
const { say } = require("./facts.cjs");

const OPTIONS = { keepCase: true, longs: String, enums: Number, oneofs: true };
const LABEL_REPEATED = "LABEL_REPEATED";
// Types of fields and methods stand there by short names in the one case, and by full names in the other.
const short = (name) => name.split(".").at(-1);

function load(path) {
  if (statSync(path).isFile()) return loader.loadFileDescriptorSetFromBuffer(readFileSync(path), OPTIONS);
  const files = readdirSync(path, { recursive: true }).filter((file) => file.endsWith(".proto"));
  return loader.loadSync(files.sort(), { ...OPTIONS, includeDirs: [path] });
}

function fieldOf(field) {
  const type = field.typeName ? short(field.typeName) : field.type.replace("TYPE_", "").toLowerCase();
  return { number: field.number, type, repeated: field.label === LABEL_REPEATED };
}

const isEntry = (message) => message.field.map(({ name }) => name).join() === "key,value";

// A map is a list of entries, whose message is declared inside.
function typeOf(message, field) {
  const found = fieldOf(field);
  const entry = message.nestedType.find((each) => isEntry(each) && found.type === each.name);
  if (!entry) return found;
  const [key, value] = entry.field.map(fieldOf);
  return { ...found, type: `map<${key.type},${value.type}>`, repeated: false };
}

const methodOf = (method) => ({
  takes: short(method.requestType.type.name),
  answers: short(method.responseType.type.name),
  path: method.path,
  streams: [method.requestStream, method.responseStream],
});

const valuesOf = (type) => Object.fromEntries(type.value.map((value) => [value.name, value.number]));

// Those declared inside as well, which have no entry of their own.
function addMessage(found, name, type) {
  // A message loaded from a file also has a field for each extension of it, by its full name.
  const own = type.field.filter((field) => !field.name.startsWith("."));
  found.messages[name] = { fields: Object.fromEntries(own.map((field) => [field.name, typeOf(type, field)])) };
  for (const each of type.enumType) found.enums[`${name}.${each.name}`] = valuesOf(each);
  for (const each of type.nestedType) if (!isEntry(each)) addMessage(found, `${name}.${each.name}`, each);
}

function facts(definitions) {
  const found = { messages: {}, enums: {}, services: {} };
  for (const [name, definition] of Object.entries(definitions)) {
    if (definition.format === "Protocol Buffer 3 DescriptorProto") {
      addMessage(found, name, definition.type);
    } else if (definition.format === "Protocol Buffer 3 EnumDescriptorProto") {
      found.enums[name] = valuesOf(definition.type);
    } else {
      found.services[name] = { methods: Object.fromEntries(Object.entries(definition).map(([m, d]) => [m, methodOf(d)])) };
    }
  }
  return found;
}

const definitions = load(process.argv[2]);
const golden = JSON.parse(readFileSync(0, "utf8"));
const again = ({ type, bytes }) =>
  Buffer.from(definitions[type].serialize(definitions[type].deserialize(Buffer.from(bytes, "hex")))).toString("hex");
say({ ...facts(definitions), golden: golden.map(again) });
