// The messages in the picture: how each arrow runs, what is drawn of them, and their labels.

// How an arrow runs on the screen; null when it is not there.
function arrowLine(arrow, rows) {
  const [y1, y2] = [rows.y.get(arrow.from), rows.y.get(arrow.to)];
  if (y1 === undefined || y2 === undefined) return null;
  const known = arrow.send >= 0 ? arrow.send : arrow.end;
  if (!view.shown[known]) return null;
  let [x1, x2] = [arrow.send < 0 ? xAt(arrow.end) - 14 : xAt(arrow.send), arrow.end < 0 ? xAt(arrow.send) + 14 : xAt(arrow.end)];
  let [fromY, toY] = [y1, y2];
  // What was lost never came: the arrow stops on its way. So does what nobody knows more of.
  const part = arrow.fate === "lost" ? (arrow.why === "down" ? 0.86 : 0.6) : arrow.fate === "open" ? 0.35 : 1;
  if (part < 1) {
    toY = y1 + (y2 - y1) * part;
    x2 = arrow.fate === "lost" ? x1 + (x2 - x1) * part : x2;
  }
  if (arrow.fate === "orphan") fromY = y2 + (y1 - y2) * 0.35;
  return { x1, y1: fromY, x2, y2: toY };
}

// Draws arrows one by one where they are few, and bundled where not. Returns those that may be
// labelled.
function drawArrows(pen, rows, low, high) {
  Object.assign(tally, { lines: 0, bundles: 0, gaps: 0, messages: 0, lost: 0 });
  const seen = visibleBundles(low, high);
  if (seen) { drawBundles(pen, rows, seen); return []; }
  const styles = new Map();
  const labels = [];
  for (let at = firstReaching(low); at < model.arrows.length; at++) {
    const arrow = model.arrows[at];
    if (Math.min(...ends(arrow)) >= high) break;
    const line = arrowLine(arrow, rows);
    if (!line || Math.max(line.x1, line.x2) < GUTTER || Math.min(line.x1, line.x2) > view.width) continue;
    const faded = dim(arrow.end < 0 ? arrow.send : arrow.end);
    arrow.class ??= classOf(arrow);
    const style = `${arrow.fate}|${arrow.copy}|${arrow.class % 6}|${faded}`;
    if (!styles.has(style)) styles.set(style, []);
    styles.get(style).push(line);
    tally.lines++;
    tally.messages++;
    if (arrow.fate === "lost") tally.lost++;
    if (!faded) labels.push({ at, line });
  }
  const clear = labels.length;
  for (const [style, lines] of styles) {
    const [fate, copy, protocol, faded] = style.split("|");
    pen.strokeStyle = pen.fillStyle = fate === "lost" ? ink.bad : fate === "ok" ? ink[`arrow-${protocol}`] : ink.soft;
    // Many arrows are a texture; few are to be followed.
    const all = faded === "true" ? Infinity : clear;
    pen.globalAlpha = faded === "true" ? 0.1 : fate === "lost" ? 0.85 : all > 600 ? 0.45 : 0.8;
    // Below one pixel browsers draw hairlines, several times as fast.
    pen.lineWidth = all > 600 ? 0.7 : 1.15;
    pen.setLineDash(copy === "true" ? [5, 4] : fate === "ok" || fate === "lost" ? [] : [2, 3]);
    strokeAll(pen, lines);
    pen.setLineDash([]);
    if (fate === "lost") crosses(pen, lines, all > 600 ? 2.5 : 4.5);
    else if (fate === "open") rings(pen, lines);
    else if (all <= 600) heads(pen, lines);
    pen.globalAlpha = 1;
  }
  return labels;
}

// One path of thousands of crossing lines costs more than many short ones.
function strokeAll(pen, lines) {
  for (let from = 0; from < lines.length; from += 256) {
    pen.beginPath();
    for (const line of lines.slice(from, from + 256)) {
      pen.moveTo(line.x1, line.y1);
      pen.lineTo(line.x2, line.y2);
    }
    pen.stroke();
  }
}

// As many lines as can be told apart and drawn in time.
const MOST_LINES = 2400;

// Bundles as lines, the wider the more messages; where even these are too many, how many messages
// pass between neighbouring rows. What was lost, and what is not dimmed where the rest is, is never
// among the latter.
function drawBundles(pen, rows, seen) {
  const { list, width } = seen;
  const asLines = list.length <= MOST_LINES ? list : [];
  const rest = [];
  if (!asLines.length) {
    const lost = list.filter((one) => one.class === LOST && !one.faded);
    const clear = view.marks ? list.filter((one) => one.class !== LOST && !one.faded) : [];
    asLines.push(...(clear.length <= MOST_LINES ? clear : []), ...lost.slice(0, MOST_LINES));
    const drawn = new Set(asLines);
    for (const one of list) if (!drawn.has(one)) rest.push(one);
    drawGaps(pen, rows, rest, width);
    // Too many even of the lost: where they were lost, at least.
    pen.fillStyle = ink.bad;
    for (const one of lost.slice(MOST_LINES)) {
      const line = bundleLine(one, width, rows);
      if (line) pen.fillRect(line.x2 - 1.5, line.y2 - 1.5, 3, 3);
    }
  }
  const styles = new Map();
  for (const one of asLines) {
    const line = bundleLine(one, width, rows);
    if (!line) continue;
    const wide = Math.min(4, Math.floor(Math.log2(one.count)));
    const style = `${one.faded ? 0 : one.class === LOST ? 2 : 1}|${one.class}|${wide}`;
    if (!styles.has(style)) styles.set(style, []);
    styles.get(style).push(line);
    tally.bundles++;
  }
  for (const one of list) {
    tally.messages += one.count;
    if (one.class === LOST) tally.lost += one.count;
  }
  // What is dimmed below, what was lost above.
  for (const style of [...styles.keys()].sort()) {
    const [order, kind, wide] = style.split("|").map(Number);
    const lines = styles.get(style);
    pen.strokeStyle = pen.fillStyle = kind === LOST ? ink.bad : kind === LOOSE ? ink.soft : ink[`arrow-${kind}`];
    pen.globalAlpha = order === 0 ? 0.1 : kind === LOST ? 0.85 : 0.3 + wide * 0.1;
    pen.lineWidth = 0.8 + wide * Math.min(0.7, (width * view.scale) / 14);
    pen.setLineDash(kind === LOOSE ? [2, 3] : []);
    strokeAll(pen, lines);
    pen.setLineDash([]);
    if (kind === LOST) crosses(pen, lines, 2.5);
    pen.globalAlpha = 1;
  }
}

// How many messages pass between each row and the next, by column: the darker the more.
function drawGaps(pen, rows, list, width) {
  const count = rows.ids.length;
  if (count < 2 || !list.length) return;
  const shades = Array.from({ length: 8 }, () => []);
  const passing = new Float32Array(count);
  const place = (row) => rows.y.get(rows.ids[row]);
  // Rows out of sight are counted, and not drawn.
  const inSight = (row) => place(row + 1) > view.top + rows.fixed && place(row) < view.top + view.height;
  const column = (from, to) => {
    passing.fill(0);
    for (let at = from; at < to; at++) {
      const { a, b, count: many, faded } = list[at];
      const weight = faded ? many * 0.1 : many;
      passing[Math.min(a, b)] += weight;
      passing[Math.max(a, b)] -= weight;
    }
    const x = xOf(list[from].column * width);
    let sum = 0;
    for (let row = 0; row + 1 < count; row++) {
      sum += passing[row];
      if (sum < 0.05 || !inSight(row)) continue;
      const shade = Math.max(0, Math.min(7, Math.floor(1 + Math.log2(sum) * 1.1)));
      shades[shade].push(x, row);
    }
  };
  let from = 0;
  for (let at = 1; at <= list.length; at++) {
    if (at < list.length && list[at].column === list[from].column) continue;
    column(from, at);
    from = at;
  }
  pen.fillStyle = ink["arrow-0"];
  const wide = width * view.scale;
  shades.forEach((cells, shade) => {
    pen.globalAlpha = 0.06 + shade * 0.045;
    for (let at = 0; at < cells.length; at += 2) {
      const [x, row] = [cells[at], cells[at + 1]];
      pen.fillRect(x, place(row) + 1, wide + 0.3, place(row + 1) - place(row) - 2);
    }
    tally.gaps += cells.length / 2;
  });
  pen.globalAlpha = 1;
}

// The first arrow that may reach `low` or beyond.
function firstReaching(low) {
  let [from, to] = [0, model.arrows.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (model.reach[middle] < low) from = middle + 1; else to = middle;
  }
  return from;
}

function heads(pen, lines) {
  pen.beginPath();
  for (const { x1, y1, x2, y2 } of lines) {
    const angle = Math.atan2(y2 - y1, x2 - x1);
    const [tipX, tipY] = [x2 - 2 * Math.cos(angle), y2 - 2 * Math.sin(angle)];
    pen.moveTo(tipX, tipY);
    pen.lineTo(tipX - 8 * Math.cos(angle - 0.36), tipY - 8 * Math.sin(angle - 0.36));
    pen.lineTo(tipX - 8 * Math.cos(angle + 0.36), tipY - 8 * Math.sin(angle + 0.36));
    pen.closePath();
  }
  pen.fill();
}

function crosses(pen, lines, size) {
  pen.lineWidth = size > 3 ? 2 : 1.2;
  pen.beginPath();
  for (const { x2, y2 } of lines) {
    pen.moveTo(x2 - size, y2 - size); pen.lineTo(x2 + size, y2 + size);
    pen.moveTo(x2 - size, y2 + size); pen.lineTo(x2 + size, y2 - size);
  }
  pen.stroke();
}

function rings(pen, lines) {
  pen.beginPath();
  for (const { x2, y2 } of lines) { pen.moveTo(x2 + 3, y2); pen.arc(x2, y2, 3, 0, 7); }
  pen.stroke();
}

// A message's label as far as it is shown, and how wide that is. Measuring text is what costs most
// in a picture, and labels come again.
const measured = new Map();
function fitted(pen, label) {
  let known = measured.get(label);
  if (!known) {
    const text = shorten(pen, label, 150);
    known = { text, width: pen.measureText(text).width };
    if (measured.size > 20000) measured.clear();
    measured.set(label, known);
  }
  return known;
}

// Labels where there is room for them, and never on each other: those of what matters first, each
// where it covers fewest other arrows, on its own arrow or tied to it by a short line.
function drawArrowLabels(pen, labels, rows) {
  const many = rows.row < 44 ? 30 : 160;
  if (hurry || labels.length > many || (view.axis === "order" && view.scale < 1.5)) return;
  pen.font = `11px ${SANS}`;
  const taken = [];
  const weights = new Map(labels.map(({ at }) => [at, labelWeight(model.arrows[at])]));
  for (const { at, line } of [...labels].sort((a, b) => weights.get(b.at) - weights.get(a.at))) {
    const arrow = model.arrows[at];
    const message = events[arrow.send];
    const lost = arrow.fate === "lost" ? ` (${arrow.why})` : arrow.copy ? " (copy)" : "";
    const { text, width } = fitted(pen, (message ? shortOf(message) : "?") + lost);
    // Where it was lost is seen.
    const parts = [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8].filter((part) => part < 0.65 || arrow.fate !== "lost");
    const place = labelPlace(line, parts, width, labels, taken, rows);
    if (!place) continue;
    const { box, x, y } = place;
    taken.push(box);
    pen.fillStyle = ink.paper;
    pen.globalAlpha = 0.88;
    pen.fillRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    pen.globalAlpha = 1;
    const colour = arrow.fate === "lost" ? ink.bad : arrow.fate === "ok" ? ink[`arrow-${arrow.class % 6}`] : ink.soft;
    pen.strokeStyle = pen.fillStyle = colour;
    if (x < box[0] || x > box[2]) {
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(x < box[0] ? box[0] + 2 : box[2] - 2, y);
      pen.stroke();
      pen.beginPath();
      pen.arc(x, y, 2, 0, 7);
      pen.fill();
    }
    pen.fillText(text, box[0] + 3, y);
  }
}

// What matters more has its label first: what the selected event or a witness sent or received, or
// acted on.
function labelWeight(arrow) {
  const its = ends(arrow);
  if (its.includes(view.selected)) return 3;
  if (its.some((index) => model.witnessAt.has(index))) return 2;
  return its.some((index) => onItsNode(events[index]) && witnessTurns().has(`${events[index].node} ${events[index].t}`)) ? 2 : 0;
}

// The turns of nodes that witnesses speak of.
function witnessTurns() {
  model.turns ??= new Set([...model.witnessAt].filter((index) => events[index].node !== undefined).map((index) => `${events[index].node} ${events[index].t}`));
  return model.turns;
}

// Where a label lies: on its arrow, or close beside it; where it covers fewest others. `x` and `y`
// are its arrow's. Null without room.
function labelPlace(line, parts, width, labels, taken, rows) {
  let best = null;
  for (const part of parts) {
    const [x, y] = [line.x1 + (line.x2 - line.x1) * part, line.y1 + (line.y2 - line.y1) * part];
    if (x < GUTTER || x > view.width) continue;
    // Lifelines, bands and their numbers keep their place, as far as rows are wide enough.
    const isLow = rows.row < 44;
    const below = (id) => (isLow ? 4 : Math.max(14, 8 + BAND * rows.bands.get(id)));
    if (rows.ids.some((id) => y - 6.5 < rows.y.get(id) + below(id) && y + 6.5 > rows.y.get(id) - (isLow ? 4 : 14))) continue;
    for (const [place, left] of [x - width / 2 - 3, x + 5, x - width - 11].entries()) {
      const box = [left, y - 6.5, left + width + 6, y + 6.5];
      if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      const isCut = box[0] < GUTTER || box[2] > view.width;
      const covers = labels.reduce((sum, other) => sum + (other.line !== line && crossesBox(other.line, box) ? 1 : 0), 0);
      // Some way from the middle is better than on another.
      const cost = covers * 2 + Math.abs(part - 0.5) + place * 0.3 + (isCut ? 5 : 0);
      if (!best || cost < best.cost) best = { box, x, y, cost };
    }
  }
  return best;
}

// Whether a line passes through a box, which is no higher than the line's rows are apart.
function crossesBox({ x1, y1, x2, y2 }, [left, top, right, bottom]) {
  if (Math.max(y1, y2) < top || Math.min(y1, y2) > bottom || Math.max(x1, x2) < left || Math.min(x1, x2) > right) return false;
  const at = (y) => (y1 === y2 ? x1 : x1 + ((x2 - x1) * (Math.max(Math.min(y, Math.max(y1, y2)), Math.min(y1, y2)) - y1)) / (y2 - y1));
  const [a, b] = [at(top), at(bottom)];
  return Math.max(a, b) >= left && Math.min(a, b) <= right;
}
