// SPDX-License-Identifier: MIT
// Rows: which are shown, and which areas are folded.

/** @param {HTMLTableElement} table @param {Index} index @returns {Line[]} */
const linesOf = (table, index) => [...table.tBodies].flatMap((body, area) => [...body.rows].map((line) => {
  const [head, ...cells] = /** @type {HTMLTableCellElement[]} */ ([...line.children]);
  const row = line.className === "area" ? -1 : index.rowOf.get(line.id.slice("row-".length)) ?? -1;
  return { line, head, cells, area, row };
}));

/** Show the rows that a test lets through; returns how many of each area there are.
 *  @param {Line[]} lines @param {Test} test @param {number[]} columns @param {number} areas @param {(area: number) => boolean} folded */
const filterRows = (lines, test, columns, areas, folded) => {
  const counts = /** @type {number[]} */ (Array(areas).fill(0));
  const closed = counts.map((_, area) => folded(area));
  for (const { line, area, row } of lines) {
    if (row < 0) continue;
    const match = test(row, columns);
    counts[area] += Number(match);
    const hidden = !match || closed[area];
    if (line.hidden !== hidden) line.hidden = hidden;
  }
  for (const { line, area, row } of lines) {
    if (row < 0) {
      const hidden = !counts[area];
      if (line.hidden !== hidden) line.hidden = hidden;
      const body = /** @type {HTMLElement} */ (line.parentElement);
      body.hidden = hidden;
      body.style.setProperty("--rows", String(closed[area] ? 0 : counts[area]));
      line.classList.toggle("closed", closed[area]);
      line.querySelector("button")?.setAttribute("aria-expanded", String(!closed[area]));
    }
  }
  return counts;
};

/** How many rows have each outcome in any of these columns. @param {Index} index @param {Test} test @param {number[]} columns */
const outcomeCounts = (index, test, columns) => {
  /** @type {Map<string, number>} */
  const counts = new Map();
  index.core.rows.forEach((_, row) => {
    if (!test(row, columns)) return;
    const letters = new Set(columns.map((c) => index.core.columns[c].outcomes[row]));
    for (const letter of letters) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  });
  return counts;
};

/** Arrow keys move from cell to cell, Enter opens one. @param {KeyboardEvent} event @param {(cell: Element) => void} open */
const moveInTable = (event, open) => {
  const from = /** @type {Element} */ (event.target).closest("td, tbody th");
  const line = /** @type {HTMLTableRowElement | null} */ (from?.parentElement ?? null);
  if (!from || !line) return;
  /** @param {any} row @param {"nextElementSibling" | "previousElementSibling"} way */
  const next = (row, way) => {
    for (;;) {
      row = row[way] ?? row.parentElement[way]?.[way === "nextElementSibling" ? "firstElementChild" : "lastElementChild"];
      if (!row || row.parentElement.tagName !== "TBODY") return null;
      if (!row.hidden) return row;
    }
  };
  const at = [...line.children].indexOf(from);
  /** @type {Element | undefined | null} */
  let to;
  switch (event.key) {
    case "ArrowRight": to = from.nextElementSibling; break;
    case "ArrowLeft": to = from.previousElementSibling; break;
    case "ArrowDown": to = next(line, "nextElementSibling")?.children[at]; break;
    case "ArrowUp": to = next(line, "previousElementSibling")?.children[at]; break;
    case "Home": to = line.firstElementChild; break;
    case "End": to = line.lastElementChild; break;
    case "Enter": case " ":
      if (from.tagName !== "TD") return;
      event.preventDefault();
      open(from);
      return;
    default: return;
  }
  if (!to) return;
  event.preventDefault();
  const target = /** @type {HTMLElement} */ (to.querySelector("a, button") ?? to);
  if (target === to) target.tabIndex = -1;
  target.focus();
};
