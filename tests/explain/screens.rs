//! The page on phones and tablets, under fingers.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use crate::browser::Browser;
use crate::{no_problems, opened};
use serde_json::{Value, json};

/// Half of the screen is the diagram's; what is touched is as large as a finger.
#[test]
fn small_screens_show_the_diagram_and_fingers_move_it() {
    let Some((mut browser, file)) = opened() else { return };
    for (width, height) in [(390, 844), (820, 1180), (844, 390)] {
        browser.size(width, height, true);
        browser.open(&file, "");
        let box_of = browser.js("canvas.getBoundingClientRect().toJSON()");
        let (wide, high) = (box_of["width"].as_f64().unwrap(), box_of["height"].as_f64().unwrap());
        assert!(high >= f64::from(height) / 2.0, "{high} of {height}");
        assert!(wide >= f64::from(width) * 0.65, "{wide} of {width}");
        assert_eq!(browser.js("document.documentElement.scrollWidth"), width);
        let small = browser.js(
            "[...document.querySelectorAll('button, select, summary, input[type=search], label')] \
             .filter((one) => one.checkVisibility() && !one.disabled) \
             .map((one) => [one.id || one.textContent, one.getBoundingClientRect()]) \
             .filter(([, box]) => box.height && (box.height < 39.5 || box.width < 39.5)) \
             .map(([name, box]) => `${name}: ${box.width} x ${box.height}`)",
        );
        assert_eq!(small, json!([]), "at {width} x {height}");
        browser.picture(&format!("{width}x{height}"));
    }
    browser.size(390, 844, true);
    browser.open(&file, "");
    let state = |browser: &mut Browser| browser.js("[view.scale, view.left, explain.selected]");
    let apart = |before: &Value, after: &Value| after.as_f64().unwrap() / before.as_f64().unwrap();
    let before = state(&mut browser);
    browser.touch("touchStart", &[(200.0, 300.0)]);
    browser.touch("touchStart", &[(200.0, 300.0), (260.0, 300.0)]);
    browser.touch("touchMove", &[(170.0, 300.0), (290.0, 300.0)]);
    browser.touch("touchEnd", &[]);
    let pinched = state(&mut browser);
    assert!((apart(&before[0], &pinched[0]) - 2.0).abs() < 0.05, "{before} {pinched}");
    browser.touch("touchStart", &[(200.0, 300.0)]);
    browser.touch("touchMove", &[(260.0, 300.0)]);
    browser.touch("touchEnd", &[]);
    let dragged = state(&mut browser);
    let way = pinched[1].as_f64().unwrap() - dragged[1].as_f64().unwrap();
    assert!((way * dragged[0].as_f64().unwrap() - 60.0).abs() < 1.0, "{pinched} {dragged}");
    assert_eq!(dragged[2], before[2], "a drag selects nothing");
    // A tap beside an event is enough for a finger; a long press opens the menu.
    let spot = browser.js(
        "(() => { const rows = layout(), [low, high] = visibleRange(), box = canvas.getBoundingClientRect(); \
         for (let index = low + 1; index < high; index++) { const y = rows.y.get(events[index].node); \
         const x = xAt(index); if (y !== undefined && view.shown[index] && x > GUTTER + 30 && x < view.width - 30) \
         return [box.left + x, box.top + y - view.top - 14]; } })()",
    );
    let at = (spot[0].as_f64().unwrap(), spot[1].as_f64().unwrap());
    browser.touch("touchStart", &[at]);
    browser.touch("touchEnd", &[]);
    assert_ne!(state(&mut browser)[2], dragged[2], "a tap selects");
    browser.touch("touchStart", &[at]);
    browser.until("!el('menu').hidden");
    browser.touch("touchEnd", &[]);
    assert_eq!(browser.js("el('menu').hidden"), false, "it stays when the finger goes");
    no_problems(&mut browser);
}
