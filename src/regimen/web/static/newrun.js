/**
 * The form of a new run: shows what the choices make meaningful, takes files, and sends a changed choice at once.
 *
 * All of it works without this script: then a press on Check does the same.
 */
import { takesFiles } from "./upload.js";

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-new]"));

/** What a field says now; a box that is not ticked says false. */
function textOf(key) {
  const boxes = form.querySelectorAll(`[name="${CSS.escape(key)}"]`);
  const last = boxes[boxes.length - 1];
  return last?.type === "checkbox" ? String(last.checked) : (last?.value ?? "");
}

/** A field is shown if the choices that it belongs to are made, and are shown themselves. */
function showWhatMatters() {
  for (const entry of form.querySelectorAll("[data-when]")) {
    entry.hidden = JSON.parse(entry.dataset.when).some(([key, texts]) => {
      const other = form.querySelector(`[name="${CSS.escape(key)}"]`);
      return !texts.includes(textOf(key)) || other?.closest("[data-when]")?.hidden;
    });
  }
}

/** Sends the form as one of its buttons would. */
function press(name, value) {
  const button = document.createElement("button");
  button.name = name;
  button.value = value;
  button.hidden = true;
  form.append(button);
  form.requestSubmit(button);
}

form.addEventListener("change", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.matches("[data-choose]")) press("do", "choose");
  else if (target.matches("[data-files]") && target.id === "field-task-data-train") press("do", "form");
  else showWhatMatters();
});

form.addEventListener("submit", () => {
  form.querySelector("[data-busy]").hidden = false;
  form.setAttribute("aria-busy", "true");
});
window.addEventListener("pageshow", () => {
  form.querySelector("[data-busy]").hidden = true; // after going back
  form.removeAttribute("aria-busy");
});

for (const button of form.querySelectorAll("button[data-plain][value=choose]")) button.hidden = true;
const drop = form.querySelector("[data-drop]");
if (drop) {
  takesFiles(drop, (dataset) => {
    const choices = form.querySelector("#field-task-data-train");
    choices.add(new Option(dataset.name, dataset.path, true, true));
    press("do", "form");
  });
}
showWhatMatters();
