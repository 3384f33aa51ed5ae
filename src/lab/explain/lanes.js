// Clients' lanes below the nodes' lines: what they asked, from when they asked until they had the
// answer, and when the node saw it; and the names at the left.

const MOST_LABELLED = 120;

function drawOperations(pen, rows) {
  if (!model.clients.length) return;
  const end = endX(-1);
  for (const name of model.clients) {
    const top = rows.lane.get(name);
    const deep = model.depths.get(name) * LANE;
    if (top + deep - view.top < rows.fixed - LANE || top - view.top > view.height + LANE) continue;
    pen.fillStyle = ink.line;
    pen.fillRect(GUTTER, top + deep - LANE / 2 - 1, view.width, 1);
    const covered = [];
    const bars = [], crumbs = [];
    for (const op of model.lanes.get(name)) {
      if (op.from >= view.to || (op.to >= 0 && op.to < view.from)) continue;
      if ((!view.shown[op.from] && !op.bad) || (op.folded && !isLooked(op))) continue;
      const [x1, x2] = [xAt(op.from), op.to < 0 ? end : Math.max(xAt(op.to), xAt(op.from) + (op.bad ? 6 : 2))];
      if (x2 < GUTTER || x1 > view.width || (x2 <= covered[op.lane] && !op.bad)) continue;
      covered[op.lane] = Math.max(covered[op.lane] ?? -Infinity, Math.ceil(x2));
      const isSmall = x2 - x1 < CRUMB && !op.bad && !isLooked(op);
      (isSmall ? crumbs : bars).push({ op, x1, x2, y: top + op.lane * LANE });
    }
    drawCrumbs(pen, crumbs);
    drawFolded(pen, name, rows);
    // What a violation rests on lies above the rest, and no words lie on it.
    bars.sort((a, b) => a.op.bad - b.op.bad);
    for (const bar of bars) drawBar(pen, bar);
    const taken = [], captions = [];
    // Where there are many, words and ways are those of what matters.
    const mattering = bars.filter(({ op }) => op.bad || isLooked(op));
    for (const bar of (bars.length <= MOST_LABELLED ? [...bars] : [...mattering]).reverse()) labelBar(pen, bar, bars, taken, captions);
    for (const bar of bars.length + crumbs.length <= MANY_BARS ? bars : mattering) drawWays(pen, bar, rows);
    captionBars(pen, captions.sort((a, b) => a.bar.x1 - b.bar.x1));
  }
}

// Narrower than this a bar has no edges, words or ways; from how many bars of a client on only those
// that matter have.
const CRUMB = 5, MANY_BARS = 120;

// Operations that are too short to be told apart: one stroke for those beside each other.
function drawCrumbs(pen, crumbs) {
  pen.fillStyle = ink["op-line"];
  let run = null;
  const close = () => { if (run) { pen.globalAlpha = run.faded ? 0.15 : 0.5; pen.fillRect(run.x1, run.y - 8, run.x2 - run.x1, 16); } };
  for (const { op, x1, x2, y } of crumbs) {
    const faded = dim(op.from);
    if (run && run.y === y && run.faded === faded && x1 <= run.x2 + 1) { run.x2 = Math.max(run.x2, x2); continue; }
    close();
    run = { x1: Math.max(x1, GUTTER), x2, y, faded };
  }
  close();
  pen.globalAlpha = 1;
}

const isLooked = (op) => view.selected >= 0 && [op.invoke, op.request, op.reply, op.return].includes(view.selected);

function drawBar(pen, { op, x1, x2, y }) {
  const [left, right] = [Math.max(x1, GUTTER - 2), Math.min(x2, view.width + 2)];
  pen.globalAlpha = dim(op.from) && !op.bad ? 0.25 : 1;
  pen.fillStyle = op.bad ? ink["bad-soft"] : ink.op;
  pen.strokeStyle = op.bad ? ink.bad : isLooked(op) ? ink.accent : ink["op-line"];
  pen.lineWidth = op.bad ? 2 : 1;
  pen.setLineDash(op.to < 0 ? [3, 3] : []);
  pen.fillRect(left, y - 8, right - left, 16);
  if (right - left > 3) pen.strokeRect(left, y - 8, right - left, 16);
  pen.setLineDash([]);
  // When the node saw it, and when it answered.
  if (op.invoke >= 0 && right - left > 10) {
    pen.fillStyle = op.bad ? ink.bad : ink["op-line"];
    for (const index of [op.request, op.reply]) {
      const x = index < 0 ? -1 : xAt(index);
      if (x > left + 1 && x < right - 1) { pen.fillRect(x - 0.75, y - 8, 1.5, 5); pen.fillRect(x - 0.75, y + 3, 1.5, 5); }
    }
  }
  pen.globalAlpha = 1;
}

// Operations of a client that nobody answered, as one; a click tells them apart.
function drawFolded(pen, name, rows) {
  const list = model.lanes.get(name);
  const { folded } = list;
  const isOpen = view.opened.has(`ops ${name}`);
  if (!folded.length && !isOpen) return;
  const y = rows.lane.get(name) + (isOpen ? 0 : folded[0].lane * LANE);
  folds.push({ client: name, word: isOpen ? "▾" : "▸", x: GUTTER - 18, y: y - 8, wide: !isOpen });
  const x1 = isOpen ? Infinity : Math.max(GUTTER, Math.min(...folded.map((op) => xAt(op.from))));
  const x2 = Math.min(endX(-1), view.width + 2);
  if (x1 >= x2) return;
  pen.fillStyle = ink.op;
  pen.strokeStyle = ink["op-line"];
  pen.lineWidth = 1;
  pen.setLineDash([3, 3]);
  pen.fillRect(x1, y - 8, x2 - x1, 16);
  pen.strokeRect(x1, y - 8, x2 - x1, 16);
  pen.setLineDash([]);
  pinned(pen, `+${folded.length} that got no answer`, x1, x2, y + 0.5, ink.soft);
}

// Tells the operations of a client that nobody answered apart, or no longer.
function foldOperations(name) {
  const key = `ops ${name}`;
  if (!view.opened.delete(key)) view.opened.add(key);
  model.depths.set(name, sublanes(model.lanes.get(name), !view.opened.has(key)));
}

// An answer with what its short form has cut at the end, where its label has that.
function wholeOf(event) {
  const brief = shortOf(event);
  if (!brief.endsWith("…")) return brief;
  const stem = brief.slice(0, -1);
  for (const word of scalarsOf(event.label)) {
    for (let size = Math.min(word.length - 1, stem.length); size > 3; size--) {
      if (stem.endsWith(word.slice(0, size))) return (stem.slice(0, -size) + word).slice(0, 160);
    }
  }
  return brief;
}

// The words of operations that matter and have no room within their bars: all of them, above these,
// with their witnesses' numbers.
function captionBars(pen, captions) {
  let edge = GUTTER;
  pen.font = `600 11px ${SANS}`;
  captions.forEach(({ bar, text }, at) => {
    const witness = model.told.get(explained())?.find((one) => one.op === bar.op);
    const words = `${witness ? `${circled(witness.number)} ` : ""}${text}`;
    const width = pen.measureText(words).width;
    const left = Math.max(edge + 2, Math.min(Math.max(bar.x1 - 6, GUTTER + 2), view.width - width - 6));
    // What comes after keeps its beginning.
    const next = captions.slice(at + 1).map((one) => one.bar.x1).find((x) => x > left + 60) ?? Infinity;
    const shown = left + width <= view.width || next === Infinity ? words : shorten(pen, words, view.width - left);
    beside(pen, shown, left, bar.y - bar.op.lane * LANE - LANE / 2 - 6, ink.bad, true);
    edge = left + pen.measureText(shown).width + 8;
  });
}

// What was asked and answered: inside if it fits, else beside where nothing lies; of what matters
// all of it, above.
function labelBar(pen, bar, bars, taken, captions) {
  const { op, x1, x2, y } = bar;
  const text = `${shortOf(events[op.from])} → ${op.to < 0 ? unanswered() : op.bad ? wholeOf(events[op.to]) : shortOf(events[op.to])}`;
  const colour = op.bad ? ink.bad : ink.ink;
  // Its number stands before the words.
  const indent = op.bad && model.told.get(explained())?.some((witness) => witness.op === op) ? 10 : 0;
  pen.globalAlpha = dim(op.from) && !op.bad ? 0.25 : 1;
  pen.font = `${op.bad ? "600 " : ""}11px ${SANS}`;
  const width = pen.measureText(text).width;
  const [left, right] = [Math.max(x1, GUTTER), Math.min(x2, view.width)];
  // Whether nothing lies there: no bar, or none that matters, and no words.
  const free = (from, to, isLast) => from >= GUTTER && to <= view.width
    && !bars.some((one) => one.op !== op && one.op.lane === op.lane && (one.op.bad || !isLast) && one.x1 < to && one.x2 > from)
    && !taken.some((one) => one.lane === op.lane && one.from < to && one.to > from);
  const put = (from, to) => { taken.push({ lane: op.lane, from, to }); return true; };
  const after = Math.max(x2, x1 + indent);
  const wide = width + 12;
  if (width + 8 + indent <= right - left && free(left + 6, right, true) && put(left, right)) pinned(pen, text, left + indent, x2, y + 0.5, colour, pen.font);
  else if (free(after, after + wide, false) && put(after, after + wide)) beside(pen, text, after + 5, y, colour, op.bad);
  else if (op.bad) captions.push({ bar, text });
  else if (free(left + 6, right, true) && put(left, right)) pinned(pen, text, left + indent, x2, y + 0.5, colour, pen.font);
  pen.globalAlpha = 1;
}

// How it came to the node, and the answer back; which node it was, as that tells itself, only
// where it matters.
function drawWays(pen, { op, x1, x2, y }, rows) {
  const matters = op.bad || isLooked(op);
  const circle = (x, node) => { pen.beginPath(); pen.arc(x, node, 7, 0, 7); pen.stroke(); };
  pen.globalAlpha = dim(op.from) && !op.bad ? 0.25 : 1;
  pen.strokeStyle = pen.fillStyle = op.bad ? ink.bad : matters ? ink.accent : ink["op-line"];
  pen.lineWidth = matters ? 1.5 : 0.8;
  for (const [atClient, atNode] of op.ways) {
    const node = rows.y.get(events[atNode].node);
    if (node === undefined || (hurry && !matters)) continue;
    const [client, there] = [{ x: xAt(atClient), y: y - 8 }, { x: xAt(atNode), y: node + 4 }];
    const [a, b] = atClient < atNode ? [client, there] : [there, client];
    if (Math.max(a.x, b.x) < GUTTER || Math.min(a.x, b.x) > view.width) continue;
    way(pen, { x1: a.x, y1: a.y, x2: b.x, y2: b.y });
    if (op.bad) circle(there.x, node);
  }
  if (matters && op.invoke < 0) {
    pen.lineWidth = 1.25;
    pen.setLineDash([1, 3]);
    for (const [index, x] of [[op.request, x1], [op.reply, x2]]) {
      const node = index < 0 ? undefined : rows.y.get(events[index].node);
      if (node === undefined) continue;
      pen.beginPath();
      pen.moveTo(x, y - 8);
      pen.lineTo(x, node + 4);
      pen.stroke();
      if (op.bad) circle(x, node);
    }
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
    pen.fillRect(x - 2, y - 7, pen.measureText(text).width + 4, 14);
  }
  pen.fillStyle = colour;
  pen.fillText(text, x, y + 0.5);
}

// The event of the bar at a place of the diagram: its end right of its middle; -1 when none is.
function barHit(x, y, rows) {
  for (const [name, top] of rows.lane) {
    const lane = Math.round((y - top) / LANE);
    if (lane < 0 || lane >= model.depths.get(name) || Math.abs(top + lane * LANE - y) > 9) continue;
    const op = model.lanes.get(name).find((one) => one.lane === lane && x >= xAt(one.from) - 3 && x <= endX(one.to) + 3 && (view.shown[one.from] || one.bad));
    if (op) return op.to >= 0 && x > (xAt(op.from) + xAt(op.to)) / 2 ? op.to : op.from;
  }
  return -1;
}

// The names stay at the left: a node's in words, with its number where that does not say it.
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
  const seen = view.selected < 0 ? events.length - 1 : seenAt(view.selected);
  for (const id of rows.ids) {
    if (rows.y.get(id) < view.top || rows.y.get(id) > view.top + view.height + 20) continue;
    pen.fillStyle = id === here ? ink.accent : ink.ink;
    pen.font = `600 13px ${SANS}`;
    const isSmall = rows.row < 44;
    const name = model.names.has(id) && isSmall ? `${laneWord(id)} · ${id}` : laneWord(id);
    const word = shorten(pen, name, GUTTER - 24);
    pen.fillText(word, 14, rows.y.get(id));
    const role = roleOf(id, seen);
    let below = "";
    if (role) {
      // Beside the name, or below it where nothing else is.
      const after = 14 + pen.measureText(word).width + 6;
      pen.fillStyle = ink.soft;
      pen.font = `11px ${SANS}`;
      if (isSmall || pen.measureText(role).width <= GUTTER - after - 2) pen.fillText(shorten(pen, role, GUTTER - after - 2), after, rows.y.get(id) + 0.5);
      else below = role;
    }
    if (model.names.has(id)) below = `node ${id}${below ? ` · ${below}` : ""}`;
    if (!below || isSmall) continue;
    pen.fillStyle = ink.soft;
    pen.font = `11px ${SANS}`;
    pen.fillText(shorten(pen, below, GUTTER - 16), 14, rows.y.get(id) + 15);
  }
  pen.fillStyle = ink.accent;
  pen.font = `600 11px ${SANS}`;
  for (const { word, x, y } of folds) pen.fillText(word, x ?? 14, y + 8);
  if (model.clients.length) {
    pen.fillStyle = ink.soft;
    pen.font = `11px ${SANS}`;
    pen.fillText("CLIENTS", 14, rows.clientsTop + 2);
  }
  for (const name of model.clients) {
    pen.fillStyle = model.lanes.get(name).some((op) => op.bad) ? ink.bad : ink.ink;
    pen.font = `12.5px ${SANS}`;
    pen.fillText(shorten(pen, name, GUTTER - 32), 14, rows.lane.get(name));
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
