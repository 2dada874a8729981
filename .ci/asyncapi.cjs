// Reads an AsyncAPI document with the official parser; anything worse than a remark ends with exit status 1.
const { readFile } = require("node:fs/promises");
const { Parser } = require("@asyncapi/parser");

const ERROR = 0;
const WARNING = 1;

async function main(path) {
  const { diagnostics } = await new Parser().parse(await readFile(path, "utf8"));
  const found = diagnostics.filter(({ severity }) => severity === ERROR || severity === WARNING);
  for (const { code, path: place, message } of found) console.error(`${path}: ${place.join(".")}: ${message} (${code})`);
  if (found.length > 0) process.exit(1);
  console.log(`${path}: valid`);
}

main(process.argv[2]);
