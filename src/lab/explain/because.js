// Why a violation is one: its witnesses in the order of telling, the box that tells of them, their
// numbers in the picture, and which events are its causes. Knows the model and the view.

// A violation's witnesses: `its` are the indices of the events that each means, `at` the one to
// look at, or -1 where the trace has none.
function witnessesOf(violation, events, opNamed) {
  const list = Array.isArray(violation.witnesses) ? violation.witnesses : [];
  return list.map((one, place) => {
    const op = one.op === undefined ? undefined : opNamed(one.op);
    const its = op ? partsOf(op) : [];
    const named = Number.isInteger(one.event) && one.event >= 0 && one.event < events.length ? one.event : -1;
    if (named >= 0 && !its.includes(named)) its.push(named);
    const at = named >= 0 ? named : its.length ? its[its.length - 1] : -1;
    return { number: place + 1, role: String(one.role ?? ""), says: String(one.says ?? ""), op, at, its };
  });
}

// The witnesses, and after each that was answered with nothing written to the node's disk one that
// says so, where the node went down later and the answer may have been lost with it: only of nodes
// that have a disk.
function withUnsynced(told, violation, events, durable, spans) {
  const last = told.length === 1 ? violation : Math.max(-1, ...told.flatMap((witness) => witness.its));
  const isUnsynced = ({ request, reply }) => {
    if (request < 0 || reply < 0 || !durable.has(events[reply].node)) return false;
    const { node } = events[reply];
    if (!spans.some((span) => span.node === node && span.kind === "down" && span.from > reply && span.from <= last)) return false;
    for (let index = request; index <= reply; index++) {
      const event = events[index];
      if (event.kind === "sync" && event.node === node && event.ok && event.bytes > 0) return false;
    }
    return true;
  };
  const all = told.flatMap((witness) => (witness.op && isUnsynced(witness.op)
    ? [witness, { role: "not written", says: "", of: witness, op: undefined, at: witness.op.reply, its: [witness.op.reply] }] : [witness]));
  all.forEach((witness, place) => { witness.number = place + 1; });
  return all;
}

// The events of an operation that the trace has, in its order.
function partsOf(op) {
  return [op.invoke, op.request, op.reply, op.return].filter((index) => index >= 0).sort((a, b) => a - b);
}

const circled = (number) => (number <= 20 ? String.fromCodePoint(0x245f + number) : `(${number})`);

// The violation that the box and the numbers are about.
const explained = () => (model.told.has(view.about) ? view.about : model.violations.length ? model.violations[0] : -1);

// From the first to the last event of the witnesses, and to where it showed when one alone speaks;
// null without any.
function storyRange(violation) {
  const told = (model.told.get(violation) || []).filter((witness) => witness.its.length);
  const its = told.flatMap((witness) => witness.its);
  if (told.length === 1) its.push(violation);
  return its.length ? [Math.min(...its), Math.max(...its)] : null;
}

// As many events as can be read beside each other.
const readable = () => Math.max(40, Math.min(100, Math.round(room() / 8)));

// What a violation opens with: all that it rests on where that can be read, else the end of it; with
// some of what was before, and where it showed if that is near.
function openRange(violation) {
  let [from, to] = storyRange(violation) || [violation, violation];
  const most = readable();
  if (violation > to && countShown(to, violation) <= most / 4) to = violation;
  from = Math.min(from, shownBefore(to, 40));
  return [countShown(from, to) <= 1.3 * most ? from : shownBefore(to, most), to];
}

const isPlaced = (index) => view.shown[index] && !events[index].carried;

// How many of the events after the first are shown, to the other.
function countShown(first, other) {
  let count = 0;
  for (let index = first + 1; index <= other; index++) if (isPlaced(index)) count += 1;
  return count;
}

// The event from which on so many are shown up to `to`.
function shownBefore(to, count) {
  let index = to;
  for (let left = count; index > 0 && left > 0; ) { index -= 1; if (isPlaced(index)) left -= 1; }
  return index;
}

// Scrolls so that the rows of the witnesses can be seen, the lowest of them at least.
function showRows(violation) {
  const rows = layout();
  const places = (model.told.get(violation) || []).filter((witness) => witness.at >= 0).map((witness) => witnessPlace(witness, rows)).filter((place) => !place.fixed).map((place) => place.y);
  if (!places.length) return;
  const [top, bottom] = [Math.min(...places), Math.max(...places)];
  if (bottom + LANE > view.top + view.height) view.top = bottom + LANE + 6 - view.height;
  if (top - 30 < view.top + rows.fixed && bottom - top < view.height - rows.fixed - 50) view.top = top - 30 - rows.fixed;
  clampView();
}

// The scalars in a label that is JSON, as texts; those in `not` left out.
function scalarsOf(label, not = new Set()) {
  const found = new Set();
  const walk = (value) => {
    if (found.size > 2000) return;
    if (value !== null && typeof value === "object") for (const one of Object.values(value)) walk(one);
    else if ((typeof value === "string" || typeof value === "number") && !not.has(String(value)) && String(value).length > 0) found.add(String(value));
  };
  const value = parsed(label);
  if (value !== undefined) walk(value);
  return found;
}

function parsed(label) {
  if (typeof label !== "string" || !/^[{[]/.test(label)) return undefined;
  try { return JSON.parse(label); } catch { return undefined; }
}

// The operations that a witness's answer may have its value from: those that began before its end
// and brought what it was told. What many brought says nothing.
function originsOf(op) {
  if (op.to < 0) return [];
  const asked = scalarsOf(events[op.from].label);
  const told = [...scalarsOf(events[op.to].label, asked)].slice(0, 40);
  const found = new Set();
  for (const word of told) {
    const bringing = (broughtBy().get(word) || []).filter((one) => one !== op && one.from < op.to);
    if (bringing.length > 0 && bringing.length <= 2) bringing.forEach((one) => found.add(one));
  }
  return found.size <= 6 ? [...found] : [];
}

// The operations by what they bring: the scalars that were asked with.
function broughtBy() {
  if (model.brought) return model.brought;
  const brought = model.brought = new Map();
  for (const op of model.ops) {
    if (op.from < 0) continue;
    for (const word of scalarsOf(events[op.from].label)) {
      if (!brought.has(word)) brought.set(word, []);
      brought.get(word).push(op);
    }
  }
  return brought;
}

// The nodes that the witnesses speak of.
function concernedBy(violation) {
  const nodes = new Set();
  for (const witness of model.told.get(violation) || []) {
    for (const index of witness.its) {
      const event = events[index];
      for (const id of [event.node, event.to]) if (model.rowOf.has(id)) nodes.add(id);
    }
  }
  return nodes;
}

// As many events as one can follow, and as few as say how it began.
const MANY = 400, FEW = 60;

// What made a violation: the union of the pasts of its witnesses and of what their values came
// from, between the first witness and the last; with the faults, restarts and losses that are part
// of it. Null when nothing is known of it, so that nothing is dimmed.
function storyOf(violation) {
  if (!model.stories.has(violation)) model.stories.set(violation, story(violation));
  return model.stories.get(violation);
}

function story(violation) {
  const told = model.told.get(violation) || [];
  const its = told.flatMap((witness) => witness.its);
  if (!its.length) return null;
  const roots = told.flatMap((witness) => (witness.op ? originsOf(witness.op).flatMap(partsOf) : []));
  const core = [...its, ...roots];
  const past = causesOf(...core);
  let from = Math.min(...its);
  const to = Math.max(...core, storyRange(violation)[1]);
  const marks = new Uint8Array(events.length);
  let count = 0;
  const take = (index) => { if (past[index] && !marks[index]) { marks[index] = 1; count += 1; } };
  for (let index = from; index <= to; index++) take(index);
  if (count > MANY) {
    // Only what leads on from a witness to another; unless that is as much.
    const future = effectsOf(from);
    for (let index = from; index <= to; index++) if (!future[index]) marks[index] = 0;
  }
  while (count < FEW && from > 0) take(--from);
  const nodes = concernedBy(violation);
  frame(marks, from, to, nodes);
  // What a node was told and did not heed may be all that is wrong.
  for (let index = from; index <= Math.max(to, violation); index++) {
    if (!/^(recv|drop)$/.test(events[index].kind) || !nodes.has(events[index].node)) continue;
    marks[index] = 1;
    for (const at of model.arrowsOf.get(index) || []) if (model.arrows[at].send >= 0) marks[model.arrows[at].send] = 1;
  }
  for (const index of core) marks[index] = 1;
  marks[violation] = 1;
  return marks;
}

// What had a part in it without being a cause by messages: faults under way, nodes that went down
// and came back, and what was lost of what is marked, or came late.
function frame(marks, from, to, nodes) {
  const begin = events[from].t;
  for (const arrow of model.arrows) if (isLate(arrow, from, to) && marks[arrow.send]) marks[arrow.end] = 1;
  for (let index = 0; index <= to; index++) {
    const event = events[index];
    if (event.kind === "fault" && Math.max(event.until, event.t) >= begin) marks[index] = 1;
    if (index >= from && event.kind === "drop" && event.cause !== undefined && marks[event.cause]) marks[index] = 1;
    if (index >= from && /^(start|crash|stop|pause)$/.test(event.kind)) marks[index] = 1;
    if (index >= from && event.kind === "sync" && !event.ok) marks[index] = 1;
  }
  // The last time that a node went down before all this may be why.
  for (const id of nodes) {
    const list = model.statuses.get(id);
    for (const index of list.filter((at) => at < from).slice(-2)) marks[index] = 1;
  }
}

// How long messages are on their way, at the middle, in nanoseconds; of some thousands of them.
function usualTrip() {
  if (model.trip !== null) return model.trip;
  const every = Math.ceil(model.arrows.length / 5000);
  const trips = model.arrows.filter((arrow, at) => at % every === 0 && arrow.fate === "ok").map((arrow) => events[arrow.end].t - events[arrow.send].t).sort((a, b) => a - b);
  model.trip = trips.length ? trips[trips.length >> 1] : 0;
  return model.trip;
}

// Whether a message of between two events was so long on its way that it matters: what was not there
// in time is no cause by messages, and yet why.
function isLate(arrow, from, to) {
  return arrow.fate === "ok" && arrow.send >= from && arrow.send <= to && events[arrow.end].t - events[arrow.send].t > 10 * usualTrip() + 1e6;
}

// Which events are not dimmed while `index` is selected: its causes, or those of the violation that
// it is a witness of. A witness is never dimmed.
function marksFor(index) {
  if (index < 0) return null;
  if (model.told.has(index)) return storyOf(index);
  const violation = explained();
  if (violation < 0) return causesOf(index);
  const its = (model.told.get(violation) || []).flatMap((witness) => witness.its);
  if (its.includes(index)) return storyOf(violation);
  const marks = causesOf(index);
  for (const one of its) marks[one] = 1;
  return marks;
}

// Whether a fault did anything to these nodes: one of the network to a message of theirs.
function hadPart({ index, family }, from, to, nodes) {
  const event = events[index];
  if (event.nodes.length && !event.nodes.some((id) => nodes.has(id))) return false;
  if (!/^(cut|loss|clog)$/.test(family) || /reorder/.test(event.fault)) return true;
  return model.arrows.some((arrow) => {
    const sent = arrow.send < 0 ? arrow.end : arrow.send;
    if (sent < from || sent > to || events[sent].t < event.t || events[sent].t > event.until) return false;
    if (nodes.size && !nodes.has(arrow.from) && !nodes.has(arrow.to)) return false;
    return arrow.fate === "lost" ? arrow.why !== "down" : arrow.copy || isLate(arrow, from, to);
  });
}

// As many lines as are read beside the witnesses'.
const MOST_MEANWHILE = 5;

// What else happened between the first witness and the last that concerns the nodes they speak of:
// [index, words, weight], the lightest of many.
function meanwhile(violation) {
  const range = storyRange(violation);
  const marks = storyOf(violation);
  if (!range || !marks) return [];
  const nodes = concernedBy(violation);
  const list = [];
  const [from, to] = range;
  for (const span of model.spans) {
    if (span.from > to || (span.to >= 0 && span.to < from) || !nodes.has(span.node)) continue;
    // What a witness has told is told.
    if (model.witnessAt.has(span.from) && !diskLost(span)) continue;
    const until = span.to < 0 ? "and does not come back" : `until ${clock(events[span.to].t)}`;
    const word = span.kind === "pause" ? "was held up" : `was down${lossWords(span)}`;
    list.push([span.from, `${laneWord(span.node)} ${word}, ${until}`, diskLost(span) ? 0 : 1]);
  }
  for (const fault of model.faults) {
    const event = events[fault.index];
    if (model.witnessAt.has(fault.index) || fault.family === "down" || fault.family === "pause" || fault.index > to || Math.max(event.until, event.t) < events[from].t) continue;
    if (!hadPart(fault, from, to, nodes)) continue;
    list.push([fault.index, faultWords(event), 2]);
  }
  const late = model.arrows.filter((arrow) => isLate(arrow, from, to) && marks[arrow.send] && nodes.has(arrow.to) && nodes.has(arrow.from));
  const longest = late.sort((a, b) => events[b.end].t - events[b.send].t - events[a.end].t + events[a.send].t)[0];
  if (longest) {
    const took = clock(events[longest.end].t - events[longest.send].t);
    const many = late.length > 1 ? `, the longest of ${late.length} that came late` : "";
    list.push([longest.send, `${shortOf(events[longest.send])} from ${laneWord(longest.from)} to ${laneWord(longest.to)} was ${took} on its way${many}`, 2]);
  }
  // What was asked, and the answers that are no lists.
  const words = new Set((model.told.get(violation) || []).flatMap(({ op }) => {
    if (!op || op.from < 0) return [];
    const answer = op.to < 0 ? new Set() : scalarsOf(events[op.to].label);
    return [...scalarsOf(events[op.from].label), ...(answer.size <= 4 ? answer : [])];
  }));
  const lost = new Map();
  for (let index = from; index <= to; index++) {
    const event = events[index];
    if (event.kind !== "drop" || !marks[index] || !nodes.has(event.node)) continue;
    const way = `${event.from}>${event.node}`;
    const known = lost.get(way) ?? { index, count: 0, alike: -1 };
    // The one that brought most of what the witnesses speak of, and the last of several such.
    const alike = [...scalarsOf(model.messageOf(index)?.label)].filter((word) => words.has(word)).length;
    lost.set(way, { count: known.count + 1, index: alike >= known.alike ? index : known.index, alike: Math.max(alike, known.alike) });
  }
  for (const { index, count, alike } of lost.values()) {
    const event = events[index];
    const many = count > 1 ? `, one of ${count} lost there` : "";
    list.push([index, `${shortOf(model.messageOf(index))} from ${laneWord(event.from)} to ${laneWord(event.node)} was lost: ${dropWords(event)}${many}`, alike ? 1 : 3]);
  }
  list.sort((a, b) => a[2] - b[2] || a[0] - b[0]);
  return list.slice(0, MOST_MEANWHILE).sort((a, b) => a[0] - b[0]);
}

// What a node lost by going down, as far as the trace says it.
function lossWords(span) {
  const event = span.from >= 0 ? events[span.from] : null;
  if (!event || event.kind === "stop") return "";
  if (diskLost(span)) return " and lost its disk";
  return model.durable.has(span.node) ? "" : " and lost its memory, all that it has";
}

// Whether a fault that began with this span took the disk as well.
function diskLost(span) {
  const { t } = events[span.from];
  return model.faults.some(({ index }) => events[index].t === t && events[index].nodes.includes(span.node) && /disk lost|folder emptied/.test(events[index].label));
}

// The violations, the one that is looked at with its witnesses. The list is the header's; while the
// violation is the same only the line of the selected event changes, so that focus stays.
let boxed = [null, -1];
function showBecause(jump) {
  const shown = explained();
  if (boxed[0] !== model || boxed[1] !== shown) {
    boxed = [model, shown];
    el("violations").replaceChildren(...model.violations.map((index) => {
      const event = events[index];
      const place = [event.node === undefined ? "" : laneWord(event.node), clock(event.t)].filter(Boolean).join(", ");
      const button = make("button", null, make("b", event.property), ` — ${briefly(event.label ?? "")} `, make("small", `(${place})`));
      entitle(button, event.label ?? "");
      button.className = "verdict";
      button.addEventListener("click", () => jump(index));
      const item = make("li", null, button);
      if (index === shown) item.append(becauseBox(index, jump));
      return item;
    }));
  }
  for (const line of el("violations").querySelectorAll("[data-number]")) {
    const its = model.told.get(shown)[line.dataset.number - 1].its;
    if (its.includes(view.selected)) line.setAttribute("aria-current", "true"); else line.removeAttribute("aria-current");
  }
}

// What a witness says, in a line.
function saysOf({ says, op, at, of }) {
  const event = events[at];
  if (of) return `${laneWord(event.node)} answered ${circled(of.number)} at ${clock(event.t)} with nothing written to its disk since it was asked`;
  // A fault is said as everywhere on the page.
  if (event && event.kind === "fault" && says === event.label) return `${faultWords(event)}, from ${clock(event.t)}`;
  return says || (op ? operationWords(op) : "");
}
const witnessLine = (witness) => `${circled(witness.number)} ${witness.role ? `${witness.role}: ` : ""}${saysOf(witness)}`;

function becauseBox(index, jump) {
  const lines = model.told.get(index).map((witness) => {
    const said = saysOf(witness);
    const words = [make("b", `${circled(witness.number)} `), make("i", witness.role), witness.role ? ": " : "", briefly(said)];
    if (witness.at < 0) return make("li", null, make("span", null, ...words, make("small", " (not in the picture)")));
    const line = make("button", null, ...words);
    line.dataset.number = witness.number;
    entitle(line, said);
    line.addEventListener("click", () => jump(witness.at));
    return make("li", null, line);
  });
  const list = make("ol", null, ...lines);
  list.className = "because";
  list.setAttribute("aria-label", "Because");
  const more = meanwhile(index);
  const shown = more.length < MOST_MEANWHILE ? more : more.slice(0, 3);
  for (const [at, words] of shown) {
    const item = make("li", null, meanwhileLine(at, words, jump));
    item.className = "meanwhile";
    list.append(item);
  }
  if (more.length > shown.length) list.append(moreMeanwhile(more.slice(shown.length), jump));
  return list;
}

function moreMeanwhile(more, jump) {
  const item = make("li");
  item.className = "meanwhile";
  const open = make("button", `+${more.length} more meanwhile`);
  open.addEventListener("click", () => item.replaceChildren(...more.map(([at, words]) => meanwhileLine(at, words, jump))));
  item.append(open);
  return item;
}

function meanwhileLine(at, words, jump) {
  const line = make("button", `${clock(events[at].t)}: ${briefly(words)}`);
  entitle(line, words);
  line.addEventListener("click", () => jump(at));
  return line;
}

// A sentence with its longest words, such as keys, cut; and the whole of it for who points at it.
const briefly = (text) => text.replace(/[^\s=,:;()[\]{}"→]{25,}/g, (word) => (word.endsWith("…") ? `${word.slice(0, 18)}…` : `${word.slice(0, 12)}…${word.slice(-6)}`));
function entitle(element, said) { if (briefly(said) !== said) element.title = said; }

// What an operation was, for a witness that says nothing itself.
function operationWords(op) {
  const asked = events[op.from];
  const answer = op.to < 0 ? "no answer" : shortOf(events[op.to]);
  const end = op.to < 0 ? "" : ` to ${clock(events[op.to].t)}`;
  return `${op.client} asked ${laneWord(asked.to ?? asked.node)} ${shortOf(asked)}: ${answer} (${clock(asked.t)}${end})`;
}

// The numbers of the witnesses in the picture; at its border for those that lie beyond it.
let numbered = [];
function drawWitnesses(pen, rows) {
  numbered = [];
  const violation = explained();
  if (violation < 0) return;
  for (const witness of model.told.get(violation)) {
    if (witness.at < 0) continue;
    const place = onScreen(witnessPlace(witness, rows), rows);
    if (!place) continue;
    const beyond = place.x < GUTTER + 10 ? -1 : place.x > view.width - 10 ? 1 : 0;
    const x = Math.max(GUTTER + 11, Math.min(view.width - 11, place.x));
    let y = place.y;
    while (numbered.some((one) => Math.hypot(one.x - x, one.y - y) < 17)) y -= 17;
    numbered.push({ x, y, index: witness.at, number: witness.number });
    if (witness.of) drawUnsynced(pen, rows, witness.at);
    if (!beyond && place.ring !== undefined) {
      pen.strokeStyle = ink.bad;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(place.x, place.ring, 9, 0, 7);
      pen.stroke();
    }
    pen.fillStyle = ink.paper;
    pen.beginPath();
    pen.arc(x, y, 10, 0, 7);
    pen.fill();
    pen.fillStyle = ink.bad;
    pen.beginPath();
    pen.arc(x, y, 8.5, 0, 7);
    if (beyond) { pen.moveTo(x + beyond * 14, y); pen.lineTo(x + beyond * 7, y - 6); pen.lineTo(x + beyond * 7, y + 6); }
    pen.fill();
    pen.fillStyle = ink.paper;
    pen.font = `700 11px ${SANS}`;
    const text = String(witness.number);
    pen.fillText(text, x - pen.measureText(text).width / 2, y + 0.5);
  }
}

// An answer for which nothing was written says so at the node's line.
function drawUnsynced(pen, rows, index) {
  const [x, y] = [xAt(index), rows.y.get(events[index].node) - view.top];
  if (!(x >= GUTTER && x <= view.width && y >= rows.fixed)) return;
  pen.font = `600 11px ${SANS}`;
  pen.fillStyle = ink.bad;
  pen.fillText("nothing written", x + 10, y + 13);
}

// Where a witness's number stands: before its client's bar, or above its event.
function witnessPlace(witness, rows) {
  const { op } = witness;
  if (op && rows.lane.has(op.client)) return { x: xAt(op.from), y: rows.lane.get(op.client) + (op.lane || 0) * LANE };
  const event = events[witness.at];
  const node = rows.y.get(event.node) ?? rows.y.get((event.nodes || [])[0]);
  if (event.kind === "fault" || node === undefined) {
    const fault = model.faults.find((one) => one.index === witness.at);
    return { x: xAt(witness.at), y: rows.faults + (fault ? fault.lane * FAULT : 0) + 8, fixed: true };
  }
  return { x: xAt(witness.at), y: node - 27, ring: node };
}

// A place among the rows as the screen has it, scrolled; null when it is scrolled away.
function onScreen(place, rows) {
  if (place.fixed) return place;
  const [y, ring] = [place.y - view.top, place.ring === undefined ? undefined : place.ring - view.top];
  if (Math.max(y, ring ?? y) < rows.fixed || y > view.height + 10) return null;
  return { x: place.x, y: Math.max(y, rows.fixed), ring };
}

// The event of the witness whose number is at a place of the diagram; -1 when none is.
function witnessHit(x, y) {
  const found = numbered.find((one) => Math.hypot(one.x - x, one.y - y) < 11);
  return found ? found.index : -1;
}
