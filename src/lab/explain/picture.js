// The diagram as a file, in light colours: one pen draws it as SVG, the canvas's own as PNG. There
// is no second drawing: both are given to `paint`.

// A pen that writes SVG elements for the calls that `paint` makes of a canvas. What is drawn may be
// moved and enlarged, but not turned.
class VectorPen {
  constructor(width, height, title) {
    this.root = this.element("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    this.root.append(this.element("title", {}, title));
    this.defs = this.element("defs", {});
    this.root.append(this.defs);
    this.parent = this.root;
    this.ruler = document.createElement("canvas").getContext("2d");
    this.state = { fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, globalAlpha: 1, font: "10px sans-serif", dash: [], x: 0, y: 0, scale: 1 };
    this.saved = [];
    this.path = [];
    for (const name of ["fillStyle", "strokeStyle", "lineWidth", "globalAlpha", "font"]) {
      Object.defineProperty(this, name, { get: () => this.state[name], set: (value) => { this.state[name] = value; } });
    }
  }
  // The name space is that of an element of the page, so that no address stands here.
  element(name, attributes, text) {
    const made = document.createElementNS(el("blank").namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  save() { this.saved.push([{ ...this.state }, this.parent]); }
  restore() { if (this.saved.length) [this.state, this.parent] = this.saved.pop(); }
  translate(x, y) { this.state.x += x * this.state.scale; this.state.y += y * this.state.scale; }
  setLineDash(dash) { this.state.dash = [...dash]; }
  measureText(text) { this.ruler.font = this.state.font; return this.ruler.measureText(text); }
  point(x, y) { const { state } = this; return `${short(x * state.scale + state.x)} ${short(y * state.scale + state.y)}`; }
  beginPath() { this.path = []; }
  moveTo(x, y) { this.path.push(`M${this.point(x, y)}`); }
  lineTo(x, y) { this.path.push(`${this.path.length ? "L" : "M"}${this.point(x, y)}`); }
  closePath() { this.path.push("Z"); }
  rect(x, y, width, height) { this.moveTo(x, y); this.lineTo(x + width, y); this.lineTo(x + width, y + height); this.lineTo(x, y + height); this.closePath(); }
  quadraticCurveTo(a, b, x, y) { this.path.push(`Q${this.point(a, b)} ${this.point(x, y)}`); }
  bezierCurveTo(a, b, c, d, x, y) { this.path.push(`C${this.point(a, b)} ${this.point(c, d)} ${this.point(x, y)}`); }
  arc(x, y, radius, from, to) {
    const at = (angle) => [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
    const size = short(radius * this.state.scale);
    // No more than once around, and in two halves: one arc cannot end where it begins.
    const end = from + Math.max(-2 * Math.PI, Math.min(2 * Math.PI, to - from));
    this.lineTo(...at(from));
    for (const next of [(from + end) / 2, end]) this.path.push(`A${size} ${size} 0 0 ${end > from ? 1 : 0} ${this.point(...at(next))}`);
  }
  clip() {
    const name = `c${this.defs.childElementCount}`;
    const shape = this.element("clipPath", { id: name });
    shape.append(this.element("path", { d: this.path.join("") }));
    this.defs.append(shape);
    const group = this.element("g", { "clip-path": `${"url"}(#${name})` });
    this.parent.append(group);
    this.parent = group;
  }
  // A colour, and how much of it: old readers know no #rrggbbaa.
  colour(kind, value) {
    const veiled = /^#([0-9a-f]{6})([0-9a-f]{2})$/i.exec(value);
    const share = (veiled ? parseInt(veiled[2], 16) / 255 : 1) * this.state.globalAlpha;
    const whole = { [kind]: veiled ? `#${veiled[1]}` : value };
    return share < 1 ? { ...whole, [`${kind}-opacity`]: short(share) } : whole;
  }
  lines() {
    const { state } = this;
    const dash = state.dash.length ? { "stroke-dasharray": state.dash.map((one) => short(one * state.scale)).join(" ") } : {};
    return { fill: "none", "stroke-width": short(state.lineWidth * state.scale), ...dash, ...this.colour("stroke", state.strokeStyle) };
  }
  put(d, attributes) { if (d.length) this.parent.append(this.element("path", { d: d.join(""), ...attributes })); }
  stroke() { this.put(this.path, this.lines()); }
  fill() { this.put(this.path, this.colour("fill", this.state.fillStyle)); }
  box(x, y, width, height, attributes) {
    const { path } = this;
    this.path = [];
    this.rect(x, y, width, height);
    this.put(this.path, attributes);
    this.path = path;
  }
  fillRect(x, y, width, height) { this.box(x, y, width, height, this.colour("fill", this.state.fillStyle)); }
  strokeRect(x, y, width, height) { this.box(x, y, width, height, this.lines()); }
  fillText(text, x, y) {
    const { state } = this;
    const [, weight, size, family] = /^(?:(\S+) )?([\d.]+)px (.*)$/.exec(state.font) || [null, "", "11", "sans-serif"];
    const [left, middle] = [x * state.scale + state.x, y * state.scale + state.y];
    // Some readers know no other base line; a letter's middle is about a third of its size above it.
    const place = { x: short(left), y: short(middle + 0.35 * size * state.scale), "font-size": short(size * state.scale), "font-family": family };
    this.parent.append(this.element("text", { ...place, ...(weight ? { "font-weight": weight } : {}), ...this.colour("fill", state.fillStyle) }, printable(text)));
  }
}

const short = (value) => String(Math.round(value * 100) / 100);
// XML has no place for other control characters, and readers refuse the whole file.
const printable = (text) => String(text).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");

// Draws with other colours, and all there is.
function inLight(paintIt) {
  const before = [ink, hurry];
  [ink, hurry] = [coloursOf(lightStyle()), false];
  measured.clear();
  try { return paintIt(); } finally { [ink, hurry] = before; invalidate(); }
}

// The style sheet's first rule is light, whatever the page is.
const lightStyle = () => [...document.styleSheets[0].cssRules].find((rule) => rule.selectorText === ":root").style;

const pictureTitle = () => printable([data.run.scenario, data.run.seed === null ? "" : `seed ${data.run.seed}`].filter(Boolean).join(", "));

function pictureAsSvg() {
  return inLight(() => {
    const pen = new VectorPen(Math.round(view.width), Math.round(view.height), pictureTitle());
    pen.fillStyle = ink.paper;
    pen.fillRect(0, 0, view.width, view.height);
    paint(pen);
    return new XMLSerializer().serializeToString(pen.root);
  });
}

function pictureAsCanvas() {
  return inLight(() => {
    const target = document.createElement("canvas");
    [target.width, target.height] = [Math.round(view.width) * 2, Math.round(view.height) * 2];
    const pen = target.getContext("2d");
    pen.setTransform(2, 0, 0, 2, 0, 0);
    pen.textBaseline = "middle";
    pen.fillStyle = ink.paper;
    pen.fillRect(0, 0, view.width, view.height);
    paint(pen);
    return target;
  });
}

// The scenario's own name and the seed, as far as any disk takes them.
function fileName(ending) {
  const name = (data.run.scenario || "run").split(/[\\/]/).pop().replace(/\.toml$/, "");
  const safe = name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+/, "").slice(0, 60) || "run";
  const seed = data.run.seed === null ? "" : `-seed-${String(data.run.seed).replace(/\D/g, "").slice(0, 20)}`;
  return `${safe}${seed}.${ending}`;
}

function download(ending, blob) {
  const link = document.createElement("a");
  const address = URL.createObjectURL(blob);
  link.href = address;
  link.download = fileName(ending);
  document.body.append(link);
  link.click();
  link.remove();
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  say(`Saved as ${link.download}.`);
}

function listenPicture() {
  el("svg").addEventListener("click", () => download("svg", new Blob([pictureAsSvg()], { type: "image/svg+xml" })));
  el("png").addEventListener("click", () => pictureAsCanvas().toBlob((blob) => download("png", blob), "image/png"));
}
