/**
 * Keeps what a page shows up to date: fetches its address again and replaces the elements with `data-live`.
 *
 * <body data-follow="/path/of/stream"> says when. Everything is rendered by the server, so what is seen after a change
 * is what a reload would show.
 */
import { calmly, follow } from "./follow.js";

const LEAST_MS = 700;
const LOOK_MS = 2500; // logs grow without an event

/** Puts the parts of `fresh` in the place of ours where they differ; what the user is doing stays. */
function replaceParts(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other === null) {
      part.replaceChildren();
    } else if (other.innerHTML !== part.dataset.was) {
      part.dataset.was = other.innerHTML;
      keeping(part, () => part.replaceChildren(...other.childNodes));
    }
  }
  document.title = fresh.title;
}

/** Does `change` inside `part`, and keeps ticks, what is unfolded, the focus, and a log that is at its end there. */
function keeping(part, change) {
  const ticked = [...part.querySelectorAll("input:checked")].map((box) => box.value);
  const unfolded = [...part.querySelectorAll("details")].map((one) => one.open);
  const focused = part.contains(document.activeElement) ? placeOf(document.activeElement) : null;
  const scrolls = [...part.querySelectorAll("[data-end]")].map((one) => [isAtEnd(one), one.scrollTop]);
  const sideways = [...part.querySelectorAll(".sheet")].map((one) => one.scrollLeft);
  change();
  for (const box of part.querySelectorAll("input[type=checkbox]")) box.checked = ticked.includes(box.value);
  [...part.querySelectorAll("details")].forEach((one, place) => (one.open = unfolded[place] ?? one.open));
  [...part.querySelectorAll("[data-end]")].forEach((one, place) => {
    const [wasAtEnd, top] = scrolls[place] ?? [true, 0];
    one.scrollTop = wasAtEnd ? one.scrollHeight : top;
  });
  [...part.querySelectorAll(".sheet")].forEach((one, place) => (one.scrollLeft = sideways[place] ?? 0));
  if (focused) part.querySelector(focused)?.focus({ preventScroll: true });
}

/** A selector that finds an element again after its part was replaced. */
function placeOf(element) {
  for (const name of ["id", "href", "value", "aria-label"]) {
    const given = element.getAttribute(name);
    if (given) return `${element.localName}[${name}="${CSS.escape(given)}"]`;
  }
  return null;
}

const isAtEnd = (one) => one.scrollHeight - one.scrollTop - one.clientHeight < 8;

function toEnds() {
  for (const one of document.querySelectorAll("[data-end]")) one.scrollTop = one.scrollHeight;
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok && answer.status !== 404) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  replaceParts(fresh);
  const stream = fresh.body.dataset.follow;
  document.body.dataset.follow = stream ?? "";
  document.dispatchEvent(new CustomEvent("refreshed", { detail: { isLive: Boolean(stream) } }));
}

const path = document.body.dataset.follow;
if (path) {
  const ask = calmly(refresh, LEAST_MS);
  const banner = document.querySelector(".away");
  follow(path, {
    changed: () => {
      document.dispatchEvent(new CustomEvent("recorded"));
      ask();
    },
    away: (isAway) => {
      banner.hidden = !isAway;
    },
  });
  setInterval(() => {
    if (!document.hidden && document.body.dataset.follow) ask();
  }, LOOK_MS);
}
toEnds();

// A click anywhere on the line of a list opens its run.
document.addEventListener("click", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const row = target.closest(".sheet.runs tr");
  if (!row || target.closest("a, button, input, form") || String(getSelection())) return;
  row.querySelector("td.name a")?.click();
});
