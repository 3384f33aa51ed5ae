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

const nodeWord = (event) => (event.node === undefined ? "" : laneWord(event.node));

// What a message or an operation says, in few words: its short form, or what is in its JSON.
function shortOf(event) {
  if (!event) return "a message that no trace here sends";
  if (event.brief) return event.brief;
  const value = parsed(event.label);
  const words = value === undefined ? event.label ?? event.kind : valueWords(value, 40);
  return words.length > 80 ? `${words.slice(0, 79)}…` : words;
}

// The same in a sentence: all of it while that is no wall of numbers.
function saidOf(event) {
  if (!event) return shortOf(event);
  const label = event.label ?? "";
  if (label.length <= 90) return event.brief && parsed(label) !== undefined ? event.brief : label;
  const value = parsed(label);
  return event.brief && !/…/.test(event.brief) ? event.brief : value === undefined ? `${label.slice(0, 160)}…` : wordsOfValue(value);
}

// A JSON value by its fields, lists by their lengths.
function wordsOfValue(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return valueWords(value, 60);
  return Object.entries(value).map(([name, one]) => `${name} ${valueWords(one, 60)}`).join(", ").slice(0, 300);
}

const clientOf = (event) => model.ops[model.opOf.get(event.op)]?.client ?? event.client;

// An event in a line.
function describe(index) {
  const event = events[index];
  const said = saidOf(model.messageOf(index));
  switch (event.kind) {
    case "start": return `starts${model.durable.has(event.node) ? "" : ", with an empty memory"} (incarnation ${event.incarnation})`;
    case "crash": return "crashes";
    case "stop": return "stops";
    case "pause": return event.on ? "is held up" : "goes on";
    case "link": return `link to ${laneWord(event.peer)} is ${event.up ? "up" : "down"}`;
    case "send": return `sends ${said} to ${laneWord(event.to)}`;
    case "recv": return `receives ${said} from ${laneWord(event.from)}`;
    case "drop": return `does not get ${said} from ${laneWord(event.from)}: ${dropWords(event)}`;
    case "duplicate": return `the network copies ${said}`;
    case "timer": return `timer ${event.label}`;
    case "request": return `${clientOf(event)} asks: ${saidOf(event)}`;
    case "reply": return `answers ${clientOf(event)}: ${saidOf(event)}`;
    case "push": return `tells ${event.client}: ${saidOf(event)}`;
    case "invoke": return `${clientWord(event.client)} asks ${laneWord(event.to)}: ${saidOf(event)}`;
    case "return": return `${clientOf(event) ?? "the client"} is answered: ${saidOf(event)}`;
    case "fact": return `holds: ${event.label}`;
    case "view": return `${event.protocol}: ${wordsOfValue(event.value)}`;
    case "sync": return event.ok ? `${event.bytes} bytes are durable` : `the disk fails to take ${event.bytes} bytes`;
    case "file": return `the file of ${event.protocol} has ${event.content} bytes`;
    case "print": return `prints: ${event.line}`;
    case "note": return `notes: ${event.line}`;
    case "fault": return `fault: ${faultWords(event)}`;
    case "violation": return `${event.property} is violated: ${event.label}`;
    default: return event.kind;
  }
}

const DROPS = new Map([["loss", "lost on the way"], ["cut", "the network is cut"], ["down", "it was down"], ["no_link", "there was no link"]]);
const dropWords = (event) => DROPS.get(event.why) ?? event.why;

function showHeader(jump) {
  const { run } = data;
  document.title = `${run.scenario} — node explain`;
  el("scenario").textContent = run.scenario || "run";
  const words = [run.seed === null ? null : `seed ${run.seed}`, run.source === "sim" ? "simulated" : "real nodes",
    `${run.nodes.length} nodes`, `${events.length.toLocaleString("en")} events`, clock(model.end)];
  el("facts").textContent = words.filter(Boolean).join(" · ");
  const found = model.violations.length;
  const verdict = el("verdict");
  // Nobody judges real nodes while they run; who reads their traces may. The unknown is no success.
  const [held, unknown] = run.judged ?? [0, 0];
  const good = run.source === "sim" || (held > 0 && unknown === 0);
  verdict.className = found ? "bad" : good ? "good" : "";
  const several = found > 1 ? "s" : "";
  verdict.textContent = found ? `✕ ${found} violation${several}` : run.source === "sim" ? "✓ no violation recorded"
    : held + unknown === 0 ? "not judged" : good ? `✓ ${held} held` : `${held} held, ${unknown} unknown`;
  showBecause(jump);
  el("notes").replaceChildren(...run.notes.map((note) => make("li", note)));
  showPart();
  el("protocol").replaceChildren(new Option("all", ""), ...model.protocols.map((name) => new Option(name, name)));
}

// The event in words: what happened, why, and what came of it; then the fields that say something
// which the sentences do not.
function showEvent(index, jump) {
  const event = events[index];
  showBecause(jump);
  el("what").textContent = index < 0 ? "Event" : [nodeWord(event), event.kind === "violation" ? "violation" : event.kind].filter(Boolean).join(": ");
  el("what").className = event && event.kind === "violation" ? "bad" : "";
  el("say").textContent = index < 0 ? "Step with ← and →, or click on the diagram." : event.kind === "violation" ? sayViolation(index) : `${capital(describe(index))}.`;
  el("fields").replaceChildren();
  el("links").replaceChildren();
  if (index < 0) return;
  const message = model.messageOf(index);
  const fields = [["time", clock(event.t, true)]];
  if (message && message.protocol !== undefined) fields.push(["protocol", message.protocol]);
  const known = new Set(["t", "kind", "node", "label", "brief", "value", "line", "cause", "ops", "witnesses", "digest", "on", "client", "why", "property", "from", "to", "until", "nodes", "place", "fault"]);
  for (const [name, value] of Object.entries(event)) {
    if (known.has(name) || (message && name === "protocol")) continue;
    fields.push([name, name === "runs" ? value.map((one) => one.protocol).join(", ") : typeof value === "object" ? valueWords(value) : String(value)]);
  }
  if (event.kind === "fault") fields.push(["until", clock(event.until, true)], ["nodes", event.nodes.length ? event.nodes.map(laneWord).join(", ") : "all"]);
  for (const [name, value] of fields) el("fields").append(make("dt", name), make("dd", value));
  const label = (message || event).label;
  if (label && label.length > 90 && event.kind !== "violation") {
    const whole = make("details", null, make("summary", "all of it"), make("div", label.slice(0, 50000)));
    whole.className = "long";
    el("fields").append(make("dt", "label"), make("dd", null, whole));
  }
  const { because, so, also } = related(index);
  const links = (title, list) => {
    if (!list.length) return;
    const line = make("p", title);
    line.className = "why";
    el("links").append(line);
    for (const [target, word] of list.slice(0, 8)) {
      const button = make("button", word);
      if (target === index) button.disabled = true;
      button.addEventListener("click", () => jump(target));
      el("links").append(button);
    }
    if (list.length > 8) el("links").append(make("span", `and ${list.length - 8} more`));
  };
  links("Because", because);
  links("So", so);
  links("Of the same operation", also);
}

// Above the diagram it stands in full.
function sayViolation(index) {
  const many = model.told.get(index).length;
  return `${events[index].property} does not hold. Why is said ${el("violations").offsetParent === null ? "below" : "above the diagram"}${many ? `, by ${many === 1 ? "one witness" : `${many} witnesses`}: click on them, or step from one to the next` : ""}.`;
}

const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

// What an event was caused by, what it caused, and what else belongs to its operation:
// [index, words].
function related(index) {
  const event = events[index];
  const because = [], so = [], also = [];
  // Where the header is folded, as on a phone, the witnesses stand here.
  const isFolded = el("violations").offsetParent === null;
  if (event.kind === "violation") {
    if (isFolded) for (const one of model.told.get(index)) if (one.at >= 0) because.push([one.at, witnessLine(one)]);
    return { because, so, also };
  }
  const named = (at) => `${nodeWord(events[at]) || ""} ${describe(at)}, ${clock(events[at].t)}`.trim();
  for (const at of model.arrowsOf.get(index) || []) {
    const arrow = model.arrows[at];
    if (arrow.send >= 0 && arrow.send !== index) because.push([arrow.send, `sent by ${laneWord(arrow.from)} at ${clock(events[arrow.send].t)}`]);
    if (arrow.end >= 0 && arrow.end !== index) so.push([arrow.end, `${arrow.fate === "lost" ? `✕ lost on the way to ${laneWord(arrow.to)} (${dropWords(events[arrow.end])})` : `→ ${laneWord(arrow.to)} receives it`}${arrow.copy ? ", as a copy" : ""} at ${clock(events[arrow.end].t)}`]);
    if (arrow.end < 0) so.push([index, "not known to have arrived"]);
  }
  // What a turn begins with is why it did the rest.
  if (event.node !== undefined && event.kind !== "drop") {
    const [first, last] = [turnOf(index), seenAt(index)];
    const isCause = (at) => /^(recv|timer|request|start|pause)$/.test(events[at].kind);
    let trigger = -1;
    for (let at = first; at <= last; at++) if (at <= index && isCause(at)) trigger = at;
    if (trigger >= 0 && trigger !== index) because.push([trigger, named(trigger)]);
    if (isCause(index)) {
      for (let at = index + 1; at <= last && !isCause(at); at++) if (!/^(view|print|file)$/.test(events[at].kind)) so.push([at, describe(at)]);
    }
  }
  const span = model.spans.find((one) => one.from === index || one.to === index);
  if (span && span.from === index) so.push(span.to < 0 ? [index, "it does not come back"] : [span.to, `back at ${clock(events[span.to].t)}${lossWords(span)}`]);
  if (span && span.to === index) because.push([span.from, `it ${describe(span.from)} at ${clock(events[span.from].t)}${lossWords(span)}`]);
  for (const fault of model.faults) {
    const its = events[fault.index];
    if (/^(crash|pause|sync)$/.test(event.kind) && its.t === event.t && its.nodes.includes(event.node)) because.push([fault.index, `fault: ${faultWords(its)}`]);
    if (event.kind === "drop" && event.why !== "down" && /^(cut|loss|clog)$/.test(fault.family) && its.t <= event.t && its.until >= (model.messageOf(index)?.t ?? event.t)) because.push([fault.index, `fault: ${faultWords(its)}`]);
    if (fault.index === index) for (let at = index + 1; at < events.length && events[at].t === event.t; at++) if (/^(crash|pause)$/.test(events[at].kind)) so.push([at, named(at)]);
  }
  const op = event.op === undefined ? undefined : model.ops[model.opOf.get(event.op)];
  const parts = { invoke: "its client asks", request: "the node is asked", reply: "the node answers", return: "its client has the answer" };
  for (const [part, word] of Object.entries(op ? parts : {})) {
    if (op[part] >= 0 && op[part] !== index) also.push([op[part], `${word}: ${shortOf(events[op[part]])}, ${clock(events[op[part]].t)}`]);
  }
  if (op && op.reply < 0 && op.return < 0) also.push([index, unanswered()]);
  if (op && op.to >= 0 && (index === op.to || index === op.reply)) {
    for (const origin of originsOf(op)) because.push([origin.from, `its value: ${origin.client} ${shortOf(events[origin.from])}, ${clock(events[origin.from].t)}`]);
  }
  return { because, so, also };
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
    if (event.node === undefined || view.nodes.has(event.node)) lines.unshift(make("li", null, make("b", `${event.node === undefined ? "–" : laneWord(event.node)} `), event.line));
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
    [(pen) => { pen.fillStyle = ink.op; pen.fillRect(14, 12, 46, 7); way(pen, { x1: 14, y1: 16, x2: 24, y2: 2 }); }, "operation of a client, ticks when the node saw it and answered"],
    [(pen) => kinds(pen, "start", "crash", "sync"), "start, crash, sync to disk with its bytes"],
    [(pen) => { pen.fillStyle = ink.bad; pen.beginPath(); pen.arc(32, 10, 8.5, 0, 7); pen.fill(); pen.fillStyle = ink.paper; pen.font = `700 11px ${SANS}`; pen.fillText("1", 29, 14); }, "witness of a violation, by its number above"],
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
