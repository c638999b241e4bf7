"use strict";

const byId = (id) => document.getElementById(id);
const pairs = [...document.querySelectorAll(".pair")];

// ---- the gallery: filter, order, arrow keys ----

const ORDERS = {
  worst: (a, b) => a.dataset.gain - b.dataset.gain,
  best: (a, b) => b.dataset.gain - a.dataset.gain,
  prompt: (a, b) => promptOf(a).localeCompare(promptOf(b)),
};
const texts = new Map(pairs.map((pair) => [pair, pair.textContent.toLowerCase()]));
let ordered = pairs;
let all = false;

function promptOf(pair) {
  return pair.querySelector(".prompt").textContent;
}

function opener(pair) {
  return pair.querySelector(".pictures, .compare");
}

// The pairs among which keys move: those of the same reel, or those of the gallery that match the filter.
function neighbours(pair) {
  const reel = pair.closest(".reel");
  return reel ? [...reel.children] : matching();
}

function filterText() {
  return byId("filter").value.trim().toLowerCase();
}

function matching() {
  return ordered.filter((pair) => texts.get(pair).includes(filterText()));
}

// A filter searches all pairs. Without a filter, only the first pairs are shown until "Show all".
function show() {
  const query = filterText();
  const matches = matching();
  const shown = new Set(query || all ? matches : matches.slice(0, Number(byId("gallery").dataset.first)));
  for (const pair of pairs) pair.hidden = !shown.has(pair);
  document.querySelector(".all").hidden = shown.size === matches.length;
  byId("found").textContent = query ? `${matches.length} of ${pairs.length}` : "";
  becomeTabStop(visible()[0], pairs);
}

function reorder() {
  ordered = [...pairs].sort(ORDERS[byId("order").value]);
  document.querySelector(".grid").append(...ordered);
  show();
}

function showAll() {
  const next = ordered.find((pair) => pair.hidden);
  all = true;
  show();
  focusOn(next);
}

function visible() {
  return ordered.filter((pair) => !pair.hidden);
}

// Only one pair of the gallery, and of a reel, is in the tab order. The arrow keys select the other pairs.
function becomeTabStop(chosen, group) {
  for (const pair of group) opener(pair).tabIndex = pair === chosen ? 0 : -1;
}

function focusOn(pair) {
  opener(pair).focus({ preventScroll: true }); // becomes the tab stop
  pair.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function columns(pair) {
  return getComputedStyle(pair.parentElement).gridTemplateColumns.split(" ").length;
}

function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (byId("closer").open || event.target.closest("input, select")) return;
  const still = document.activeElement.closest(".still");
  const shown = still ? neighbours(still) : visible();
  const at = shown.indexOf(still || document.activeElement.closest(".pair"));
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const rows = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const next = step ? (at < 0 ? shown[0] : shown[at + step]) : rows && at >= 0 && shown[at + rows * columns(shown[at])];
  if (!next || !next.checkVisibility()) return;
  event.preventDefault();
  focusOn(next);
}

// ---- one pair enlarged: a slider between before and after ----

const SLIDE = 5; // per cent per key press
let enlarged = null;

function enlarge(pair) {
  enlarged = pair;
  const [before, after] = [...pair.querySelectorAll("img")].map((picture) => picture.cloneNode());
  document.querySelector(".under").replaceChildren(before);
  document.querySelector(".over").replaceChildren(after);
  const about = [...pair.children].slice(1).map((part) => part.cloneNode(true));
  for (const part of about) part.removeAttribute("id");
  document.querySelector(".about").replaceChildren(...about);
  const group = neighbours(pair);
  const at = group.indexOf(pair);
  byId("where").textContent = `${at + 1} of ${group.length}`;
  byId("previous").disabled = at === 0;
  byId("next").disabled = at === group.length - 1;
  slideTo(50);
  if (!byId("closer").open) byId("closer").showModal();
  byId("slider").focus();
}

function slideTo(percent) {
  const slider = byId("slider");
  slider.value = percent;
  slider.setAttribute("aria-valuetext", `${slider.value} % before, ${100 - slider.value} % after`);
  document.querySelector(".stage").style.setProperty("--cut", `${slider.value}%`);
}

function enlargeNeighbour(step) {
  const group = neighbours(enlarged);
  const next = group[group.indexOf(enlarged) + step];
  if (next) enlarge(next);
}

function onKeyEnlarged(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const slide = { ArrowRight: SLIDE, ArrowLeft: -SLIDE }[event.key];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!slide && !step) return;
  event.preventDefault();
  if (slide) slideTo(Number(byId("slider").value) + slide);
  else enlargeNeighbour(step);
}

// After closing, the gallery focuses the enlarged pair, even if it was not shown before.
function leave() {
  if (enlarged.hidden) {
    all = true;
    show();
  }
  focusOn(enlarged);
}

function begin() {
  document.documentElement.classList.add("live");
  for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
  // Full-size pictures are next to the page only on disk.
  if (location.protocol === "file:") for (const part of document.querySelectorAll(".full")) part.hidden = false;
  const stills = [...document.querySelectorAll(".still")];
  for (const pair of [...pairs, ...stills]) {
    opener(pair).addEventListener("focus", () => becomeTabStop(pair, pair.closest(".reel")?.children ?? pairs));
    opener(pair).addEventListener("click", () => enlarge(pair));
  }
  for (const reel of document.querySelectorAll(".reel")) becomeTabStop(reel.firstElementChild, reel.children);
  byId("filter").addEventListener("input", show);
  byId("order").addEventListener("change", reorder);
  document.querySelector(".all").addEventListener("click", showAll);
  document.addEventListener("keydown", onKey);
  byId("slider").addEventListener("input", () => slideTo(byId("slider").value));
  byId("previous").addEventListener("click", () => enlargeNeighbour(-1));
  byId("next").addEventListener("click", () => enlargeNeighbour(1));
  byId("close").addEventListener("click", () => byId("closer").close());
  byId("closer").addEventListener("keydown", onKeyEnlarged);
  byId("closer").addEventListener("close", leave);
  show();
}

if (pairs.length) begin();

// Without the script, and on paper, every section is open. On a narrow screen the reader opens what is of interest.
const parts = [...document.querySelectorAll("details")];
const narrow = matchMedia("(max-width: 58rem)");
if (narrow.matches) for (const part of parts) part.open = false;
// A frame can be laid out after its script has run: until then it is narrow.
narrow.addEventListener("change", () => {
  if (!narrow.matches) for (const part of parts) part.open = true;
});
addEventListener("beforeprint", () => {
  for (const part of parts) part.open = true;
});

// A table that is wider than the screen can be scrolled with the keyboard.
const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
for (const table of document.querySelectorAll(".wide")) resized.observe(table);
