// What is on the screen as a link: the selection, the filters and the range follow in the
// address's fragment, and are restored from it. The range is also for who frames the page.

// What is on the screen: on the axis "time" in nanoseconds since the run's begin, on "order" in
// events that the filters show.
function range() {
  return { axis: view.axis, from: placeAtX(GUTTER + MARGIN), to: placeAtX(GUTTER + MARGIN + room()) };
}

function showPlaces({ axis, from, to }) {
  if (!(to > from) || !events.length) return;
  if ((axis === "order" || axis === "time") && axis !== view.axis) setAxis(axis);
  view.scale = room() / (to - from);
  clampView();
  view.left = from;
  clampView();
  invalidate();
}

function fragment() {
  const state = new URLSearchParams();
  if (view.selected >= 0) state.set("event", view.selected + 1);
  if (view.axis === "time") state.set("axis", "time");
  const digits = view.axis === "time" ? 0 : 1;
  const { from, to } = range();
  if (events.length) state.set("range", `${from.toFixed(digits)}_${to.toFixed(digits)}`);
  if (view.nodes.size < data.run.nodes.length) state.set("nodes", [...view.nodes].sort((a, b) => a - b).join("."));
  if (view.protocol) state.set("protocol", view.protocol);
  if (find.text) state.set("text", find.text);
  if (view.text) state.set("only", 1);
  if (!view.timers) state.set("timers", 0);
  if (view.past) state.set("causes", 1);
  if (predicting()) state.set("predict", 1);
  return state.toString();
}

// How the page opened: it needs no fragment.
let opened = null;
let written = "";
let writing = 0;
const PAUSE = 300;

// Follows, at most a few times a second, and leaves no trail in the history.
function remember() {
  if (opened === null || writing) return;
  writing = setTimeout(() => {
    writing = 0;
    const now = fragment();
    if (now === written) return;
    written = now;
    try { history.replaceState(null, "", now === opened ? location.pathname + location.search : `#${now}`); } catch { /* A page in a frame may have no address. */ }
  }, PAUSE);
}

// Shows what the fragment says; what it does not say is as it is at first. `view=all` is the whole
// window.
function restore() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (predicting()) setPredict(false);
  const ids = (asked.get("nodes") || "").split(".").map(Number).filter((id) => data.run.nodes.includes(id));
  view.nodes = new Set(ids.length ? ids : data.run.nodes);
  view.protocol = model.protocols.includes(asked.get("protocol")) ? asked.get("protocol") : "";
  view.timers = asked.get("timers") !== "0";
  find.text = (asked.get("text") || "").toLowerCase();
  view.text = asked.get("only") === "1" ? find.text : "";
  setPast(asked.get("causes") === "1");
  el("text").value = find.text;
  el("only").checked = view.text !== "";
  showFilters();
  refilter();
  const axis = asked.get("axis") === "time" ? "time" : "order";
  if (axis !== view.axis) setAxis(axis);
  const event = Number(asked.get("event"));
  if (Number.isInteger(event) && event >= 1 && event <= events.length) jump(event - 1);
  // A jump may find that only the causes are legible; a link says what it means.
  if (asked.has("range")) setPast(asked.get("causes") === "1");
  if (view.selected >= 0) select(view.selected, true);
  if (asked.get("predict") === "1") setPredict(true);
  const [from, to] = (asked.get("range") || "").split("_").map(Number);
  showPlaces({ from, to });
  if (asked.get("view") === "all") fit();
  invalidate();
}
