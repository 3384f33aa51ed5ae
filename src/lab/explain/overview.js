// The strip above the diagram: the whole run, and where in it the view is.

const overview = document.getElementById("overview");
// The whole run in a strip, true to time: how much happened when, faults, violations, and where
// one is.
let strip = null;

// How many events lie on each pixel; of a part of the run, those that are not here, too.
function countStrip(width, x) {
  const counts = new Uint32Array(Math.max(1, Math.ceil(width)));
  if (part) {
    const wide = width - GUTTER - 2 * MARGIN;
    for (let at = 0; at < wide; at++) counts[GUTTER + MARGIN + at] = part.density[Math.floor((at / wide) * part.density.length)];
  } else for (const event of events) counts[Math.min(counts.length - 1, Math.floor(x(event.t)))]++;
  return { width, counts, most: counts.reduce((a, b) => Math.max(a, b), 1) };
}

function drawOverview() {
  const pen = prepare(overview);
  const { width } = overview.getBoundingClientRect();
  const [begin, end] = runTimes();
  const scale = (width - GUTTER - 2 * MARGIN) / Math.max(end - begin, 1);
  const x = (t) => GUTTER + MARGIN + (t - begin) * scale;
  if (!strip || strip.width !== width) strip = countStrip(width, x);
  drawPartOverview(pen, x, 43);
  for (const fault of model.faults) {
    const event = events[fault.index];
    pen.fillStyle = ink[fault.family];
    pen.fillRect(x(event.t), 3, Math.max(2, x(Math.min(event.until, end)) - x(event.t)), 9);
  }
  pen.fillStyle = ink.life;
  strip.counts.forEach((count, at) => {
    const height = count ? 2 + Math.sqrt(count / strip.most) * 24 : 0;
    pen.fillRect(at, 42 - height, 1, height);
  });
  drawHitsInStrip(pen, x);
  pen.fillStyle = ink.bad;
  for (const index of model.violations) pen.fillRect(x(events[index].t) - 1.5, 2, 3, 42);
  drawCurveOverview(pen, x);
  if (events.length) {
    const [low, high] = visibleRange();
    const [first, last] = partTimes();
    const of = (index) => x(Math.max(first, Math.min(last, events[Math.max(0, Math.min(index, events.length - 1))].t)));
    const left = of(low);
    const wide = Math.max(4, of(Math.max(low, high - 1)) - left);
    pen.fillStyle = pen.strokeStyle = ink.accent;
    pen.globalAlpha = 0.14;
    pen.fillRect(left, 1, wide, 43);
    pen.globalAlpha = 1;
    pen.lineWidth = 1.5;
    pen.strokeRect(left, 1.5, wide, 42);
  }
  pen.fillStyle = ink.soft;
  pen.font = `11px ${SANS}`;
  pen.fillText("WHOLE RUN", 14, 23);
}
