// The part of the run that is on the screen, as two places on the axis: for who frames the page.

// What is on the screen: on the axis "time" in nanoseconds since the run's begin, on "order" in
// events that the filters show.
function range() {
  return { axis: view.axis, from: placeAtX(GUTTER + MARGIN), to: placeAtX(GUTTER + MARGIN + room()) };
}

function showPlaces({ axis, from, to }) {
  if (!(to > from) || !events.length) return;
  if ((axis === "order" || axis === "time") && axis !== view.axis) setAxis(axis);
  useWindowOf(Math.min(events.length - 1, indexAtPlace(from)));
  view.scale = room() / (to - from);
  clampView();
  view.left = from;
  clampView();
  invalidate();
}
