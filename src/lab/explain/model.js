// What the run means, computed once from its events: arrows, spans, bands, operations. Knows
// nothing of the page. Places are indices into `events`, which are in causal order.

// Whatever goes wrong is kept for the self-test, and still shown where it belongs.
const problems = [];
window.addEventListener("error", (event) => problems.push(String(event.message)));
window.addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
for (const level of ["error", "warn"]) {
  const original = console[level];
  console[level] = (...words) => { problems.push(words.join(" ")); original.apply(console, words); };
}

// As many operations without an answer as are shown one by one.
const MOST_SILENT = 3;

const data = decode(JSON.parse(document.getElementById("data").textContent));
// Both are exchanged for those of a part of the run while its rest is to be guessed.
let events = data.events;
let model = buildModel(data.run, events);

function buildModel(run, events) {
  const rowOf = new Map(run.nodes.map((id, row) => [id, row]));
  const count = events.length;
  const end = count ? events[count - 1].t : 0;

  // The sending that an event goes back to, through a copy if there was one.
  const origin = (index) => {
    let copy = false;
    for (let hops = 0; hops < 4; hops++) {
      const event = events[index];
      if (event.kind === "send") return { send: index, copy };
      if (event.kind === "duplicate") copy = true;
      if (event.cause === undefined) return null;
      index = event.cause;
    }
    return null;
  };

  // Messages. `fate`: ok, lost, open (no one knows), orphan (sent in no trace here).
  const arrows = [];
  const arrived = new Set();
  events.forEach((event, index) => {
    if (event.kind !== "recv" && event.kind !== "drop") return;
    const lost = event.kind === "drop";
    const from = origin(index);
    if (from && !from.copy) arrived.add(from.send);
    arrows.push({
      from: event.from, to: event.node, send: from ? from.send : -1, end: index,
      fate: lost ? "lost" : from ? "ok" : "orphan", copy: Boolean(from && from.copy), why: event.why,
    });
  });
  events.forEach((event, index) => {
    if (event.kind === "send" && !arrived.has(index)) {
      arrows.push({ from: event.node, to: event.to, send: index, end: -1, fate: "open", copy: false });
    }
  });

  // A word to an event for filters and labels: a receipt has its message's.
  const protocolOf = (index) => {
    const from = origin(index);
    return events[from ? from.send : index].protocol;
  };
  const messageOf = (index) => {
    const from = origin(index);
    return from ? events[from.send] : null;
  };

  // Down and paused, per node; faults as the simulator has planned them.
  const spans = [];
  const open = new Map();
  const begin = (node, kind, index) => { if (!open.has(node + kind)) open.set(node + kind, index); };
  const finish = (node, kind, index) => {
    const from = open.get(node + kind);
    if (from === undefined) return;
    open.delete(node + kind);
    spans.push({ node, kind, from, to: index });
  };
  const faults = [];
  const violations = [];
  const bands = new Map(run.nodes.map((id) => [id, new Map()]));
  const colours = new Map();
  const ops = [];
  const opOf = new Map();
  const lanes = new Map();
  const consoleLines = [];
  const digests = new Map(run.nodes.map((id) => [id, []]));
  const views = new Map(run.nodes.map((id) => [id, new Map()]));
  const durable = new Set();
  const lamports = new Map(run.nodes.map((id) => [id, []]));
  const statuses = new Map(run.nodes.map((id) => [id, []]));
  const names = new Map();

  const endBands = (node, index) => {
    for (const list of bands.get(node).values()) {
      const last = list[list.length - 1];
      if (last && last.to < 0) last.to = index;
    }
  };
  // A fact holds until the same is said anew; of facts that hold beside each other, of the same
  // node. The same statement has the same colour on all nodes: agreement is seen at once.
  const apart = apartOf(events);
  const band = (node, index, event) => {
    const kind = `${event.protocol}: ${event.fact}`;
    const row = apart.has(kind) ? `${kind}: ${event.subject}` : kind;
    const kinds = bands.get(node);
    if (!kinds.has(row)) kinds.set(row, Object.assign([], { apart: row !== kind }));
    const list = kinds.get(row);
    const last = list[list.length - 1];
    const statement = JSON.stringify(event.value);
    if (last && last.to < 0) {
      if (last.statement === statement && last.subject === event.subject) { last.times += 1; return; }
      last.to = index;
    }
    const key = `${row} ${statement}`;
    if (!colours.has(key)) colours.set(key, colours.size % 8);
    list.push({ from: index, to: -1, statement, subject: event.subject, times: 1, label: event.label, colour: colours.get(key) });
  };
  const operation = (event, client) => {
    const op = { op: event.op, client, invoke: -1, request: -1, reply: -1, return: -1, bad: false };
    opOf.set(event.op, ops.push(op) - 1);
    return op;
  };
  events.forEach((event, index) => {
    const node = event.node;
    if (node !== undefined && rowOf.has(node)) {
      if (event.digest !== undefined) digests.get(node).push(index);
      if (event.kind === "view") {
        const of = views.get(node);
        if (!of.has(event.protocol)) of.set(event.protocol, []);
        of.get(event.protocol).push(index);
      }
      if (event.kind === "start" && event.durable) durable.add(node);
      if (event.lamport !== undefined) lamports.get(node).push(index);
      const status = { start: "up", crash: "crashed", stop: "stopped", pause: event.on ? "paused" : "up" }[event.kind];
      if (status) statuses.get(node).push(index);
      if (event.kind === "start" && event.name !== undefined) names.set(node, event.name);
    }
    // What happens on a node is shown on its line; a trace may have it without one.
    const placeless = node === undefined && /^(crash|stop|start|pause|fact)$/.test(event.kind);
    if (!placeless) switch (event.kind) {
      case "crash": case "stop":
        finish(node, "pause", index); endBands(node, index); begin(node, "down", index); break;
      case "start": finish(node, "down", index); finish(node, "pause", index); endBands(node, index); break;
      case "pause": if (event.on) begin(node, "pause", index); else finish(node, "pause", index); break;
      case "fault": faults.push({ index, lane: 0, next: -1, family: familyOf(event.fault) }); break;
      case "violation": violations.push(index); break;
      case "print": case "note": consoleLines.push(index); break;
      case "fact": band(node, index, event); break;
      // An operation as its client tells it, as its node does, or as both do.
      case "invoke": operation(event, clientWord(event.client)).invoke = index; break;
      case "request": {
        const known = ops[opOf.get(event.op)];
        const op = known && known.invoke >= 0 && known.request < 0 ? known : operation(event, event.client);
        op.request = index;
        break;
      }
      case "reply": case "return": {
        const op = ops[opOf.get(event.op)];
        if (op && op[event.kind] < 0) op[event.kind] = index;
        break;
      }
    }
  });
  // From where to where an operation is drawn; and its ways: [client's event, node's event].
  let passages = 0;
  for (const op of ops) {
    [op.from, op.to] = op.invoke < 0 ? [op.request, op.reply] : [op.invoke, op.return];
    op.ways = [[op.invoke, op.request], [op.return, op.reply]].filter((way) => way.every((index) => index >= 0));
    passages += op.ways.length;
  }
  for (const [key, from] of open) {
    spans.push({ node: events[from].node, kind: key.endsWith("down") ? "down" : "pause", from, to: -1 });
  }
  spans.sort((a, b) => a.from - b.from);

  // What a violation rests on; the lanes of whoever did it come first.
  const told = new Map(violations.map((index) => {
    const list = witnessesOf(events[index], events, (name) => ops[opOf.get(name)]);
    return [index, withUnsynced(list, index, events, durable, spans)];
  }));
  const witnessAt = new Set(), witnessNodes = new Set();
  for (const witness of [...told.values()].flat()) {
    if (witness.op) witness.op.bad = true;
    for (const index of witness.its) {
      witnessAt.add(index);
      if (rowOf.has(events[index].node)) witnessNodes.add(events[index].node);
    }
  }
  const bad = new Set(ops.filter((op) => op.bad).map((op) => op.client));
  for (const op of ops) {
    const lane = bad.has(op.client) ? op.client : groupOf(op.client);
    if (!lanes.has(lane)) lanes.set(lane, []);
    lanes.get(lane).push(op);
  }
  const rank = (name) => (bad.has(name) ? 0 : lanes.get(name).some((op) => op.client !== name) ? 2 : 1);
  const clients = [...lanes.keys()].sort((a, b) => rank(a) - rank(b));
  // Of what nobody answered, much of it is told by its number.
  const silent = ops.filter((op) => op.to < 0 && !op.bad);
  if (silent.length > MOST_SILENT) for (const op of silent) op.silent = true;
  const depths = new Map(clients.map((name) => [name, sublanes(lanes.get(name), true)]));

  // Faults side by side where they overlap, in few lanes; the last lane takes what is left.
  const laneEnds = [];
  const before = [];
  for (const fault of faults) {
    const event = events[fault.index];
    let lane = laneEnds.findIndex((busy) => busy <= event.t);
    if (lane < 0) lane = Math.min(laneEnds.length, 3);
    laneEnds[lane] = Math.max(laneEnds[lane] || 0, event.until, event.t + 1);
    fault.lane = lane;
    if (before[lane]) before[lane].next = fault.index;
    before[lane] = fault;
  }

  // Where a search for arrows that reach into a range of events may begin.
  arrows.sort((a, b) => Math.max(0, Math.min(...ends(a))) - Math.max(0, Math.min(...ends(b))));
  const arrowsOf = new Map();
  const reach = new Int32Array(arrows.length);
  arrows.forEach((arrow, at) => {
    reach[at] = Math.max(at ? reach[at - 1] : 0, ...ends(arrow));
    for (const index of ends(arrow)) {
      if (!arrowsOf.has(index)) arrowsOf.set(index, []);
      arrowsOf.get(index).push(at);
    }
  });

  const protocols = [...new Set(events.map((event) => event.protocol).filter((name) => name !== undefined))].sort();
  return {
    run, rowOf, end, arrows, arrowsOf, reach, spans, faults, faultLanes: laneEnds.length, violations, bands, ops, opOf, passages,
    clients, lanes, depths, consoleLines, digests, views, lamports, statuses, names, durable, protocols, protocolOf, messageOf,
    // Of violations: who bears witness of each, and what was made of it so far.
    told, witnessAt, witnessNodes, stories: new Map(), brought: null, trip: null, bandRows: new Map(),
  };
}

// What a node is called, on its lane and in every sentence.
const laneWord = (id) => (model.names.has(id) ? model.names.get(id) : `node ${id}`);

// What a client is called, as verdicts call it: those with a part of their own have numbers apart.
function clientWord(client) {
  if (client >= 2 ** 32) return `newcomer ${client - 2 ** 32}`;
  if (client >= 2e9) return `setup ${client - 2e9 + 1}`;
  return client >= 1e9 ? `final reader ${client - 1e9 + 1}` : `client ${client}`;
}

// Clients that ask once or so share a lane, but for those that a violation rests on.
function groupOf(client) {
  return String(client).replace(/^(newcomer|setup|final reader) \d+$/, "$1s");
}

// The facts of which a node holds one of each node beside the others: one turn tells several, or
// they say yes or no of each. Any other fact takes the place of the one before.
function apartOf(events) {
  const apart = new Set();
  const last = new Map();
  events.forEach((event) => {
    if (event.kind !== "fact" || event.subject === undefined) return;
    const kind = `${event.protocol}: ${event.fact}`;
    const before = last.get(`${event.node} ${kind}`);
    if (before && before.t === event.t && before.subject !== event.subject) apart.add(kind);
    if (event.value && Object.values(event.value).some((one) => typeof one === "boolean")) apart.add(kind);
    last.set(`${event.node} ${kind}`, event);
  });
  return apart;
}

// Gives each operation of a client a lane of its own among those that it overlaps; what a violation
// rests on first, so that nothing lies on it. Those that are folded share the last, which
// `list.folded` has. Returns how many lanes there are.
function sublanes(list, fold) {
  const silent = fold ? list.filter((op) => op.silent) : [];
  list.folded = silent.length > 1 ? silent : [];
  for (const op of list) op.folded = false;
  const depth = placeLanes(list.folded.length ? list.filter((op) => !op.silent) : list);
  if (!list.folded.length) return Math.max(1, depth);
  for (const op of list.folded) [op.lane, op.folded] = [depth, true];
  return depth + 1;
}

function placeLanes(list) {
  const ends = [];
  const place = (op, most) => {
    let lane = ends.findIndex((spans) => spans.every(([from, to]) => op.from >= to || (op.to >= 0 && op.to <= from)));
    if (lane < 0) { lane = Math.min(ends.length, most); ends[lane] = ends[lane] || []; }
    op.lane = lane;
    ends[lane].push([op.from, op.to < 0 ? Infinity : op.to]);
  };
  const bad = list.filter((op) => op.bad);
  for (const op of bad) place(op, Infinity);
  // The rest goes from left to right, so the last span of a lane says where it is free.
  const busy = ends.map(() => -1);
  for (const op of list) {
    if (op.bad) continue;
    const to = op.to < 0 ? Infinity : op.to;
    const free = (lane) => busy[lane] <= op.from && !(ends[lane] || []).some(([from, end]) => op.from < end && from < to);
    let lane = 0;
    while (lane < busy.length && !free(lane)) lane += 1;
    lane = Math.min(lane, Math.max(5, ends.length));
    op.lane = lane;
    busy[lane] = Math.max(busy[lane] ?? -1, to);
  }
  return busy.length;
}

// The indices that an arrow is tied to.
function ends(arrow) {
  return arrow.send < 0 ? [arrow.end] : arrow.end < 0 ? [arrow.send] : [arrow.send, arrow.end];
}

// Families of faults, by what their names say; an unknown one looks like a cut, with its name.
function familyOf(name) {
  const families = [
    ["down", /crash|kill|restart|wipe|stop/], ["pause", /pause|freeze|stall/], ["disk", /disk|write|sync|torn|full/],
    ["clock", /clock|drift|skew|step/], ["clog", /clog|delay|slow|latency/], ["loss", /loss|lose|drop|dup|reorder|reset/],
  ];
  const found = families.find(([, pattern]) => pattern.test(name));
  return found ? found[0] : "cut";
}

// The last of the ascending `list` that is at most `limit`, or -1.
function lastUpTo(list, limit) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] <= limit) low = middle + 1; else high = middle;
  }
  return low ? list[low - 1] : -1;
}

// The events that can have influenced any of these, themselves among them.
function causesOf(...indices) {
  const marks = new Uint8Array(events.length);
  // The last event of each node that is known to be a cause.
  const known = new Map();
  const learn = (at) => {
    marks[at] = 1;
    const event = events[at];
    if (onItsNode(event) && !(known.get(event.node) >= at)) known.set(event.node, at);
  };
  indices.forEach(learn);
  for (let at = Math.max(-1, ...indices); at >= 0; at--) {
    const event = events[at];
    if (!marks[at] && !(onItsNode(event) && known.get(event.node) >= at)) continue;
    marks[at] = 1;
    if (event.cause !== undefined && event.cause < at) learn(event.cause);
  }
  return marks;
}

// The events that `index` can have influenced, itself among them.
function effectsOf(index) {
  const marks = new Uint8Array(events.length);
  const touched = new Set();
  for (let at = index; at < events.length; at++) {
    const event = events[at];
    const caused = event.cause !== undefined && marks[event.cause];
    if (at !== index && !caused && !(onItsNode(event) && touched.has(event.node))) continue;
    marks[at] = 1;
    if (onItsNode(event)) touched.add(event.node);
  }
  return marks;
}

// A loss is told at the node that did not hear of it, and a violation by a judge.
const onItsNode = (event) => event.node !== undefined && event.kind !== "drop" && event.kind !== "violation";
