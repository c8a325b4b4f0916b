/**
 * The curves of one run: fetched thinned from the server, and again when something was recorded.
 *
 * What is drawn is always what the record holds up to a cursor, so no point can be missing or doubled, whatever was
 * lost on the way; and what a resume superseded is gone.
 */
import { card, draw, lookOf, onColours, onLook } from "./chart.js";
import { calmly } from "./follow.js";

const LEAST_MS = 800;
const COLOURS = { train: 0, valid: 1, test: 2, train_eval: 3 };

const place = document.querySelector("[data-curves]");
const form = document.querySelector("[data-drawn]");
/** @type {Map<string, HTMLElement>} */
const cards = new Map();
let curves = null;

async function load() {
  const look = lookOf(form);
  const answer = await fetch(`${place.dataset.curves}?x=${look.x}`);
  if (answer.status === 422 || answer.status === 404) {
    say((await answer.json()).errors[0]);
    return;
  }
  if (!answer.ok) throw new Error(String(answer.status));
  curves = await answer.json();
  place.dataset.cursor = curves.cursor;
  show();
}

function show() {
  if (curves === null) return;
  const look = lookOf(form);
  const charts = curves.charts.filter((chart) => look.more || chart.is_main);
  const shown = charts.length ? charts : curves.charts;
  place.querySelector(".said")?.remove();
  if (!shown.length) empty();
  const names = new Set(shown.map((chart) => chart.name));
  for (const [name, made] of cards) {
    if (!names.has(name)) {
      made.remove();
      cards.delete(name);
    }
  }
  // All cards first: how wide one is depends on how many there are.
  shown.forEach((chart, number) => {
    if (!cards.has(chart.name)) cards.set(chart.name, card(chart.title, chart.unit));
    const made = cards.get(chart.name);
    if (place.children[number] !== made) place.insertBefore(made, place.children[number] ?? null);
  });
  for (const chart of shown) drawChart(chart, cards.get(chart.name), look);
}

function drawChart(chart, made, look) {
  const lines = chart.keys
    .map((key) => curves.series.find((series) => series.key === key))
    .filter((series) => series !== undefined)
    .map((series, number) => ({ name: series.key, colour: COLOURS[series.key.split("/")[0]] ?? number, series }));
  draw(made.querySelector(".drawing"), lines, look, { resumes: curves.resumes });
}

function empty() {
  const said = document.createElement("p");
  said.className = "hint said";
  said.textContent = "Nothing is recorded yet. Curves appear with the first numbers.";
  place.append(said);
}

function say({ place: where, message, fix }) {
  for (const made of cards.values()) made.remove();
  cards.clear();
  const said = document.createElement("p");
  said.className = "hint said";
  said.textContent = `${where}: ${message} ${fix}`;
  place.replaceChildren(said);
}

const ask = calmly(load, LEAST_MS);
let axis = lookOf(form).x;
onLook(form, () => {
  const wanted = lookOf(form).x;
  if (wanted !== axis) {
    axis = wanted;
    ask();
  } else show();
});
onColours(show);
document.addEventListener("recorded", ask);
document.addEventListener("refreshed", ask);
ask();
