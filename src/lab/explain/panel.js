// What is said in words: header, the selected event, the nodes' states, the console, the legend.
// Everything from the trace goes in as text.

const el = (id) => document.getElementById(id);

// An element with text and children; the only way in which the page makes any.
function make(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

const nodeWord = (event) => (event.node === undefined ? "" : `node ${event.node}`);

// An event in a line.
function describe(index) {
  const event = events[index];
  const message = model.messageOf(index);
  const said = message ? message.label : "a message that no trace here sends";
  switch (event.kind) {
    case "start": return `starts (incarnation ${event.incarnation})`;
    case "crash": return "crashes";
    case "stop": return "stops";
    case "pause": return event.on ? "is paused" : "goes on";
    case "link": return `link to ${event.peer} is ${event.up ? "up" : "down"}`;
    case "send": return `sends ${said} to ${event.to}`;
    case "recv": return `receives ${said} from ${event.from}`;
    case "drop": return `does not get ${said} from ${event.from}: ${event.why}`;
    case "duplicate": return `the network copies ${said}`;
    case "timer": return `timer ${event.label}`;
    case "request": return `${event.client} asks: ${event.label}`;
    case "reply": return `answers ${event.client}: ${event.label}`;
    case "invoke": return `client ${event.client} asks node ${event.to}: ${event.label}`;
    case "return": return `the client is answered: ${event.label}`;
    case "fact": return event.label;
    case "view": return `${event.protocol}: ${JSON.stringify(event.value)}`;
    case "sync": return event.ok ? `${event.bytes} bytes are durable` : "the disk fails to sync";
    case "file": return `the file of ${event.protocol} has ${event.content} bytes`;
    case "print": return `prints: ${event.line}`;
    case "note": return `notes: ${event.line}`;
    case "fault": return `fault: ${event.label || event.fault}`;
    case "violation": return `${event.property} is violated: ${event.label}`;
    default: return event.kind;
  }
}

function showHeader(jump) {
  const { run } = data;
  document.title = `${run.scenario} — node explain`;
  el("scenario").textContent = run.scenario || "run";
  const words = [run.seed === null ? null : `seed ${run.seed}`, run.source === "sim" ? "simulated" : "real nodes",
    `${run.nodes.length} nodes`, `${events.length.toLocaleString("en")} events`, `${(model.end / 1e9).toFixed(3)} s`];
  el("facts").textContent = words.filter(Boolean).join(" · ");
  const found = model.violations.length;
  const verdict = el("verdict");
  // Nobody judges real nodes while they run.
  const judged = run.source === "sim";
  verdict.className = found ? "bad" : judged ? "good" : "";
  verdict.textContent = found ? `✕ ${found} violation${found > 1 ? "s" : ""}` : judged ? "✓ no violation recorded" : "not judged";
  el("violations").replaceChildren(...model.violations.map((index) => {
    const event = events[index];
    const place = [nodeWord(event), clock(event.t, true)].filter(Boolean).join(", ");
    const button = make("button", null, make("b", event.property), ` — ${event.label} `, make("small", `(${place})`));
    button.addEventListener("click", () => jump(index));
    return make("li", null, button);
  }));
  el("notes").replaceChildren(...run.notes.map((note) => make("li", note)));
  el("protocol").replaceChildren(new Option("all", ""), ...model.protocols.map((name) => new Option(name, name)));
}

// The fields that say something which the sentence above them does not.
function showEvent(index, jump) {
  const event = events[index];
  el("what").textContent = index < 0 ? "Event" : `${event.kind}${event.node === undefined ? "" : ` on node ${event.node}`}`;
  el("what").className = event && event.kind === "violation" ? "bad" : "";
  el("say").textContent = index < 0 ? "Step with ← and →, or click on the diagram." : describe(index);
  el("fields").replaceChildren();
  el("links").replaceChildren();
  if (index < 0) return;
  const message = model.messageOf(index);
  const fields = [["time", clock(event.t, true)]];
  if (message && message.protocol !== undefined) fields.push(["protocol", message.protocol]);
  const known = new Set(["t", "kind", "node", "label", "value", "line", "cause", "ops", "witnesses", "digest", "on", "client", "why", "property"]);
  for (const [name, value] of Object.entries(event)) {
    if (known.has(name) || (message && name === "protocol")) continue;
    fields.push([name, name === "until" ? clock(value, true) : name === "runs" ? value.map((one) => one.protocol).join(", ") : Array.isArray(value) ? value.join(", ") || "all" : String(value)]);
  }
  for (const [name, value] of fields) el("fields").append(make("dt", name), make("dd", value));
  for (const [target, word, bad] of related(index)) {
    const button = make("button", word);
    if (bad) button.className = "bad";
    button.addEventListener("click", () => jump(target));
    el("links").append(button);
  }
}

// Where one may want to go from an event: [index, word, part of a violation].
function related(index) {
  const event = events[index];
  const list = [];
  for (const at of model.arrowsOf.get(index) || []) {
    const arrow = model.arrows[at];
    if (arrow.send >= 0 && arrow.send !== index) list.push([arrow.send, `← sent by ${arrow.from}`]);
    if (arrow.end >= 0 && arrow.end !== index) list.push([arrow.end, `${arrow.fate === "lost" ? "✕ lost on the way to" : "→ received by"} ${arrow.to}${arrow.copy ? " (copy)" : ""}`]);
    if (arrow.end < 0) list.push([index, "not known to have arrived"]);
  }
  const op = event.op === undefined ? undefined : model.ops[model.opOf.get(event.op)];
  const parts = { invoke: "asked by its client", request: "its request", reply: "its reply", return: "its answer, at the client" };
  for (const [part, word] of Object.entries(op ? parts : {})) {
    if (op[part] >= 0 && op[part] !== index) list.push([op[part], word]);
  }
  if (op && op.reply < 0 && op.return < 0) list.push([index, "no reply"]);
  for (const name of event.ops || []) {
    const rest = model.ops[model.opOf.get(name)];
    if (!rest) { list.push([index, `${name} (not in the trace)`, true]); continue; }
    const reply = rest.to < 0 ? "no reply" : events[rest.to].label;
    const asked = events[rest.from];
    list.push([rest.to < 0 ? rest.from : rest.to, `${rest.client} on node ${asked.to ?? asked.node}: ${asked.label} → ${reply}`, true]);
  }
  return list;
}

// Each node as it was after the event; at the end when none is selected.
function showStates(index) {
  el("when").textContent = index < 0 ? "Nodes at the end" : "Nodes after this step";
  const until = index < 0 ? events.length - 1 : index;
  // The views of a turn come after its events.
  let seen = until;
  while (seen + 1 < events.length && events[seen + 1].kind === "view" && events[seen + 1].node === events[until]?.node) seen += 1;
  el("states").replaceChildren(...data.run.nodes.flatMap((id) => {
    const status = lastUpTo(model.statuses.get(id), until);
    const last = status < 0 ? null : events[status];
    const word = !last ? "–" : last.kind === "pause" ? (last.on ? "paused" : "up") : { start: "up", crash: "crashed", stop: "stopped" }[last.kind];
    const lamport = lastUpTo(model.lamports.get(id), until);
    const digest = lastUpTo(model.digests.get(id), until);
    const is = make("td", word);
    if (word !== "up" && word !== "–") is.className = "off";
    const state = make("td", digest < 0 ? "–" : events[digest].digest.slice(0, 16));
    state.className = digest >= 0 && digest === index ? "mono new" : "mono";
    if (digest >= 0) state.title = events[digest].digest;
    const row = make("tr", null, make("td", String(id)), is, make("td", lamport < 0 ? "–" : String(events[lamport].lamport)), state);
    if (index >= 0 && events[index].node === id) row.className = "here";
    // Of each of its protocols the last, since it started.
    const latest = new Map();
    for (const at of model.views.get(id)) {
      if (at > seen) break;
      if (at > status) latest.set(events[at].protocol, at);
    }
    const words = [...latest.values()].map((at) => describe(at)).join("; ");
    if (!words || word === "crashed" || word === "stopped") return [row];
    const cell = make("td", words);
    cell.colSpan = 4;
    return [row, make("tr", null, cell)];
  }));
}

function showConsole(index) {
  const until = index < 0 ? events.length - 1 : index;
  const lines = [];
  let low = 0, high = model.consoleLines.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (model.consoleLines[middle] <= until) low = middle + 1; else high = middle;
  }
  for (let at = low - 1; at >= 0 && lines.length < 10; at--) {
    const event = events[model.consoleLines[at]];
    if (event.node === undefined || view.nodes.has(event.node)) lines.unshift(make("li", null, make("b", `${event.node ?? "–"} `), event.line));
  }
  el("console").replaceChildren(...(lines.length ? lines : [make("li", "nothing yet")]));
}

function showLegend() {
  const list = make("dl");
  const picture = (paint) => {
    const small = document.createElement("canvas");
    [small.width, small.height] = [128, 40];
    [small.style.width, small.style.height] = ["64px", "20px"];
    const pen = small.getContext("2d");
    pen.scale(2, 2);
    pen.fillStyle = pen.strokeStyle = ink["arrow-0"];
    paint(pen);
    const place = make("dt", null, small);
    return place;
  };
  const line = { x1: 4, y1: 4, x2: 56, y2: 16 };
  const stroke = (pen, dash, to = 1) => {
    pen.setLineDash(dash);
    pen.beginPath(); pen.moveTo(4, 4); pen.lineTo(4 + 52 * to, 4 + 12 * to); pen.stroke();
    pen.setLineDash([]);
  };
  const kinds = (pen, ...names) => names.forEach((kind, at) => glyph(pen, { kind, ok: true }, 12 + at * 20, 10));
  const block = (name) => (pen) => { pen.fillStyle = ink[name]; pen.fillRect(2, 3, 60, 14); };
  const rows = [
    [(pen) => { stroke(pen, []); heads(pen, [line]); }, "message; numbers at its ends are Lamport values"],
    [(pen) => { pen.strokeStyle = ink.bad; stroke(pen, [], 0.6); crosses(pen, [{ x2: 35, y2: 11 }], 4); }, "message lost, with the reason"],
    [(pen) => { stroke(pen, [5, 4]); heads(pen, [line]); }, "copy that the network made"],
    [(pen) => { stroke(pen, [2, 3], 0.6); rings(pen, [{ x2: 35, y2: 11 }]); }, "message of unknown fate"],
    [(pen) => kinds(pen, "send", "recv"), "sent, received"],
    [(pen) => kinds(pen, "request", "timer", "fact"), "client's request or reply, timer, fact"],
    [(pen) => { pen.fillStyle = ink.op; pen.fillRect(14, 12, 46, 7); way(pen, { x1: 14, y1: 16, x2: 24, y2: 2 }); }, "operation of a client, and its way to the node"],
    [(pen) => kinds(pen, "start", "crash", "sync"), "start, crash, sync to disk"],
    [block("band-0"), "what the node holds for true; equal colour, equal statement"],
    [block("down"), "down"], [block("pause"), "paused"], [block("cut"), "partition"], [block("clog"), "clog, delay"],
    [block("loss"), "loss, duplication, reordering"], [block("clock"), "clock"], [block("disk"), "disk"],
    [(pen) => { pen.fillStyle = ink["bad-soft"]; pen.strokeStyle = ink.bad; pen.lineWidth = 2; pen.fillRect(4, 3, 56, 14); pen.strokeRect(4, 3, 56, 14); }, "operation that a violation rests on"],
  ];
  for (const [paint, words] of rows) list.append(picture(paint), make("dd", words));
  list.append(make("hr"));
  for (const [keys, words] of [["← →", "step; with Shift on the same node"], ["Home End", "first, last event"], ["v", "next violation"],
    ["+ − 0", "zoom in, out, all; or the wheel"], ["↑ ↓", "scroll rows; drag moves everything"], ["m", "what can be done with the event; or right-click, or press long"], ["c", "only the event's causes"], ["t", "timers"],
    ["/", "search; Enter, Shift+Enter"], ["n N", "next, previous hit"], ["a", "pin a note to the event"], ["p r", "predict; show the next step"]]) {
    list.append(make("dt", null, make("kbd", keys)), make("dd", words));
  }
  el("legend").replaceChildren(list);
}
