/** Takes dropped files to the server, and shows what is in them. */
import { takesFiles } from "./upload.js";

takesFiles(document.querySelector("[data-drop]"), (dataset) => {
  location.assign(`/datasets/${encodeURIComponent(dataset.name)}?check=1`);
});
