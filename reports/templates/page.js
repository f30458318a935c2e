"use strict";
(() => {
  const rows = [...document.querySelectorAll(".area tbody tr")];
  const areas = [...document.querySelectorAll("details.area")];
  const openAtFirst = new Map(areas.map((area) => [area, area.open]));
  const box = document.getElementById("filter");
  const chips = [...document.querySelectorAll(".chip input")];
  const shown = document.getElementById("shown");
  const texts = new Map();
  const textOf = (row) => {
    if (!texts.has(row)) {
      texts.set(row, document.getElementById(row.id.slice("row-".length)).textContent.toLowerCase());
    }
    return texts.get(row);
  };
  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(chips.filter((chip) => chip.checked).map((chip) => chip.value));
    const all = wanted.size === chips.length;
    let count = 0;
    for (const area of areas) {
      let here = 0;
      for (const row of area.querySelectorAll("tbody tr")) {
        const match =
          (all || row.cells.length === 1 || [...row.cells].slice(1).some((cell) => wanted.has(cell.className))) &&
          words.every((word) => textOf(row).includes(word));
        row.classList.toggle("gone", !match);
        here += match;
      }
      area.classList.toggle("gone", here === 0);
      area.open = words.length > 0 || !all ? here > 0 : openAtFirst.get(area);
      count += here;
    }
    shown.textContent = count === rows.length ? "" : `${count} of ${rows.length} behaviours`;
  };
  box.addEventListener("input", filter);
  chips.forEach((chip) => chip.addEventListener("change", filter));
  const fold = (open) => () => areas.forEach((area) => { area.open = open; });
  document.getElementById("unfold").addEventListener("click", fold(true));
  document.getElementById("fold").addEventListener("click", fold(false));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.querySelector("article:target, article:has(:target)")) {
      location.hash = "_";
    } else if (event.key === "/" && document.activeElement !== box) {
      event.preventDefault();
      box.focus();
    }
  });
  if (navigator.clipboard) {
    for (const place of document.querySelectorAll(".replay")) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(place.querySelector("code").textContent);
        button.textContent = "Copied";
      });
      place.append(button);
    }
  }
  document.querySelector(".tools").hidden = false;
})();
