// What can be done with what is under the pointer: a menu with the page's own actions and those
// that whoever frames the page has registered. Does none of them itself.

// An action: { label, for: ["arrow", "node", "moment"], action(target) }. Targets, by `kind`:
// arrow { message, event }, node { node, t, event }, moment { t, event }; `event` is the index of
// the last event until then or -1, `at` the trace's own nanoseconds as text.
const actions = [];
let registered = [];

function registerMenu(items) {
  registered = [...items].filter((item) => typeof item.action === "function" && Array.isArray(item.for));
}

const traceTime = (t) => String(BigInt(data.run.base) + BigInt(Math.round(t)));
const moment = (t, event) => ({ kind: "moment", t, event, at: traceTime(t) });
const nodeTarget = (node, t, event) => ({ kind: "node", node, t, event, at: traceTime(t) });

// What an event is about: its message, its node, its moment.
function targetsOf(index) {
  const { node, t } = events[index];
  const message = model.messageOf(index);
  const list = message && message.id !== undefined ? [{ kind: "arrow", message: message.id, event: index, at: traceTime(t) }] : [];
  if (node !== undefined) list.push(nodeTarget(node, t, index));
  return [...list, moment(t, index)];
}

function targetsAt(x, y, reach) {
  const index = hit(x, y, reach);
  if (index >= 0) return targetsOf(index);
  if (!events.length) return [];
  const place = Math.max(view.place[0], placeAtX(Math.max(x, GUTTER)));
  // The last event at or left of there.
  let last = Math.min(events.length, indexAtPlace(place + 1e-9)) - 1;
  while (last >= 0 && !view.shown[last]) last--;
  const t = view.axis === "time" ? Math.min(place, model.end) : events[Math.max(0, last)].t;
  const rows = layout();
  const node = rows.ids.find((id) => Math.abs(rows.y.get(id) - y - view.top) < Math.min(rows.row / 2, 24));
  return node === undefined || y < rows.fixed ? [moment(t, last)] : [nodeTarget(node, t, last), moment(t, last)];
}

function targetWord(target) {
  if (target.kind === "node") return laneWord(target.node);
  if (target.kind === "moment") return clock(target.t, true);
  const message = model.messageOf(target.event);
  return message.brief || message.label || "message";
}

let menuFrom = null;

function openMenu(targets, x, y) {
  closeMenu();
  const menu = el("menu");
  menu.replaceChildren();
  for (const target of targets) {
    const fitting = [...actions, ...registered].filter((item) => item.for.includes(target.kind) && (!item.when || item.when(target)));
    if (!fitting.length) continue;
    const group = make("div", null, make("p", targetWord(target)));
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", targetWord(target));
    for (const item of fitting) {
      const button = make("button", String(item.label));
      button.setAttribute("role", "menuitem");
      button.tabIndex = -1;
      button.addEventListener("click", () => { closeMenu(); item.action(target); invalidate(); });
      group.append(button);
    }
    menu.append(group);
  }
  if (!menu.childElementCount) return;
  menuFrom = document.activeElement === document.body ? canvas : document.activeElement;
  menu.hidden = false;
  menu.style.left = `${Math.max(4, Math.min(x, window.innerWidth - menu.offsetWidth - 4))}px`;
  menu.style.top = `${Math.max(4, Math.min(y, window.innerHeight - menu.offsetHeight - 4))}px`;
  menu.querySelector("button").focus();
}

// At the selected event, for keys and for the button.
function openMenuHere() {
  if (view.selected < 0) { say("Select an event first."); return; }
  const box = canvas.getBoundingClientRect();
  reveal(view.selected);
  const row = layout().y.get(events[view.selected].node);
  openMenu(targetsOf(view.selected), box.left + clampX(xAt(view.selected)) + 12, box.top + (row === undefined ? 40 : row - view.top) + 12);
}

function closeMenu() {
  const menu = el("menu");
  if (menu.hidden) return;
  menu.hidden = true;
  if (menuFrom && menuFrom.isConnected) menuFrom.focus();
}

function menuKey(event) {
  const buttons = [...el("menu").querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1 + buttons.length, Home: 0, End: buttons.length - 1 }[event.key];
  event.stopPropagation();
  if (to !== undefined) buttons[to % buttons.length].focus();
  else if (event.key === "Escape" || event.key === "Tab") closeMenu();
  else return;
  event.preventDefault();
}

function listenMenu() {
  el("menu").addEventListener("keydown", menuKey);
  el("act").addEventListener("click", openMenuHere);
  document.addEventListener("pointerdown", (event) => { if (!el("menu").contains(event.target)) el("menu").hidden = true; });
}

actions.push({
  label: "Only its causes", for: ["moment"], when: (target) => target.event >= 0,
  action: (target) => { setPast(true); jump(target.event); },
});
