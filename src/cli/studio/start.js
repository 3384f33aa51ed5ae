// Begins: what the command line names is opened, and the shell listens.

async function start() {
  listenScene();
  listenRuns();
  el("fold").addEventListener("click", () => {
    const folded = document.body.classList.toggle("folded");
    el("fold").setAttribute("aria-expanded", String(!folded));
  });
  const { opened, scenarios } = await ask("start");
  listScenarios(scenarios);
  if ((opened.kind === "scenario" || opened.kind === "replay" || opened.kind === "nothing") && await restore()) return;
  if (opened.kind === "scenario") { await openScenario(opened.name); await sow(); }
  if (opened.kind === "replay") await openPlan(opened.name);
  if (opened.kind === "traces") showTraces(opened.names);
  if (opened.kind === "folder") await showLive();
}

// The page of traces that are there already: no run, and nothing to run again.
function showTraces(names) {
  document.body.classList.add("no-scene");
  el("about").textContent = names.join(", ");
  const iframe = make("iframe");
  iframe.title = "The traces";
  iframe.src = "traces";
  el("frames").replaceChildren(make("figure", null, iframe));
}

told(start)();
