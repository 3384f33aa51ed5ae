// What of the run is not on the page, where that shows a part of it: said in words, counted, drawn
// in the strip, and marked where the diagram leaps.

const part = data.part;
const counted = (value) => value.toLocaleString("en");

// Where the run begins and ends, and the times of the part; those of the page when it has all.
const runTimes = () => (part ? [part.begin, part.end] : [events.length ? events[0].t : 0, model.end]);
const partTimes = () => {
  if (!part) return runTimes();
  const of = (index) => events[Math.max(0, Math.min(events.length - 1, index))].t;
  const last = part.ranges[part.ranges.length - 1];
  return [of(part.ranges[0].at), of(last.at + last.last - last.first)];
};

// The words, and the rest in numbers.
function showPart() {
  if (!part) return;
  const line = make("li");
  const details = make("details", "left", make("summary", null, "what is left out"));
  const row = (word, text) => details.append(make("p", null, make("b", null, `${word}: `), text));
  row("by kind", Object.entries(part.kinds).map(([kind, count]) => `${counted(count)} ${kind}`).join(", ") || "nothing");
  const nodes = part.nodes.slice(0, 24).map(([id, count]) => `${laneWord(id)} ${counted(count)}`);
  if (part.nodes.length) row("by node", nodes.join(", ") + (part.nodes.length > 24 ? `, and ${part.nodes.length - 24} more nodes` : ""));
  const times = (list, word) => list.slice(0, 40).map(word).join("; ") + (list.length > 40 ? "; …" : "");
  if (part.faults.length) row("faults", times(part.faults, (one) => `${clock(one.t, true)} ${one.label || one.fault}`));
  if (part.violations.length) row("violations", times(part.violations, (one) => `${one.property} at ${clock(one.t, true)} (--around ${one.number})`));
  row("another part", make("code", null, `${part.command} --around ${(part.begin / 1e6).toFixed(1)}ms`));
  details.append(make("p", null, "--around takes an event's number or a time; --events N shows more."));
  line.append(`${part.says} How nodes stood, and what was under way, is carried in. `, details);
  el("notes").append(line);
}

// Where events are left out, a line says how many.
function drawLeaps(pen, rows) {
  if (!part) return;
  for (const range of part.ranges) {
    if (!range.left) continue;
    const x = xAt(Math.min(range.at, events.length)) - 5;
    if (x < GUTTER - 20 || x > view.width + 200) continue;
    pen.strokeStyle = ink.soft;
    pen.lineWidth = 1.5;
    pen.setLineDash([2, 4]);
    pen.beginPath();
    pen.moveTo(x, rows.fixed - 4);
    pen.lineTo(x, view.height);
    pen.stroke();
    pen.setLineDash([]);
    pen.font = `11px ${SANS}`;
    const words = `${counted(range.left)} events before`;
    const width = pen.measureText(words).width + 8;
    const y = view.height - 12;
    const left = x + 3 + width > view.width ? x - 3 - width : x + 3;
    pen.fillStyle = ink.panel;
    pen.fillRect(left, y - 8, width, 16);
    pen.fillStyle = ink.soft;
    pen.fillText(words, left + 4, y);
  }
}

// In the strip: what is here is on white, the rest is the run's, and grey.
function drawPartOverview(pen, x, height) {
  if (!part) return;
  pen.fillStyle = ink.panel;
  pen.fillRect(GUTTER, 1, overview.clientWidth, height);
  pen.fillStyle = ink.paper;
  for (const range of part.ranges) {
    const [from, to] = [events[range.at], events[range.at + range.last - range.first] || events[events.length - 1]];
    if (from && to) pen.fillRect(x(from.t), 1, Math.max(3, x(to.t) - x(from.t)), height);
  }
  pen.globalAlpha = 0.5;
  for (const fault of part.faults) {
    pen.fillStyle = ink[familyOf(fault.fault)];
    pen.fillRect(x(fault.t), 3, Math.max(2, x(Math.min(fault.until, part.end)) - x(fault.t)), 9);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = ink.bad;
  for (const one of part.violations) pen.fillRect(x(one.t) - 1, 30, 2, 14);
}
