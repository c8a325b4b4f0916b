/**
 * Draws curves with Plotly: a smoothed line, faintly what was recorded, and between them the band of all values.
 *
 * Plotly is the one name of another script that is used here; the page loads it before.
 */

const FEWEST_TO_SMOOTH = 16;
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];

/**
 * @typedef {{key: string, total: number, x: number[], y: (number|null)[], mean: (number|null)[]|null,
 *   marks: {x: number, value: string}[]}} Series
 * @typedef {{name: string, colour: number, series: Series}} Line
 * @typedef {{x: string, smooth: number, scale: string}} Look
 */

/** The colour that a custom property stands for in the present look: `light-dark()` is resolved by an element only. */
function resolved(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const faint = (colour, share) => colour.replace(/^rgb\(/, "rgba(").replace(/\)$/, `, ${share})`);

/**
 * The mean, and the lowest and highest value, of a window around each point; it shrinks towards both ends, so that the
 * line does not lag and ends where the curve ends.
 *
 * @param {Series} series
 * @param {number} percent of the curve that the window spans, to each side half of it.
 */
export function smoothed(series, percent) {
  const { y, mean } = series;
  const levels = mean ?? y;
  const half = Math.max(1, Math.round((y.length * percent) / 200));
  const line = [];
  const low = [];
  const high = [];
  for (let place = 0; place < y.length; place += 1) {
    const reach = Math.min(half, place, y.length - 1 - place);
    let sum = 0;
    let count = 0;
    let least = Infinity;
    let most = -Infinity;
    for (let near = place - reach; near <= place + reach; near += 1) {
      if (y[near] === null) continue;
      sum += levels[near] ?? y[near];
      count += 1;
      least = Math.min(least, y[near]);
      most = Math.max(most, y[near]);
    }
    const isGap = y[place] === null || count === 0;
    line.push(isGap ? null : sum / count);
    low.push(isGap ? null : least);
    high.push(isGap ? null : most);
  }
  return { line, low, high };
}

/** The band as closed shapes, one for each stretch between gaps: there and back again. */
function outline(x, low, high) {
  const found = { x: [], y: [] };
  let stretch = [];
  const close = () => {
    for (const place of stretch) add(found, x[place], high[place]);
    for (const place of stretch.reverse()) add(found, x[place], low[place]);
    if (stretch.length) add(found, null, null);
    stretch = [];
  };
  for (let place = 0; place < x.length; place += 1) {
    if (low[place] === null) close();
    else stretch.push(place);
  }
  close();
  return found;
}

function add(points, x, y) {
  points.x.push(x);
  points.y.push(y);
}

/**
 * @param {Line} line
 * @param {Look} look
 * @param {boolean} isAlone whether others would be hidden by its faint parts.
 */
function traces({ name, colour, series }, look, isAlone) {
  const ink = resolved(`--c${colour % 8}`);
  const dash = DASHES[Math.floor(colour / 8) % DASHES.length];
  const drawn = { type: "scatter", x: series.x, name, legendgroup: name, hoverinfo: "skip", showlegend: false };
  const shape = { color: ink, width: 2, dash };
  if (series.y.length < FEWEST_TO_SMOOTH || look.smooth === 0) {
    const mode = series.y.length < FEWEST_TO_SMOOTH ? "lines+markers" : "lines";
    return [{ ...drawn, y: series.y, mode, line: shape, marker: { size: 5, color: ink }, hoverinfo: "all" }];
  }
  const { line, low, high } = smoothed(series, look.smooth);
  const found = [];
  if (isAlone) {
    const band = outline(series.x, low, high);
    found.push({ ...drawn, ...band, mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: faint(ink, 0.13) });
  }
  found.push({ ...drawn, y: series.y, mode: "lines", line: { color: faint(ink, isAlone ? 0.28 : 0.16), width: 0.8 } });
  found.push({ ...drawn, y: line, mode: "lines", line: shape, hoverinfo: "all" });
  return found;
}

/** Where a number was not finite: a cross at the foot of the picture. */
function crosses(lines) {
  const marks = lines.flatMap(({ name, series }) => series.marks.map((mark) => ({ ...mark, name })));
  if (marks.length === 0) return [];
  return [
    {
      type: "scatter",
      mode: "markers",
      x: marks.map((mark) => mark.x),
      y: marks.map(() => 0.02),
      yaxis: "y2",
      text: marks.map((mark) => `${mark.name} is ${mark.value}`),
      hovertemplate: "%{text} at %{x}<extra></extra>",
      marker: { symbol: "x", size: 9, color: resolved("--bad") },
      showlegend: false,
    },
  ];
}

/** Whether a logarithmic axis shows more: all above 0, and the largest more than 50 times the smallest. */
function needsLog(lines) {
  let least = Infinity;
  let most = -Infinity;
  for (const { series } of lines) {
    for (const value of series.y) {
      if (value === null) continue;
      least = Math.min(least, value);
      most = Math.max(most, value);
    }
  }
  return least > 0 && most > 50 * least;
}

const TITLES = { step: "step", time: "seconds of training", tokens: "tokens" };

/**
 * Draws into an element, or draws anew what is there; zooming stays.
 *
 * @param {HTMLElement} place
 * @param {Line[]} lines
 * @param {Look} look
 * @param {{resumes?: number[], legend?: boolean}} more
 */
export function draw(place, lines, look, { resumes = [], legend = true } = {}) {
  const ink = resolved("--soft");
  const grid = resolved("--grid");
  const isLog = look.scale === "log" || (look.scale === "auto" && needsLog(lines));
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, tickcolor: grid, automargin: true };
  const data = [
    ...lines.filter(({ series }) => series.y.length > 0).flatMap((line) => traces(line, look, lines.length <= 3)),
    ...crosses(lines),
  ];
  const layout = {
    uirevision: `${look.x} ${isLog}`,
    margin: { l: 44, r: 8, t: 8, b: 34 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: ink },
    hovermode: "x unified",
    hoverlabel: { bgcolor: resolved("--card"), bordercolor: resolved("--edge"), font: { color: resolved("--ink") } },
    showlegend: legend && lines.length > 1,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    xaxis: { ...axis, title: { text: TITLES[look.x], standoff: 6 }, exponentformat: "SI" },
    yaxis: { ...axis, type: isLog ? "log" : "linear", exponentformat: "power" },
    yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    shapes: resumes.map((x) => ({
      type: "line",
      x0: x,
      x1: x,
      yref: "paper",
      y0: 0,
      y1: 1,
      line: { color: ink, width: 1, dash: "dot" },
    })),
  };
  const named = new Set(data.filter((trace) => trace.hoverinfo === "all").map((trace) => trace.name));
  for (const trace of data) if (trace.hoverinfo === "all" && named.delete(trace.name)) trace.showlegend = true;
  return window.Plotly.react(place, data, layout, {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "png", scale: 2 },
  });
}

/** How the form of a page says to draw. @returns {Look & {more: boolean}} */
export function lookOf(form) {
  const said = new FormData(form);
  return {
    x: String(said.get("x") ?? "step"),
    smooth: Number(said.get("smooth") ?? 5),
    scale: String(said.get("scale") ?? "auto"),
    more: said.has("more"),
  };
}

/** Writes the form into the address, so that it can be kept and sent, and tells of every change. */
export function onLook(form, changed) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    const address = new URL(location.href);
    for (const field of form.elements) {
      if (!field.name) continue;
      if (field.type === "checkbox" && !field.checked) address.searchParams.delete(field.name);
      else address.searchParams.set(field.name, field.value);
    }
    history.replaceState(null, "", address.toString().replaceAll("%2C", ","));
    changed();
  });
}

/** Calls back when the colours change: another look of the system. */
export function onColours(changed) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}

/** A card for a picture: its title and unit, and where to draw. */
export function card(title, unit) {
  const made = document.createElement("div");
  made.className = "plot";
  const head = document.createElement("h3");
  head.textContent = title;
  if (unit) {
    const small = document.createElement("small");
    small.textContent = unit;
    head.append(small);
  }
  const drawing = document.createElement("div");
  drawing.className = "drawing";
  made.append(head, drawing);
  return made;
}
