// SPDX-License-Identifier: MIT
// Columns: which are shown, in which order, and how wide they are.

/** @param {string} tag @param {Record<string, any>} properties @param {(Node | string)[]} children */
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

/** Parts of a name that are numbers are compared as such. @param {string} a @param {string} b */
const inOrder = (a, b) => a.localeCompare(b, "en", { numeric: true });

/** @type {Record<string, [string, (a: Column, b: Column) => number]>} */
const SORTS = {
  "": ["as given", () => 0],
  name: ["by name", (a, b) => inOrder(a.name, b.name)],
  kernel: ["newest kernel first", (a, b) => inOrder(b.release, a.release)],
  bad: ["most failures first", (a, b) => b.bad - a.bad],
  passed: ["most passed first", (a, b) => b.passed - a.passed],
};
/** @type {Record<string, [string, (column: Column) => string]>} */
const GROUPS = {
  "": ["not grouped", () => ""],
  kernel: ["by kernel", (c) => c.kernel],
  platform: ["by platform", (c) => c.platform],
  machine: ["by machine", (c) => c.machine],
};

/** The columns that are shown, in order. @param {State} state @param {Core} core @param {(n: number) => boolean} wanted */
const shownColumns = (state, core, wanted) => {
  const all = core.columns.map((_, n) => n);
  const names = core.columns.map(({ name }) => name);
  const pair = state.pair.map((name) => names.indexOf(name)).filter((n) => n >= 0);
  if (pair.length === 2) return pair;
  const [, group] = GROUPS[state.group] ?? GROUPS[""];
  const [, sort] = SORTS[state.sort] ?? SORTS[""];
  const newest = state.group === "kernel" ? -1 : 1;
  return all
    .filter((n) => wanted(n) && !state.hide.includes(names[n]))
    .sort((a, b) => newest * inOrder(group(core.columns[a]), group(core.columns[b])) || sort(core.columns[a], core.columns[b]) || a - b);
};

/** The table with these columns. @param {HTMLTableElement} table @param {Line[]} lines @param {HTMLTableRowElement} head
 *  @param {HTMLTableCellElement[]} heads @param {number[]} order @param {string} group @param {Core} core */
const arrange = (table, lines, head, heads, order, group, core) => {
  const first = head.cells[0];
  head.replaceChildren(first, ...order.map((n) => heads[n]));
  for (const { line, head: own, cells } of lines) line.replaceChildren(own, ...order.map((n) => cells[n]));
  table.style.setProperty("--columns", String(order.length));
  table.querySelector("tr.groups")?.remove();
  for (const cell of heads) cell.classList.remove("first");
  if (!group || order.length < 2) return;
  const [, of] = GROUPS[group];
  const row = make("tr", { className: "groups" }, make("th", { scope: "col" }));
  for (let from = 0; from < order.length;) {
    const name = of(core.columns[order[from]]);
    let to = from;
    while (to < order.length && of(core.columns[order[to]]) === name) to++;
    const cell = make("th", { scope: "colgroup", colSpan: to - from, title: name }, name);
    cell.style.setProperty("--span", String(to - from));
    row.append(cell);
    heads[order[from]].classList.add("first");
    from = to;
  }
  head.before(row);
};

/** Words where there is place for them, else signs; scrolling inside where these are too many, too.
 *  @param {HTMLElement} box @param {number} count */
const fit = (box, count) => {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const width = (box.parentElement ?? box).clientWidth / rem;
  const signs = count * 6 + 22 > width;
  box.classList.toggle("signs", signs);
  box.classList.toggle("wide", signs && count * 2 + (width < 50 ? 11 : 18) > width);
};

/** The menu that chooses columns. @param {HTMLElement} menu @param {State} state @param {Core} core
 *  @param {(change: Partial<State>) => void} go */
const columnsMenu = (menu, state, core, go) => {
  /** @param {string} name @param {Record<string, [string, any]>} choices @param {string} value @param {"group" | "sort"} key */
  const select = (name, choices, value, key) => make("label", {}, `${name} `, make(
    "select", { value, onchange: (/** @type {any} */ event) => go({ [key]: event.target.value, pair: [], diff: false }) },
    ...Object.entries(choices).map(([choice, [text]]) => make("option", { value: choice, selected: choice === value }, text)),
  ));
  const boxes = core.columns.map(({ name, bad }) => make("label", {}, make("input", {
    type: "checkbox",
    checked: !state.hide.includes(name),
    onchange: (/** @type {any} */ event) => go({ hide: event.target.checked ? state.hide.filter((one) => one !== name) : [...state.hide, name], pair: [] }),
  }), ` ${name}`, ...(bad ? [make("b", {}, ` ✗ ${bad}`)] : [])));
  menu.replaceChildren(
    make("p", {}, select("Group", GROUPS, state.group, "group"), " ", select("Order", SORTS, state.sort, "sort")),
    make("p", {}, make("button", { type: "button", onclick: () => go({ hide: [], pair: [] }) }, "All"), " ",
      make("button", { type: "button", onclick: () => go({ hide: core.columns.filter(({ bad }) => !bad).map(({ name }) => name), pair: [] }) }, "With failures")),
    make("div", { className: "list" }, ...boxes),
  );
};

/** The menu that compares two. @param {HTMLElement} menu @param {State} state @param {Core} core
 *  @param {(change: Partial<State>) => void} go */
const compareMenu = (menu, state, core, go) => {
  const pair = state.pair.length === 2 ? state.pair : core.columns.slice(0, 2).map(({ name }) => name);
  /** @param {number} n @param {string} label */
  const select = (n, label) => make("label", {}, `${label} `, make(
    "select", { onchange: (/** @type {any} */ event) => go({ pair: pair.map((name, m) => m === n ? event.target.value : name) }) },
    ...core.columns.map(({ name }) => make("option", { value: name, selected: name === pair[n] }, name)),
  ));
  const on = state.pair.length === 2;
  menu.replaceChildren(
    make("p", {}, select(0, "Compare"), " ", select(1, "with")),
    make("p", {}, make("label", {}, make("input", {
      type: "checkbox", id: "diff", checked: state.diff, onchange: (/** @type {any} */ event) => go({ diff: event.target.checked, pair: event.target.checked ? pair : state.pair }),
    }), " differences only")),
    make("p", {}, make("button", { type: "button", onclick: () => go(on ? { pair: [], diff: false } : { pair, diff: true }) }, on ? "All columns again" : "Compare these two")),
  );
};
