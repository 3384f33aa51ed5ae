// The part of the self-test that asks why: the because box, what it selects and leaves bright, and
// whether all that lasts can be seen. Uses the page as a person would.

function testBecause() {
  const result = {};
  const violation = model.violations[0];
  if (violation !== undefined) {
    jump(violation);
    draw();
    const its = model.told.get(violation).flatMap((witness) => witness.its);
    result.inPicture = its.every((index) => xAt(index) >= GUTTER && xAt(index) <= view.width);
    const [low, high] = visibleRange();
    const across = [...Array(high - low).keys()].map((at) => low + at).filter((index) => isPlaced(index) && xAt(index) >= GUTTER && xAt(index) <= view.width);
    result.across = across.length;
    result.showsViolation = xAt(violation) >= GUTTER && xAt(violation) <= view.width;
    result.numbered = numbered.map((one) => one.number);
    const lines = [...el("violations").querySelectorAll("[data-number]")];
    result.because = lines.map((line) => line.textContent);
    for (const line of el("violations").querySelectorAll(".meanwhile button")) if (line.textContent.startsWith("+")) line.click();
    result.meanwhile = [...el("violations").querySelectorAll(".meanwhile button")].map((line) => line.textContent);
    setPast(true);
    result.dimmedWitnesses = 0;
    const count = () => { result.dimmedWitnesses += its.filter((index) => dim(index)).length; };
    select(violation);
    count();
    const nodes = concernedBy(violation);
    const received = across.filter((index) => events[index].kind === "recv" && nodes.has(events[index].node));
    result.received = [received.length, received.filter((index) => dim(index)).length];
    result.verdicts = [...el("violations").querySelectorAll(".verdict")].map((line) => [line.textContent, line.title]);
    result.bright = view.marks ? [...view.marks.keys()].filter((index) => view.marks[index]) : null;
    result.followed = lines.map((line) => { line.click(); count(); return view.selected; });
    result.current = lines.map((line) => line.getAttribute("aria-current"));
    // Whatever is selected: all of the first events.
    for (let index = 0; index < Math.min(events.length, 60); index++) { select(index); count(); }
    setPast(false);
    // No filter hides a witness, nor the line of its node.
    const shownNodes = [...view.nodes];
    view.nodes.clear();
    rows = null;
    applyFilters();
    result.hiddenWitnesses = its.filter((index) => !view.shown[index] || (model.rowOf.has(events[index].node) && !layout().y.has(events[index].node))).length;
    shownNodes.forEach((id) => view.nodes.add(id));
    rows = null;
    applyFilters();
    jump(violation);
  }
  return { ...result, ...testStates(), ...testLasting() };
}

// What the table marks as changed at each of the first events.
function testStates() {
  const changed = {}, order = {};
  const fields = () => [...el("states").querySelectorAll("th[scope=row]")].map((cell) => cell.textContent);
  for (let index = 0; index < Math.min(events.length, 60); index++) {
    select(index, true);
    const cells = [...el("states").querySelectorAll("td.new")].map((cell) => `${cell.parentElement.firstChild.textContent}: ${cell.textContent}`);
    if (cells.length) [changed[index], order[index]] = [cells, fields()];
  }
  select(model.violations[0] ?? events.length - 1, true);
  const table = el("states").closest("table");
  const cells = [...table.querySelectorAll("td.number")];
  const lines = (cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell.firstChild);
    return new Set([...range.getClientRects()].map((box) => box.top)).size;
  };
  return {
    changed, when: el("when").textContent,
    columns: [...table.querySelectorAll("thead th[scope]")].map((cell) => cell.textContent),
    order,
    numbers: cells.length, wrapped: cells.filter((cell) => lines(cell) > 1).length,
    cut: cells.filter((cell) => cell.title).map((cell) => [cell.textContent, cell.title]),
  };
}

// All facts are in a row, all rows are shown or counted, and both ends of all faults are apart.
function testLasting() {
  fit();
  draw();
  const rows = layout();
  const all = rows.ids.flatMap((id) => bandsOf(id)).flat();
  const hidden = rows.ids.reduce((sum, id) => sum + model.bands.get(id).size - rows.bands.get(id), 0);
  const offers = folds.filter((fold) => fold.client === undefined);
  const offered = offers.reduce((sum, fold) => sum + model.bands.get(fold.id).size - rows.bands.get(fold.id), 0);
  const result = {
    facts: events.filter((event) => event.kind === "fact" && event.node !== undefined).length,
    banded: all.reduce((sum, band) => sum + band.times, 0),
    bandLabels: [...new Set(all.map((band) => band.label))].slice(0, 40),
    unoffered: hidden - offered,
  };
  const lists = () => model.clients.map((name) => [name, model.depths.get(name), model.lanes.get(name).folded.length]);
  result.folded = lists();
  model.clients.forEach(foldOperations);
  result.openFolds = lists();
  model.clients.forEach(foldOperations);
  globalRows();
  result.bandForms = all.slice(0, 40).map((band) => bandForms(band));
  if (offers.length) {
    const { id, y } = offers[0];
    foldHit(20, y - view.top + 2);
    result.unfolded = layout().bands.get(id) === model.bands.get(id).size;
    view.opened.clear();
    globalRows();
  }
  for (const axis of ["order", "time"]) {
    setAxis(axis);
    fit();
    const widths = [...model.faults.map((fault) => faultX(events[fault.index], fault.index)), ...model.spans.filter((span) => span.to >= 0).map(spanX)];
    result[`narrowest_${axis}`] = Math.min(...widths.map(([x1, x2]) => x2 - x1));
  }
  setAxis("order");
  // A fault's end lies right of all that it contains, and left of what came after, where there is
  // room for both.
  result.beyond = model.faults.filter(({ index }) => {
    const after = indexAt(events[index].until);
    const [, x2] = faultX(events[index], index);
    return after < events.length && x2 > xAt(after) && x2 > xAt(index) + NARROW;
  }).length;
  const overlapping = model.clients.flatMap((name) => {
    const red = model.lanes.get(name).filter((op) => op.bad);
    return red.filter((one) => red.some((op) => op !== one && op.lane === one.lane && op.from < (one.to < 0 ? Infinity : one.to) && one.from < (op.to < 0 ? Infinity : op.to)));
  });
  return { ...result, hiddenRed: overlapping.length, lanes: model.clients };
}

function globalRows() { rows = null; layout(); }
