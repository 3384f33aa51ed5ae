// Notes that somebody pins to events: listed, drawn as pins, and kept in a copy of the page. Their
// text is text, whatever it says.

// Nobody reads more, and the page stays a page.
const MOST_NOTES = 200, MOST_LETTERS = 2000;

// Ascending by event: { event, text }.
let pins = [];
let edited = null;
// The page as it came, but for notes: taken before anything changes it.
const pristine = document.documentElement.cloneNode(true);

function readPins() {
  let kept = [];
  try { kept = JSON.parse(el("notes-data").textContent); } catch { kept = []; }
  if (!Array.isArray(kept)) kept = [];
  pins = kept.filter((pin) => pin && Number.isInteger(pin.event) && pin.event >= 0 && pin.event < events.length && typeof pin.text === "string")
    .slice(0, MOST_NOTES).map(({ event, text }) => ({ event, text: text.slice(0, MOST_LETTERS) }));
  pins.sort((a, b) => a.event - b.event);
}

// What is not shown yet has no notes yet.
const shownPins = () => pins.filter((pin) => pin.event < events.length);

function showPins() {
  el("pins").replaceChildren(...shownPins().map((pin) => {
    const go = make("button", `${pin.event + 1}. ${pin.text}`);
    go.addEventListener("click", () => jump(pin.event));
    const edit = make("button", "✎");
    edit.setAttribute("aria-label", `Edit the note at event ${pin.event + 1}`);
    edit.addEventListener("click", () => { jump(pin.event); editPin(pin.event); });
    return make("li", null, go, edit);
  }));
  showPinButton();
}

const pinAt = (index) => pins.find((pin) => pin.event === index);

function showPinButton() {
  el("pin").disabled = view.selected < 0;
  el("pin").textContent = pinAt(view.selected) ? "Edit the note here" : "Pin a note here";
}

function editPin(index) {
  if (index < 0) { say("Select an event first."); return; }
  edited = index;
  const pin = pinAt(index);
  el("draft").value = pin ? pin.text : "";
  el("editor").querySelector("label").textContent = `Note at event ${index + 1}`;
  el("remove").hidden = !pin;
  el("editor").hidden = false;
  el("pin").hidden = true;
  openSheet();
  el("draft").focus();
}

function endEdit(words) {
  edited = null;
  el("editor").hidden = true;
  el("pin").hidden = false;
  showPins();
  say(words);
  canvas.focus();
  invalidate();
}

// Keeps the draft; an empty one is no note.
function keepPin() {
  const text = el("draft").value.trim().slice(0, MOST_LETTERS);
  const others = pins.filter((pin) => pin.event !== edited);
  if (text && others.length >= MOST_NOTES) { say(`No more than ${MOST_NOTES} notes: delete one first.`); return; }
  pins = text ? [...others, { event: edited, text }].sort((a, b) => a.event - b.event) : others;
  endEdit(text ? "The note is pinned; Save, Page with notes keeps it." : "The note is deleted.");
}

// A pin above its event, with the first words as far as there is room.
function drawPins(pen, rows, low, high) {
  pen.font = `600 11px ${SANS}`;
  let edge = -Infinity;
  for (const pin of shownPins()) {
    if (pin.event < low || pin.event >= high) continue;
    const { x, y } = spotOf(pin.event, rows);
    const top = y - 34;
    pen.strokeStyle = pen.fillStyle = ink.note;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(x, y - 5);
    pen.lineTo(x, top + 8);
    pen.stroke();
    pen.beginPath();
    pen.arc(x, top + 8, 4.5, 0, 7);
    pen.fill();
    const text = shorten(pen, pin.text.split("\n")[0], 180);
    if (x < edge || !text) continue;
    const width = pen.measureText(text).width;
    // At the right border it lies to the left.
    const left = x + width + 20 > view.width ? x - width - 17 : x + 7;
    pen.fillStyle = ink["note-soft"];
    pen.fillRect(left, top - 1, width + 10, 18);
    pen.strokeRect(left, top - 1, width + 10, 18);
    pen.fillStyle = ink.ink;
    pen.fillText(text, left + 5, top + 8.5);
    edge = x + width + 20;
  }
}

// A text as HTML reads it back.
const asMarkup = (text) => text.replace(/&/g, "&amp;").replace(/\u00a0/g, "&nbsp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");

// The page's source again, piece by piece. The texts of scripts and styles stand as they are, and
// hold nothing that ends them: the page was read with them.
function sourceOf(node, pieces, notes) {
  if (node.nodeType === Node.TEXT_NODE) pieces.push(/^(SCRIPT|STYLE|NOSCRIPT)$/.test(node.parentNode.tagName) ? node.data : asMarkup(node.data));
  if (node.nodeType === Node.COMMENT_NODE) pieces.push(`<!--${node.data}-->`);
  if (node.nodeType !== Node.ELEMENT_NODE) return;
  const name = node.tagName.toLowerCase();
  pieces.push(`<${name}`, ...[...node.attributes].map((one) => ` ${one.name}="${asMarkup(one.value)}"`), ">");
  if (/^(meta|input|hr|br)$/.test(name)) return;
  // JSON in which nothing can end the element that it is in.
  const escape = (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
  if (node.id === "notes-data") pieces.push(JSON.stringify(notes).replace(/[<>&\u2028\u2029]/g, escape));
  else for (const child of node.childNodes) sourceOf(child, pieces, notes);
  pieces.push(`</${name}>`);
}

function pageWithNotes() {
  const pieces = ["<!doctype html>\n"];
  sourceOf(pristine, pieces, pins);
  return [...pieces, "\n"];
}

function listenNotes() {
  overlays.push(drawPins);
  readPins();
  showPins();
  el("pin").addEventListener("click", () => editPin(view.selected));
  el("done").addEventListener("click", keepPin);
  el("undo").addEventListener("click", () => endEdit(""));
  el("remove").addEventListener("click", () => { el("draft").value = ""; keepPin(); });
  el("draft").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) keepPin();
    else if (event.key === "Escape") endEdit("");
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  el("page").addEventListener("click", () => download("html", new Blob(pageWithNotes(), { type: "text/html" })));
  actions.push({ label: "Pin a note", for: ["moment"], when: (target) => target.event >= 0, action: (target) => { jump(target.event); editPin(target.event); } });
}
