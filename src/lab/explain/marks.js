// The events in the picture: a mark for each, by its kind; where there are many, how many.

function drawEvents(pen, rows, low, high) {
  Object.assign(tally, { cells: 0, events: 0 });
  if (high - low > MANY_EVENTS) { drawCells(pen, rows); drawLoud(pen, rows, low, high); return; }
  const last = new Map();
  const numbers = new Map();
  for (let index = low; index < high; index++) {
    const event = events[index];
    const y = rows.y.get(event.node);
    if (y === undefined || !view.shown[index] || event.carried || event.kind === "violation") continue;
    tally.events++;
    const x = xAt(index);
    const pixel = Math.round(x);
    // A dimmed event does not hide one that matters.
    const weight = dim(index) ? pixel - 0.5 : pixel;
    if (last.get(event.node) >= weight && !isLoud(event)) continue;
    last.set(event.node, weight);
    pen.globalAlpha = dim(index) ? 0.2 : 1;
    glyph(pen, event, x, y);
    // Above it what a sync wrote, or the Lamport value, as long as that is legible.
    const text = event.kind === "sync" ? `${event.bytes} B` : /^(send|recv)$/.test(event.kind) && event.lamport !== undefined ? String(event.lamport) : "";
    if (text) {
      pen.font = `11px ${SANS}`;
      const width = pen.measureText(text).width;
      if (x - width / 2 > (numbers.get(event.node) || -Infinity)) {
        pen.fillStyle = event.kind !== "sync" || !event.bytes ? ink.soft : event.ok ? ink.good : ink.bad;
        pen.fillText(text, x - width / 2, y - 9);
        numbers.set(event.node, x + width / 2 + 3);
      }
    }
    pen.globalAlpha = 1;
  }
}

// What is never bundled.
const isLoud = (event) => event.kind === "crash" || event.kind === "start" || event.kind === "stop";
const loud = [];
events.forEach((event, index) => { if (isLoud(event)) loud.push(index); });

function drawLoud(pen, rows, low, high) {
  const drawn = new Set();
  for (let at = loud.findIndex((index) => index >= low); at >= 0 && at < loud.length && loud[at] < high; at++) {
    const event = events[loud[at]];
    const y = rows.y.get(event.node);
    if (y === undefined || event.carried || y < view.top || y > view.top + view.height) continue;
    const x = xAt(loud[at]);
    const spot = `${event.node} ${event.kind} ${Math.round(x)}`;
    if (drawn.has(spot)) continue;
    drawn.add(spot);
    pen.globalAlpha = dim(loud[at]) ? 0.2 : 1;
    glyph(pen, event, x, y);
  }
  pen.globalAlpha = 1;
}

// Many events: a strip on each node's line, the higher the more, in the colour of the loudest.
function drawCells(pen, rows) {
  const { width, columns, places, counts, ranks } = cellsOf(levelOf(CELL_PIXELS));
  const columnOf = (index) => columns[index];
  const from = firstInColumn(columns, Math.floor(placeAtX(GUTTER) / width), columnOf);
  const to = firstInColumn(columns, Math.floor(placeAtX(view.width) / width) + 1, columnOf);
  const runs = [[], [], [], [], []];
  // The run of equal cells that each row is in: column after it, rank, height, beginning.
  const open = new Map();
  const close = (row, run) => runs[run.rank].push([run.from, run.next, rows.y.get(rows.ids[row]), run.height]);
  for (let at = from; at < to; at++) {
    const row = places[at];
    const y = rows.y.get(rows.ids[row]);
    tally.events += counts[at];
    if (y < view.top + rows.fixed - 10 || y > view.top + view.height + 10) continue;
    const height = 3 + Math.min(6, Math.floor(Math.log2(counts[at])));
    const run = open.get(row);
    if (run && run.next === columns[at] && run.rank === ranks[at] && run.height === height) { run.next++; continue; }
    if (run) close(row, run);
    open.set(row, { from: columns[at], next: columns[at] + 1, rank: ranks[at], height });
  }
  for (const [row, run] of open) close(row, run);
  const colours = [ink.life, ink.life, ink.ink, ink.accent, ink.bad];
  runs.forEach((list, rank) => {
    pen.fillStyle = colours[rank];
    pen.globalAlpha = rank ? 1 : 0.25;
    for (const [first, next, y, height] of list) {
      const x = xOf(first * width);
      pen.fillRect(x - 0.5, y - height / 2, Math.max(2.5, (next - first) * width * view.scale), height);
    }
    tally.cells += list.length;
  });
  pen.globalAlpha = 1;
}

function glyph(pen, event, x, y) {
  pen.fillStyle = pen.strokeStyle = ink.ink;
  pen.lineWidth = 1.5;
  pen.beginPath();
  switch (event.kind) {
    case "send": pen.arc(x, y, 3, 0, 7); pen.fill(); break;
    case "recv": pen.arc(x, y, 3, 0, 7); pen.fillStyle = ink.paper; pen.fill(); pen.stroke(); break;
    case "request": case "reply":
      pen.fillStyle = ink.accent; pen.fillRect(x - 3, y - 3, 6, 6); break;
    case "timer": pen.fillStyle = ink.life; pen.moveTo(x, y - 5); pen.lineTo(x + 4, y + 3); pen.lineTo(x - 4, y + 3); pen.fill(); break;
    case "fact": pen.fillStyle = ink["arrow-4"]; pen.moveTo(x, y - 5); pen.lineTo(x + 4, y); pen.lineTo(x, y + 5); pen.lineTo(x - 4, y); pen.fill(); break;
    case "crash": pen.strokeStyle = ink.bad; pen.lineWidth = 2.5; pen.moveTo(x - 5, y - 5); pen.lineTo(x + 5, y + 5); pen.moveTo(x + 5, y - 5); pen.lineTo(x - 5, y + 5); pen.stroke(); break;
    case "start": pen.fillStyle = ink.good; pen.moveTo(x - 3, y - 6); pen.lineTo(x + 6, y); pen.lineTo(x - 3, y + 6); pen.fill(); break;
    case "stop": pen.fillStyle = ink.soft; pen.fillRect(x - 5, y - 5, 10, 10); break;
    // A disk with its label; a red cross when it took nothing.
    case "sync":
      pen.fillStyle = !event.ok ? ink.bad : event.bytes ? ink.good : ink.life; pen.fillRect(x - 4.5, y - 4.5, 9, 9);
      pen.fillStyle = ink.paper; pen.fillRect(x - 2.5, y - 4.5, 5, 3); pen.fillRect(x - 2.5, y + 1, 5, 3.5);
      if (!event.ok) { pen.moveTo(x - 6, y - 6); pen.lineTo(x + 6, y + 6); pen.strokeStyle = ink.bad; pen.lineWidth = 2; pen.stroke(); }
      break;
    case "drop": pen.fillStyle = ink.bad; pen.arc(x, y, 1.6, 0, 7); pen.fill(); break;
    default: pen.fillStyle = ink.life; pen.arc(x, y, 2, 0, 7); pen.fill();
  }
}
