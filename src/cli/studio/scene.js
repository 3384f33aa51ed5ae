// The scenario: choosing one, its text, its faults as sliders, saving it, and its seeds as squares.

// What is worked on: the name that it began as, its text, and the text of its file.
const scene = { name: "", text: "", own: "", isRight: false };
const asText = () => ({ name: scene.name, text: scene.text });

function listScenarios(all) {
  const groups = new Map();
  for (const one of all) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  const first = make("option", "choose one…");
  first.value = "";
  el("scenario").replaceChildren(first);
  for (const [name, members] of groups) {
    const group = make("optgroup");
    group.label = name;
    for (const one of members) {
      const option = make("option", one.name);
      option.title = one.about;
      option.dataset.kind = name === "saved plans" ? "plan" : "scenario";
      group.append(option);
    }
    el("scenario").append(group);
  }
}

// Opens a scenario of the list, or one that the list lacks.
async function openScenario(name) {
  const answer = await ask("scenario", { name });
  showScenario(answer);
  [scene.own, scene.name] = [answer.text, name];
  el("text").value = answer.text;
  // A file's configs lie beside it; those of one that comes with the binary are written with it.
  el("wanted").value = name.endsWith(".toml") ? name.replace(/\.toml$/, "-2.toml") : `mine/sim/${name}-2.toml`;
  if (![...el("scenario").options].some((option) => option.value === name)) el("scenario").append(make("option", name));
  el("scenario").value = name;
  document.title = `${name} – node studio`;
  // Programs take their own time.
  if (answer.about?.is_hosted) el("count").value = 5;
  showChanged();
  clearStrip();
}

function showScenario({ name, text, families, about, wrong }) {
  [scene.name, scene.text, scene.isRight] = [name, text, !wrong];
  el("wrong").textContent = wrong ?? "";
  el("text").classList.toggle("bad", Boolean(wrong));
  el("run").disabled = Boolean(wrong);
  if (about) {
    const names = about.properties.map((one) => one.name).join(", ");
    const shows = about.violates ? `; it is there to show ${about.violates} violated` : "";
    el("about").textContent = `${about.nodes} nodes; must hold: ${names || "nothing named"}${shows}`;
    el("about").title = about.properties.map((one) => `${one.name}: ${one.statement}`).join("\n");
    el("fixed").hidden = !about.has_fixed;
    el("explore-part").hidden = !about.explores;
  }
  showFamilies(families);
  showChanged();
}

function showChanged() { el("changed").hidden = scene.text === scene.own; }

let asked = 0;
// Has the server look at the text, a moment after the last key.
function textChanged() {
  scene.text = el("text").value;
  showChanged();
  clearTimeout(asked);
  asked = setTimeout(told(checkText), 250);
}

async function checkText() {
  const text = el("text").value;
  const answer = await ask("scenario", { name: scene.name, text });
  // While it was looked at, somebody may have typed on.
  if (el("text").value === text) showScenario(answer);
}

function showFamilies(families) {
  const focused = document.activeElement?.dataset?.family;
  const rows = [];
  for (const one of families.filter((family) => family.is_named)) {
    const slider = make("input");
    Object.assign(slider, { type: "range", min: 0, max: one.most, value: one.high, id: `family-${one.name}` });
    slider.dataset.family = one.name;
    slider.title = one.help;
    const label = make("label", one.name);
    label.htmlFor = slider.id;
    label.title = one.help;
    const stands = make("output", rangeWord(one, one.high));
    slider.addEventListener("input", () => { stands.textContent = rangeWord(one, Number(slider.value)); });
    slider.addEventListener("change", told(() => setFamily(one, Number(slider.value))));
    rows.push(label, slider, stands);
    if (focused === one.name) setTimeout(() => slider.focus());
  }
  el("faults").replaceChildren(...rows);
  const none = make("option", "a family…");
  none.value = "";
  el("more").replaceChildren(none, ...families.filter((family) => !family.is_named).map((one) => {
    const option = make("option", `${one.name}: ${one.help}`);
    option.value = one.name;
    return option;
  }));
  el("more").onchange = told(() => {
    const one = families.find((family) => family.name === el("more").value);
    if (one) return setFamily(one, one.is_range ? 2 : 10);
  });
}

const rangeWord = ({ is_range, low }, high) => (is_range ? `${Math.min(low, high)}–${high}` : String(high));

async function setFamily(one, high) {
  const low = one.is_range ? Math.min(one.low, high) : high;
  const { text } = await ask("fault", { text: el("text").value, family: one.name, low, high });
  el("text").value = text;
  await checkText();
}

async function saveScenario() {
  const wanted = el("wanted").value.trim();
  const { files } = await ask("save", { ...asText(), wanted });
  note(`Saved: ${files.join(", ")}`);
  await openScenario(wanted);
}

// The strip of seeds: a square for each, filled when it is done.
const strip = { squares: new Map(), job: 0 };

function clearStrip() {
  strip.squares.clear();
  strip.job = 0;
  el("strip").replaceChildren();
  el("tally").textContent = "";
  el("properties").replaceChildren();
  el("explored").textContent = "";
  el("halt").hidden = true;
}

async function sow() {
  const first = Number(el("first").value), last = first + Number(el("count").value) - 1;
  clearTimeout(asked);
  if (el("text").value !== scene.text || !scene.isRight) await checkText();
  if (!scene.isRight) throw new Error(el("wrong").textContent);
  const { job } = await ask("seeds", { ...asText(), first, last });
  clearStrip();
  strip.job = job;
  const [name, text] = [scene.name, scene.text];
  for (let seed = first; seed <= last; seed++) {
    const square = make("button");
    square.setAttribute("role", "option");
    square.setAttribute("aria-label", `seed ${seed}: not yet run`);
    square.tabIndex = seed === first ? 0 : -1;
    square.dataset.seed = seed;
    square.addEventListener("click", told(() => openSeed(name, text, seed)));
    strip.squares.set(seed, square);
  }
  el("strip").replaceChildren(...strip.squares.values());
  el("halt").hidden = false;
  const count = { green: 0, red: 0, grey: 0 };
  const end = await follow(job, (one) => {
    const square = strip.squares.get(one.seed);
    if (!square) return;
    square.className = one.colour;
    const word = { green: "held", red: `${one.property} violated`, grey: "undecided" }[one.colour];
    square.title = `seed ${one.seed}: ${word}${one.why ? `\n${one.why}` : ""}`;
    square.setAttribute("aria-label", `seed ${one.seed}: ${word}`);
    count[one.colour]++;
    const grey = count.grey ? `, ${count.grey} undecided` : "";
    el("tally").textContent = `${count.green} held, ${count.red} violated${grey}, of ${last - first + 1}`;
  }, () => strip.job === job);
  if (!end) return;
  el("halt").hidden = true;
  showProperties(end);
}

// What all seeds together say of each property.
function showProperties({ properties, violates }) {
  el("properties").replaceChildren(...properties.map((one) => {
    const meant = one.property === violates && one.verdict === "violated" ? ", as it is there to show" : "";
    const word = make("span", one.verdict + meant);
    word.className = one.verdict;
    const line = make("li", null, make("span", one.property), word);
    line.title = `held in ${one.held}, violated in ${one.violated}, no evidence in ${one.no_evidence} runs${one.why ? `\n${one.why}` : ""}`;
    return line;
  }));
}

// Arrows, Home and End move among squares, and f goes to the next red one.
function stripKey(event) {
  const all = [...strip.squares.values()];
  const at = all.indexOf(document.activeElement);
  if (at < 0) return;
  const wide = Math.max(1, all.findIndex((one) => one.offsetTop > all[0].offsetTop));
  const red = all.findIndex((one, place) => place > at && one.className === "red");
  const to = {
    ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + wide, ArrowUp: at - wide,
    Home: 0, End: all.length - 1, f: red < 0 ? all.findIndex((one) => one.className === "red") : red,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const next = all[to];
  if (!next) return;
  all[at].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function markSquare(seed) {
  for (const [own, square] of strip.squares) square.setAttribute("aria-selected", String(own === seed));
}

function listenScene() {
  el("scenario").addEventListener("change", told(async () => {
    const option = el("scenario").selectedOptions[0];
    if (!option || !option.value) return;
    if (option.dataset.kind === "plan") await openPlan(option.value);
    else await openScenario(option.value);
  }));
  el("text").addEventListener("input", textChanged);
  el("keep").addEventListener("submit", told(saveScenario));
  el("sow").addEventListener("submit", told(sow));
  el("halt").addEventListener("click", told(() => ask("stop", { job: strip.job })));
  el("strip").addEventListener("keydown", stripKey);
}
