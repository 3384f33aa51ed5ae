// What a page of another origin can try against the studio's address, token and all: answers what came
// of each attempt. A function of the address and the token.
async (url, token) => {
  const got = {};
  const json = { "Content-Type": "application/json", "X-Studio-Token": token };
  const save = JSON.stringify({ name: "kv-calm", text: "", wanted: "evil.toml" });
  const tries = {
    read: () => fetch(url),
    plain: () => fetch(`${url}api/save`, { method: "POST", body: save }),
    command: () => fetch(`${url}api/start`, { method: "POST", headers: json, body: "{}" }),
  };
  for (const [name, attempt] of Object.entries(tries)) {
    got[name] = await attempt().then((answer) => answer.text()).then((text) => `read ${text}`, () => "refused");
  }
  got.blind = await fetch(`${url}api/save`, { method: "POST", mode: "no-cors", body: save }).then((it) => it.type, () => "refused");
  const loaded = (it) => new Promise((done) => { it.onload = done; });
  const [sink, frame, form] = ["iframe", "iframe", "form"].map((tag) => document.createElement(tag));
  sink.name = "sink";
  Object.assign(form, { action: `${url}api/save`, method: "post", enctype: "text/plain", target: "sink" });
  document.body.append(form, sink, frame);
  const sent = loaded(sink);
  form.submit();
  await sent;
  const framed = loaded(frame);
  frame.src = url;
  await framed;
  try { got.frame = `read ${frame.contentDocument.title}`; } catch { got.frame = "refused"; }
  const script = document.createElement("script");
  const ran = new Promise((done) => { script.onload = () => done("ran"); script.onerror = () => done("refused"); });
  script.src = `${url}core.js`;
  document.body.append(script);
  got.script = await ran;
  return got;
}
