// The events in the picture: a mark for each, by its kind.

function drawEvents(pen, rows, low, high) {
  const last = new Map();
  const numbers = new Map();
  const dense = high - low > 1500;
  for (let index = low; index < high; index++) {
    const event = events[index];
    const y = rows.y.get(event.node);
    if (y === undefined || !view.shown[index] || event.kind === "violation") continue;
    const x = xAt(index);
    const pixel = Math.round(x);
    const loud = event.kind === "crash" || event.kind === "start" || event.kind === "stop";
    // A dimmed event does not hide one that matters.
    const weight = dim(index) ? pixel - 0.5 : pixel;
    if (last.get(event.node) >= weight && !loud) continue;
    last.set(event.node, weight);
    pen.globalAlpha = dim(index) ? 0.2 : 1;
    // At this size a square is as good as a circle, and far cheaper.
    if (dense && !loud) {
      pen.fillStyle = event.kind === "send" || event.kind === "recv" ? ink.ink : event.kind === "drop" ? ink.bad : event.op !== undefined ? ink.accent : ink.life;
      pen.fillRect(x - 1.5, y - 1.5, 3, 3);
    } else glyph(pen, event, x, y);
    // The Lamport value above its end of the arrow, as long as it is legible.
    if (event.lamport !== undefined && (event.kind === "send" || event.kind === "recv") && !dense) {
      pen.font = `11px ${SANS}`;
      const text = String(event.lamport);
      const width = pen.measureText(text).width;
      if (x - width / 2 > (numbers.get(event.node) || -Infinity)) {
        pen.fillStyle = ink.soft;
        pen.fillText(text, x - width / 2, y - 9);
        numbers.set(event.node, x + width / 2 + 3);
      }
    }
    pen.globalAlpha = 1;
  }
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
    case "sync": pen.strokeStyle = event.ok ? ink.life : ink.bad; pen.moveTo(x, y - 5); pen.lineTo(x, y + 5); pen.stroke(); break;
    case "drop": pen.fillStyle = ink.bad; pen.arc(x, y, 1.6, 0, 7); pen.fill(); break;
    default: pen.fillStyle = ink.life; pen.arc(x, y, 2, 0, 7); pen.fill();
  }
}
