// The runs that are open, as a tree: a fork hangs below the run that it goes off from. One is shown,
// beside its parent if it has one, each in a frame with the page of its run.

// By number: { run, name, text, told, parent, words, children }.
const runs = new Map();
let current = null;
// The frames: { run, page }, where page is the frame's own hook once it is there.
let frames = [];

function remember(answer, more) {
  const known = runs.get(answer.run);
  if (known) return known;
  const one = { run: answer.run, told: answer.told, parent: null, words: "", children: [], ...more };
  runs.set(one.run, one);
  if (one.parent !== null) runs.get(one.parent).children.push(one.run);
  keepTree();
  return one;
}

// Asks how likely the failure was at each moment of the run that is shown, and draws that over it.
async function whenLost() {
  const one = runs.get(current);
  const button = el("why");
  const { job } = await ask("why", { run: one.run });
  button.disabled = true;
  try {
    const answer = await follow(job, (percent) => { button.textContent = `When was it lost? ${percent} %`; });
    const of = answer.run === one.run ? one : remember(answer, { name: one.name, text: one.text, parent: one.run, words: `${one.words}, with all operations` });
    of.curve = { points: answer.points, step: answer.step };
    const frame = frames.find((each) => each.run === of.run);
    if (!frame) { show(of); return; }
    frame.page?.curve(of.curve.points);
    showLikely(of);
  } finally {
    [button.disabled, button.textContent] = [false, "When was it lost?"];
  }
}

// The page says so too, but where its head has no room, and it does not know what may be chance.
function showLikely({ curve, told: { failure } }) {
  el("likely").hidden = !curve || (frames.length < 2 && (!curve.step || curve.step.is_clear));
  if (!curve) return;
  const { points, step } = curve;
  const percent = ({ share }) => `${Math.round(100 * share)} %`;
  const at = ({ t }) => `${(t / 1e6).toFixed(3)} ms`;
  el("likely").textContent = !step
    ? `No moment makes it likelier: from every one of ${points.length}, as many runs fail.`
    : `${failure.property} became likely between ${at(step.before)} and ${at(step.after)}: with the rest drawn anew, ${percent(step.before)} of the runs fail before, and ${percent(step.after)} after`
      + `${step.is_clear ? "." : "; by so few runs, that may be chance."}`;
}

// The server knows the runs as long as it serves; which was opened how is kept for when the page is
// loaded again.
const KEPT = `studio ${TOKEN}`;

function keepTree() {
  const tree = [...runs.values()].map(({ run, parent, words }) => ({ run, parent, words }));
  try { sessionStorage.setItem(KEPT, JSON.stringify(tree)); } catch { /* Without it, the page begins anew. */ }
}

// Opens what was open. Answers whether something was.
async function restore() {
  let tree = [];
  try { tree = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]"); } catch { return false; }
  for (const { run, parent, words } of tree) {
    if (parent !== null && !runs.has(parent)) continue;
    const answer = await ask("told", { run });
    remember(answer, { name: answer.name, text: answer.text, parent, words });
  }
  const last = [...runs.values()].at(-1);
  if (!last) return false;
  await openScenario(last.name);
  if (last.text !== scene.text) { el("text").value = last.text; await checkText(); }
  show(last);
  return true;
}

async function openSeed(name, text, seed) {
  const answer = await ask("run", { name, text, seed: String(seed) });
  markSquare(seed);
  show(remember(answer, { name, text, words: `seed ${seed}` }));
}

async function openPlan(name) {
  const answer = await ask("replay", { name });
  await openScenario(answer.name);
  show(remember(answer, { name: answer.name, text: scene.text, words: name }));
}

const verdictWord = ({ failure, square }) => {
  if (failure) return `${failure.property} violated at ${failure.at_ms.toFixed(3)} ms`;
  return square.colour === "grey" ? "undecided" : "nothing violated";
};

// The tree, anew.
function showTree() {
  el("no-runs").hidden = runs.size > 0;
  const branch = (one) => {
    const dot = make("i");
    dot.className = `dot ${one.told.square.colour}`;
    const button = make("button", null, dot, make("span", one.words, make("small", verdictWord(one.told))));
    button.setAttribute("aria-current", String(one.run === current));
    button.title = one.told.failure?.why ?? "";
    button.addEventListener("click", told(() => show(one)));
    const item = make("li", null, button);
    if (one.children.length) item.append(make("ul", null, ...one.children.map((id) => branch(runs.get(id)))));
    return item;
  };
  el("runs").replaceChildren(...[...runs.values()].filter((one) => one.parent === null).map(branch));
}

function show(one) {
  current = one.run;
  showTree();
  el("acts").hidden = false;
  el("shown").textContent = one.words;
  const { failure } = one.told;
  el("said").textContent = verdictWord(one.told);
  el("said").title = failure?.why ?? "";
  el("said").classList.toggle("bad", Boolean(failure));
  el("beside-part").hidden = one.parent === null;
  el("shrink").hidden = el("why").hidden = !failure;
  el("plan-name").value = `run/studio/${one.name.split("/").pop().replace(/\.toml$/, "")}-${one.told.seed}-${one.run}.toml`;
  const pair = one.parent !== null && el("beside").checked ? [runs.get(one.parent), one] : [one];
  showBranches(one);
  el("verdicts").hidden = true;
  leader = null;
  frames = pair.map((run) => frameOf(run, pair.length > 1));
  showLikely(one);
  el("frames").replaceChildren(...frames.map((frame) => frame.figure));
  // On a phone it is below all controls.
  if (matchMedia("(max-width: 900px)").matches) el("acts").scrollIntoView();
}

function frameOf(one, isBeside) {
  const iframe = make("iframe");
  iframe.title = `The run ${one.words}`;
  iframe.src = `run/${one.run}`;
  const figure = make("figure");
  if (isBeside) {
    const word = make("span", verdictWord(one.told));
    word.className = one.told.failure ? "bad" : "good";
    figure.append(make("figcaption", null, make("b", one.words), word));
  }
  figure.append(iframe);
  const frame = { run: one.run, figure, iframe, page: null };
  iframe.addEventListener("load", () => {
    frame.page = iframe.contentWindow.explain ?? null;
    if (!frame.page) { note("This run cannot be shown; see the frame."); return; }
    frame.page.menu(forkItems(one));
    if (one.curve) frame.page.curve(one.curve.points);
    if (frames.includes(frame) && frames.every((each) => each.page)) told(beside)();
  });
  return frame;
}

// Tries all orders of a small scenario within its bounds; what breaks something opens as a run.
async function exploreAll() {
  const [name, text] = [scene.name, scene.text];
  const { job } = await ask("explore", { name, text, seconds: Number(el("explore-seconds").value) });
  const button = el("explore").querySelector("button");
  button.disabled = true;
  el("explore-halt").hidden = false;
  el("explore-halt").onclick = told(() => ask("stop", { job }));
  const count = (number) => number.toLocaleString("en");
  try {
    const end = await follow(job, (runs) => { el("explored").textContent = `${count(runs)} runs…`; });
    const tried = `${count(end.schedules)} orders within ${end.bounds}, ${end.depth} steps`;
    const unknown = end.verdict === "unknown" && end.lines.length ? ` ${end.lines.join("; ")}.` : "";
    el("explored").textContent = {
      exhausted: `Exhausted: ${tried}. None of them breaks anything; what is beyond these bounds nobody tried.${unknown}`,
      time: `The time is over: ${tried} were tried, and none of them breaks anything.`,
      depth: `The depth was reached: ${tried} were tried, and none of them breaks anything.`,
      found: `Found, after ${tried}: the run that is open.`,
    }[end.ended];
    if (end.ended === "found") show(remember(end, { name, text, words: "found by trying all orders" }));
  } finally {
    button.disabled = false;
    el("explore-halt").hidden = true;
  }
}

async function shrinkRun() {
  const one = runs.get(current);
  const button = el("shrink");
  const { job } = await ask("shrink", { run: one.run });
  [button.disabled, button.textContent] = [true, "Making it smaller…"];
  try {
    const answer = await follow(job, () => {});
    if (answer.run === one.run) note("It is as small as it gets.");
    else show(remember(answer, { name: one.name, text: one.text, parent: one.run, words: `${one.words}, made smaller` }));
  } finally {
    [button.disabled, button.textContent] = [false, "Make it smaller"];
  }
}

async function savePlan() {
  const { command } = await ask("save_plan", { run: current, wanted: el("plan-name").value.trim() });
  note(`Saved. Again: ${command}`);
}

function listenRuns() {
  el("beside").addEventListener("change", () => show(runs.get(current)));
  el("explore").addEventListener("submit", told(exploreAll));
  el("why").addEventListener("click", told(whenLost));
  el("shrink").addEventListener("click", told(shrinkRun));
  el("plan").addEventListener("submit", told(savePlan));
}
