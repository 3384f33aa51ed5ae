// Search: which events say the words, how to go from one to the next, and how they are marked.
// Does not filter: for "only hits" the view gets the words.

const find = { text: "", hits: [], hidden: 0, timer: 0 };
const haystack = [];

// The words of an event in lower case, what people read of it among them.
function wordsOf(index) {
  if (haystack[index] !== undefined) return haystack[index];
  const event = events[index];
  const message = model.messageOf(index);
  const said = message ? [message.label, message.brief] : [];
  haystack[index] = [nodeWord(event), describe(index), event.label, event.brief, event.op, event.client, event.fact, ...said]
    .filter((word) => word !== undefined && word !== null).join(" ").toLowerCase();
  return haystack[index];
}

// Finds anew; what the filters hide is counted apart.
function search() {
  [find.hits, find.hidden] = [[], 0];
  for (let index = 0; find.text && index < events.length; index++) {
    if (events[index].kind === "view" || !wordsOf(index).includes(find.text)) continue;
    if (view.shown[index]) find.hits.push(index); else find.hidden++;
  }
  showHits();
}

// Which hit the selection is, in words.
function hitWord() {
  const count = find.hits.length.toLocaleString("en");
  const hidden = find.hidden ? ` (+${find.hidden.toLocaleString("en")} hidden)` : "";
  if (!find.text) return "";
  if (!find.hits.length) return hidden ? `0${hidden}` : "nothing found";
  const at = find.hits.indexOf(lastUpTo(find.hits, view.selected));
  return `${at >= 0 && find.hits[at] === view.selected ? (at + 1).toLocaleString("en") : "–"} of ${count}${hidden}`;
}

function showHits() {
  el("hits").textContent = hitWord();
  el("hits").className = find.text && !find.hits.length ? "bad" : "";
  el("next").disabled = el("previous").disabled = !find.hits.length;
}

// Searches for a text; `only` shows nothing else.
function lookFor(text, only) {
  find.text = text.trim().toLowerCase();
  el("only").checked = only;
  const filter = only ? find.text : "";
  if (view.text !== filter) { view.text = filter; refilter(); } else search();
  say(find.text ? `Search: ${hitWord().replace("– of ", "")}` : "");
  invalidate();
}

// Goes to the next hit in a direction, and around at the end.
function nextHit(direction) {
  hurrySearch();
  if (!find.hits.length) { say(find.text ? "nothing found" : "Nothing is searched for."); return; }
  const later = find.hits.findIndex((index) => index > view.selected);
  const next = later < 0 ? find.hits.length : later;
  const current = find.hits[next - 1] === view.selected;
  const at = direction > 0 ? next : next - 1 - current;
  const count = find.hits.length;
  const around = at < 0 || at >= count;
  select(find.hits[(at + count) % count]);
  say(`${around ? "Around. " : ""}Hit ${hitWord()}: ${nodeWord(events[view.selected])} ${describe(view.selected)}`);
}

// What was typed and has not been searched yet.
function hurrySearch() {
  if (!find.timer) return;
  clearTimeout(find.timer);
  find.timer = 0;
  lookFor(el("text").value, el("only").checked);
}

// Where an event is drawn: on its node's line, its client's lane, or under the rows that stay.
function spotOf(index, rows) {
  const event = events[index];
  const op = event.node === undefined && event.op !== undefined ? model.ops[model.opOf.get(event.op)] : undefined;
  const y = rows.y.get(event.node) ?? (op && rows.lane.get(op.client)) ?? rows.fixed + view.top + 8;
  return { x: xAt(index), y };
}

function drawHits(pen, rows, low, high) {
  pen.strokeStyle = pen.fillStyle = ink.find;
  pen.lineWidth = 2;
  const first = find.hits.findIndex((index) => index >= low);
  let last = "";
  for (let at = first; at >= 0 && find.hits[at] < high; at++) {
    const { x, y } = spotOf(find.hits[at], rows);
    // One mark for what lies on the same pixels.
    const place = `${Math.round(x / 3)} ${y}`;
    if (place === last) continue;
    last = place;
    pen.beginPath();
    pen.arc(x, y, 7, 0, 7);
    pen.stroke();
  }
}

function drawHitsInStrip(pen, x) {
  pen.fillStyle = ink.find;
  let last = -1;
  for (const index of find.hits) {
    const at = Math.round(x(events[index].t));
    if (at !== last) pen.fillRect(at - 1, 36, 2, 8);
    last = at;
  }
}

function listenFind() {
  overlays.push(drawHits);
  el("text").addEventListener("input", () => {
    clearTimeout(find.timer);
    find.timer = setTimeout(hurrySearch, events.length > 5000 ? 200 : 60);
  });
  el("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    nextHit(event.shiftKey ? -1 : 1);
  });
  el("only").addEventListener("change", () => { hurrySearch(); lookFor(el("text").value, el("only").checked); });
  el("next").addEventListener("click", () => nextHit(1));
  el("previous").addEventListener("click", () => nextHit(-1));
}
