// What of the run is on the screen: axis, zoom, filters, rows. Draws nothing.

// Where the diagram begins, right of the names; less on a narrow screen.
let GUTTER = 132;
const RULER = 26, FLAGS = 22, FAULT = 19, LANE = 22, CAPTION = 14, MARGIN = 14;

const view = {
  axis: "order", from: 0, to: events.length,
  left: 0, scale: 1, epoch: 0, top: 0, width: 800, height: 400,
  nodes: new Set(data.run.nodes), protocol: "", text: "", timers: true, past: false,
  // The violation whose witnesses are numbered, and the nodes all of whose statements are shown.
  about: -1, opened: new Set(),
  selected: -1, marks: null, shown: new Uint8Array(events.length), place: new Float64Array(events.length + 1),
};

// Which events the filters let through. The run's frame (faults, crashes, violations) and what
// violations rest on always are.
function applyFilters() {
  const text = view.text.toLowerCase();
  // An operation is shown whole: its reply need not name the key again.
  const ops = new Set();
  if (text) model.ops.forEach((op) => {
    const its = [op.invoke, op.request, op.reply, op.return].filter((index) => index >= 0);
    if (its.some((index) => wordsOf(index).includes(text))) ops.add(op.op);
  });
  for (let index = 0; index < events.length; index++) {
    const event = events[index];
    let shown = true;
    if (/^(fault|violation)$/.test(event.kind) || model.witnessAt.has(index)) shown = true;
    else if (event.node !== undefined && !view.nodes.has(event.node)) shown = false;
    else if (/^(start|crash|stop|pause)$/.test(event.kind)) shown = true;
    else if (event.kind === "timer" && !view.timers) shown = false;
    else if (event.kind === "view") shown = false;
    else {
      const protocol = view.protocol ? model.protocolOf(index) : "";
      if (view.protocol && protocol !== undefined && protocol !== view.protocol) shown = false;
      else if (text && !ops.has(event.op) && !wordsOf(index).includes(text)) shown = false;
    }
    view.shown[index] = shown ? 1 : 0;
  }
  applyAxis();
}

// Where each event is along the axis; never falling. "Even" gives each shown event a place, so
// that a turn's events, which have one time, do not lie on each other.
function applyAxis() {
  let rank = 0;
  const [begin, end] = partTimes();
  view.epoch++;
  for (let index = 0; index < events.length; index++) {
    view.place[index] = view.axis === "time" ? Math.max(begin, Math.min(end, events[index].t)) : rank;
    // What is carried into a part of the run lies at its edges, and takes no place.
    if (!events[index].carried) rank += view.shown[index];
  }
  view.place[events.length] = view.axis === "time" ? Math.min(end, model.end) : rank;
}

// The first event whose time is at least `t`; their number when none is.
function indexAt(t) {
  let low = 0, high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle].t < t) low = middle + 1; else high = middle;
  }
  return low;
}

// The first event at or right of a place; of those that are carried into a part, none.
function indexAtPlace(place) {
  let low = 0, high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (view.place[middle] < place) low = middle + 1; else high = middle;
  }
  return Math.max(low, part ? Math.min(part.ranges[0].at, events.length) : 0);
}

const placeOfTime = (t) => (view.axis === "time" ? t : view.place[indexAt(t)]);
const xOf = (place) => GUTTER + MARGIN + (place - view.left) * view.scale;
const xAt = (index) => xOf(view.place[index]);
const placeAtX = (x) => view.left + (x - GUTTER - MARGIN) / view.scale;
const room = () => Math.max(50, view.width - GUTTER - 2 * MARGIN);
const windowPlaces = () => [view.place[view.from], view.place[view.to]];

function fitScale() {
  const [from, to] = windowPlaces();
  return room() / Math.max(to - from, 1);
}

function clampView() {
  const [from, to] = windowPlaces();
  const most = view.axis === "time" ? 0.01 : 72;
  view.scale = Math.min(Math.max(view.scale, fitScale()), Math.max(most, fitScale()));
  const span = room() / view.scale;
  view.left = Math.max(from, Math.min(view.left, Math.max(from, to - span)));
  view.top = Math.max(0, Math.min(view.top, layout().bottom - view.height));
}

function zoom(factor, x = GUTTER + room() / 2) {
  const place = placeAtX(x);
  view.scale *= factor;
  clampView();
  view.left = place - (x - GUTTER - MARGIN) / view.scale;
  clampView();
}

function fit() {
  [view.left] = windowPlaces();
  view.scale = fitScale();
  clampView();
}

// Shows the events from..to, with some air: they have a share of the width.
function showRange(from, to, share = 0.82) {
  const [a, b] = [view.place[from], view.place[Math.min(to, events.length)]];
  const span = Math.max(b - a, 1e-9);
  view.scale = (room() * share) / span;
  clampView();
  view.left = (a + b) / 2 - room() / 2 / view.scale;
  clampView();
}

// Brings an event into the picture, moving no more than needed.
function reveal(index) {
  const x = xAt(index);
  if (x < GUTTER + 40 || x > view.width - 40) view.left = view.place[index] - room() / 2 / view.scale;
  const row = layout().y.get(events[index].node);
  if (row !== undefined) {
    if (row - 20 < view.top + layout().fixed) view.top = row - layout().fixed - 30;
    if (row + 40 > view.top + view.height) view.top = row + 60 - view.height;
  }
  clampView();
}

// The rows, from top to bottom: ruler, flags of violations, faults (these stay), then nodes and
// clients, which scroll when there are many.
let rows = null;
function layout() {
  if (rows) return rows;
  const ids = data.run.nodes.filter((id) => view.nodes.has(id) || model.witnessNodes.has(id));
  const flags = RULER, faults = flags + (model.violations.length ? FLAGS : 0);
  const curve = faults + model.faultLanes * FAULT + 2;
  const fixed = curve + (chance ? CURVE : 0) + 4;
  const lanes = model.clients.reduce((sum, name) => sum + model.depths.get(name), 0);
  // Above a client's bars there is room for the words of those that matter.
  const caption = (name) => (model.lanes.get(name).some((op) => op.bad) ? CAPTION : 0);
  const captions = model.clients.reduce((sum, name) => sum + caption(name), 0);
  const left = view.height - fixed - (lanes ? Math.min(lanes, 6) * LANE + captions + 26 : 0) - 6;
  const row = Math.max(27, Math.min(180, ids.length ? left / ids.length : left));
  const above = Math.min(row * 0.42, 44);
  // A node's row grows with what it holds for true.
  const bands = new Map(ids.map((id) => [id, bandsShown(id, row, above)]));
  const high = new Map(ids.map((id) => [id, row < 44 ? row : Math.max(row, above + 14 + BAND * bands.get(id))]));
  const y = new Map(), lane = new Map();
  let bottom = fixed;
  for (const id of ids) { y.set(id, bottom + above); bottom += high.get(id); }
  const clientsTop = bottom + 4;
  bottom = clientsTop + 20;
  for (const name of model.clients) {
    lane.set(name, bottom + caption(name));
    bottom += caption(name) + model.depths.get(name) * LANE;
  }
  rows = { ids, at: new Map(ids.map((id, place) => [id, place])), flags, faults, curve, fixed, row, above, bands, high, y, clientsTop, lane, bottom: lanes ? bottom + 4 : clientsTop };
  return rows;
}

// The next shown event in a direction, on one node if that is asked for; -1 when there is none.
function nextShown(index, direction, node) {
  for (let at = index + direction; at >= 0 && at < events.length; at += direction) {
    if (view.shown[at] && !events[at].carried && (node === undefined || events[at].node === node)) return at;
  }
  return -1;
}

// A time in the run for people, by one rule everywhere, the verdict's: milliseconds with a decimal,
// cut, so that what is later never shows as earlier. `precise` keeps what is beyond.
function clock(t, precise) {
  const decimals = String(Math.floor(t % 1e6)).padStart(6, "0");
  return `${Math.floor(t / 1e6)}.${precise ? decimals.replace(/(\d)0+$/, "$1") : decimals[0]} ms`;
}
