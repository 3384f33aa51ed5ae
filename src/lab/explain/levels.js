// Levels of detail: what would lie on the same few pixels is counted once for each level of zoom,
// so that a picture costs what is on the screen, and moving it counts nothing anew. A level's
// columns are 2^k places wide; k is chosen so that they are some pixels wide. Draws nothing.

// From how many arrows or events on the screen they are bundled.
const MANY_ARROWS = 1500, MANY_EVENTS = 1500;
// How wide columns are at least, in pixels; up to twice that.
const BUNDLE_PIXELS = 6, CELL_PIXELS = 1.5;
// Classes of bundles: the colours of protocols come first.
const LOST = 6, LOOSE = 7;

// What the last picture was made of, for tests: primitives, and how many messages they stand for.
const tally = { lines: 0, bundles: 0, gaps: 0, messages: 0, lost: 0, cells: 0, events: 0 };

const levels = { epoch: -1, marks: null, bundles: new Map(), cells: new Map() };

// Filters, axis and what is dimmed make all levels anew.
function freshLevels() {
  if (levels.epoch !== view.epoch || levels.marks !== view.marks) {
    levels.bundles.clear();
    levels.cells.clear();
    [levels.epoch, levels.marks] = [view.epoch, view.marks];
  }
  return levels;
}

// The power of two that makes columns at least so wide.
const levelOf = (pixels) => Math.ceil(Math.log2(pixels / view.scale));

// How an arrow is told apart from others in its bundle.
function classOf(arrow) {
  if (arrow.fate === "lost") return LOST;
  if (arrow.fate !== "ok") return LOOSE;
  return Math.max(0, model.protocols.indexOf(model.protocolOf(arrow.send))) % 6;
}

// All bundles of a level, ascending in their columns: arrows between the same two nodes that begin
// in the same column, have one class, and are dimmed or not.
function bundlesOf(level) {
  const { bundles } = freshLevels();
  if (bundles.has(level)) return bundles.get(level);
  const { ids, at } = layout();
  const width = 2 ** level;
  const list = [];
  let open = new Map(), column = -1;
  model.arrows.forEach((arrow, index) => {
    const known = arrow.send >= 0 ? arrow.send : arrow.end;
    const [a, b] = [at.get(arrow.from), at.get(arrow.to)];
    if (a === undefined || b === undefined || !view.shown[known]) return;
    const here = Math.floor(view.place[known] / width);
    if (here !== column) [open, column] = [new Map(), here];
    const faded = dim(arrow.end < 0 ? arrow.send : arrow.end);
    arrow.class ??= classOf(arrow);
    const key = ((a * ids.length + b) * 8 + arrow.class) * 2 + (faded ? 1 : 0);
    let bundle = open.get(key);
    if (!bundle) {
      bundle = { column, a, b, class: arrow.class, faded, count: 0, copies: 0, travel: 0, first: index, last: index };
      open.set(key, bundle);
      list.push(bundle);
    }
    bundle.count++;
    bundle.last = index;
    if (arrow.copy) bundle.copies++;
    if (arrow.send >= 0 && arrow.end >= 0) bundle.travel += view.place[arrow.end] - view.place[arrow.send];
  });
  const made = { width, list };
  bundles.set(level, made);
  return made;
}

// The first in an ascending list whose column is at least that.
function firstInColumn(list, column, columnOf) {
  let [from, to] = [0, list.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (columnOf(middle) < column) from = middle + 1; else to = middle;
  }
  return from;
}

const isBundled = (low, high) => firstReaching(high) - firstReaching(low) > MANY_ARROWS;

// The bundles on the screen, those that begin left of it and reach into it among them; null when
// arrows are few enough to be drawn one by one.
function visibleBundles(low, high) {
  if (!isBundled(low, high)) return null;
  const { width, list } = bundlesOf(levelOf(BUNDLE_PIXELS));
  const columnOf = (index) => list[index].column;
  const reach = 40 / (view.scale * width);
  const from = firstInColumn(list, Math.floor(placeAtX(GUTTER) / width - reach), columnOf);
  const to = firstInColumn(list, Math.floor(placeAtX(view.width) / width) + 1, columnOf);
  return { width, list: list.slice(from, to) };
}

// Where a bundle runs on the screen. One of a single message is that message.
function bundleLine(bundle, width, rows) {
  if (bundle.count === 1) return arrowLine(model.arrows[bundle.first], rows);
  const [y1, y2] = [rows.y.get(rows.ids[bundle.a]), rows.y.get(rows.ids[bundle.b])];
  // Pairs of nodes beside each other, so that none covers another.
  const pixels = width * view.scale;
  const aside = (((bundle.a * 7 + bundle.b * 3) % 5) - 2) * 0.15 * pixels;
  const x1 = xOf((bundle.column + 0.5) * width) + aside;
  const x2 = x1 + (bundle.travel / bundle.count) * view.scale;
  const part = bundle.class === LOST ? 0.6 : bundle.class === LOOSE ? 0.35 : 1;
  return { x1, y1, x2: x1 + (x2 - x1) * part, y2: y1 + (y2 - y1) * part };
}

// Events by row and column: how many, and the loudest of them. Ranks: 1 other, 2 message,
// 3 operation, 4 loss; dimmed ones are 0.
function cellsOf(level) {
  const { cells } = freshLevels();
  if (cells.has(level)) return cells.get(level);
  const { ids, at } = layout();
  const width = 2 ** level;
  const [columns, places, counts, ranks] = [[], [], [], []];
  const count = new Uint32Array(ids.length), rank = new Uint8Array(ids.length);
  let touched = [], column = 0;
  const flush = () => {
    for (const row of touched) {
      columns.push(column);
      places.push(row);
      counts.push(count[row]);
      ranks.push(rank[row]);
      count[row] = rank[row] = 0;
    }
    touched = [];
  };
  for (let index = 0; index < events.length; index++) {
    const event = events[index];
    const row = at.get(event.node);
    if (row === undefined || !view.shown[index] || event.carried || event.kind === "violation") continue;
    const here = Math.floor(view.place[index] / width);
    if (here !== column) { flush(); column = here; }
    if (!count[row]) touched.push(row);
    count[row]++;
    if (!dim(index)) rank[row] = Math.max(rank[row], rankOf(event));
  }
  flush();
  const made = { width, columns, places, counts, ranks };
  cells.set(level, made);
  return made;
}

const rankOf = (event) => (event.kind === "drop" ? 4 : event.op !== undefined ? 3 : event.kind === "send" || event.kind === "recv" ? 2 : 1);

// What of the picture is under the pointer where arrows are bundled: its words, and the events
// from first to last; null when nothing is.
function hitBundle(x, y) {
  const rows = layout();
  if (x < GUTTER || y < rows.fixed) return null;
  y += view.top;
  const seen = visibleBundles(...visibleRange());
  if (!seen) return null;
  const pixels = seen.width * view.scale;
  const near = seen.list.filter((bundle) => {
    const line = bundleLine(bundle, seen.width, rows);
    if (!line || y < Math.min(line.y1, line.y2) - 2 || y > Math.max(line.y1, line.y2) + 2) return false;
    const part = (y - line.y1) / (line.y2 - line.y1 || 1);
    return Math.abs(line.x1 + (line.x2 - line.x1) * part - x) <= Math.max(4, pixels / 2);
  });
  if (!near.length) return null;
  // What goes between the same two nodes, lost or not, is told together.
  const away = (bundle) => Math.abs(xOf((bundle.column + 0.5) * seen.width) - x) + (bundle.faded ? pixels : 0);
  near.sort((one, other) => away(one) - away(other));
  const same = near.filter((one) => one.a === near[0].a && one.b === near[0].b);
  const total = (list) => list.reduce((sum, one) => sum + one.count, 0);
  const lost = total(same.filter((one) => one.class === LOST));
  const others = total(near) - total(same);
  const number = (value, word) => `${value.toLocaleString("en")} ${word}${value === 1 ? "" : "s"}`;
  const from = Math.min(...same.map((one) => one.first)), to = Math.max(...same.map((one) => one.last));
  const words = `${number(total(same), "message")} ${laneWord(rows.ids[near[0].a])} → ${laneWord(rows.ids[near[0].b])}`
    + `${lost ? `, ${lost.toLocaleString("en")} lost` : ""}${others ? `\n${number(others, "message")} more between other nodes` : ""}\nclick to zoom in`;
  const one = near.length === 1 && near[0].count === 1 ? model.arrows[near[0].first] : null;
  const single = one ? (one.end < 0 ? one.send : one.end) : -1;
  return { words, single, from: Math.min(...ends(model.arrows[from])), to: Math.max(...ends(model.arrows[to])) };
}
