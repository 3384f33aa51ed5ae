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
    if (!hurry) { slow = performance.now() - began > 24; return; }
    hurry = false;
    clearTimeout(rest);
    rest = setTimeout(() => { slow = false; invalidate(); }, 160);
  });
}

function resize() {
  const box = canvas.getBoundingClientRect();
  [view.width, view.height] = [box.width, box.height];
  rows = null;
  clampView();
  invalidate();
}

function refilter() {
  const keep = view.selected >= 0 ? view.selected : indexAtPlace(view.left + room() / 2 / view.scale);
  applyFilters();
  rows = null;
  clampView();
  if (events.length) reveal(Math.min(keep, events.length - 1));
  showWhere();
  showConsole(view.selected);
  invalidate();
}

function select(index, quiet) {
  view.selected = index;
  view.marks = !view.past || index < 0 ? null : events[index].kind === "violation" ? storyOf(index) : causesOf(index);
  if (index >= 0 && !quiet) reveal(index);
  showEvent(index, jump);
  showStates(index);
  showConsole(index);
  showWhere();
  el("live").textContent = index < 0 ? "" : `${index + 1}. ${nodeWord(events[index])} ${describe(index)}`;
  invalidate();
}

function showWhere() {
  el("where").textContent = `${view.selected < 0 ? "–" : (view.selected + 1).toLocaleString("en")} / ${events.length.toLocaleString("en")}`;
  const windowed = events.length > WINDOW;
  el("window").hidden = !windowed;
  if (!windowed) return;
  const number = (value) => value.toLocaleString("en");
  el("part").textContent = `events ${number(view.from + 1)}–${number(view.to)} of ${number(events.length)}`;
  el("earlier").disabled = view.from === 0;
  el("later").disabled = view.to === events.length;
}

// Moves by `count` events that the filters show; on the same node if asked to. Returns the event.
function step(count, sameNode) {
  const node = sameNode && view.selected >= 0 ? events[view.selected].node : undefined;
  let index = view.selected;
  if (index < 0) index = count > 0 ? indexAtPlace(view.left) - 1 : view.to;
  for (let left = Math.abs(count); left > 0; left--) {
    const next = nextShown(index, Math.sign(count), node);
    if (next < 0) break;
    index = next;
  }
  if (index >= 0 && index < events.length) select(index);
  return view.selected;
}

// Goes to an event with enough around it to be understood; to a violation with all it rests on.
function jump(index) {
  useWindowOf(index);
  if (events[index].kind === "violation") {
    let [from, to] = [index, index];
    for (const name of events[index].ops) {
      const op = model.ops[model.opOf.get(name)];
      if (op) [from, to] = [Math.min(from, op.from), Math.max(to, op.to)];
    }
    if (view.axis === "order") {
      const places = view.place[to] - view.place[from];
      // Too few to understand are widened to what was before; too many are cut to the last.
      if (places < 40) from = indexAtPlace(view.place[to] - 40);
      if (places > 5000) from = indexAtPlace(view.place[to] - 5000);
      if (places > 160) setPast(true);
    }
    showRange(from, to);
  } else if (xAt(index) < GUTTER || xAt(index) > view.width) {
    view.left = view.place[index] - room() / 2 / view.scale;
    clampView();
  }
  select(index);
}

function setPast(on) {
  view.past = on;
  el("past").checked = on;
}

function nextViolation() {
  if (!model.violations.length) return;
  jump(model.violations.find((index) => index > view.selected) ?? model.violations[0]);
}

function turnWindow(direction) {
  view.from = Math.max(0, view.from + direction * WINDOW);
  view.to = Math.min(events.length, view.from + WINDOW);
  view.selected = -1;
  fit();
  select(-1);
}

// What is under the pointer: the index of an event, or -1.
function hit(x, y) {
  const rows = layout();
  if (x < GUTTER) return -1;
  if (y < rows.fixed) {
    if (y < rows.faults) return model.violations.find((index) => { const at = xAt(index); return x > at - 8 && x < at + 150; }) ?? -1;
    const lane = Math.floor((y - rows.faults) / FAULT);
    const fault = model.faults.findLast((one) => { const [a, b] = faultX(events[one.index], one.index); return one.lane === lane && x >= a - 5 && x <= b + 5; });
    return fault ? fault.index : -1;
  }
  y += view.top;
  let best = -1, distance = 11;
  const [low, high] = visibleRange();
  const from = Math.max(low, indexAtPlace(placeAtX(x - 12))), to = Math.min(high, indexAtPlace(placeAtX(x + 12)) + 1);
  for (let index = from; index < to; index++) {
    const row = rows.y.get(events[index].node);
    if (row === undefined || !view.shown[index]) continue;
    const away = Math.hypot(xAt(index) - x, row - y);
    if (away < distance) [best, distance] = [index, away];
  }
  if (best >= 0) return best;
  for (const [name, lane] of rows.lane) {
    if (Math.abs(lane - y) > 9) continue;
    const op = model.lanes.get(name).find((one) => x >= xAt(one.from) - 3 && x <= endX(one.to) + 3 && (view.shown[one.from] || one.bad));
    if (op) return op.to >= 0 && x > (xAt(op.from) + xAt(op.to)) / 2 ? op.to : op.from;
  }
  distance = 6;
  for (let at = firstReaching(low); at < model.arrows.length; at++) {
    const arrow = model.arrows[at];
    if (Math.min(...ends(arrow)) >= high) break;
    const line = arrowLine(arrow, rows);
    if (!line) continue;
    const [dx, dy] = [line.x2 - line.x1, line.y2 - line.y1];
    const part = Math.max(0, Math.min(1, ((x - line.x1) * dx + (y - line.y1) * dy) / (dx * dx + dy * dy || 1)));
    const away = Math.hypot(line.x1 + part * dx - x, line.y1 + part * dy - y);
    if (away < distance) [best, distance] = [arrow.end < 0 || (part < 0.5 && arrow.send >= 0) ? arrow.send : arrow.end, away];
  }
  return best;
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
  button("earlier", () => turnWindow(-1));
  button("later", () => turnWindow(1));
  el("axis").addEventListener("change", () => setAxis(el("axis").value));
  el("protocol").addEventListener("change", () => { view.protocol = el("protocol").value; refilter(); });
  el("text").addEventListener("input", () => { view.text = el("text").value; refilter(); });
  el("timers").addEventListener("change", () => { view.timers = el("timers").checked; refilter(); });
  el("past").addEventListener("change", () => { view.past = el("past").checked; select(view.selected, true); });
  const boxes = el("nodes").querySelector("div");
  for (const id of data.run.nodes) {
    const box = make("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      if (box.checked) view.nodes.add(id); else view.nodes.delete(id);
      const all = view.nodes.size === data.run.nodes.length;
      el("nodes").querySelector("summary").textContent = all ? "All nodes" : `${view.nodes.size} of ${data.run.nodes.length} nodes`;
      refilter();
    });
    boxes.append(make("label", null, box, ` ${laneWord(id)}`));
  }
  document.addEventListener("keydown", key);
  pointer();
  // A menu closes when one looks elsewhere.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  window.addEventListener("resize", resize);
  window.addEventListener("hashchange", goToHash);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); strip = null; showLegend(); invalidate(); });
}

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
  if (event.key === "Escape") { document.activeElement.blur(); return; }
  if (typing) return;
  const actions = {
    ArrowRight: () => step(1, event.shiftKey), ArrowLeft: () => step(-1, event.shiftKey),
    ArrowDown: () => { view.top += 40; clampView(); }, ArrowUp: () => { view.top -= 40; clampView(); },
    Home: () => el("first").click(), End: () => el("last").click(), v: nextViolation,
    "+": () => el("in").click(), "=": () => el("in").click(), "-": () => el("out").click(), 0: fit,
    c: () => el("past").click(), t: () => el("timers").click(), "/": () => el("text").focus(),
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
  invalidate();
}

function pointer() {
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : 1;
    if (event.shiftKey) view.top += (event.deltaY || event.deltaX) * unit;
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) view.left += (event.deltaX * unit) / view.scale;
    else zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * unit)) / 400), event.offsetX);
    clampView();
    invalidate();
  }, { passive: false });
  let from = null;
  canvas.addEventListener("pointerdown", (event) => {
    from = { x: event.offsetX, y: event.offsetY, left: view.left, top: view.top, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) { hover(event.offsetX, event.offsetY); return; }
    const [dx, dy] = [event.offsetX - from.x, event.offsetY - from.y];
    if (!from.moved && Math.hypot(dx, dy) < 4) return;
    from.moved = true;
    canvas.classList.add("drag");
    [view.left, view.top] = [from.left - dx / view.scale, from.top - dy];
    clampView();
    invalidate();
  });
  const release = (event) => {
    if (from && !from.moved && event.type === "pointerup") {
      const index = hit(event.offsetX, event.offsetY);
      if (index >= 0) select(index, true);
    }
    from = null;
    canvas.classList.remove("drag");
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { el("tip").hidden = true; });
  const travel = (event) => {
    if (!(event.buttons & 1)) return;
    if (!events.length) return;
    const box = overview.getBoundingClientRect();
    const share = (event.offsetX - GUTTER - MARGIN) / (box.width - GUTTER - 2 * MARGIN);
    const index = Math.min(events.length - 1, indexAt(beginning() + share * (model.end - beginning())));
    useWindowOf(index);
    view.left = view.place[index] - room() / 2 / view.scale;
    clampView();
    showWhere();
    invalidate();
  };
  overview.addEventListener("pointerdown", travel);
  overview.addEventListener("pointermove", travel);
}

function hover(x, y) {
  const index = hit(x, y);
  const tip = el("tip");
  tip.hidden = index < 0;
  canvas.style.cursor = index < 0 ? "" : "pointer";
  if (index < 0) return;
  tip.textContent = `${nodeWord(events[index])} ${describe(index)}\n${clock(events[index].t, true)}`.trim();
  tip.style.left = `${Math.max(4, Math.min(x + 14, view.width - tip.offsetWidth - 8))}px`;
  tip.style.top = `${y + tip.offsetHeight + 24 > view.height ? y - tip.offsetHeight - 10 : y + 18}px`;
}

function goToHash() {
  const asked = /event=(\d+)/.exec(location.hash);
  if (asked && Number(asked[1]) >= 1 && Number(asked[1]) <= events.length) jump(Number(asked[1]) - 1);
  if (location.hash.includes("axis=time")) setAxis("time");
  if (location.hash.includes("view=all")) { fit(); invalidate(); }
}

function start() {
  readColours();
  showHeader(jump);
  showLegend();
  listen();
  applyFilters();
  const box = canvas.getBoundingClientRect();
  [view.width, view.height] = [box.width, box.height];
  if (model.violations.length) jump(model.violations[0]);
  else { showRange(0, Math.min(events.length, 120)); select(-1); }
  goToHash();
  draw();
  window.explain.openMs = performance.now();
}

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
  step, jump, fit, problems,
};
start();
if (location.hash.includes("selftest")) selfTest();

// Uses the page as a person would, and writes down what happened. For tests, which look for it in
// the document; with the hash `#selftest`.
function selfTest() {
  const result = { ...window.explain, openMs: Math.round(window.explain.openMs) };
  delete result.problems;
  const press = (name, shiftKey = false) => document.dispatchEvent(new KeyboardEvent("keydown", { key: name, shiftKey, bubbles: true }));
  const ask = (id, value) => { const input = el(id); if (input.type === "checkbox") input.click(); else { input.value = value; input.dispatchEvent(new Event(input.tagName === "SELECT" ? "change" : "input")); } };
  try {
    result.opened = view.selected;
    result.redPixels = redPixels();
    press("Home");
    const path = [view.selected];
    for (let at = 0; at < 5; at++) { press("ArrowRight"); path.push(view.selected); }
    for (let at = 0; at < 5; at++) { press("ArrowLeft"); path.push(view.selected); }
    result.path = path;
    press("End");
    result.last = view.selected;
    result.said = el("what").textContent;
    result.states = el("states").querySelectorAll("td:first-child:not([colspan])").length;
    result.digests = [...el("states").querySelectorAll("td.mono")].filter((cell) => cell.textContent !== "–").length;
    press("v");
    result.atViolation = view.selected >= 0 && events[view.selected].kind === "violation";
    const scale = view.scale;
    press("+"); draw();
    result.zoomed = view.scale / scale;
    press("0"); draw();
    press("c"); draw(); press("c");
    ask("timers"); draw();
    result.withoutTimers = window.explain.shown;
    ask("timers");
    ask("text", "no such text anywhere"); draw();
    result.withText = window.explain.shown;
    ask("text", "");
    result.again = window.explain.shown;
    setAxis("time"); fit(); draw();
    setAxis("order"); fit();
    result.drawAllMs = timeToDraw();
    hurry = true;
    result.drawMovingMs = timeToDraw();
    hurry = false;
    press("v");
    result.drawPartMs = timeToDraw();
    if (events.length > WINDOW) {
      el("first").click();
      el("later").click();
      result.part = el("part").textContent;
      jump(WINDOW);
      result.before = step(-1);
      result.firstPart = el("part").textContent;
      result.after = step(1);
    }
  } catch (error) {
    problems.push(String(error && error.stack));
  }
  result.problems = problems;
  const out = make("pre", JSON.stringify(result));
  out.id = "selftest";
  document.body.append(out);
}

// Milliseconds per picture. Reading a pixel makes the browser finish it.
function timeToDraw() {
  const pen = canvas.getContext("2d");
  const began = performance.now();
  for (let at = 0; at < 5; at++) { draw(); pen.getImageData(0, 0, 1, 1); }
  return Math.round((performance.now() - began) / 5);
}

// How many pixels of the diagram have the colour of violations.
function redPixels() {
  const pen = canvas.getContext("2d");
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = ink.bad;
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let at = 0; at < pixels.length; at += 4) {
    if (pixels[at] === red && pixels[at + 1] === green && pixels[at + 2] === blue) count++;
  }
  return count;
}
