// Nodes that run now: a table that follows their traces, the verdicts on the last events, and their page.

// Facts and views are of any form: fields in a row.
function valueWord(value) {
  if (value === null) return "";
  if (typeof value !== "object") return String(value);
  const one = ([key, inner]) => (Array.isArray(value) ? valueWord(inner) : `${key} ${inner !== null && typeof inner === "object" ? JSON.stringify(inner) : inner}`);
  return Object.entries(value).map(one).join(", ");
}

function ago(ms) {
  if (ms < 1000) return "now";
  return ms < 120000 ? `${Math.round(ms / 1000)} s ago` : `${Math.round(ms / 60000)} min ago`;
}

function nodeRow(node, now, isControlled) {
  // What is long scrolls by itself.
  const tall = (...parts) => {
    const made = make("td", null, make("div", null, ...parts));
    made.className = "mono";
    return made;
  };
  const cell = (text, kind) => { const made = make("td", text); if (kind) made.className = kind; return made; };
  const is = { up: "up", paused: "paused", down: node.is_up_by_trace ? "gone" : "down" }[node.is];
  const lines = (list, word) => list.map((one) => `${word(one)} ${valueWord(one.value)}`.trim()).join("\n");
  // What was said last of a kind is what holds, where there can be one; what was said before is quieter.
  const facts = (list) => {
    const kinds = new Set();
    const cells = list.map((one) => {
      const line = make("div", `${one.fact} ${valueWord(one.value)}`.trim());
      if (kinds.has(one.fact)) line.className = "soft";
      kinds.add(one.fact);
      return line;
    });
    return tall(...cells);
  };
  const row = make("tr", null,
    cell(`${node.name ?? node.node}${node.id === null || String(node.name ?? node.node).endsWith(String(node.id)) ? "" : ` (${node.id})`}`),
    cell(node.pid === null ? is : `${is} (pid ${node.pid})`, { up: "up", paused: "held-up", down: "down" }[node.is]),
    facts(node.facts),
    tall(lines(node.views, (one) => `${one.protocol}:`)),
    cell(node.of_links ? `${node.links} of ${node.of_links}` : "–"),
    cell(node.lamport === null ? "–" : String(node.lamport), "mono"),
    cell(node.last === null ? (node.has_trace ? "–" : "no trace: start it with --trace, or with NODE_TRACE=1 scripts/cluster.sh up") : `${node.last}, ${ago(now - node.last_ms)}`));
  if (!isControlled) return row;
  const acts = node.is === "down" ? (node.has_config ? ["start"] : []) : ["kill", node.is === "paused" ? "go_on" : "pause"];
  row.append(make("td", null, ...acts.map((what) => {
    const button = make("button", what.replace("_", " "));
    button.dataset.act = `${node.node} ${what}`;
    button.setAttribute("aria-label", `${what.replace("_", " ")} ${node.node}`);
    button.addEventListener("click", told(async () => { await ask("control", { node: node.node, what }); await look(); }));
    return button;
  })));
  return row;
}

// What is as it was stays the element that it is: somebody may read on in it, or be about to press it.
function showRows(rows) {
  const body = el("live-nodes");
  const same = (one, other) => one.className === other.className && one.textContent === other.textContent;
  rows.forEach((row, at) => {
    const old = body.rows[at];
    if (!old || old.cells.length !== row.cells.length || !same(old.cells[0], row.cells[0])) {
      if (old) old.replaceWith(row); else body.append(row);
      return;
    }
    [...row.cells].forEach((cell, place) => { if (!same(old.cells[place], cell)) old.cells[place].replaceWith(cell); });
  });
  while (body.rows.length > rows.length) body.deleteRow(-1);
}

async function look() {
  const said = await ask("live");
  el("live-folder").textContent = said.folder;
  const up = said.nodes.filter((node) => node.is === "up").length;
  el("live-said").textContent = `${up} of ${said.nodes.length} up${said.broken ? `; ${said.broken} lines are none of a trace` : ""}`;
  el("live-acts").hidden = !said.is_controlled;
  showRows(said.nodes.map((node) => nodeRow(node, said.now_ms, said.is_controlled)));
  const hasTrace = Boolean(said.judged) || said.nodes.some((node) => node.has_trace);
  el("live-show").disabled = !hasTrace;
  const judged = said.judged;
  if (!judged) { el("live-window").textContent = hasTrace ? "Not judged yet" : "Not judged: no node writes a trace"; return; }
  const span = judged.is_whole ? "all events so far" : `the last ${((judged.to_ms - judged.from_ms) / 1000).toFixed(1)} s`;
  el("live-window").textContent = `Judged: ${span}, ${judged.events.toLocaleString("en")} events`;
  const verdicts = (judged.properties ?? []).map((one) => {
    const word = make("b", one.verdict);
    word.className = one.verdict;
    const line = make("li", null, `${one.property} `, word, one.why ? `: ${one.why}` : "");
    line.title = one.statement;
    return line;
  });
  if (judged.wrong) verdicts.push(make("li", judged.wrong));
  el("live-properties").replaceChildren(...verdicts);
}

async function showLive() {
  document.body.classList.add("no-scene");
  el("live").hidden = false;
  el("empty").firstElementChild.textContent = "The page of the last events comes here.";
  el("live-show").addEventListener("click", () => {
    const iframe = make("iframe");
    iframe.title = "The last events";
    iframe.src = `live/${Math.max(10, Math.min(20000, Math.round(Number(el("live-count").value)) || 2000))}`;
    // Who looks at what runs wants to see its end.
    iframe.addEventListener("load", () => { const page = iframe.contentWindow.explain; if (page && page.events) page.jump(page.events - 1); });
    el("frames").replaceChildren(make("figure", null, iframe));
  });
  for (;;) {
    if (!document.hidden) await told(look)();
    await pause(1000);
  }
}
