// SPDX-License-Identifier: MIT
// The query: words and key:value, all of which have to hold; or, not (also - and !), parentheses, "words together".

const OUTCOMES = new Map(Object.entries({
  fail: "F", error: "E", xpass: "X", notrun: "N", untested: "U", known: "K", pass: "P", "no-claim": "C", noclaim: "C",
  "not-claimed": "C", unseen: "-", bad: "FEX",
}));
const STATES = ["different", "flaky", "changed"];
const KEYS = ["area", "id", "is", "col", "kernel", "platform", "machine", "test", "message", "source", "needs", "since", "kind", "promise"];
const OF_COLUMNS = ["col", "kernel", "platform", "machine"];
const HELP = [
  ["gc flush", "both words in id, title, statement or sources"],
  ["area:gc,evict", "an area, or one of several"],
  ["is:fail", "an outcome in any of the columns shown: fail, error, xpass, bad (these three), known, untested, notrun, pass, no-claim, unseen"],
  ["is:fail@7.3", "the same, in columns with 7.3 in their name"],
  ["is:different", "columns shown differ; is:flaky, is:changed (against the baseline)"],
  ["col:7.3 -col:mock", "show these columns only; also kernel:, platform:, machine:"],
  ["test:munmap message:EBUSY", "in the names of tests, in what they said"],
  ["source:xe_svm.c needs:vram since:6.18 kind:may promise:driver", "what the ledger says"],
  ["a or (b -c)", "either; not"],
];

class QueryError extends Error {}

/** The nearest of some words, as a question. @param {string} word @param {string[]} known */
const meant = (word, known) => {
  /** @param {string} a @param {string} b */
  const distance = (a, b) => {
    let before = Array.from({ length: b.length + 1 }, (_, n) => n);
    for (let i = 1; i <= a.length; i++) {
      const now = [i];
      for (let j = 1; j <= b.length; j++) {
        now[j] = Math.min(before[j] + 1, now[j - 1] + 1, before[j - 1] + Number(a[i - 1] !== b[j - 1]));
      }
      before = now;
    }
    return before[b.length];
  };
  const [near] = known.map((k) => /** @type {[number, string]} */ ([distance(word, k), k])).sort((a, b) => a[0] - b[0]);
  return near && near[0] <= Math.max(1, word.length / 2) ? `: did you mean ${near[1]}?` : `; there are: ${known.join(", ")}`;
};

/** ``*`` is any text; without one, text that is somewhere inside. @param {string} value */
const like = (value) => {
  const parts = value.toLowerCase().split(",").filter(Boolean).map((one) => {
    if (!one.includes("*")) return (/** @type {string} */ text) => text.toLowerCase().includes(one);
    const pattern = new RegExp(`^${one.split("*").map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, "\\$&")).join(".*")}$`, "is");
    return (/** @type {string} */ text) => pattern.test(text);
  });
  return (/** @type {string} */ text) => parts.some((part) => part(text));
};

/** @param {string} text @returns {string[]} */
const tokens = (text) => [...text.matchAll(/[()]|[-!]?(?:[\w-]+:)?"[^"]*"?|[^\s()]+/g)].map(([token]) => token);

/**
 * The columns that a query shows, and the rows.
 * @param {string} text @param {Index} index
 * @returns {{ columns: (column: number) => boolean, rows: Test }}
 */
const parsed = (text, index) => {
  const { core } = index;
  /** @type {((column: number) => boolean)[]} */
  const columns = [];
  const list = tokens(text);
  let at = 0, depth = 0;
  let either = false;

  /** @param {string} key @param {string} value @param {boolean} not */
  const column = (key, value, not) => {
    if (depth || either) throw new QueryError(`${key}: chooses columns: it cannot be part of an "or" or in parentheses`);
    const fits = like(value);
    /** @param {number} n */
    const has = (n) => {
      const c = core.columns[n];
      return fits(key === "col" ? c.name : key === "kernel" ? `${c.kernel} ${c.release}` : key === "platform" ? c.platform : c.machine);
    };
    if (!core.columns.some((_, n) => has(n))) throw new QueryError(`no column has ${key} ${value}`);
    columns.push((n) => has(n) !== not);
    return () => true;
  };

  /** @param {string} value @returns {Test} */
  const is = (value) => {
    const [names, where = ""] = value.split("@");
    const fits = where ? like(where) : null;
    const parts = names.toLowerCase().split(",").filter(Boolean).map((name) => state(name, fits));
    return (row, shown) => parts.some((part) => part(row, shown));
  };

  /** @param {string} name @param {((text: string) => boolean) | null} fits @returns {Test} */
  const state = (name, fits) => {
    /** @param {number[]} shown */
    const among = (shown) => fits ? core.columns.flatMap(({ name: n }, c) => fits(n) ? [c] : []) : shown;
    const letters = OUTCOMES.get(name);
    if (letters) return (row, shown) => among(shown).some((c) => letters.includes(core.columns[c].outcomes[row]));
    if (name === "different") {
      return (row, shown) => {
        const some = among(shown);
        return some.some((c) => core.columns[c].outcomes[row] !== core.columns[some[0]].outcomes[row]);
      };
    }
    if (name === "flaky") return (row, shown) => among(shown).some((c) => index.flaky(row, c));
    if (name === "changed") return (row, shown) => among(shown).some((c) => index.changed(row, c));
    if (["must", "may", "model-only"].includes(name)) return (row) => core.rows[row][3] === name;
    if (["promised", "agreed", "driver"].includes(name)) return (row) => core.rows[row][4] === name;
    throw new QueryError(`is:${name} is unknown${meant(name, [...OUTCOMES.keys(), ...STATES])}`);
  };

  /** @param {string} key @param {string} value @returns {Test} */
  const atom = (key, value) => {
    if (key === "is") return is(value);
    const fits = like(value);
    switch (key) {
      case "area": {
        const wanted = value.toLowerCase().split(",").filter(Boolean);
        const names = core.areas.map(([name]) => name);
        for (const one of wanted) {
          if (!one.includes("*") && !names.some((name) => name.startsWith(one))) throw new QueryError(`no area is called ${one}${meant(one, names)}`);
        }
        const right = names.map((name) => wanted.some((one) => one.includes("*") ? like(one)(name) : names.includes(one) ? name === one : name.startsWith(one)));
        return (row) => right[index.areaOf[row]];
      }
      case "id": return (row) => fits(core.rows[row][1]);
      case "test": return (row) => index.testsOf[row].some((test) => fits(core.tests[test][0]));
      case "message": {
        const said = core.columns.map((c) => index.rowsAt(c, Object.entries(c.more).flatMap(([at, [line]]) => line && fits(core.texts[line]) ? [Number(at)] : [])));
        return (row, shown) => shown.some((c) => said[c].has(row));
      }
      case "source": return (row) => core.rows[row][7].some(([source]) => fits(source)) || core.rows[row][6].some(([place]) => fits(place));
      case "kind": return (row) => fits(core.rows[row][3]);
      case "promise": return (row) => fits(core.rows[row][4]);
      default: return (row) => fits(core.rows[row][8][key] ?? "");
    }
  };

  /** @returns {Test} */
  const one = () => {
    let token = list[at++];
    if (token === undefined || token === ")") throw new QueryError("something is missing before ) or at the end");
    let not = false;
    if (token.toLowerCase() === "not" && at < list.length) { not = true; token = list[at++]; }
    while (token.length > 1 && /^[-!]/.test(token)) { not = !not; token = token.slice(1); }
    if ((token === "-" || token === "!") && list[at] === "(") { not = !not; token = list[at++]; }
    /** @type {Test} */
    let test;
    if (token === "(") {
      depth++;
      test = some();
      depth--;
      if (list[at++] !== ")") throw new QueryError(") is missing");
    } else {
      const found = /^([\w-]+):(.*)$/s.exec(token);
      const key = found ? found[1].toLowerCase() : "";
      const value = (found ? found[2] : token).replaceAll('"', "");
      if (found && !KEYS.includes(key)) throw new QueryError(`${key}: is unknown${meant(key, KEYS)}`);
      if (found && !value) return () => true; // still being typed
      if (OF_COLUMNS.includes(key)) return column(key, value, not);
      const word = value.toLowerCase();
      test = found ? atom(key, value) : (row) => index.words[row].includes(word);
    }
    return not ? (row, shown) => !test(row, shown) : test;
  };
  /** @returns {Test} */
  const every = () => {
    /** @type {Test[]} */
    const tests = [];
    while (at < list.length && list[at] !== ")" && !/^(or|\|)$/i.test(list[at])) {
      if (/^(and|&)$/i.test(list[at])) at++;
      else tests.push(one());
    }
    return (row, shown) => tests.every((test) => test(row, shown));
  };
  /** @returns {Test} */
  const some = () => {
    const tests = [every()];
    while (at < list.length && /^(or|\|)$/i.test(list[at])) {
      at++;
      tests.push(every());
    }
    return (row, shown) => tests.some((test) => test(row, shown));
  };
  either = list.some((token) => /^(or|\|)$/i.test(token));
  const rows = some();
  if (at < list.length) throw new QueryError("( is missing before )");
  return { columns: (n) => columns.every((test) => test(n)), rows };
};
