// What is said by each of the parsers here, in the words of tests/parsers/facts.py.

// One line for each value of an option, by its path: "(buf.validate.field).string.uuid=true".
function leaves(value, path = "") {
  if (Array.isArray(value)) return value.flatMap((each) => leaves(each, path));
  if (value === null || typeof value !== "object") return [`${path}=${value}`];
  return Object.entries(value).flatMap(([key, each]) => {
    const name = key.replace(/^\[(.*)\]$/, "($1)");
    return leaves(each, path ? `${path}.${name}` : name);
  });
}

// Writes what was found to standard output, which is read as one JSON document.
function say(facts) {
  process.stdout.write(JSON.stringify(facts));
}

module.exports = { leaves, say };
