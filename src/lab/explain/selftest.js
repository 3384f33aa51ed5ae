// Uses the page as a person would, and writes down what happened. For tests, which look for it in
// the document; with the hash `#selftest`.
function selfTest() {
  const result = { ...window.explain, openMs: Math.round(window.explain.openMs) };
  delete result.problems;
  const press = (name, shiftKey = false) => document.dispatchEvent(new KeyboardEvent("keydown", { key: name, shiftKey, bubbles: true }));
  const ask = (id, value) => { const input = el(id); if (input.type === "checkbox") input.click(); else { input.value = value; input.dispatchEvent(new Event(input.tagName === "SELECT" ? "change" : "input")); } };
  try {
    result.opened = view.selected;
    result.openedPast = view.past;
    result.redPixels = redPixels();
    press("Home");
    const path = [view.selected];
    for (let at = 0; at < 5; at++) { press("ArrowRight"); path.push(view.selected); }
    for (let at = 0; at < 5; at++) { press("ArrowLeft"); path.push(view.selected); }
    result.path = path;
    press("End");
    result.last = view.selected;
    result.said = el("what").textContent;
    result.states = el("states").closest("table").querySelectorAll("thead th[scope]").length;
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
    ask("text", "no such text anywhere"); hurrySearch(); draw();
    result.found = el("hits").textContent;
    ask("only"); draw();
    result.withText = window.explain.shown;
    ask("only");
    ask("text", ""); hurrySearch();
    result.again = window.explain.shown;
    setAxis("time"); fit(); draw();
    setAxis("order"); fit();
    result.drawAllMs = timeToDraw();
    hurry = true;
    result.drawMovingMs = timeToDraw();
    hurry = false;
    press("v");
    result.drawPartMs = timeToDraw();
    result.levels = testLevels();
    Object.assign(result, testBecause());
    if (part) result.part = testPart();
    result.curve = testCurve();
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

// What is drawn when everything is fitted, on both axes, and zoomed in a little; and what is said
// of a bundle, and seen when one goes there.
function testLevels() {
  const result = {};
  const look = (name) => { draw(); result[name] = { ...tally }; };
  for (const axis of ["time", "order"]) { setAxis(axis); fit(); look(axis); }
  const seen = visibleBundles(...visibleRange());
  if (seen) {
    const rows = layout();
    const one = seen.list.find((bundle) => bundle.count > 1) || seen.list[0];
    const line = bundleLine(one, seen.width, rows);
    const hit = hitBundle((line.x1 + line.x2) / 2, (line.y1 + line.y2) / 2 - view.top);
    result.bundle = hit && hit.words;
    result.lostBundles = seen.list.filter((bundle) => bundle.class === LOST).reduce((sum, bundle) => sum + bundle.count, 0);
    const before = view.scale;
    if (hit) showRange(hit.from, hit.to);
    result.zoomedIn = view.scale / before;
  }
  fit();
  zoom(3);
  look("zoomed");
  // Where one is does not change what a level counts.
  const made = levels.bundles.size;
  view.left += 50 / view.scale;
  clampView();
  look("moved");
  result.counted = levels.bundles.size - made;
  return result;
}

// What a page of a part of the run says of the rest, and how it begins.
function testPart() {
  setAxis("order");
  fit();
  el("first").click();
  const [low, high] = visibleRange();
  const [begin, end] = runTimes();
  // What is known of how many nodes at the first event.
  const known = (lists) => data.run.nodes.filter((id) => lastUpTo(lists.get(id), view.selected) >= 0).length;
  return {
    says: el("notes").textContent, places: view.place[events.length],
    counted: part.density.reduce((sum, one) => sum + one, 0), carried: events.filter((event) => event.carried).length,
    up: known(model.statuses), digests: known(model.digests),
    strip: (events[high - 1].t - events[low].t) / (end - begin),
  };
}

// A curve and a mark from outside: what is said of them, and how many red pixels the curve adds;
// what makes no sense is none.
function testCurve() {
  fit(); draw();
  const before = redPixels();
  const { end } = model;
  curve([0.1, 0.1, 0.2, 0.9, 1].map((share, at) => ({ t: (end * at) / 4, share })));
  mark(0, "first difference"); mark(-5, "nowhere"); mark(1, "here");
  draw();
  const result = { says: document.getElementById("likely")?.textContent, red: redPixels() - before, marks: marked.map((one) => one.words) };
  curve([{ t: "x", share: NaN }, null, 7]);
  mark(-1);
  draw();
  return { ...result, gone: chance === null && !document.getElementById("likely"), left: marked.length };
}
