/**
 * Takes a file that is dropped or chosen to the server, and says how far it is.
 *
 * @param {HTMLElement} place with a file input, and an element with `data-said` for what is going on.
 * @param {(dataset: {name: string, path: string, rows: number | null, problems: {message: string}[]}) => void} done
 */
export function takesFiles(place, done) {
  const input = /** @type {HTMLInputElement} */ (place.querySelector("input[type=file]"));
  const said = place.querySelector("[data-said]");
  for (const button of place.querySelectorAll("[data-plain]")) button.hidden = true;

  for (const name of ["dragenter", "dragover"]) {
    place.addEventListener(name, (event) => {
      event.preventDefault();
      place.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) place.addEventListener(name, () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = /** @type {DragEvent} */ (event).dataTransfer?.files[0];
    if (file) send(file);
  });
  input.addEventListener("change", () => input.files?.[0] && send(input.files[0]));

  /** @param {File} file */
  function send(file) {
    const request = new XMLHttpRequest(); // fetch cannot say how much has been sent
    request.open("POST", "/api/v1/datasets");
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      const part = event.total ? Math.floor((100 * event.loaded) / event.total) : 0;
      said.textContent = part < 100 ? `${file.name}: ${part}%` : `${file.name}: reading it…`;
    };
    request.onload = () => {
      input.value = "";
      if (request.status === 201) {
        said.textContent = `${request.response.name} is there.`;
        done(request.response);
      } else {
        const errors = request.response?.errors ?? [{ message: `the server said ${request.status}.`, fix: "" }];
        said.textContent = errors.map((one) => `${one.place ?? ""} ${one.message} ${one.fix}`).join(" ");
      }
    };
    request.onerror = () => {
      said.textContent = "The server does not answer. Try again.";
    };
    said.textContent = `${file.name}…`;
    const form = new FormData();
    form.append("file", file);
    request.send(form);
  }
}
