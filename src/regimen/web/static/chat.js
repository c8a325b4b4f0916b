/**
 * Talks to a model: answers appear as they are written, and what was said stays in the page alone.
 *
 * With the base beside it each message is asked by itself, so that both see the same prompt; without, it is a chat.
 */
import { eventsOf } from "./eventsof.js";

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-chat]"));
const history = form.querySelector("[data-history]");
const prompt = form.elements.namedItem("prompt");
const buttons = Object.fromEntries(
  ["ask", "stop", "clear"].map((name) => [name, form.querySelector(`[data-${name}]`)]),
);

/** @type {{role: string, content: string}[]} */
let said = [];
/** @type {AbortController | null} */
let asking = null;

/** An element with a class and a text, never markup. */
function made(tag, look, text = "") {
  const one = document.createElement(tag);
  one.className = look;
  one.textContent = text;
  return one;
}

/** What is asked, as the API takes it. */
function question(text) {
  const given = new FormData(form);
  const option = form.elements.namedItem("model").selectedOptions[0];
  const compare = given.has("compare");
  const body = { model: given.get("model"), compare, stream: true };
  for (const name of ["max_new_tokens", "temperature", "top_p", "top_k", "seed"]) {
    const number = String(given.get(name)).trim();
    if (number !== "") body[name] = Number(number);
  }
  if (given.get("as") !== "trained") body.chat = given.get("as") === "chat";
  const isChat = !compare && given.get("as") !== "text" && option.dataset.talks === "true" && said.length > 0;
  return isChat ? { ...body, messages: [...said, { role: "user", content: text }] } : { ...body, prompt: text };
}

/** The place of one side's answer. */
function side(turn, who, seed) {
  const box = made("div", `side1 ${who}`);
  const head = made("p", "who");
  head.append(made("b", "", who), made("span", "", `seed ${seed}`));
  const said = made("div", "said");
  said.tabIndex = 0; // a long answer is scrolled
  said.setAttribute("role", "group");
  said.setAttribute("aria-label", `Answer of the ${who} model`);
  box.append(head, said);
  turn.querySelector(".sides").append(box);
  return box;
}

function ended(box, body) {
  box.querySelector(".who span").append(`, ${body.num_tokens} tokens, ${body.finish}`);
}

/** @param {{differ: boolean, logit_distance: number | null, weights_sha256: string, template_sha256: string | null,
 *   prompt_tokens: number}} found */
function proofLine(found) {
  const line = made("p", found.differ ? "proof" : "proof same");
  const distance = found.logit_distance === null ? "not finite" : found.logit_distance.toPrecision(4);
  line.append(
    made("b", "", found.differ ? "The two differ." : "The two are the same."),
    ` Largest difference of a logit on this prompt: ${distance}; weights `,
    made("code", "", found.weights_sha256.slice(0, 16)),
    found.template_sha256 ? ", chat template " : "",
    made("code", "", (found.template_sha256 ?? "").slice(0, 16)),
    `; ${found.prompt_tokens} prompt tokens.`,
  );
  return line;
}

function refusal(errors) {
  const box = made("div", "status bad");
  box.setAttribute("role", "alert");
  for (const one of errors) {
    box.append(made("b", "", one.place ?? ""), made("p", "", one.message), made("p", "fix", one.fix ?? ""));
  }
  return box;
}

/** Asks, and shows what comes. */
async function ask(text) {
  const turn = made("article", "turn");
  turn.append(made("p", "asked", text), made("div", "sides"));
  history.append(turn);
  const waiting = made("p", "hint", "Loading the model…");
  turn.append(waiting);
  asking = new AbortController();
  const sides = {};
  const answer = await fetch("/api/v1/generate", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(question(text)),
    signal: asking.signal,
  });
  if (!answer.ok) {
    waiting.remove();
    turn.append(refusal((await answer.json()).errors));
    return;
  }
  for await (const [name, body] of eventsOf(answer.body)) {
    waiting.remove();
    if (name === "begin") sides[body.who] = side(turn, body.who, body.seed);
    else if (name === "piece") sides[body.who].querySelector(".said").append(body.text);
    else if (name === "end") ended(sides[body.who], body);
    else if (name === "proof") turn.append(proofLine(body));
    else if (name === "error") turn.append(refusal(body.errors));
  }
  const last = sides.tuned ?? sides.base;
  if (!last) return;
  said.push({ role: "user", content: text }, { role: "assistant", content: last.querySelector(".said").textContent });
}

function busy(isBusy) {
  buttons.ask.disabled = isBusy;
  buttons.stop.hidden = !isBusy;
  buttons.clear.hidden = isBusy || said.length === 0;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = prompt.value;
  if (asking !== null || text.trim() === "") return;
  prompt.value = "";
  busy(true);
  try {
    await ask(text);
  } catch (error) {
    const isStopped = error.name === "AbortError";
    history.lastElementChild.append(
      isStopped ? made("p", "hint", "Stopped.") : refusal([{ message: "The server does not answer. Try again." }]),
    );
  }
  asking = null;
  busy(false);
  prompt.focus();
});

prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
buttons.stop.addEventListener("click", () => asking?.abort());
buttons.clear.addEventListener("click", () => {
  said = [];
  history.replaceChildren();
  busy(false);
});
form.elements.namedItem("model").addEventListener("change", () => {
  said = []; // another model has said nothing yet
});
