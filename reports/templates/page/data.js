// SPDX-License-Identifier: MIT
// The packed data of the page (reports/page/texts.py packs it), and what belongs to a cell.

/** @param {string} id @returns {Promise<any>} */
const unpacked = async (id) => {
  const text = atob(/** @type {HTMLElement} */ (document.getElementById(id)).textContent || "");
  const bytes = new Uint8Array(text.length);
  for (let n = 0; n < text.length; n++) bytes[n] = text.charCodeAt(n);
  if (typeof DecompressionStream === "undefined") return JSON.parse(new TextDecoder().decode(inflate(bytes)));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).json();
};

/** @type {Promise<string[]> | undefined} */
let longTexts;
/** A long text; they are unpacked when the first is asked for. @param {number} number @returns {Promise<string>} */
const longText = async (number) => (await (longTexts ??= unpacked("long")))[number];

/** @param {string} text */
const quoted = (text) => /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;

/** Everything about the data that is looked up often. @param {Core} core */
const indexed = (core) => {
  const looks = new Map(core.looks.map(([letter, name, sign, word, meaning]) => [letter, { name, sign, word, meaning }]));
  const rank = new Map(core.looks.map(([letter], n) => [letter, n]));
  /** @type {number[][]} */
  const testsOf = core.rows.map(() => []);
  core.tests.forEach(([, rows], test) => { for (const row of rows) testsOf[row].push(test); });
  const areaOf = core.areas.flatMap(([, , count], n) => Array(count).fill(n));
  /** @type {(Map<number, number[]> | undefined)[]} */
  const placesOf = core.columns.map(() => undefined);
  /** Test to its results in a column. @param {number} column */
  const places = (column) => {
    let found = placesOf[column];
    if (!found) {
      found = placesOf[column] = new Map();
      for (const [at, test] of core.columns[column].test.entries()) {
        const some = found.get(test);
        if (some) some.push(at);
        else found.set(test, [at]);
      }
    }
    return found;
  };
  /** @param {number} column @param {number} at @returns {Result} */
  const result = (column, at) => {
    const c = core.columns[column], test = core.tests[c.test[at]][0];
    const [line = 0, reason = 0, known = 0, again = 0, ...long] = c.more[at] ?? [];
    const text = core.texts[again];
    return {
      test, letter: c.outcome[at], took: c.took[at], acts: core.texts[c.acts[at]],
      line: core.texts[line], reason: core.texts[reason], known: core.texts[known],
      again: text === "-" ? "" : text || c.again + quoted(test), long, past: c.past[at],
      changed: core.changed[`${c.name} ${test}`] ?? "",
    };
  };
  /** Results of a cell, worst first. @param {number} row @param {number} column @returns {Result[]} */
  const results = (row, column) => testsOf[row]
    .flatMap((test) => places(column).get(test) ?? [])
    .map((at) => result(column, at))
    .sort((a, b) => (rank.get(a.letter) ?? 0) - (rank.get(b.letter) ?? 0));
  /** Rows of the results at these places of a column. @param {Column} column @param {number[]} places */
  const rowsAt = (column, places) => new Set(places.flatMap((at) => core.tests[column.test[at]][1]));
  /** Whether a cell has a result at one of these places. @param {(column: Column) => number[]} places */
  const cellsAt = (places) => {
    /** @type {(Set<number> | undefined)[]} */
    const rows = [];
    return (/** @type {number} */ row, /** @type {number} */ c) => (rows[c] ??= rowsAt(core.columns[c], places(core.columns[c]))).has(row);
  };
  const flaky = cellsAt(({ past }) => Object.entries(past).flatMap(([at, told]) => told[2] ? [Number(at)] : []));
  const changed = cellsAt(({ name, test }) => test.flatMap((number, at) => core.changed[`${name} ${core.tests[number][0]}`] ? [at] : []));
  /** @type {Map<string, number>} */
  const rowOf = new Map(core.rows.map(([anchor], n) => [anchor, n]));
  const columnOf = new Map(core.columns.map(({ name }, n) => [name, n]));
  const words = core.rows.map(([, id, title, , , statement, places, sources]) =>
    [id, title, statement, ...places.flatMap(([at, said]) => [at, said]), ...sources.map(([source]) => source)].join("\n").toLowerCase());
  return { core, looks, testsOf, areaOf, results, rowsAt, flaky, changed, rowOf, columnOf, words };
};
/** @typedef {ReturnType<typeof indexed>} Index */
