/** Makes the forms of the API's page send, filters its list, and opens the operation that the address names. */

const SHOWN_BYTES = 200_000;

/**
 * @typedef {{url: string, method: string, headers: Record<string, string>, body: string | FormData | undefined}} Asked
 */

/** What a form asks for. @param {HTMLFormElement} form @returns {Asked} */
function asked(form) {
  let path = form.dataset.path ?? "";
  const query = new URLSearchParams();
  /** @type {Record<string, string>} */
  const headers = {};
  /** @type {string | FormData | undefined} */
  let body;
  for (const field of form.querySelectorAll("[data-where]")) {
    const { where } = /** @type {HTMLElement} */ (field).dataset;
    const { name, value } = /** @type {HTMLInputElement} */ (field);
    if (where === "path") {
      const isPath = path.includes(`{${name}:path}`);
      const written = encodeURIComponent(value);
      path = path.replace(isPath ? `{${name}:path}` : `{${name}}`, isPath ? written.replaceAll("%2F", "/") : written);
    } else if (where === "query" && value !== "") {
      query.append(name, value);
    } else if (where === "header" && value !== "") {
      headers[name] = value;
    } else if (where === "body") {
      headers["Content-Type"] = "application/json";
      body = value;
    } else if (where === "file") {
      body = new FormData();
      const files = /** @type {HTMLInputElement} */ (field).files;
      if (files?.length) body.append("file", files[0]);
    }
  }
  const url = query.size ? `${path}?${query}` : path;
  return { url, method: form.dataset.method ?? "GET", headers, body };
}

/** As a command line. @param {Asked} what */
function curl(what) {
  const quote = (/** @type {string} */ text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = ["curl", "-X", what.method, quote(location.origin + what.url)];
  for (const [name, value] of Object.entries(what.headers)) parts.push("-H", quote(`${name}: ${value}`));
  if (typeof what.body === "string") parts.push("-d", quote(what.body));
  else if (what.body) parts.push("-F", "file=@FILE");
  return parts.join(" ");
}

/** @param {HTMLFormElement} form @param {string} head @param {string} text */
function show(form, head, text) {
  const answer = /** @type {HTMLElement} */ (form.querySelector(".answer"));
  answer.hidden = false;
  /** @type {HTMLElement} */ (answer.querySelector("output")).textContent = head;
  /** @type {HTMLElement} */ (answer.querySelector("pre")).textContent = text;
}

/** Text as it comes, pretty where it is JSON. A stream is shown while it goes on. @param {Response} answer @param {(text: string) => void} tell */
async function read(answer, tell) {
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
    if (text.length > SHOWN_BYTES) {
      await reader.cancel();
      text = `${text.slice(0, SHOWN_BYTES)}\n… and more`;
      break;
    }
    tell(text);
  }
  if ((answer.headers.get("Content-Type") ?? "").includes("json")) {
    try {
      text = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // cut short, or no JSON after all: as it came
    }
  }
  tell(text);
}

/** @param {HTMLFormElement} form */
async function send(form) {
  const what = asked(form);
  const began = performance.now();
  show(form, "asking …", "");
  try {
    const answer = await fetch(what.url, { method: what.method, headers: what.headers, body: what.body });
    const head = () => `${answer.status} ${answer.statusText} · ${Math.round(performance.now() - began)} ms`;
    await read(answer, (text) => show(form, head(), text));
  } catch (error) {
    show(form, "no answer", String(error));
  }
}

/** Opens what the address names. */
function open() {
  const found = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (found instanceof HTMLDetailsElement) found.open = true;
}

for (const form of document.querySelectorAll(".operation form")) {
  if (!(form instanceof HTMLFormElement)) continue;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void send(form);
  });
  form.querySelector("[data-curl]")?.addEventListener("click", () => show(form, "as a command", curl(asked(form))));
}
const search = /** @type {HTMLInputElement} */ (document.getElementById("search"));
search.addEventListener("input", () => {
  const word = search.value.trim().toLowerCase();
  for (const section of document.querySelectorAll("[data-group]")) {
    let any = false;
    for (const item of section.querySelectorAll("[data-operation]")) {
      const shown = `${item.textContent} ${item.getAttribute("data-operation")}`.toLowerCase().includes(word);
      /** @type {HTMLElement} */ (item).hidden = !shown;
      any ||= shown;
    }
    /** @type {HTMLElement} */ (section).hidden = !any;
    section.classList.toggle("found", any && word !== "");
  }
});
addEventListener("hashchange", open);
open();
