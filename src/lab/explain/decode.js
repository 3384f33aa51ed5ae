"use strict";
// Makes events of the page's data: rows without names, and each text once, as `data.rs` says.

function decode(data) {
  const { words, shapes } = data;
  const kinds = shapes.map(([kind, ...names]) => ({
    kind, fields: names.map((name) => (/^[$#~]/.test(name) ? [name[0], name.slice(1)] : ["", name])),
  }));
  // An object that comes again is the same one: nobody changes what was said.
  const objects = new Map();
  const object = (place) => {
    if (!objects.has(place)) objects.set(place, JSON.parse(words[place]));
    return objects.get(place);
  };
  const views = new Map();
  let t = 0;
  data.events = data.events.map((row, index) => {
    const { kind, fields } = kinds[row[0]];
    t += row[1];
    const event = { kind, t };
    if (row[2]) event.cause = index - row[2];
    fields.forEach(([sign, name], at) => {
      const value = row[at + 3];
      event[name] = sign === "$" ? words[value] : sign === "#" ? object(value) : value;
    });
    if (kind !== "view") return event;
    const key = `${event.node} ${event.protocol}`;
    if (fields.some(([sign]) => sign === "~")) event.value = { ...views.get(key), ...event.value };
    views.set(key, event.value);
    return event;
  });
  return data;
}
