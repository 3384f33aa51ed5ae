// Forks: what the page of a run offers to go otherwise, and two runs beside each other, the same up to
// their first difference.

// The frame that somebody uses: the other one follows it.
let leader = null;

const DELAYS = [100, 1000];

// What can be forked in the page of a run, for its menu.
function forkItems(one) {
  const message = (label, what) => ({ label: `Fork: ${label}`, for: ["arrow"], action: told((target) => fork(one, { message: String(target.message), ...what })) });
  const node = (label, key) => ({ label: `Fork: ${label}`, for: ["node"], action: told((target) => fork(one, { at_ns: Number(target.at), [key]: target.node })) });
  return [
    message("it is lost", { drop: true }),
    ...DELAYS.map((ms) => message(`it comes ${ms < 1000 ? `${ms} ms` : `${ms / 1000} s`} later`, { delay_ms: ms })),
    message("it comes at once, before all others", { first: true }),
    node("it crashes", "crash"), node("it crashes, and its disk is lost", "wipe"),
    node("it pauses", "pause"), node("it is cut off", "cut"),
    { label: "Fork: the rest is drawn anew", for: ["moment"], action: told((target) => fork(one, { at_ns: Number(target.at), reseed: freshSeed(one, Number(target.at)) })) },
  ];
}

// Drawn anew again at the same moment, it is drawn otherwise.
function freshSeed(one, at) {
  const drawn = [one, ...one.children.map((id) => runs.get(id))].flatMap((each) => each.told.branches.map((branch) => branch.table));
  return 1 + Math.max(0, ...drawn.filter((table) => table.at_ns === at).map((table) => table.reseed ?? 0));
}

async function fork(one, branch) {
  const branches = [...one.told.branches.map((each) => each.table), branch];
  const answer = await ask("fork", { run: one.run, branches });
  const words = answer.told.branches.at(-1).words.replace(/^branch:? ?/, "");
  answer.told.notes.forEach(note);
  show(remember(answer, { name: one.name, text: one.text, parent: one.run, words }));
}

// The branches of the plan, each to be taken back.
function showBranches(one) {
  const { branches } = one.told;
  el("branches").hidden = !branches.length;
  el("branches").replaceChildren(...branches.map((branch, place) => {
    const away = make("button", "✕");
    away.setAttribute("aria-label", `Take back: ${branch.words}`);
    away.title = "Run the plan without this branch";
    away.addEventListener("click", told(async () => {
      const rest = branches.filter((_, at) => at !== place).map((each) => each.table);
      const answer = await ask("fork", { run: one.run, branches: rest });
      show(remember(answer, { name: one.name, text: one.text, parent: one.run, words: `without ${branch.words}` }));
    }));
    return make("span", branch.words, away);
  }));
}

// Two runs are shown, and both pages are there: marks where they first differ, tells what is different
// in the end, and keeps them at the same place.
async function beside() {
  if (frames.length < 2) return;
  const pair = frames;
  const said = await ask("compare", { one: pair[0].run, other: pair[1].run });
  if (frames !== pair) return;
  showVerdicts(said);
  // Of runs that are too long for a page, the parts around the difference are shown.
  const around = said.sides?.[0].around;
  if (around !== undefined && pair.some((frame) => frame.around !== around)) {
    for (const frame of pair) {
      [frame.around, frame.page] = [around, null];
      frame.iframe.src = `run/${frame.run}/at/${around}`;
    }
    return;
  }
  const sides = said.is_same ? [null, null] : said.sides;
  pair.forEach((frame, at) => {
    frame.side = sides[at];
    if (frame.side && frame.side.event !== null) frame.page.mark(frame.side.event, "first difference");
    makeRoom(frame, at === 1);
    followed(frame, pair[1 - at]);
  });
  const [first, second] = pair;
  if (first.side && first.side.event !== null) first.page.jump(first.side.event);
  if (second.side && second.side.event !== null) second.page.jump(second.side.event);
  second.page.range = first.page.range;
}

// Two pages share the height of one: what the shell says above them already is left out, and the lower
// one goes where the upper one's buttons lead.
function makeRoom(frame, isLower) {
  const page = frame.iframe.contentDocument;
  page.querySelector("header").hidden = true;
  page.getElementById("tools").hidden = isLower;
  const past = page.getElementById("past");
  if (past.checked) past.click();
  frame.iframe.contentWindow.dispatchEvent(new Event("resize"));
  // It may have scrolled to what it opened at while it had less room: nodes come first.
  for (let rows = 0; rows < 40; rows++) page.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp", bubbles: true }));
}

// The other frame follows this one while somebody uses it: the same part of the run, and the same
// event as long as it is in both.
function followed(frame, other) {
  const lead = () => { leader = frame; };
  for (const kind of ["pointerdown", "wheel", "keydown", "touchstart", "focusin"]) {
    frame.iframe.contentDocument.addEventListener(kind, lead, { capture: true, passive: true });
  }
  let before = "";
  frame.page.onrange = (range) => {
    if (leader !== frame) return;
    const now = JSON.stringify(range);
    if (now === before) return;
    before = now;
    other.page.range = range;
  };
  frame.page.onselect = (index) => {
    if (leader !== frame) return;
    const there = counterpart(frame, other, index);
    if (there !== other.page.selected) other.page.select(there, true);
  };
}

// The event of the other run that is the same as this one; -1 where there is none.
function counterpart(frame, other, index) {
  // The places of two parts are not those of the runs.
  if (frame.around !== undefined) return other.page.selected;
  const end = (one) => (!one.side ? Infinity : one.side.event ?? one.page.events);
  const verdicts = (one) => (one.side ? one.side.verdicts : []);
  if (index < 0 || index >= end(frame) || verdicts(frame).includes(index)) return -1;
  let there = index - verdicts(frame).filter((at) => at < index).length;
  for (const at of verdicts(other)) if (at <= there) there++;
  return there < end(other) ? there : -1;
}

// What is different in the end, in words.
function showVerdicts(said) {
  const [parent, child] = frames.map((frame) => runs.get(frame.run).told);
  const lines = [];
  if (said.is_same) lines.push("Both runs are the same, event for event: the branch met nothing.");
  else {
    const at = said.sides.find((side) => side.t !== null);
    if (at) lines.push(`The same until ${(at.t / 1e6).toFixed(3)} ms.`);
  }
  const word = ({ failure }, property) => (failure && failure.property === property ? `violated at ${failure.at_ms.toFixed(3)} ms` : null);
  const of = (run, property) => word(run, property) ?? run.properties.find((one) => one.property === property)?.verdict ?? "not judged";
  const names = new Set([parent, child].flatMap((run) => [...run.properties.map((one) => one.property), ...(run.failure ? [run.failure.property] : [])]));
  const same = new Map();
  for (const name of names) {
    const [before, now] = [of(parent, name), of(child, name)];
    if (before === now) same.set(now, [...(same.get(now) ?? []), name]);
    else lines.push(`${name}: ${before} before, ${now} now.`);
  }
  for (const [verdict, all] of same) lines.push(`${verdict} in both: ${all.join(", ")}.`);
  el("verdicts").textContent = lines.join(" ");
  el("verdicts").hidden = false;
}
