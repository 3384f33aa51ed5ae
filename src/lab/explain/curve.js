// What is drawn over the run from outside: the curve of how likely the failure was at each moment,
// in a lane of its own above the nodes, and labelled marks at events. Knows nothing of who asks.

const CURVE = 46;
// The points, ascending in time: {t, share}; the place of the steepest rise, or -1.
let chance = null;
const marked = [];

// Shows the share of reruns that fail (0 to 1) when the rest of the run is drawn anew at `t`
// (nanoseconds, as events have them). Fewer than two points take the curve away.
function curve(points) {
  const known = (Array.isArray(points) ? points : [])
    .filter((point) => point && Number.isFinite(point.t) && Number.isFinite(point.share))
    .map(({ t, share }) => ({ t, share: Math.max(0, Math.min(1, share)) }))
    .sort((a, b) => a.t - b.t);
  let [steepest, rise] = [-1, 0];
  for (let at = 1; at < known.length; at++) {
    const step = known[at].share - known[at - 1].share;
    if (step > rise) [steepest, rise] = [at, step];
  }
  chance = known.length > 1 ? { points: known, steepest } : null;
  sayCurve();
  resize();
}

// Marks an event with some words, such as the first difference of two runs; no event takes all
// marks away.
function mark(index, words) {
  if (!(index >= 0 && index < events.length)) marked.length = 0;
  else marked.push({ index, words: String(words ?? "") });
  invalidate();
}

const percent = (share) => `${Math.round(share * 100)}%`;

// The curve for those who do not see it.
function sayCurve() {
  const list = document.getElementById("notes");
  document.getElementById("likely")?.remove();
  if (!chance) return;
  const line = document.createElement("li");
  line.id = "likely";
  const { points, steepest } = chance;
  line.textContent = steepest < 0
    ? "No moment of this run makes the failure likelier: drawn anew from any, as many runs fail."
    : `It became likely between ${clock(points[steepest - 1].t, true)} and ${clock(points[steepest].t, true)}: `
      + `of the runs that go on otherwise from there, ${percent(points[steepest - 1].share)} and ${percent(points[steepest].share)} fail.`;
  list.append(line);
}

// The lane of the curve, and the marks: above everything else, as both hold for all rows.
function drawCurve(pen, rows) {
  pen.save();
  pen.beginPath();
  pen.rect(GUTTER, 0, view.width, view.height);
  pen.clip();
  if (chance) drawChance(pen, rows);
  for (const one of marked) drawMark(pen, rows, one);
  pen.restore();
  if (!chance) return;
  pen.fillStyle = ink.soft;
  pen.font = `11px ${SANS}`;
  pen.fillText("RERUNS FAIL", 14, rows.curve + CURVE / 2);
  pen.font = `9.5px ${SANS}`;
  pen.fillText("100%", GUTTER - 32, rows.curve + 6);
  pen.fillText("0%", GUTTER - 32, rows.curve + CURVE - 10);
}

function drawChance(pen, rows) {
  const [top, bottom] = [rows.curve + 3, rows.curve + CURVE - 7];
  const { points, steepest } = chance;
  const at = points.map(({ t, share }) => [xOf(placeOfTime(t)), bottom - share * (bottom - top)]);
  pen.fillStyle = ink.panel;
  pen.fillRect(GUTTER, rows.curve, view.width, CURVE - 4);
  pen.fillStyle = ink.line;
  for (const y of [top, bottom]) pen.fillRect(GUTTER, y, view.width, 1);
  if (steepest > 0) {
    const [x1, x2] = [at[steepest - 1][0], Math.max(at[steepest][0], at[steepest - 1][0] + 3)];
    pen.fillStyle = ink["bad-soft"];
    pen.fillRect(x1, rows.curve, x2 - x1, CURVE - 4);
    // Down through the rows, as an answer to "where".
    pen.globalAlpha = 0.3;
    pen.fillRect(x1, rows.fixed - 4, x2 - x1, view.height);
    pen.globalAlpha = 1;
  }
  pen.beginPath();
  pen.moveTo(at[0][0], bottom);
  for (const [x, y] of at) pen.lineTo(x, y);
  pen.lineTo(at[at.length - 1][0], bottom);
  pen.fillStyle = ink.bad;
  pen.globalAlpha = 0.14;
  pen.fill();
  pen.globalAlpha = 1;
  pen.strokeStyle = ink.bad;
  pen.lineWidth = 1.75;
  pen.beginPath();
  at.forEach(([x, y], index) => (index ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
  // Points that lie on each other are one.
  let before = -Infinity;
  for (const [x, y] of at) {
    if (x - before < 4) continue;
    pen.fillStyle = ink.bad;
    pen.fillRect(x - 1.5, y - 1.5, 3, 3);
    before = x;
  }
  if (steepest > 0) tag(pen, "became likely here", at[steepest][0], rows.curve + 11, ink.bad);
}

function drawMark(pen, rows, { index, words }) {
  const x = xAt(index);
  if (x < GUTTER - 200 || x > view.width + 200) return;
  pen.strokeStyle = ink.accent;
  pen.lineWidth = 1.75;
  pen.setLineDash([6, 3]);
  pen.beginPath();
  pen.moveTo(x, rows.fixed - 4);
  pen.lineTo(x, view.height);
  pen.stroke();
  pen.setLineDash([]);
  if (words) tag(pen, words, x, rows.fixed + 5, ink.accent);
}

// A word on a ground of its own beside a line, on whichever side has room.
function tag(pen, words, x, y, colour) {
  pen.font = `600 11.5px ${SANS}`;
  const text = shorten(pen, words, 240);
  const width = pen.measureText(text).width + 10;
  const left = x + width + 2 > view.width ? x - width - 2 : x + 2;
  pen.fillStyle = colour;
  pen.fillRect(left, y - 8, width, 16);
  pen.fillStyle = ink.paper;
  pen.fillText(text, left + 5, y + 0.5);
}

// The same in the strip; `x` says where a time is.
function drawCurveOverview(pen, x) {
  if (chance) {
    pen.strokeStyle = ink.bad;
    pen.lineWidth = 1.25;
    pen.beginPath();
    chance.points.forEach(({ t, share }, at) => (at ? pen.lineTo(x(t), 41 - share * 36) : pen.moveTo(x(t), 41 - share * 36)));
    pen.stroke();
  }
  pen.fillStyle = ink.accent;
  for (const { index } of marked) pen.fillRect(x(events[index].t) - 1, 2, 2, 42);
}
