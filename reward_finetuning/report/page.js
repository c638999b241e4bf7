"use strict";

const pairs = [...document.querySelectorAll(".pair")];
const sections = [...document.querySelectorAll(".pairs")];
const filter = document.getElementById("filter");
const found = document.getElementById("found");
const texts = new Map(pairs.map((pair) => [pair, pair.textContent.toLowerCase()]));
const opened = new Set();

// A filter looks through all pairs; without one each group shows its first few until asked for all.
function show() {
  const wanted = filter.value.trim().toLowerCase();
  let matches = 0;
  for (const section of sections) {
    const inside = [...section.querySelectorAll(".pair")];
    const first = opened.has(section) ? inside.length : Number(section.dataset.first);
    const matching = inside.filter((pair) => texts.get(pair).includes(wanted));
    const shown = new Set(wanted ? matching : inside.slice(0, first));
    for (const pair of inside) pair.hidden = !shown.has(pair);
    section.hidden = shown.size === 0;
    section.querySelector(".all").hidden = wanted !== "" || shown.size === inside.length;
    matches += matching.length;
  }
  found.textContent = wanted ? `${matches} of ${pairs.length}` : "";
  becomeTabStop(visible()[0]);
}

function visible() {
  return pairs.filter((pair) => !pair.hidden);
}

// One pair is in the tab order; the arrow keys do the rest.
function becomeTabStop(chosen) {
  for (const pair of pairs) pair.tabIndex = pair === chosen ? 0 : -1;
}

function columns(pair) {
  return getComputedStyle(pair.parentElement).gridTemplateColumns.split(" ").length;
}

function go(pair, event) {
  if (!pair) return;
  event.preventDefault();
  becomeTabStop(pair);
  pair.focus({ preventScroll: true });
  pair.scrollIntoView({ block: "nearest" });
}

function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest("input")) return;
  const shown = visible();
  const at = shown.indexOf(document.activeElement);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const rows = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) go(at < 0 ? shown[0] : shown[at + step], event);
  else if (rows && at >= 0) go(shown[at + rows * columns(shown[at])], event);
}

if (pairs.length) {
  for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
  for (const section of sections) {
    section.querySelector(".all").addEventListener("click", () => {
      const next = section.querySelector(".pair[hidden]");
      opened.add(section);
      show();
      becomeTabStop(next);
      next.focus({ preventScroll: true });
    });
  }
  for (const pair of pairs) pair.addEventListener("focus", () => becomeTabStop(pair));
  filter.addEventListener("input", show);
  document.addEventListener("keydown", onKey);
  show();
}
