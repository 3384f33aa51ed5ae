// What lasts: faults, nodes that are down or held up, and what nodes hold for true.

// The narrowest that a span is drawn, so that both of its ends show.
const NARROW = 8;
const BAND = 16;

// The nodes that a fault shades; none are named when it concerns all.
const concerned = (event) => (event.nodes.length ? event.nodes : data.run.nodes);

// From where to where a fault is drawn. On the even axis its end lies between the last event that
// it contains and the next: what happened after it is never within.
function faultX(event, index) {
  const left = xAt(index);
  const after = indexAt(event.until);
  const end = view.axis === "time" ? xOf(event.until) : (xAt(Math.max(index, after - 1)) + xAt(Math.min(after, events.length))) / 2;
  return [left, Math.max(left + NARROW, Math.min(end, endX(-1)))];
}

// A fault in words, without its time, its nodes by their names.
function faultWords(event) {
  const words = (event.label || event.fault).replace(/^\d+ ms: /, "");
  const named = (ids) => ids.split(", ").map((id) => laneWord(Number(id))).join(", ");
  return words.replace(/\[(\d+(?:, \d+)*)\]/g, (_, ids) => named(ids)).replace(/\bnode (\d+)\b/g, (_, id) => laneWord(Number(id)));
}

// Where a span of a node is drawn, at least so wide that both ends show.
function spanX(span) {
  const left = xAt(span.from);
  return [left, Math.max(left + NARROW, endX(span.to))];
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
      if (y !== undefined) pen.fillRect(x1, y - rows.above, x2 - x1, rows.high.get(id) - 2);
    }
    pen.globalAlpha = 1;
  }
  for (const span of model.spans) {
    const y = rows.y.get(span.node);
    const [x1, x2] = spanX(span);
    if (y === undefined || x2 < GUTTER || x1 > view.width) continue;
    const [top, height] = [y - Math.min(rows.above, 24), Math.min(rows.row - 2, 56)];
    pen.fillStyle = ink[span.kind];
    pen.fillRect(x1, top, x2 - x1, height);
    hatch(pen, x1, top, x2 - x1, height, span.kind);
    caps(pen, x1, span.to < 0 ? Infinity : x2, top, height, span.kind === "pause" ? ink.life : ink.bad);
    spanWord(pen, span, x1, x2, top + height - 7);
  }
}

// The two ends of what lasts, however short it is.
function caps(pen, x1, x2, top, height, colour) {
  pen.fillStyle = colour;
  if (x1 >= GUTTER) pen.fillRect(x1, top, 2, height);
  if (x2 <= view.width) pen.fillRect(x2 - 2, top, 2, height);
}

// What became of a node, and what it lost: within its span, or beside it when that is narrow.
function spanWord(pen, span, x1, x2, y) {
  const begun = events[span.from];
  const lost = span.kind === "down" && begun.kind === "crash" ? (diskLost(span) ? ", disk lost" : model.durable.has(span.node) ? "" : ", memory lost") : "";
  const word = span.kind === "pause" ? "held up" : (begun.kind === "stop" ? "stopped" : "crashed") + lost;
  pen.font = `${lost === ", disk lost" ? "600 " : ""}11px ${SANS}`;
  const width = pen.measureText(word).width;
  const colour = lost === ", disk lost" ? ink.bad : ink.soft;
  if (width + 8 <= Math.min(x2, view.width) - Math.max(x1, GUTTER)) pinned(pen, word, x1, x2, y, colour, pen.font);
  else if (rows.row >= 44 && x2 < view.width && x2 - x1 < width) beside(pen, word, x2 + 3, y, colour, false);
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

// A node's rows of statements: what witnesses speak of, then what it holds for true of one node,
// of itself, of each; and how many of them are shown.
function bandsOf(id) {
  if (!model.bandRows.has(id)) model.bandRows.set(id, orderedBands([...model.bands.get(id).values()]));
  return model.bandRows.get(id);
}

function orderedBands(all) {
  const weight = (list) => {
    if (list.some((band) => model.witnessAt.has(band.from))) return 0;
    // What states nothing says only that something happened.
    return list[0].statement === "null" ? 4 : list.apart ? 3 : list[0].subject === undefined ? 2 : 1;
  };
  return all.sort((a, b) => weight(a) - weight(b));
}

function bandsShown(id, base, above) {
  const all = model.bands.get(id).size;
  if (base < 44 || view.opened.has(id)) return all;
  return Math.min(all, Math.max(2, Math.floor((base - above - 10) / BAND)));
}

// The words "+2 more" beside the names, to be clicked.
let folds = [];
function drawBands(pen, rows, low, high) {
  folds = [];
  for (const id of rows.ids) {
    if (!inSight(rows, id)) continue;
    const all = bandsOf(id);
    const compact = rows.row < 44;
    const shown = all.slice(0, rows.bands.get(id));
    const height = compact ? Math.max(1.5, 10 / Math.max(1, shown.length)) : BAND - 1;
    shown.forEach((list, at) => {
      const y = rows.y.get(id) + 8 + at * (compact ? height : BAND);
      // What would lie on the pixel of the one before is not drawn.
      let edge = -Infinity;
      for (let place = firstBand(list, low); place < list.length; place++) {
        const band = list[place];
        if (band.from >= high) break;
        const [x1, x2] = [Math.max(xAt(band.from), GUTTER), Math.min(endX(band.to), view.width)];
        if (x2 < GUTTER || x2 - edge < 0.5) continue;
        edge = x2;
        pen.globalAlpha = dim(band.from) && view.marks ? 0.45 : 1;
        pen.fillStyle = ink[`band-${band.colour}`];
        pen.fillRect(x1, y, Math.max(1, x2 - x1 - 1), height - (compact ? 0.5 : 0));
        if (height > 9 && x2 - x1 > 12) bandLabel(pen, band, x1, x2, y + height / 2 + 0.5);
        pen.globalAlpha = 1;
      }
    });
    const opened = view.opened.has(id) && all.length > 2;
    if (all.length === shown.length && !opened) continue;
    if (compact) continue;
    folds.push({ id, word: opened ? "fewer" : `+${all.length - shown.length} more`, y: rows.y.get(id) + 20 });
  }
}

// Of one that was said several times, how often.
const bandWords = (band) => (band.times > 1 && band.statement === "null" ? `${band.label} × ${band.times}` : band.label);

// The words of a statement, the fewer the less room there is: without the fact's name, with short
// words, numbers alone; and no number is cut.
function bandForms(band) {
  const whole = bandWords(band);
  const name = events[band.from].fact;
  const rest = name && whole.startsWith(`${name} `) ? whole.slice(name.length + 1) : whole;
  const bare = rest.replace(/\bnode (?=\d)/g, "");
  const numbers = rest.match(/[−+-]?\d[^\s,]*(?: (?:ns|µs|ms|s|B)\b)?/g) || [];
  const short = bare.replace(/\p{L}{4,}/gu, (word) => word.slice(0, 2));
  return numbers.length && numbers.length < 5 ? [whole, rest, bare, short, numbers.join("·")] : [whole];
}

function bandLabel(pen, band, x1, x2, y) {
  band.forms ??= bandForms(band);
  pen.font = `11px ${SANS}`;
  // A narrow one has hardly an edge.
  const room = x2 - x1 - (x2 - x1 < 50 ? 4 : 7);
  const text = band.forms.find((form) => pen.measureText(form).width <= room) ?? (band.forms.length > 1 ? "" : shorten(pen, band.forms[0], room));
  pen.fillStyle = ink.ink;
  if (text) pen.fillText(text, x1 + (x2 - x1 < 50 ? 2 : 4), y);
}

// The first band of a row that may reach `low`.
function firstBand(list, low) {
  let [from, to] = [0, list.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (list[middle].to >= 0 && list[middle].to < low) from = middle + 1; else to = middle;
  }
  return from;
}

// Opens or closes a node's rows of statements where that is at this place; says whether it was.
function foldHit(x, y) {
  const fold = folds.find((one) => (x < GUTTER || one.wide) && y + view.top >= one.y && y + view.top <= one.y + BAND);
  if (!fold) return false;
  if (fold.client !== undefined) foldOperations(fold.client);
  else if (!view.opened.delete(fold.id)) view.opened.add(fold.id);
  rows = null;
  clampView();
  invalidate();
  return true;
}

function drawFault(pen, rows, fault) {
  const event = events[fault.index];
  const [x1, x2] = faultX(event, fault.index);
  if (x2 < GUTTER || x1 > view.width) return;
  const y = rows.faults + fault.lane * FAULT;
  pen.fillStyle = ink[fault.family];
  pen.fillRect(Math.max(x1, GUTTER), y, Math.min(x2, view.width) - Math.max(x1, GUTTER), FAULT - 3);
  caps(pen, x1, x2, y, FAULT - 3, ink.soft);
  const word = faultWords(event);
  // A witness's number stands first.
  const left = !model.witnessAt.has(fault.index) ? x1 : x1 < GUTTER ? GUTTER + 20 : x1 + 9;
  pen.font = `11px ${SANS}`;
  // What is too short for its words has them beside it, as far as no other fault is there.
  const inside = Math.min(x2, view.width) - Math.max(x1, GUTTER);
  if (pen.measureText(word).width + 8 + left - Math.max(x1, GUTTER) <= inside) pinned(pen, word, left, x2, y + FAULT / 2 - 1, ink.ink);
  else {
    const next = fault.next < 0 ? view.width : xAt(fault.next);
    const beyond = Math.min(next, x2 + 320);
    if (beyond - x2 > inside) pinned(pen, word, Math.max(x2 - 2, left), beyond, y + FAULT / 2 - 1, ink.ink);
    else pinned(pen, word, left, x2, y + FAULT / 2 - 1, ink.ink);
  }
}
