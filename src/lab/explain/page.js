// The page's behaviour: input to view, view to picture, and the hook for tests.

let asked = false;
let slow = false;
let rest = 0;
// One picture per frame, however many inputs there are.
function invalidate() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    hurry = slow;
    const began = performance.now();
    draw();
    remember();
    if (window.explain.onrange) window.explain.onrange(range());
    if (!hurry) { slow = performance.now() - began > 24; return; }
    hurry = false;
    clearTimeout(rest);
    rest = setTimeout(() => { slow = false; invalidate(); }, 160);
  });
}

function resize() {
  const box = canvas.getBoundingClientRect();
  [view.width, view.height] = [box.width, box.height];
  GUTTER = view.width < 600 ? 92 : 132;
  rows = null;
  clampView();
  invalidate();
}

function refilter() {
  const keep = view.selected >= 0 ? view.selected : indexAtPlace(view.left + room() / 2 / view.scale);
  applyFilters();
  rows = null;
  clampView();
  search();
  if (events.length) reveal(Math.min(keep, events.length - 1));
  showWhere();
  showConsole(view.selected);
  invalidate();
}

function select(index, quiet) {
  view.selected = index;
  if (model.told.has(index)) view.about = index;
  view.marks = view.past ? marksFor(index) : null;
  if (index >= 0 && !quiet) reveal(index);
  showEvent(index, jump);
  showStates(index);
  showConsole(index);
  showWhere();
  showHits();
  showPinButton();
  say(index < 0 ? "" : `${index + 1}. ${nodeWord(events[index])} ${describe(index)}`);
  if (window.explain.onselect) window.explain.onselect(index);
  invalidate();
}

// For those who hear the page.
function say(words) { el("live").textContent = words; }

function showWhere() {
  el("where").textContent = `${view.selected < 0 ? "–" : (view.selected + 1).toLocaleString("en")} / ${events.length.toLocaleString("en")}`;
}

// Moves by `count` events that the filters show; on the same node if asked to. Returns the event.
function step(count, sameNode) {
  const node = sameNode && view.selected >= 0 ? events[view.selected].node : undefined;
  let index = view.selected;
  if (index < 0) index = count > 0 ? indexAtPlace(view.left) - 1 : view.to;
  for (let left = Math.abs(count); left > 0; left--) {
    const next = nextShown(index, Math.sign(count), node);
    if (next < 0) {
      if (predicting() && count > 0) say("Who acts next? Choose, or press r to see it.");
      break;
    }
    index = next;
  }
  if (index >= 0 && index < events.length) select(index);
  return view.selected;
}

// Goes to an event with enough around it to be understood; to a violation with what it rests on.
function jump(index) {
  if (events[index].kind === "violation") {
    view.about = index;
    const story = storyRange(index);
    // Of thousands most have no part.
    if (story && countShown(...story) > 2000) setPast(true);
    showRange(...openRange(index), 0.9);
    showRows(index);
  } else if (xAt(index) < GUTTER || xAt(index) > view.width) {
    view.left = view.place[index] - room() / 2 / view.scale;
    clampView();
  }
  select(index, events[index].kind === "violation");
}

function setPast(on) {
  view.past = on;
  el("past").checked = on;
}

function nextViolation() {
  if (!model.violations.length) return;
  jump(model.violations.find((index) => index > view.selected) ?? model.violations[0]);
}

function listen() {
  const button = (id, action) => el(id).addEventListener("click", () => { action(); invalidate(); });
  button("first", () => { const index = nextShown(-1, 1); if (index >= 0) select(index); });
  button("last", () => { const index = nextShown(events.length, -1); if (index >= 0) select(index); });
  el("back").addEventListener("click", (event) => step(-1, event.shiftKey));
  el("forth").addEventListener("click", (event) => step(1, event.shiftKey));
  button("in", () => zoom(1.6, view.selected >= 0 ? clampX(xAt(view.selected)) : undefined));
  button("out", () => zoom(1 / 1.6, view.selected >= 0 ? clampX(xAt(view.selected)) : undefined));
  button("fit", fit);
  el("axis").addEventListener("change", () => setAxis(el("axis").value));
  el("protocol").addEventListener("change", () => { view.protocol = el("protocol").value; showFilters(); refilter(); });
  el("timers").addEventListener("change", () => { view.timers = el("timers").checked; showFilters(); refilter(); });
  el("past").addEventListener("change", () => { view.past = el("past").checked; select(view.selected, true); });
  for (const id of data.run.nodes) {
    const box = make("input");
    box.type = "checkbox";
    box.addEventListener("change", () => {
      if (box.checked) view.nodes.add(id); else view.nodes.delete(id);
      showFilters();
      refilter();
    });
    el("nodes").append(make("label", null, box, ` ${laneWord(id)}`));
  }
  const fold = (id, of, name, words) => el(id).addEventListener("click", () => {
    const on = el(of).classList.toggle(name);
    el(id).setAttribute("aria-expanded", String(on !== (name === "low")));
    if (words) el(id).textContent = words[on ? 1 : 0];
    resize();
  });
  fold("about", "header", "open");
  if (model.violations.length) el("about").textContent = "Why";
  fold("sheet", "aside", "low", ["▾ less", "▴ more"]);
  document.addEventListener("keydown", key);
  pointer();
  for (const listenTo of [listenMenu, listenFind, listenNotes, listenPicture, listenPredict]) listenTo();
  // A menu closes when one looks elsewhere.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  window.addEventListener("resize", resize);
  window.addEventListener("hashchange", restore);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); strip = null; showLegend(); invalidate(); });
}

// The controls say what the view's filters are.
function showFilters() {
  el("axis").value = view.axis;
  el("protocol").value = view.protocol;
  el("timers").checked = view.timers;
  [...el("nodes").querySelectorAll("input")].forEach((box, at) => { box.checked = view.nodes.has(data.run.nodes[at]); });
  const active = (view.nodes.size < data.run.nodes.length) + (view.protocol !== "") + !view.timers;
  el("filters").querySelector("summary").textContent = active ? `View (${active} filter${active > 1 ? "s" : ""})` : "View";
}

// What is written at the event can be seen, on small screens too.
function openSheet() { if (el("aside").classList.contains("low")) el("sheet").click(); }

const clampX = (x) => Math.max(GUTTER, Math.min(view.width, x));

function setAxis(axis) {
  const middle = view.selected >= 0 ? view.selected : Math.min(events.length - 1, indexAtPlace(view.left + room() / 2 / view.scale));
  const [low, high] = visibleRange();
  view.axis = axis;
  el("axis").value = axis;
  applyAxis();
  if (events.length) { showRange(low, Math.max(low, high - 1)); reveal(Math.max(0, middle)); }
  invalidate();
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
  if (event.key === "Escape") {
    const menu = event.target.closest("details[open]");
    if (menu) { menu.open = false; menu.querySelector("summary").focus(); } else canvas.focus();
    return;
  }
  if (typing) return;
  const actions = {
    ArrowRight: () => step(1, event.shiftKey), ArrowLeft: () => step(-1, event.shiftKey),
    ArrowDown: () => { view.top += 40; clampView(); }, ArrowUp: () => { view.top -= 40; clampView(); },
    Home: () => el("first").click(), End: () => el("last").click(), v: nextViolation,
    "+": () => el("in").click(), "=": () => el("in").click(), "-": () => el("out").click(), 0: fit,
    m: openMenuHere, c: () => el("past").click(), t: () => el("timers").click(), "/": () => el("text").select(),
    n: () => nextHit(1), N: () => nextHit(-1), a: () => editPin(view.selected), p: () => el("guess").click(), r: () => { if (predicting()) showNext(); },
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
  invalidate();
}

function start() {
  readColours();
  showHeader(jump);
  showLegend();
  listen();
  showFilters();
  applyFilters();
  resize();
  if (data.curve) curve(data.curve);
  if (model.violations.length) jump(model.violations[0]);
  else { showRange(0, Math.min(events.length, 120)); select(-1); }
  opened = fragment();
  if (/[=&]/.test(location.hash)) restore();
  written = fragment();
  draw();
  window.explain.openMs = performance.now();
}

// For tests and for who frames the page: the run in numbers, and what can be done with it.
// `onselect(index)` and `onrange(range)` are called when set; `menu(items)` takes the place of the
// items that were registered before.
window.explain = {
  events: events.length,
  lifelines: data.run.nodes.length,
  arrows: model.arrows.length,
  lost: model.arrows.filter((arrow) => arrow.fate === "lost").length,
  copies: model.arrows.filter((arrow) => arrow.copy).length,
  violations: model.violations.length,
  operations: model.ops.length,
  clients: model.clients.length,
  passages: model.passages,
  get selected() { return view.selected; },
  get shown() { return view.shown.reduce((sum, one) => sum + one, 0); },
  get range() { return range(); },
  set range(asked) { showPlaces(asked); },
  onselect: null,
  onrange: null,
  menu: registerMenu,
  select, step, jump, fit, problems,
  curve, mark,
};
start();
if (location.hash.includes("selftest")) selfTest();
