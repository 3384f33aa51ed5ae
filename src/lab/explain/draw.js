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
  drawNames(pen, rows);
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

// The nodes that a fault shades; none are named when it concerns all.
const concerned = (event) => (event.nodes.length ? event.nodes : data.run.nodes);

function faultX(event, index) {
  return [xAt(index), Math.max(xAt(index) + 2, Math.min(xOf(placeOfTime(event.until)), endX(-1)))];
}

function drawShades(pen, rows) {
  for (const fault of model.faults) {
    const event = events[fault.index];
    // A node that is down or paused says so itself.
    if (event.until <= event.t || fault.family === "down" || fault.family === "pause") continue;
    const [x1, x2] = faultX(event, fault.index);
    if (x2 < GUTTER || x1 > view.width) continue;
    pen.fillStyle = ink[fault.family];
    pen.globalAlpha = event.nodes.length ? 1 : 0.45;
    for (const id of concerned(event)) {
      const y = rows.y.get(id);
      if (y !== undefined) pen.fillRect(x1, y - rows.row * 0.4, x2 - x1, rows.row - 2);
    }
    pen.globalAlpha = 1;
  }
  for (const span of model.spans) {
    const y = rows.y.get(span.node);
    const [x1, x2] = [xAt(span.from), endX(span.to)];
    if (y === undefined || x2 < GUTTER || x1 > view.width) continue;
    pen.fillStyle = ink[span.kind];
    const [top, height] = [y - Math.min(rows.row * 0.4, 24), Math.min(rows.row - 2, 56)];
    pen.fillRect(x1, top, x2 - x1, height);
    hatch(pen, x1, top, x2 - x1, height, span.kind);
    const word = span.kind === "pause" ? "paused" : events[span.from].kind === "stop" ? "stopped" : "crashed";
    pinned(pen, word, x1, x2, top + height - 7, ink.soft);
  }
}

function hatch(pen, x, y, width, height, kind) {
  const [left, right] = [Math.max(x, GUTTER), Math.min(x + width, view.width)];
  if (right - left < 4) return;
  pen.save();
  pen.beginPath();
  pen.rect(left, y, right - left, height);
  pen.clip();
  pen.strokeStyle = ink.life;
  pen.globalAlpha = 0.35;
  pen.beginPath();
  const gap = kind === "pause" ? 12 : 7;
  for (let at = left - height; at < right; at += gap) {
    pen.moveTo(at, y + height);
    pen.lineTo(kind === "pause" ? at : at + height, y);
  }
  pen.stroke();
  pen.restore();
}

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

function drawBands(pen, rows, low, high) {
  for (const id of rows.ids) {
    const kinds = [...model.bands.get(id).values()].slice(0, 3);
    kinds.forEach((list, at) => {
      const height = rows.row < 44 ? Math.max(4, 10 / kinds.length) : 15;
      const y = rows.y.get(id) + 8 + at * (height + 1);
      for (const band of list) {
        if (band.from >= high || (band.to >= 0 && band.to < low)) continue;
        const [x1, x2] = [Math.max(xAt(band.from), GUTTER), Math.min(endX(band.to), view.width)];
        pen.fillStyle = ink[`band-${band.colour}`];
        pen.fillRect(x1, y, Math.max(1, x2 - x1 - 1), height);
        if (height > 9) pinned(pen, band.label, x1, x2, y + height / 2 + 0.5, ink.ink);
      }
    });
  }
}

function drawLifelines(pen, rows) {
  const end = Math.min(view.width, xOf(windowPlaces()[1]));
  for (const id of rows.ids) {
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
      pen.moveTo(Math.max(GUTTER, xAt(span.from)), y);
      pen.lineTo(Math.min(end, endX(span.to)), y);
      pen.stroke();
    }
    pen.setLineDash([]);
  }
}

function drawOperations(pen, rows) {
  if (!model.clients.length) return;
  const end = endX(-1);
  for (const name of model.clients) {
    const y = rows.lane.get(name);
    if (y - view.top < rows.fixed - LANE || y - view.top > view.height + LANE) continue;
    pen.fillStyle = ink.line;
    pen.fillRect(GUTTER, y + LANE / 2 - 1, view.width, 1);
    let covered = -Infinity;
    const lane = model.lanes.get(name);
    // What a violation rests on lies above the rest.
    for (const bad of [false, true]) lane.forEach((op, at) => {
      if (op.bad !== bad) return;
      if (op.from >= view.to || (op.to >= 0 && op.to < view.from)) return;
      if (!view.shown[op.from] && !op.bad) return;
      const [x1, x2] = [xAt(op.from), op.to < 0 ? end : Math.max(xAt(op.to), xAt(op.from) + (op.bad ? 6 : 2))];
      if (x2 < GUTTER || x1 > view.width || (x2 <= covered && !op.bad)) return;
      covered = Math.max(covered, Math.ceil(x2));
      const next = lane[at + 1] ? xAt(lane[at + 1].from) : view.width;
      drawOperation(pen, op, x1, x2, y, rows, next);
    });
  }
}

function drawOperation(pen, op, x1, x2, y, rows, next) {
  const faded = dim(op.from) && !op.bad;
  const [left, right] = [Math.max(x1, GUTTER - 2), Math.min(x2, view.width + 2)];
  pen.globalAlpha = faded ? 0.25 : 1;
  pen.fillStyle = op.bad ? ink["bad-soft"] : ink.op;
  pen.strokeStyle = op.bad ? ink.bad : ink["op-line"];
  pen.lineWidth = op.bad ? 2 : 1;
  pen.setLineDash(op.to < 0 ? [3, 3] : []);
  pen.fillRect(left, y - 8, right - left, 16);
  if (right - left > 3) pen.strokeRect(left, y - 8, right - left, 16);
  pen.setLineDash([]);
  const short = (index) => events[index].brief || events[index].label;
  const text = `${short(op.from)} → ${op.to < 0 ? "no reply" : short(op.to)}`;
  const colour = op.bad ? ink.bad : ink.ink;
  pen.font = `${op.bad ? "600 " : ""}11px ${SANS}`;
  const width = pen.measureText(text).width;
  // Inside if it fits, else beside; what a violation rests on is said in any case.
  if (width + 8 <= right - left) pinned(pen, text, x1, x2, y + 0.5, colour, pen.font);
  else if (x2 + width + 8 < Math.min(op.bad ? Infinity : next, view.width)) beside(pen, text, x2 + 5, y, colour, op.bad);
  else if (op.bad) beside(pen, text, x1 - width - 5, y, colour, true);
  else pinned(pen, text, x1, x2, y + 0.5, colour, pen.font);
  const matters = op.bad || (view.selected >= 0 && [op.invoke, op.request, op.reply, op.return].includes(view.selected));
  // How it came to the node, and the answer back.
  pen.strokeStyle = pen.fillStyle = op.bad ? ink.bad : matters ? ink.accent : ink["op-line"];
  pen.lineWidth = matters ? 1.5 : 0.8;
  for (const [atClient, atNode] of op.ways) {
    const node = rows.y.get(events[atNode].node);
    if (node === undefined || (hurry && !matters)) continue;
    const [client, there] = [{ x: xAt(atClient), y: y - 8 }, { x: xAt(atNode), y: node + 4 }];
    const [a, b] = atClient < atNode ? [client, there] : [there, client];
    if (Math.max(a.x, b.x) < GUTTER || Math.min(a.x, b.x) > view.width) continue;
    way(pen, { x1: a.x, y1: a.y, x2: b.x, y2: b.y });
    if (op.bad) { pen.beginPath(); pen.arc(there.x, node, 7, 0, 7); pen.stroke(); }
  }
  // Which node was asked, and which answered, as it tells itself: only where it matters.
  if (matters && op.invoke < 0) {
    pen.strokeStyle = op.bad ? ink.bad : ink.accent;
    pen.lineWidth = 1.25;
    pen.setLineDash([1, 3]);
    pen.beginPath();
    for (const [index, x] of [[op.request, x1], [op.reply, x2]]) {
      const node = index < 0 ? undefined : rows.y.get(events[index].node);
      if (node === undefined) continue;
      pen.moveTo(x, y - 8);
      pen.lineTo(x, node + 4);
      if (op.bad) { pen.moveTo(x + 7, node); pen.arc(x, node, 7, 0, 7); }
    }
    pen.stroke();
    pen.setLineDash([]);
  }
  pen.globalAlpha = 1;
}

// An arrow between a client's lane and a node's line.
function way(pen, line) {
  pen.beginPath();
  pen.moveTo(line.x1, line.y1);
  pen.lineTo(line.x2, line.y2);
  pen.stroke();
  heads(pen, [line]);
}

function beside(pen, text, x, y, colour, opaque) {
  if (opaque) {
    pen.fillStyle = ink.paper;
    pen.fillRect(x - 2, y - 8, pen.measureText(text).width + 4, 16);
  }
  pen.fillStyle = colour;
  pen.fillText(text, x, y + 0.5);
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

function drawFault(pen, rows, fault) {
  const event = events[fault.index];
  const [x1, x2] = faultX(event, fault.index);
  if (x2 < GUTTER || x1 > view.width) return;
  const y = rows.faults + fault.lane * FAULT;
  pen.fillStyle = ink[fault.family];
  pen.fillRect(Math.max(x1, GUTTER), y, Math.min(x2, view.width) - Math.max(x1, GUTTER), FAULT - 3);
  pen.fillStyle = ink.soft;
  pen.fillRect(x1, y, 2, FAULT - 3);
  // What is over at once has its word beside it, if no other fault is there.
  const right = event.until <= event.t ? Math.min(fault.next < 0 ? view.width : xAt(fault.next), x1 + 260) : x2;
  pinned(pen, event.label || event.fault, x1, right, y + FAULT / 2 - 1, ink.ink);
}

// Times at round places: true to time, or of the event that is there.
function ticks() {
  const list = [];
  if (!events.length) return list;
  if (view.axis === "time") {
    const rough = 110 / view.scale;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    for (let t = Math.ceil(placeAtX(GUTTER) / step) * step; xOf(t) < view.width; t += step) list.push([xOf(t), clock(t)]);
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

// The names stay at the left.
function drawNames(pen, rows) {
  pen.fillStyle = ink.panel;
  pen.fillRect(0, 0, GUTTER, view.height);
  pen.fillStyle = ink.line;
  pen.fillRect(GUTTER - 1, 0, 1, view.height);
  pen.save();
  pen.beginPath();
  pen.rect(0, rows.fixed - 4, GUTTER, view.height);
  pen.clip();
  pen.translate(0, -view.top);
  const here = view.selected < 0 ? undefined : events[view.selected].node;
  for (const id of rows.ids) {
    pen.fillStyle = id === here ? ink.accent : ink.ink;
    pen.font = `600 13px ${SANS}`;
    pen.fillText(shorten(pen, laneWord(id), GUTTER - 24), 14, rows.y.get(id));
  }
  if (model.clients.length) {
    pen.fillStyle = ink.soft;
    pen.font = `11px ${SANS}`;
    pen.fillText("CLIENTS", 14, rows.clientsTop + 2);
  }
  for (const name of model.clients) {
    pen.fillStyle = model.lanes.get(name).some((op) => op.bad) ? ink.bad : ink.ink;
    pen.font = `12.5px ${SANS}`;
    pen.fillText(shorten(pen, name, GUTTER - 24), 14, rows.lane.get(name));
  }
  pen.restore();
  pen.fillStyle = ink.soft;
  pen.font = `11px ${SANS}`;
  if (rows.bottom - view.top > view.height + 8) {
    pen.fillStyle = ink.panel;
    pen.fillRect(0, view.height - 18, GUTTER - 1, 18);
    pen.fillStyle = ink.accent;
    pen.fillText("↓ more below", 14, view.height - 9);
    pen.fillStyle = ink.soft;
  }
  pen.fillText("TIME", 14, 12);
  if (model.faults.length) pen.fillText("FAULTS", 14, rows.faults + FAULT / 2);
  if (model.violations.length) pen.fillText("VIOLATIONS", 14, rows.flags + FLAGS / 2);
}
