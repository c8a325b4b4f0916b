/**
 * Follows a stream of events through lost connections.
 *
 * The browser's own reconnection waits for seconds and forgets where it was when the page was made, so a connection
 * that breaks is closed here and opened anew, after the last event that arrived. A hidden page follows nothing: a
 * browser has six connections for all pages of one server.
 */

const AGAIN_MS = 600;
const MOST_REST_MS = 2000; // between two looks, however slow the server is

/**
 * @param {string} path of the stream; `after` is added to it.
 * @param {{changed: () => void, away?: (isAway: boolean) => void, ended?: () => void, after?: () => number}} tell
 *   `changed`: something was recorded, or may have been while nobody was connected. `away`: the server does not answer.
 *   `ended`: nothing more will come. `after`: the byte that is known already.
 * @returns {() => void} ends it.
 */
export function follow(path, tell) {
  let source = null;
  let timer = 0;
  let last = -1;
  let isOver = false;

  const open = () => {
    if (isOver || source !== null || document.hidden) return;
    const known = Math.max(last, tell.after ? tell.after() : 0);
    source = new EventSource(known > 0 ? `${path}?after=${known}` : path);
    source.onopen = () => {
      tell.away?.(false);
      tell.changed();
    };
    source.onmessage = heard;
    for (const name of ["metrics", "note", "resumed", "status", "run", "header", "progress", "change", "removed"]) {
      source.addEventListener(name, heard);
    }
    source.addEventListener("end", () => {
      close();
      isOver = true;
      tell.changed();
      tell.ended?.();
    });
    source.onerror = () => {
      close();
      if (isOver) return;
      tell.away?.(true);
      clearTimeout(timer);
      timer = setTimeout(open, AGAIN_MS);
    };
  };
  /** @param {MessageEvent} event */
  const heard = (event) => {
    const cursor = Number(event.lastEventId);
    if (cursor > last) last = cursor;
    tell.changed();
  };
  const close = () => {
    source?.close();
    source = null;
  };
  const seen = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", seen);
  open();
  return () => {
    isOver = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
    close();
  };
}

/**
 * Runs a task when asked, never twice at once, and rests between for ten times as long as it took, up to two
 * seconds: whoever watches a run does not take its processor away.
 *
 * @param {() => Promise<void>} task
 * @param {number} leastMs between two ends of it.
 * @returns {() => void} asks for it.
 */
export function calmly(task, leastMs) {
  let isBusy = false;
  let isAsked = false;
  const run = async () => {
    if (isBusy) {
      isAsked = true;
      return;
    }
    isBusy = true;
    isAsked = false;
    const begun = performance.now();
    try {
      await task();
    } catch {
      isAsked = true; // the server is away: once more, until it is back
    }
    setTimeout(
      () => {
        isBusy = false;
        if (isAsked) run();
      },
      Math.max(leastMs, Math.min(MOST_REST_MS, 10 * (performance.now() - begun))),
    );
  };
  return run;
}
