// SPDX-License-Identifier: MIT
// Search in ids, titles and statements: all words have to be there; what has them in the id comes first.
"use strict";
(() => {
  const up = document.currentScript.dataset.up;
  const field = document.getElementById("search");
  const found = document.getElementById("found");
  const MOST = 30;
  const chapters = document.querySelector("details.chapters");
  if (matchMedia("(max-width: 50rem)").matches) chapters.open = false;
  field.parentElement.hidden = false;

  const rows = BEHAVIOURS.map(([id, title, statement, area, promise]) => (
    { id, title, statement, area, promise, all: `${id} ${title} ${statement}`.toLowerCase() }));

  const rank = (row, words) => words.every(word => row.id.includes(word)) ? 0
    : words.every(word => `${row.id} ${row.title}`.toLowerCase().includes(word)) ? 1 : 2;

  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = words.length ? rows.filter(row => words.every(word => row.all.includes(word))) : [];
    hits.sort((a, b) => rank(a, words) - rank(b, words));
    found.replaceChildren(...hits.slice(0, MOST).map(row => {
      const link = document.createElement("a");
      link.href = `${up}${row.area}.html#${row.id}`;
      const id = document.createElement("code");
      id.textContent = row.id;
      const text = document.createElement("small");
      text.textContent = row.statement;
      link.append(id, ` ${row.title}`, text);
      const item = document.createElement("li");
      item.append(link);
      return item;
    }));
    if (hits.length > MOST || (words.length && !hits.length)) {
      const item = document.createElement("li");
      item.className = "none quiet";
      item.textContent = hits.length ? `${hits.length - MOST} more` : "nothing has all of these words";
      found.append(item);
    }
    found.hidden = !words.length;
  };
  const close = () => { found.hidden = true; };
  const step = by => {
    const links = [...found.querySelectorAll("a")];
    const next = links.indexOf(document.activeElement) + by;
    (links[next] ?? (next < 0 ? field : links.at(-1)))?.focus();
  };
  field.addEventListener("input", show);
  field.addEventListener("focus", show);
  document.addEventListener("keydown", event => {
    const inside = field.parentElement.contains(document.activeElement);
    if (event.key === "/" && !inside) { field.focus(); event.preventDefault(); }
    if (!inside) return;
    if (event.key === "Escape") { close(); field.blur(); }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { step(event.key === "ArrowDown" ? 1 : -1); event.preventDefault(); }
    if (event.key === "Enter" && document.activeElement === field) found.querySelector("a")?.click();
  });
  found.addEventListener("click", close);
  document.addEventListener("click", event => { if (!field.parentElement.contains(event.target)) close(); });
})();
