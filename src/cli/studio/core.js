"use strict";
// How the shell talks: to the server, by commands with the token of the address; to people, by
// elements that hold text and nothing else. Knows nothing of scenarios and runs.

// Whatever goes wrong is kept for the self-test, and still shown where it belongs.
const problems = [];
window.addEventListener("error", (event) => problems.push(String(event.message)));
window.addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));

const TOKEN = location.pathname.split("/")[1];

const el = (id) => document.getElementById(id);

// An element with text and children; the only way in which the shell makes any.
function make(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

// A command; its answer, or an error with the server's words.
async function ask(name, what = {}) {
  let response;
  try {
    response = await fetch(`/${TOKEN}/api/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Studio-Token": TOKEN },
      body: JSON.stringify(what),
      credentials: "omit",
    });
  } catch {
    throw new Error("node studio has ended: start it again, and open its new address");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Follows a job until it is over or `isWanted` says no: `each` gets a piece. Answers its end.
async function follow(job, each, isWanted = () => true) {
  for (let from = 0; ; ) {
    const said = await ask("job", { job, from });
    if (!isWanted()) return null;
    said.pieces.forEach(each);
    from += said.pieces.length;
    if (said.is_over) return said.end;
    await pause(said.pieces.length ? 60 : 150);
  }
}

let noted = 0;
// Tells something for a while.
function note(words) {
  el("note").textContent = words;
  el("note").hidden = false;
  clearTimeout(noted);
  noted = setTimeout(() => { el("note").hidden = true; }, 9000);
}

// A handler whose errors are told.
const told = (action) => async (event) => {
  if (event && event.preventDefault && event.type === "submit") event.preventDefault();
  try {
    return await action(event);
  } catch (error) {
    note(error.message);
    return undefined;
  }
};
