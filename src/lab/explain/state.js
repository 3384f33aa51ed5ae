// What is seen of the nodes' states at an event: a table of fields and nodes, with what the event
// changed. Knows the model; forms are the protocols' own.

// The first event of the turn that an event belongs to: those of one node at one time.
function turnOf(index) {
  let first = index;
  while (first > 0 && events[first - 1].node === events[index].node && events[first - 1].t === events[index].t && !/^(crash|start|stop)$/.test(events[first].kind)) first -= 1;
  return first;
}

// The last event whose views are of the state after `index`: those of its turn come after it.
function seenAt(index) {
  let seen = index;
  while (seen + 1 < events.length && events[seen + 1].node === events[index].node && events[seen + 1].t === events[index].t && events[index].node !== undefined) {
    if (/^(crash|start|stop)$/.test(events[seen + 1].kind)) break;
    seen += 1;
  }
  return seen;
}

// A node after the event `until`: [["is", word], ["Lamport", value], …], and its protocols' fields.
function stateOf(id, until) {
  const fields = new Map();
  const status = lastUpTo(model.statuses.get(id), until);
  const last = status < 0 ? null : events[status];
  const word = !last ? "–" : last.kind === "pause" ? (last.on ? "held up" : "up") : { start: "up", crash: "crashed", stop: "stopped" }[last.kind];
  fields.set("\u0000is", word);
  const lamport = lastUpTo(model.lamports.get(id), until);
  if (lamport >= 0) fields.set("\u0000Lamport", events[lamport].lamport);
  const digest = lastUpTo(model.digests.get(id), until);
  // Only where nothing better is seen, and something: who has no digest has zeros.
  if (!model.views.get(id).size && digest >= 0 && !/^0*$/.test(events[digest].digest)) fields.set("\u0000digest", events[digest].digest.slice(0, 8));
  if (word === "crashed" || word === "stopped") return fields;
  const since = lastUpTo(model.statuses.get(id).filter((at) => events[at].kind === "start"), until);
  for (const [protocol, list] of model.views.get(id)) {
    const at = lastUpTo(list, until);
    if (at < since || at < 0) continue;
    const { value } = events[at];
    const parts = value !== null && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [["", value]];
    for (const [name, part] of parts) fields.set(`${protocol}\u0000${name}`, part);
  }
  return fields;
}

// What a statement is called by which a node says that it leads.
const LEADS = /^(leader|leads|coordinator|primary|master|head)$/i;

// What a node is among the others, where it says that it leads or its state has a field for it.
function roleOf(id, until) {
  const since = lastUpTo(model.statuses.get(id), until);
  if (since >= 0 && /^(crash|stop)$/.test(events[since].kind)) return "";
  for (const list of model.bands.get(id).values()) {
    const band = list[firstBand(list, until + 1)] ?? list[list.length - 1];
    if (!band || band.from > until || (band.to >= 0 && band.to <= until) || band.subject !== id) continue;
    const { fact } = events[band.from];
    if (LEADS.test(fact)) return /^leads$/i.test(fact) ? "leader" : fact.toLowerCase();
  }
  for (const protocol of [...model.views.get(id).keys()].sort()) {
    const at = lastUpTo(model.views.get(id).get(protocol), until);
    const role = at >= 0 && at >= since ? events[at].value?.role : undefined;
    // A name that says it is enough.
    if (typeof role === "string" && role.length <= 20 && !laneWord(id).toLowerCase().includes(role.toLowerCase())) return role;
  }
  return "";
}

// A value in few letters; long lists by how many they have.
function valueWords(value, most = 28) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) {
    if (!value.length) return "none";
    const all = value.map((one) => valueWords(one)).join(", ");
    return all.length <= most ? all : `${value.length.toLocaleString("en")} values`;
  }
  const parts = Object.entries(value);
  if (!parts.length) return "none";
  const all = parts.map(([name, one]) => `${name} ${valueWords(one)}`).join(", ");
  return all.length <= 2 * most ? all : `${parts.length.toLocaleString("en")} entries`;
}

// What makes two values differ, in few words: what came to a list and what went from it.
function changeWords(before, after) {
  if (before === undefined) return "";
  const members = (value) => (Array.isArray(value) ? value.map((one) => JSON.stringify(one)) : value !== null && typeof value === "object" ? Object.entries(value).map(([name, one]) => `${name} ${valueWords(one)}`) : null);
  const [was, is] = [members(before), members(after)];
  if (!was || !is) return `was ${valueWords(before)}`;
  const less = (list, other) => { const known = new Set(other); return list.filter((one) => !known.has(one)); };
  const some = (list, sign) => (list.length ? `${sign} ${list.slice(0, 3).join(", ")}${list.length > 3 ? ` and ${list.length - 3} more` : ""}` : "");
  return [some(less(is, was), "+"), some(less(was, is), "−")].filter(Boolean).join(" ") || "in another order";
}

// The nodes of the table, those that the violation speaks of first, then those of the event where
// not all are in sight; of very many only some.
const MOST_TABLED = 24;
function tabled(index) {
  const event = events[index] ?? {};
  const about = explained();
  const first = new Set(about < 0 ? [] : concernedBy(about));
  if (data.run.nodes.length > 4) for (const id of [event.node, event.from, event.to]) if (model.rowOf.has(id)) first.add(id);
  for (const id of data.run.nodes) if (first.size < MOST_TABLED) first.add(id);
  return [...first].slice(0, MOST_TABLED);
}

// A node as it was before the event, and when that was: of one that starts again, before it went
// down.
function stateBefore(id, index, until) {
  const before = turnOf(index) - 1;
  const fields = stateOf(id, before);
  const span = model.spans.find((one) => one.node === id && one.kind === "down" && one.to > before && one.to <= until);
  if (!span || span.from < 0) return { fields, when: "" };
  // How it is has changed since then.
  const whole = stateOf(id, span.from - 1);
  for (const [name, value] of fields) whole.set(name, value);
  return { fields: whole, when: events[span.from].kind === "stop" ? "before it stopped" : "before the crash" };
}

// Long numbers by their ends, where that tells those of a row apart: no line is broken within one.
function numbersOf(values) {
  const long = [...new Set(values.map(String).filter((word) => /^-?\d{10,}$/.test(word)))];
  const cut = (word) => `${word.slice(0, 4)}…${word.slice(-4)}`;
  const known = new Map(long.map((word) => [word, cut(word)]));
  return new Set(known.values()).size === long.length ? known : new Map();
}

// Each node as it was after the event, beside what it was before; at the end when none is selected.
function showStates(index) {
  const left = data.run.nodes.length - tabled(index).length;
  el("when").textContent = (index < 0 ? "Nodes at the end" : "Nodes after this step") + (left ? `, ${left} more not shown` : "");
  const until = index < 0 ? events.length - 1 : seenAt(index);
  const ids = tabled(index);
  const [now, then] = [new Map(), new Map()];
  let when = "";
  for (const id of ids) {
    now.set(id, stateOf(id, until));
    // Only the event's node can have changed.
    const was = index >= 0 && events[index].node === id ? stateBefore(id, index, until) : null;
    then.set(id, was ? was.fields : now.get(id));
    when ||= was ? was.when : "";
  }
  const names = [...new Set(ids.flatMap((id) => [...now.get(id).keys(), ...then.get(id).keys()]))];
  // What changed, then what differs, then the rest; each protocol's together.
  const text = (value) => JSON.stringify(value);
  const protocols = [...new Set(names.map((name) => name.split("\u0000")[0]))].sort((a, b) => (a === "" ? -1 : b === "" ? 1 : 0));
  const order = new Map(names.map((name) => {
    const isNew = ids.some((id) => text(now.get(id).get(name)) !== text(then.get(id).get(name)));
    const seen = new Set(ids.map((id) => text(now.get(id).get(name))).filter((value) => value !== undefined));
    const rank = name.startsWith("\u0000") ? 0 : isNew ? 1 : seen.size > 1 ? 2 : 3;
    return [name, protocols.indexOf(name.split("\u0000")[0]) * 4 + rank];
  }));
  names.sort((a, b) => order.get(a) - order.get(b));
  const head = make("tr", null, make("th", ""), ...ids.map((id) => {
    const cell = make("th", laneWord(id));
    cell.scope = "col";
    if (index >= 0 && events[index].node === id) cell.className = "here";
    return cell;
  }));
  const rows = [];
  let protocol = "";
  for (const name of names) {
    const [of, field] = name.split("\u0000");
    if (of !== protocol) {
      protocol = of;
      const title = make("th", of);
      title.colSpan = ids.length + 1;
      title.className = "of";
      rows.push(make("tr", null, title));
    }
    const label = make("th", field.replaceAll("_", " "));
    label.scope = "row";
    const short = numbersOf(ids.flatMap((id) => [now.get(id).get(name), then.get(id).get(name)]));
    rows.push(make("tr", null, label, ...ids.map((id) => stateCell(now.get(id).get(name), then.get(id).get(name), field, short, when))));
  }
  const table = el("states").closest("table");
  table.querySelector("thead").replaceChildren(head);
  table.style.minWidth = `${90 + ids.length * 62}px`;
  table.setAttribute("aria-label", "What is seen of each node");
  el("states").replaceChildren(...rows);
  // The event's column is in sight.
  const here = head.querySelector(".here");
  const box = table.parentElement;
  if (here && (here.offsetLeft < box.scrollLeft + 90 || here.offsetLeft + here.offsetWidth > box.scrollLeft + box.clientWidth)) box.scrollLeft = here.offsetLeft - 90;
}

function stateCell(value, was, field, short, when) {
  const cell = make("td");
  const whole = value === undefined ? (was === undefined ? "" : "gone") : valueWords(value);
  const words = short.get(whole) ?? whole;
  if (/^-?\d+$/.test(whole)) cell.classList.add("number");
  if (/^-?\d{8,}$/.test(whole)) cell.classList.add("long-number");
  if (words !== whole) cell.title = whole;
  const isLong = value !== null && typeof value === "object" && JSON.stringify(value).length > words.length + 24;
  if (isLong) {
    const more = make("details", null, make("summary", words), make("div"));
    more.className = "long";
    // Only what is opened is written out.
    more.addEventListener("toggle", () => { more.lastChild.textContent = more.open ? JSON.stringify(value).slice(0, 50000) : ""; });
    cell.append(more);
  } else cell.textContent = words;
  if (field === "is" && /crashed|stopped|held up/.test(words)) cell.classList.add("off");
  if (JSON.stringify(value) === JSON.stringify(was)) return cell;
  cell.classList.add("new");
  const change = short.has(String(was)) ? `was ${short.get(String(was))}` : changeWords(was, value);
  if (change) cell.append(" ", make("small", when && field !== "is" && change.startsWith("was ") ? `${change} ${when}` : change));
  return cell;
}
