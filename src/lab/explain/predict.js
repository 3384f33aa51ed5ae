// Predicting: what comes after the event is not there until one asks. The rest of the run is taken
// out of the model itself, so that nothing that draws or tells can show it.

let foretold = null;
const predicting = () => foretold !== null;
// What is said of an operation without an answer.
const unanswered = () => (predicting() ? "no reply yet" : "no reply");

function setPredict(on) {
  if (on === predicting()) return;
  if (on && !events.length) return;
  const at = view.selected;
  document.body.classList.toggle("predicting", on);
  if (on) {
    // What was drawn over the run tells of what is to come.
    foretold = { events, right: 0, asked: 0, chance, marks: marked.splice(0) };
    chance = null;
    cutAfter(at < 0 ? firstShown() : at);
  } else {
    const { events: all, marks } = foretold;
    chance = foretold.chance;
    marked.push(...marks);
    foretold = null;
    useEvents(all);
    sayCurve();
  }
  el("guess").setAttribute("aria-pressed", String(on));
  el("predict").hidden = !on;
  el("answer").textContent = "";
  showScore();
  resize();
  showPins();
  if (on) { select(view.selected < 0 || view.selected >= events.length ? events.length - 1 : view.selected); ask(); }
  else select(at);
}

const firstShown = () => Math.max(0, nextShown(-1, 1));

// Shows the run up to an event, and how its node is after it.
function cutAfter(index) {
  const { events: all } = foretold;
  let to = index + 1;
  while (to < all.length && all[to].kind === "view" && all[to].node === all[index].node) to++;
  useEvents(all.slice(0, to));
}

function useEvents(list) {
  events = list;
  model = buildModel(data.run, events);
  strip = null;
  rows = null;
  if (view.selected >= events.length) view.selected = events.length - 1;
  view.marks = null;
  view.shown.fill(0);
  view.to = events.length;
  applyFilters();
  search();
  showHeader(jump);
  showFilters();
}

// The next event that the filters would show, or -1.
function nextOfAll() {
  const { events: all } = foretold;
  for (let index = events.length; index < all.length; index++) {
    const event = all[index];
    if (event.kind === "view" || (event.kind === "timer" && !view.timers)) continue;
    if (event.node !== undefined && !view.nodes.has(event.node)) continue;
    return index;
  }
  return -1;
}

// Who acts in an event: a node, a client, or nobody of them.
const actor = (event) => (event.kind === "fault" || event.kind === "violation" ? "something else" : event.node !== undefined ? laneWord(event.node) : event.client !== undefined ? "a client" : "something else");

function ask() {
  const over = nextOfAll() < 0;
  el("question").textContent = over ? "The run is over." : "Who acts next?";
  el("reveal").disabled = over;
  const words = [...data.run.nodes.filter((id) => view.nodes.has(id)).map(laneWord), "a client", "something else"];
  el("choices").replaceChildren(...(over ? [] : words).map((word) => {
    const button = make("button", word);
    button.addEventListener("click", () => guess(word));
    return button;
  }));
}

function guess(word) {
  const next = nextOfAll();
  if (next < 0) return;
  const right = actor(foretold.events[next]) === word;
  foretold.asked++;
  if (right) foretold.right++;
  showNext(right ? "✓ Right: " : `✕ Not ${word}: `);
}

// Shows the next step, with what is to be said before it.
function showNext(before = "") {
  const next = nextOfAll();
  if (next < 0) { say("The run is over."); return; }
  const focused = [...el("choices").children].indexOf(document.activeElement);
  cutAfter(next);
  select(next);
  const words = `${before}${actor(events[next]) === "something else" ? "" : `${nodeWord(events[next])} `}${describe(next)}`;
  el("answer").textContent = words;
  say(words);
  showScore();
  ask();
  if (focused >= 0 && el("choices").children[focused]) el("choices").children[focused].focus();
}

function showScore() {
  el("score").textContent = foretold && foretold.asked ? `${foretold.right} of ${foretold.asked} right` : "";
}

function listenPredict() {
  el("guess").addEventListener("click", () => setPredict(!predicting()));
  el("reveal").addEventListener("click", () => showNext());
  actions.push({ label: "Predict from here", for: ["moment"], when: (target) => target.event >= 0, action: (target) => { setPredict(false); select(target.event); setPredict(true); } });
}
