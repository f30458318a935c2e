// SPDX-License-Identifier: MIT
// The page with a script: state in the address, one function that shows it.

const start = async () => {
  /** @type {Core} */
  const core = await unpacked("core");
  const index = indexed(core);
  const box = /** @type {HTMLElement} */ (document.querySelector(".box"));
  const table = /** @type {HTMLTableElement} */ (box.querySelector("table"));
  const head = /** @type {HTMLTableRowElement} */ (table.tHead?.rows[0]);
  const heads = /** @type {HTMLTableCellElement[]} */ ([...head.cells].slice(1));
  const lines = linesOf(table, index);
  const bodies = [...table.tBodies];
  const panel = byId("panel"), field = byId("filter"), fold = byId("fold"), chips = document.querySelector(".chips");
  const closed = new Set(bodies.flatMap((body, n) => body.classList.contains("unseen") ? [n] : []));
  const columnOfCell = new Map(lines.flatMap(({ cells }) => cells.map((cell, n) => /** @type {[Element, number]} */ ([cell, n]))));
  const lineOf = new Map(lines.map((line) => [line.line, line]));
  let state = stateOfAddress();
  let arranged = core.columns.map((_, n) => n).join();
  /** @type {number[]} */
  let shown = [];
  /** @type {Test} */
  let last = () => true;
  let opened = "";
  /** @type {HTMLElement | null} */
  let opener = null;

  /** @param {Partial<State>} change @param {boolean} [step] */
  const go = (change, step) => {
    state = { ...state, ...change };
    try {
      history[step ? "pushState" : "replaceState"](null, "", addressOf(state));
    } catch { /* a browser that counts changes of the address */ }
    show();
  };

  const rows = () => {
    /** @type {{ columns: (column: number) => boolean, rows: Test }} */
    let query;
    try {
      query = parsed(state.q, index);
      field.setCustomValidity("");
    } catch (error) {
      if (!(error instanceof QueryError)) throw error;
      field.setCustomValidity(error.message);
      byId("shown").textContent = error.message;
      return;
    }
    const diff = parsed("is:different", index).rows;
    const test = /** @type {Test} */ (state.diff ? (row, columns) => query.rows(row, columns) && diff(row, columns) : query.rows);
    shown = shownColumns(state, core, query.columns);
    const arrangement = `${state.group} ${shown}`;
    if (arrangement !== arranged) {
      fit(box, shown.length); // it asks for the width, which is known as long as nothing has changed
    }
    last = test;
    const asked = Boolean(state.q || state.diff);
    const counts = filterRows(lines, test, shown, bodies.length, (area) => closed.has(area) && !asked);
    if (arrangement !== arranged) {
      arrange(table, lines, head, heads, shown, state.pair.length === 2 ? "" : state.group, core);
      arranged = arrangement;
    }
    const count = counts.reduce((a, b) => a + b, 0);
    byId("shown").textContent = [
      count === core.rows.length ? "" : `${count} of ${core.rows.length} behaviours`,
      shown.length === core.columns.length ? "" : `${shown.length} of ${core.columns.length} columns`,
    ].filter(Boolean).join(", ");
    fold.setAttribute("aria-pressed", String(closed.size === bodies.length));
    fold.textContent = closed.size === bodies.length ? "Unfold" : "Fold";
  };

  const buttons = () => {
    const counts = outcomeCounts(index, () => true, shown);
    const asked = new Set((/^is:([a-z,-]+)$/.exec(state.q.split(/\s+/).find((word) => word.startsWith("is:")) ?? "")?.[1] ?? "").split(",").filter(Boolean));
    chips?.replaceChildren(...core.looks.filter(([letter]) => counts.get(letter)).map(([letter, name, sign, word, meaning]) => {
      const key = [...OUTCOMES].find(([, letters]) => letters === letter)?.[0] ?? "";
      const button = make("button", { type: "button", className: `chip badge ${name}`, title: meaning, value: name, onclick: () => {
        const keys = asked.has(key) ? [...asked].filter((one) => one !== key) : [...asked, key];
        const others = state.q.split(/\s+/).filter((one) => one && !/^is:[a-z,-]+$/.test(one));
        go({ q: [...others, ...(keys.length ? [`is:${keys.join(",")}`] : [])].join(" ") });
        field.value = state.q;
      } }, make("b", {}, sign), ` ${word} `, make("small", {}, String(counts.get(letter))));
      button.setAttribute("aria-pressed", String(asked.has(key)));
      return button;
    }));
  };

  const close = () => {
    document.querySelectorAll("article.open").forEach((article) => article.classList.remove("open"));
    panel.hidden = true;
    table.querySelector(".selected")?.classList.remove("selected");
  };

  const open = () => {
    if (state.open === opened) return;
    opened = state.open;
    close();
    if (!opened) {
      opener?.focus();
      opener = null;
      return;
    }
    const article = opened.startsWith("@") ? byId(opened) : null;
    const at = opened.indexOf("@");
    const row = index.rowOf.get(at > 0 ? opened.slice(0, at) : opened) ?? -1;
    const column = at > 0 ? index.columnOf.get(opened.slice(at + 1)) ?? -1 : -1;
    if (article) {
      article.classList.add("open");
      article.tabIndex = -1;
      article.focus();
    } else if (row >= 0) {
      const line = lines.find((one) => one.row === row);
      const there = /** @type {HTMLElement | undefined} */ (column < 0 ? line?.head : line?.cells[column]);
      there?.classList.add("selected");
      if (line?.line.hidden) { closed.delete(line.area); rows(); }
      const known = lines.filter((one) => one.row >= 0 && last(one.row, shown)).map((one) => one.row);
      const here = known.indexOf(row);
      const environment = column < 0 ? "" : `@${core.columns[column].name}`;
      /** @param {number | undefined} to @param {string} sign @param {string} label */
      const step = (to, sign, label) => to === undefined ? [] : [make("a", { href: `#${core.rows[to][0]}${environment}`, title: label, ariaLabel: label }, sign)];
      panel.replaceChildren(
        make("nav", {}, ...step(known[here - 1], "↑", "Behaviour above"), ...step(known[here + 1], "↓", "Behaviour below"),
          make("a", { className: "close", href: "#_", ariaLabel: "Close" }, "✕")),
        ...panelOf(index, row, column, shown));
      panel.hidden = false;
      panel.scrollTop = 0;
      panel.focus({ preventScroll: true });
      if (there && !box.contains(opener)) there.scrollIntoView({ block: "center", inline: "center" });
    }
  };

  const show = () => {
    if (document.activeElement !== field) field.value = state.q;
    rows();
    buttons();
    if (byId("choose").open) columnsMenu(byId("choose").lastElementChild, state, core, (change) => go(change));
    if (byId("compare").open) compareMenu(byId("compare").lastElementChild, state, core, (change) => go(change));
    open();
  };

  /** @param {Element} cell */
  const openCell = (cell) => {
    const column = columnOfCell.get(cell), line = lineOf.get(/** @type {any} */ (cell.parentElement));
    if (!line || line.row < 0 || column === undefined) return;
    opener = /** @type {HTMLElement} */ (cell);
    opener.tabIndex = -1;
    go({ open: `${core.rows[line.row][0]}@${core.columns[column].name}` }, true);
  };

  document.documentElement.classList.add("js");
  for (const { line, area, row } of lines) {
    if (row >= 0) continue;
    const button = make("button", { type: "button", className: "fold", ariaLabel: `Fold ${core.areas[area][0]}` });
    line.cells[0].prepend(button);
    line.cells[0].addEventListener("click", () => {
      if (!closed.delete(area)) closed.add(area);
      rows();
    });
  }
  fold.addEventListener("click", () => {
    const all = closed.size === bodies.length;
    closed.clear();
    if (!all) bodies.forEach((_, n) => closed.add(n));
    rows();
  });
  field.addEventListener("input", () => go({ q: field.value }));
  table.addEventListener("click", (event) => {
    const cell = /** @type {Element} */ (event.target).closest("td");
    if (cell) openCell(cell);
  });
  table.addEventListener("keydown", (event) => moveInTable(event, openCell));
  table.addEventListener("focusin", (event) => {
    const cell = /** @type {HTMLElement} */ (event.target), column = columnOfCell.get(cell), line = lineOf.get(/** @type {any} */ (cell.parentElement));
    if (!line || line.row < 0 || column === undefined) return;
    const word = index.looks.get(core.columns[column].outcomes[line.row])?.word;
    cell.setAttribute("aria-label", `${core.rows[line.row][1]}, ${core.columns[column].name}: ${word}`);
  });
  document.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(target) && target.isConnected) menu.removeAttribute("open");
    const link = target.closest('a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    if (!panel.contains(link)) opener = /** @type {HTMLElement} */ (link);
    let name = (link.getAttribute("href") ?? "").slice(1);
    if (name === "_") name = "";
    go({ open: name }, true);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      const menu = document.querySelector("details.menu[open]");
      if (menu) menu.removeAttribute("open");
      else if (state.open) go({ open: "" }, true);
    } else if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "")) {
      event.preventDefault();
      field.focus();
    }
  });
  for (const id of ["choose", "compare"]) byId(id).addEventListener("toggle", show);
  byId("help").append(make("dl", {}, ...HELP.map(([query, what]) => make("div", {}, make("dt", {}, make("code", {}, query)), make("dd", {}, what)))));
  for (const place of document.querySelectorAll(".replay")) place.replaceWith(copyable(place.textContent ?? ""));
  addEventListener("popstate", () => { state = stateOfAddress(); show(); });
  addEventListener("hashchange", () => { state = stateOfAddress(); show(); });
  new ResizeObserver(() => fit(box, shown.length)).observe(/** @type {Element} */ (box.parentElement));
  addEventListener("beforeprint", () => {
    const bad = core.rows.flatMap((_, row) => shown.some((c) => "FEX".includes(core.columns[c].outcomes[row])) ? [row] : []).slice(0, 60);
    byId("printed").replaceChildren(...bad.map((row) => make("article", { className: "panel open" }, ...panelOf(index, row, -1,
      shown.filter((c) => "FEX".includes(core.columns[c].outcomes[row])), true))));
  });
  /** @type {HTMLElement} */ (document.querySelector(".tools")).hidden = false;
  if (core.columns.length < 2) byId("choose").hidden = byId("compare").hidden = true;
  show();
  document.documentElement.classList.add("ready");
};
start();
