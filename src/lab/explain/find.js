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

// How many hits are before an event.
const hitsBefore = (index) => firstInColumn(find.hits, index, (at) => find.hits[at]);

// Which hit the selection is, in words.
function hitWord() {
  const count = find.hits.length.toLocaleString("en");
  const hidden = find.hidden ? ` (+${find.hidden.toLocaleString("en")} hidden)` : "";
  if (!find.text) return "";
  if (!find.hits.length) return hidden ? `0${hidden}` : "nothing found";
  const at = hitsBefore(view.selected);
  return `${find.hits[at] === view.selected ? (at + 1).toLocaleString("en") : "–"} of ${count}${hidden}`;
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
  const at = direction > 0 ? hitsBefore(view.selected + 1) : hitsBefore(view.selected) - 1;
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

// More marks than these are a texture, for which a tick is enough.
const MOST_RINGS = 150;

function drawHits(pen, rows, low, high) {
  const spots = [];
  const last = new Map();
  for (let at = hitsBefore(low); at < find.hits.length && find.hits[at] < high; at++) {
    const spot = spotOf(find.hits[at], rows);
    // One mark for what lies on the same pixels.
    const pixel = Math.round(spot.x / 3);
    if (last.get(spot.y) === pixel) continue;
    last.set(spot.y, pixel);
    spots.push(spot);
  }
  pen.strokeStyle = pen.fillStyle = ink.find;
  pen.lineWidth = 2;
  for (const { x, y } of spots) {
    if (spots.length > MOST_RINGS) { pen.fillRect(x - 1, y - 10, 2, 6); continue; }
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
