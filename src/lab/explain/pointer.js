// Fingers and the mouse on the diagram and the strip: what is under them, dragging, pinching,
// pressing long. What the view then shows is the view's.

// What is within `reach` pixels of a point: the index of an event, or -1.
function hit(x, y, reach = 11) {
  const rows = layout();
  if (x < GUTTER) return -1;
  const told = witnessHit(x, y);
  if (told >= 0) return told;
  if (y < rows.fixed) {
    if (y < rows.faults) return model.violations.find((index) => { const at = xAt(index); return x > at - 8 && x < at + 150; }) ?? -1;
    const lane = Math.floor((y - rows.faults) / FAULT);
    const fault = model.faults.findLast((one) => { const [a, b] = faultX(events[one.index], one.index); return one.lane === lane && x >= a - 5 && x <= b + 5; });
    return fault ? fault.index : -1;
  }
  y += view.top;
  let best = -1, distance = reach;
  const [low, high] = visibleRange();
  const from = Math.max(low, indexAtPlace(placeAtX(x - reach - 1))), to = Math.min(high, indexAtPlace(placeAtX(x + reach + 1)) + 1);
  for (let index = from; index < to; index++) {
    const row = rows.y.get(events[index].node);
    if (row === undefined || !view.shown[index]) continue;
    const away = Math.hypot(xAt(index) - x, row - y);
    if (away < distance) [best, distance] = [index, away];
  }
  if (best >= 0) return best;
  const bar = barHit(x, y, rows);
  if (bar >= 0) return bar;
  // What is bundled is no event, unless it is one message.
  if (isBundled(low, high)) return hitBundle(x, y - view.top)?.single ?? -1;
  distance = Math.max(6, reach / 2);
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

// A finger is wider than a mouse, and its press is long from here on, in milliseconds.
const FINGER = 24, LONG = 550;

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

  // Who touches, and how it began: one finger drags, two also zoom.
  const fingers = new Map();
  let began = null;
  let press = 0;
  const begin = (moved) => {
    const [one, two] = [...fingers.values()];
    const middle = two ? { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2 } : one;
    const apart = two ? Math.max(20, Math.hypot(one.x - two.x, one.y - two.y)) : 0;
    return { ...middle, apart, place: placeAtX(middle.x), scale: view.scale, top: view.top, moved };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    canvas.setPointerCapture(event.pointerId);
    began = begin(fingers.size > 1);
    clearTimeout(press);
    if (event.pointerType === "mouse" || fingers.size > 1) return;
    press = setTimeout(() => {
      if (!began || began.moved) return;
      began.moved = true;
      openMenu(targetsAt(began.x, began.y, FINGER), event.clientX, event.clientY);
    }, LONG);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) { if (event.pointerType !== "touch") hover(event.offsetX, event.offsetY); return; }
    fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    const now = begin(true);
    if (!began.moved && Math.hypot(now.x - began.x, now.y - began.y) < (event.pointerType === "touch" ? 8 : 4)) return;
    began.moved = true;
    canvas.classList.add("drag");
    el("tip").hidden = true;
    if (began.apart) { view.scale = (began.scale * now.apart) / began.apart; clampView(); }
    // What was under the fingers stays there.
    view.left = began.place - (now.x - GUTTER - MARGIN) / view.scale;
    view.top = began.top - (now.y - began.y);
    clampView();
    invalidate();
  });
  const release = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    clearTimeout(press);
    if (!began.moved && event.type === "pointerup") {
      const folded = foldHit(event.offsetX, event.offsetY);
      const index = folded ? -1 : hit(event.offsetX, event.offsetY, event.pointerType === "touch" ? FINGER : undefined);
      if (index >= 0) select(index, true);
      else if (!folded) enterBundle(event.offsetX, event.offsetY);
    }
    began = fingers.size ? begin(true) : null;
    if (!began) canvas.classList.remove("drag");
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { el("tip").hidden = true; });
  canvas.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    clearTimeout(press);
    if (began) began.moved = true;
    // The menu key of a keyboard points at nothing.
    if (event.pointerType === "") openMenuHere();
    else openMenu(targetsAt(event.offsetX, event.offsetY), event.clientX, event.clientY);
  });
  const travel = (event) => {
    if (!(event.buttons & 1)) return;
    if (!events.length) return;
    const box = overview.getBoundingClientRect();
    const [begin, end] = runTimes();
    const share = (event.offsetX - GUTTER - MARGIN) / (box.width - GUTTER - 2 * MARGIN);
    const index = Math.max(0, Math.min(events.length - 1, indexAt(begin + share * (end - begin))));
    view.left = view.place[index] - room() / 2 / view.scale;
    clampView();
    showWhere();
    invalidate();
  };
  overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); travel(event); });
  overview.addEventListener("pointermove", travel);
}

function hover(x, y) {
  const index = hit(x, y);
  const bundle = index < 0 ? hitBundle(x, y) : null;
  const tip = el("tip");
  tip.hidden = index < 0 && !bundle;
  canvas.style.cursor = tip.hidden ? "" : "pointer";
  if (tip.hidden) return;
  tip.textContent = bundle ? bundle.words : `${nodeWord(events[index])} ${describe(index)}\n${clock(events[index].t, true)}`.trim();
  tip.style.left = `${Math.max(4, Math.min(x + 14, view.width - tip.offsetWidth - 8))}px`;
  tip.style.top = `${y + tip.offsetHeight + 24 > view.height ? y - tip.offsetHeight - 10 : y + 18}px`;
}

// Goes to where a bundle's messages can be told apart.
function enterBundle(x, y) {
  const bundle = hitBundle(x, y);
  if (!bundle) return;
  showRange(bundle.from, bundle.to);
  el("tip").hidden = true;
  invalidate();
}
