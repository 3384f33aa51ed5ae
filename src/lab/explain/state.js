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

// What a node is among the others, where its state has a field for it or it says that it leads.
function roleOf(id, until) {
  const since = lastUpTo(model.statuses.get(id), until);
  if (since >= 0 && /^(crash|stop)$/.test(events[since].kind)) return "";
  for (const list of model.views.get(id).values()) {
    const at = lastUpTo(list, until);
    const role = at >= 0 && at >= since ? events[at].value?.role : undefined;
    if (typeof role === "string" && role.length <= 20) return role;
  }
  for (const list of model.bands.get(id).values()) {
    const band = list[firstBand(list, until + 1)] ?? list[list.length - 1];
    if (!band || band.from > until || (band.to >= 0 && band.to <= until) || band.subject !== id) continue;
    const { fact } = events[band.from];
    if (LEADS.test(fact)) return /^leads$/i.test(fact) ? "leader" : fact.toLowerCase();
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

// The nodes of the table: all, or of very many those that the event and the violation are about.
const MOST_TABLED = 24;
function tabled(index) {
  // What witnesses speak of stands first where not all fit.
  const all = [...data.run.nodes].sort((a, b) => (data.run.nodes.length > 4 ? model.witnessNodes.has(b) - model.witnessNodes.has(a) : 0));
  if (all.length <= MOST_TABLED) return all;
  const event = events[index] ?? {};
  const first = new Set([event.node, event.from, event.to, ...model.witnessNodes].filter((id) => model.rowOf.has(id)));
  for (const id of all) if (first.size < MOST_TABLED) first.add(id);
  return all.filter((id) => first.has(id));
}

// Each node as it was after the event, beside what it was before; at the end when none is selected.
function showStates(index) {
  const left = data.run.nodes.length - tabled(index).length;
  el("when").textContent = (index < 0 ? "Nodes at the end" : "Nodes after this step") + (left ? `, ${left} more not shown` : "");
  const until = index < 0 ? events.length - 1 : seenAt(index);
  const before = index < 0 ? until : turnOf(index) - 1;
  const ids = tabled(index);
  const [now, then] = [new Map(), new Map()];
  for (const id of ids) {
    now.set(id, stateOf(id, until));
    // Only the event's node can have changed.
    then.set(id, index >= 0 && events[index].node === id ? stateOf(id, before) : now.get(id));
  }
  const names = [...new Set(ids.flatMap((id) => [...now.get(id).keys(), ...then.get(id).keys()]))];
  const order = new Map(names.map((name) => [name, name.startsWith("\u0000") ? 0 : 1]));
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
    rows.push(make("tr", null, label, ...ids.map((id) => stateCell(now.get(id).get(name), then.get(id).get(name), field))));
  }
  const table = el("states").closest("table");
  table.querySelector("thead").replaceChildren(head);
  table.style.minWidth = `${84 + ids.length * 62}px`;
  table.setAttribute("aria-label", "What is seen of each node");
  el("states").replaceChildren(...rows);
  // The event's column is in sight.
  const here = head.querySelector(".here");
  const box = table.parentElement;
  if (here && (here.offsetLeft < box.scrollLeft + 84 || here.offsetLeft + here.offsetWidth > box.scrollLeft + box.clientWidth)) box.scrollLeft = here.offsetLeft - 90;
}

function stateCell(value, was, field) {
  const cell = make("td");
  const words = value === undefined ? (was === undefined ? "" : "gone") : valueWords(value);
  const isLong = value !== null && typeof value === "object" && JSON.stringify(value).length > words.length + 24;
  if (isLong) {
    const more = make("details", null, make("summary", words), make("div"));
    more.className = "long";
    // Only what is opened is written out.
    more.addEventListener("toggle", () => { more.lastChild.textContent = more.open ? JSON.stringify(value).slice(0, 50000) : ""; });
    cell.append(more);
  } else cell.textContent = words;
  if (field === "is" && /crashed|stopped|held up/.test(words)) cell.className = "off";
  if (JSON.stringify(value) === JSON.stringify(was)) return cell;
  cell.className = `${cell.className} new`.trim();
  const change = changeWords(was, value);
  if (change) cell.append(" ", make("small", change));
  return cell;
}
