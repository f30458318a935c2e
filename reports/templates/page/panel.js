// SPDX-License-Identifier: MIT
// What a cell says: built from the data when it is opened.

/** @param {Index} index @param {string} letter */
const badge = (index, letter) => {
  const look = index.looks.get(letter);
  const sign = make("b", {}, look?.sign ?? "?");
  sign.setAttribute("aria-hidden", "true");
  return make("span", { className: `badge ${look?.name}`, title: look?.meaning }, sign, ` ${look?.word}`);
};

/** @param {string} text */
const copyable = (text) => {
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
  return make("p", { className: "replay" }, make("code", {}, text), ...(navigator.clipboard ? [button] : []));
};

/** A text that is unpacked when it is opened. @param {string} title @param {number} number */
const folded = (title, number) => {
  const place = make("pre", {}, "…");
  const details = make("details", {}, make("summary", {}, title), place);
  details.addEventListener("toggle", async () => { place.textContent = await longText(number); }, { once: true });
  return details;
};

/** @param {number} milliseconds */
const duration = (milliseconds) => milliseconds < 1000 ? `${milliseconds}\u00a0ms` : `${(milliseconds / 1000).toFixed(1)}\u00a0s`;

/** @param {Index} index @param {Result} result @returns {HTMLElement} */
const resultOf = (index, { test, letter, took, acts, line, reason, known, again, long, past, changed }) => {
  const quiet = letter === "P" || letter === "C";
  /** @param {string} text */
  const note = (text) => make("p", { className: "quiet" }, text);
  const head = [badge(index, letter), " ", make("code", { className: "test" }, test), " ", make("small", {}, duration(took))];
  const rest = [
    ...(line ? [make("p", { className: "message" }, line)] : []),
    ...[known, reason, acts && `acts: ${acts}`, changed && `${changed}, against the baseline`].filter(Boolean).map(note),
    ...(past ? [make("p", { className: "quiet" }, `${past[0].length} runs, oldest first: `,
      make("span", { className: "past" }, ...[...past[0]].map((one) => make("b", { title: index.looks.get(one)?.name }, index.looks.get(one)?.sign ?? "?"))),
      ...(index.core.texts[past[1]] ? [` ${index.core.texts[past[1]]}`] : []))] : []),
    ...["Traceback", "Transcript", "Kernel log"].flatMap((title, n) => long[n] ? [folded(title, long[n])] : []),
    ...(again ? [copyable(again)] : []),
  ];
  return quiet
    ? make("details", { className: "result" }, make("summary", {}, ...head), ...rest)
    : make("div", { className: "result" }, make("p", {}, ...head), ...rest);
};

/** @param {[string, string][]} facts @returns {HTMLElement[]} */
const source = (facts) => facts.map(([text, address]) => make("span", { className: "source" },
  address ? make("a", { href: address, rel: "noreferrer", target: "_blank" }, text) : text));

/** Statement, promise, sources. @param {Row} row @param {string[]} releases */
const factsOf = ([, , , kind, promise, statement, places, sources, facts], releases) => {
  /** @param {string} name @param {(Node | string)[]} values */
  const fact = (name, ...values) => make("div", {}, make("dt", {}, name), make("dd", {}, ...values));
  const links = sources.map(([text, address]) => {
    const [span] = source([[text, address]]);
    for (const release of address ? releases.slice(1, 5) : []) {
      const stable = release.split(".").length > 2;
      const there = address.replace(/h=v[\d.]+/, `h=v${release}`).replace(/(torvalds|stable)\/linux/, stable ? "stable/linux" : "$1/linux");
      span.append(" ", make("a", { className: "release", href: there, rel: "noreferrer", target: "_blank" }, release));
    }
    return span;
  });
  return [
    make("blockquote", {}, statement),
    make("dl", {}, fact("kind", kind), fact("promise", promise, ...source(places.map(([at, words, address]) => [words ? `${at}: “${words} …”` : at, address]))),
      ...Object.entries(facts).map(([name, value]) => fact(name, value)),
      ...(links.length ? [fact("sources", ...links)] : [])),
  ];
};

/** The panel of a row; of ``column`` all is shown at once. @param {Index} index @param {number} row @param {number} column
 *  @param {number[]} shown @param {boolean} [all] */
const panelOf = (index, row, column, shown, all) => {
  const { core } = index;
  const [anchor, id, title] = core.rows[row];
  /** @type {HTMLElement[]} */
  const sections = [];
  /** @type {Map<string, number[]>} */
  const silent = new Map();
  for (const c of column < 0 ? shown : [column, ...shown.filter((one) => one !== column)]) {
    const results = index.results(row, c), letter = core.columns[c].outcomes[row];
    if (!results.length) {
      const key = `${letter}${core.columns[c].why[row]}`;
      silent.set(key, [...silent.get(key) ?? [], c]);
      if (c !== column) continue;
    }
    const why = core.texts[core.columns[c].why[row]];
    const quiet = c !== column && "PC-".includes(letter) && shown.length > 1;
    const bad = results.filter((result) => "FEX".includes(result.letter));
    const fill = (/** @type {HTMLElement} */ place) => place.append(
      ...(why ? [make("p", { className: "quiet" }, `${why}.`)] : []), ...(all ? bad : results).map((result) => resultOf(index, result)));
    const section = make("details", { className: "column", open: !quiet }, make("summary", {},
      badge(index, letter), " ", make("b", {}, core.columns[c].name), make("small", {}, ` ${results.length} test${results.length === 1 ? "" : "s"}`)));
    section.id = `${anchor}@${core.columns[c].name}`;
    if (quiet) section.addEventListener("toggle", () => fill(section), { once: true });
    else fill(section);
    sections.push(section);
  }
  const last = [...silent.values()].filter((columns) => !(columns.length === 1 && columns[0] === column)).map((columns) => make(
    "p", { className: "silent" }, badge(index, core.columns[columns[0]].outcomes[row]), " ",
    make("b", {}, columns.length === shown.length && columns.length > 1 ? "everywhere" : columns.map((c) => core.columns[c].name).join(", ")),
    `: ${core.texts[core.columns[columns[0]].why[row]]}.`));
  return [
    make("header", {}, make("h2", { id: all ? "" : "panel-title" }, id), ...(title ? [make("p", {}, title)] : [])),
    ...factsOf(core.rows[row], core.releases), ...sections, ...last,
  ];
};
