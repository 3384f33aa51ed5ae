// The picture's frame: what the view shows of the model, but for arrows, marks of events and the
// strip, which have their own files. Only what is visible is drawn, and what would cover exactly
// the same pixels is drawn once.

const canvas = document.getElementById("diagram");
const SANS = 'system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';
let ink = {};

// The colours are the style sheet's, so that light and dark are said once.
function readColours() { ink = coloursOf(getComputedStyle(document.documentElement)); }

function coloursOf(style) {
  const names = ["paper", "panel", "ink", "soft", "line", "life", "accent", "bad", "bad-soft", "good", "find", "note", "note-soft", "op", "op-line",
    "down", "pause", "cut", "clog", "loss", "clock", "disk"];
  for (let at = 0; at < 6; at++) names.push(`arrow-${at}`);
  for (let at = 0; at < 8; at++) names.push(`band-${at}`);
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function prepare(target) {
  const ratio = window.devicePixelRatio || 1;
  const box = target.getBoundingClientRect();
  const [width, height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
  if (target.width !== width || target.height !== height) [target.width, target.height] = [width, height];
  const pen = target.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = ink.paper;
  pen.fillRect(0, 0, box.width, box.height);
  pen.textBaseline = "middle";
  return pen;
}

// While something moves and a picture takes long, arrows closer than some pixels are drawn as one;
// the whole picture follows when it rests.
let hurry = false;

// What else lies over the picture and scrolls with its rows: (pen, rows, low, high).
const overlays = [];

function draw() {
  paint(prepare(canvas));
  drawOverview();
}

// The diagram, with any pen that knows the calls of a canvas which are made here.
function paint(pen) {
  const rows = layout();
  const [low, high] = visibleRange();
  pen.save();
  pen.beginPath();
  pen.rect(GUTTER, rows.fixed - 4, view.width - GUTTER, view.height);
  pen.clip();
  pen.translate(0, -view.top);
  drawShades(pen, rows);
  drawBands(pen, rows, low, high);
  drawLifelines(pen, rows);
  const labels = drawArrows(pen, rows, low, high);
  drawEvents(pen, rows, low, high);
  drawOperations(pen, rows);
  drawArrowLabels(pen, labels, rows);
  for (const overlay of overlays) overlay(pen, rows, low, high);
  drawSelection(pen, rows);
  pen.restore();
  drawTop(pen, rows);
  drawWitnesses(pen, rows);
  drawNames(pen, rows);
  drawLeaps(pen, rows);
  drawCurve(pen, rows);
}

// The indices of the events on the screen, one more on each side.
function visibleRange() {
  const low = Math.max(view.from, indexAtPlace(placeAtX(GUTTER)) - 1);
  const high = Math.min(view.to, indexAtPlace(placeAtX(view.width) + 1e-9) + 1);
  return [low, high];
}

const endX = (index) => (index < 0 ? xOf(windowPlaces()[1]) : xAt(index));
const dim = (index) => view.marks !== null && !view.marks[index];

// A word at the visible beginning of a span, if it fits.
function pinned(pen, word, x1, x2, y, colour, font = `11px ${SANS}`, always = false) {
  const [left, right] = [Math.max(x1, GUTTER) + 4, Math.min(x2, view.width) - 3];
  if (right - left < 16 && !always) return 0;
  pen.font = font;
  const text = always ? word : shorten(pen, word, right - left);
  if (!text) return 0;
  pen.fillStyle = colour;
  pen.fillText(text, left, y);
  return left + pen.measureText(text).width;
}

function shorten(pen, text, room) {
  if (text.length < 2000 && pen.measureText(text).width <= room) return text;
  // Nothing is narrower than two pixels a letter, so the search may begin there.
  let [low, high] = [0, Math.min(text.length, Math.ceil(room / 2))];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pen.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle; else high = middle - 1;
  }
  return low > 1 ? `${text.slice(0, low)}…` : "";
}

// Whether any of a node's row is on the screen; of a thousand few are.
function inSight(rows, id) {
  const top = rows.y.get(id) - rows.above;
  return top < view.top + view.height && top + rows.high.get(id) > view.top + rows.fixed - 8;
}

function drawLifelines(pen, rows) {
  const end = Math.min(view.width, xOf(windowPlaces()[1]));
  for (const id of rows.ids) {
    if (!inSight(rows, id)) continue;
    const y = rows.y.get(id);
    pen.strokeStyle = ink.life;
    pen.lineWidth = 1.25;
    pen.beginPath();
    pen.moveTo(GUTTER, y);
    pen.lineTo(end, y);
    pen.stroke();
    // A node that is down has no line.
    pen.strokeStyle = ink.paper;
    pen.setLineDash([3, 4]);
    pen.lineWidth = 2.5;
    for (const span of model.spans) {
      if (span.node !== id || span.kind !== "down") continue;
      pen.beginPath();
      const [x1, x2] = spanX(span);
      pen.moveTo(Math.max(GUTTER, x1), y);
      pen.lineTo(Math.min(end, x2), y);
      pen.stroke();
    }
    pen.setLineDash([]);
  }
}

function drawSelection(pen, rows) {
  if (view.selected < 0) return;
  const event = events[view.selected];
  const x = xAt(view.selected);
  pen.strokeStyle = ink.accent;
  pen.lineWidth = 2.25;
  for (const at of model.arrowsOf.get(view.selected) || []) {
    const line = arrowLine(model.arrows[at], rows);
    if (!line) continue;
    pen.setLineDash(model.arrows[at].copy ? [5, 4] : []);
    pen.beginPath();
    pen.moveTo(line.x1, line.y1);
    pen.lineTo(line.x2, line.y2);
    pen.stroke();
    pen.fillStyle = ink.accent;
    if (model.arrows[at].fate === "ok") heads(pen, [line]);
  }
  pen.setLineDash([]);
  const y = rows.y.get(event.node);
  if (y !== undefined) {
    pen.beginPath();
    pen.arc(x, y, 8, 0, 7);
    pen.stroke();
  }
  pen.globalAlpha = 0.5;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(x, 0);
  pen.lineTo(x, rows.bottom + view.height);
  pen.stroke();
  pen.globalAlpha = 1;
}

// What stays on top when rows scroll: ruler, flags, faults.
function drawTop(pen, rows) {
  pen.save();
  pen.beginPath();
  pen.rect(GUTTER, 0, view.width, view.height);
  pen.clip();
  pen.strokeStyle = ink.line;
  pen.fillStyle = ink.soft;
  pen.font = `11.5px ${SANS}`;
  for (const [x, word] of ticks()) {
    pen.fillText(word, x + 4, 12);
    pen.fillRect(x, 6, 1, RULER - 8);
  }
  for (const fault of model.faults) drawFault(pen, rows, fault);
  let edge = -Infinity;
  for (const index of model.violations) {
    const x = xAt(index);
    if (x < GUTTER - 200 || x > view.width + 10) continue;
    pen.strokeStyle = ink.bad;
    pen.lineWidth = 1.75;
    pen.beginPath();
    pen.moveTo(x, rows.flags);
    pen.lineTo(x, view.height);
    pen.stroke();
    const y = rows.y.get(events[index].node);
    if (y !== undefined) {
      pen.fillStyle = ink.bad;
      pen.beginPath();
      pen.arc(x, y - view.top, 6, 0, 7);
      pen.fill();
    }
    if (x < edge) continue;
    pen.font = `600 12px ${SANS}`;
    const word = `⚑ ${events[index].property}`;
    const width = pen.measureText(word).width + 12;
    // At the right border the flag flies to the left.
    const left = x + width > view.width ? x - width : x;
    pen.fillStyle = ink.bad;
    pen.fillRect(left, rows.flags + 1, width, FLAGS - 4);
    pen.fillStyle = ink.paper;
    pen.fillText(word, left + 6, rows.flags + FLAGS / 2 - 0.5);
    edge = left + width;
  }
  pen.restore();
}

// Times at round places: true to time, or of the event that is there.
function ticks() {
  const list = [];
  if (!events.length) return list;
  if (view.axis === "time") {
    const rough = 110 / view.scale;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    for (let t = Math.ceil(placeAtX(GUTTER) / step) * step; xOf(t) < view.width; t += step) list.push([xOf(t), clock(t, step < 1e5)]);
    return list;
  }
  let word = "";
  for (let x = GUTTER + MARGIN; x < view.width - 40; x += 110) {
    const index = indexAtPlace(placeAtX(x));
    if (index >= events.length) break;
    const next = clock(events[index].t);
    // Of several equal times the first says it.
    if (next !== word) list.push([xAt(index), next]);
    word = next;
  }
  return list;
}
