/**
 * Several runs in one picture for each metric, and a search in the table of what differs.
 */
import { card, draw, lookOf, onColours, onLook } from "./chart.js";
import { calmly } from "./follow.js";

const POINTS = 400;

const place = document.querySelector("[data-compare]");
const form = document.querySelector("[data-drawn]");
const ids = place.dataset.runs.split(",");
const names = place.dataset.names.split("|");
const keys = place.dataset.keys.split(",").filter(Boolean);
/** @type {Map<string, {card: HTMLElement, lines: import("./chart.js").Line[]}>} */
const pictures = new Map();

for (const key of keys) {
  const made = card(key, "");
  place.append(made);
  pictures.set(key, { card: made, lines: [] });
}

async function load() {
  const look = lookOf(form);
  const asked = `x=${look.x}&points=${POINTS}&keys=${encodeURIComponent(keys.join(","))}`;
  const answers = await Promise.all(ids.map((id) => fetch(`/api/v1/runs/${id}/curves?${asked}`)));
  const found = await Promise.all(answers.map((answer) => answer.json()));
  const without = names.filter((_, number) => !answers[number].ok);
  place.querySelector(".said")?.remove();
  if (without.length) say(`Not drawn, since it has recorded no ${look.x}: ${without.join(", ")}.`);
  for (const [key, picture] of pictures) {
    picture.lines = [];
    found.forEach((curves, number) => {
      const series = curves.series?.find((one) => one.key === key);
      if (series?.y.length) picture.lines.push({ name: names[number], colour: number, series });
    });
  }
  show();
  place.dataset.drawn = "yes";
}

function show() {
  const look = lookOf(form);
  for (const { card: made, lines } of pictures.values()) {
    made.hidden = lines.length === 0;
    if (lines.length) draw(made.querySelector(".drawing"), lines, look, { legend: false });
  }
}

function say(text) {
  const said = document.createElement("p");
  said.className = "hint said";
  said.textContent = text;
  place.prepend(said);
}

const ask = calmly(load, 300);
let axis = lookOf(form).x;
onLook(form, () => {
  const wanted = lookOf(form).x;
  if (wanted !== axis) {
    axis = wanted;
    ask();
  } else show();
});
onColours(show);
ask();

const search = document.querySelector("[data-search]");
search?.addEventListener("input", () => {
  const sought = search.value.toLowerCase();
  for (const row of document.querySelectorAll(`${search.dataset.search} tbody tr:not(.group)`)) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(sought);
  }
});
