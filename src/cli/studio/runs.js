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
  return one;
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
  el("plan-name").value = `run/studio/${one.name.split("/").pop().replace(/\.toml$/, "")}-${one.told.seed}-${one.run}.toml`;
  const pair = one.parent !== null && el("beside").checked ? [runs.get(one.parent), one] : [one];
  showBranches(one);
  el("verdicts").hidden = true;
  leader = null;
  frames = pair.map((run) => frameOf(run, pair.length > 1));
  el("frames").replaceChildren(...frames.map((frame) => frame.figure));
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
    if (frames.includes(frame) && frames.every((each) => each.page)) told(beside)();
  });
  return frame;
}

async function savePlan() {
  const { command } = await ask("save_plan", { run: current, wanted: el("plan-name").value.trim() });
  note(`Saved. Again: ${command}`);
}

function listenRuns() {
  el("beside").addEventListener("change", () => show(runs.get(current)));
  el("plan").addEventListener("submit", told(savePlan));
}
