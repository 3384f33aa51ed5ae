//! The page of `node explain` as a tool, in a real browser that is used by keys and by fingers:
//! search, link, notes, pictures, predicting, small screens. Skipped where there is no Chromium.
//! With EXPLAIN_KEEP=DIR pictures of the screen are kept there, to look at.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod browser;
#[path = "explain/contrast.rs"]
mod contrast;
#[path = "explain/pages.rs"]
mod pages;
#[path = "explain/sample.rs"]
mod sample;
#[path = "explain/screens.rs"]
mod screens;

use browser::Browser;
use sample::Sample;
use serde_json::{Value, json};
use std::path::PathBuf;

/// A browser and the page of a failing run of three nodes.
fn opened() -> Option<(Browser, PathBuf)> {
    let mut browser = Browser::start()?;
    let file = browser.dir().join("run.html");
    let trace = Sample { nodes: 3, events: 2000, forgetful: true, seed: 42 }.write();
    pages::page(trace, &file);
    browser.open(&file, "");
    Some((browser, file))
}

fn selected(browser: &mut Browser) -> u64 {
    browser.js("explain.selected").as_u64().expect("an event is selected")
}

fn text(browser: &mut Browser, id: &str) -> String {
    browser.js(&format!("el('{id}').textContent")).as_str().unwrap().into()
}

fn no_problems(browser: &mut Browser) {
    assert_eq!(browser.js("explain.problems"), json!([]));
}

/// Goes on with Tab until something is focused, as whoever has no mouse does.
fn tab_to(browser: &mut Browser, what: &str) {
    for _ in 0..120 {
        if browser.js(&format!("document.activeElement.matches('{what}')")) == true {
            return;
        }
        browser.press("Tab", false);
    }
    panic!("no Tab comes to {what}");
}

#[test]
fn every_control_is_reached_by_tab_is_seen_there_and_has_a_name() {
    let Some((mut browser, _)) = opened() else { return };
    let mut seen = Vec::new();
    for _ in 0..80 {
        browser.press("Tab", false);
        let stop = browser.js(
            "(() => { const at = document.activeElement, style = getComputedStyle(at); \
             return [at.id || at.textContent, style.outlineStyle, parseFloat(style.outlineWidth), \
             at === document.body]; })()",
        );
        if stop[3] == true {
            break;
        }
        assert!(stop[1] != "none" && stop[2].as_f64().unwrap() >= 2.0, "its focus is seen: {stop}");
        seen.push(stop[0].as_str().unwrap().to_string());
    }
    for id in [
        "first",
        "back",
        "forth",
        "last",
        "act",
        "text",
        "only",
        "out",
        "in",
        "fit",
        "View",
        "past",
        "guess",
        "Save",
        "Legend, keys",
        "diagram",
        "aside",
        "pin",
    ] {
        assert!(seen.iter().any(|one| one == id), "{id} is not among {seen:?}");
    }
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let mut named = 0;
    for node in tree["nodes"].as_array().unwrap() {
        let has = |name: &str| {
            let mut properties = node["properties"].as_array().into_iter().flatten();
            properties.any(|one| one["name"] == name && one["value"]["value"] == true)
        };
        if !has("focusable") || node["ignored"] == true || node["role"]["value"] == "RootWebArea" {
            continue;
        }
        assert!(!node["name"]["value"].as_str().unwrap_or("").trim().is_empty(), "{node}");
        named += 1;
    }
    assert!(named >= seen.len(), "{named} names for {} controls", seen.len());
    no_problems(&mut browser);
}

#[test]
fn what_is_searched_for_is_found_and_counted_by_keys_alone() {
    let Some((mut browser, _)) = opened() else { return };
    browser.press("v", false);
    let violation = selected(&mut browser);
    browser.press("ArrowLeft", false);
    assert!(selected(&mut browser) < violation);
    // Search: counted, forwards and backwards, and around.
    browser.press("/", false);
    browser.write("put key");
    browser.press("Enter", false);
    let hit = text(&mut browser, "hits");
    let (at, of) = hit.split_once(" of ").expect("hits are counted");
    let (at, of): (u64, u64) = (at.parse().unwrap(), of.replace(',', "").parse().unwrap());
    assert!(at >= 1 && of > 3, "{hit}");
    let first = selected(&mut browser);
    assert!(text(&mut browser, "live").contains(&format!("Hit {hit}")), "it is said too");
    browser.press("Enter", false);
    assert!(text(&mut browser, "hits").starts_with(&format!("{} of", at % of + 1)));
    browser.press("Enter", true);
    assert_eq!(selected(&mut browser), first);
    browser.press("Escape", false);
    browser.press("n", false);
    browser.press("N", true);
    assert_eq!(selected(&mut browser), first);
    browser.press("End", false);
    browser.press("n", false);
    assert_eq!(text(&mut browser, "hits"), format!("1 of {of}"), "and around");
    assert!(text(&mut browser, "live").starts_with("Around. "));
    browser.js(&format!("select({first})"));
    browser.press("/", false);
    browser.write("nobody says this");
    browser.press("Enter", false);
    assert_eq!(text(&mut browser, "hits"), "nothing found");
    assert_eq!(text(&mut browser, "live"), "nothing found");
    assert_eq!(selected(&mut browser), first, "and one stays where one is");
    no_problems(&mut browser);
}

#[test]
fn the_rest_of_the_tool_is_used_by_keys_alone() {
    let Some((mut browser, _)) = opened() else { return };
    browser.press("v", false);
    let first = selected(&mut browser);
    browser.press("Escape", false);
    // The menu, with an action of whoever frames the page.
    browser.js(
        "explain.menu([{ label: 'Crash it', for: ['node'], action(target) { window.did = target; } }])",
    );
    browser.press("m", false);
    assert_eq!(browser.js("document.activeElement.getAttribute('role')"), "menuitem");
    for _ in 0..20 {
        if browser.js("document.activeElement.textContent") == "Crash it" {
            break;
        }
        browser.press("ArrowDown", false);
    }
    browser.press("Enter", false);
    let did = browser.js("window.did");
    assert_eq!((&did["kind"], &did["event"]), (&json!("node"), &json!(first)));
    assert_eq!(browser.js("document.activeElement.id"), "diagram", "the focus comes back");
    // A note.
    browser.press("a", false);
    browser.write("here it begins");
    tab_to(&mut browser, "#done");
    browser.press("Enter", false);
    assert_eq!(browser.js("pins"), json!([{ "event": first, "text": "here it begins" }]));
    // Guessing.
    browser.press("p", false);
    tab_to(&mut browser, "#choices button");
    browser.press("Enter", false);
    assert!(text(&mut browser, "score").ends_with(" of 1 right"));
    browser.press("r", false);
    browser.press("p", false);
    assert_eq!(browser.js("predicting()"), false);
    // Filters and pictures from their menus.
    tab_to(&mut browser, "#filters summary");
    browser.press("Enter", false);
    tab_to(&mut browser, "#timers");
    browser.press(" ", false);
    assert_eq!(browser.js("view.timers"), false);
    browser.press("Escape", false);
    assert_eq!(browser.js("document.activeElement.matches('#filters:not([open]) summary')"), true);
    tab_to(&mut browser, "#keep summary");
    browser.press("Enter", false);
    tab_to(&mut browser, "#svg");
    browser.press("Enter", false);
    assert_eq!(browser.saved().extension().unwrap(), "svg");
    no_problems(&mut browser);
}

/// Clicks with the right button, and chooses an action; what it was told.
fn chosen(browser: &mut Browser, (x, y): (f64, f64), label: &str) -> Value {
    for kind in ["mousePressed", "mouseReleased"] {
        let params = json!({ "type": kind, "x": x, "y": y, "button": "right", "clickCount": 1 });
        browser.call("Input.dispatchMouseEvent", params);
    }
    let find = "[...el('menu').querySelectorAll('button')].find((one) => one.textContent";
    browser.js(&format!("{find} === '{label}').click()"));
    browser.js("window.did.pop()")
}

/// What is under the mouse is told to the action that is chosen, as a plan needs it: the message by
/// the trace's own name, the moment by the trace's own time.
#[test]
fn the_menu_says_what_was_hit_to_whoever_frames_the_page() {
    let Some((mut browser, _)) = opened() else { return };
    let trace = Sample { nodes: 3, events: 2000, forgetful: true, seed: 42 }.write();
    browser.js(
        "window.did = []; window.heard = []; explain.onselect = (index) => heard.push(index); \
         explain.menu(['arrow', 'node', 'moment'].map((kind) => ({ label: `do ${kind}`, \
         for: [kind], action(target) { did.push(target); } })))",
    );
    browser.js("explain.jump(events.findIndex((one, at) => at > 300 && one.kind === 'send'))");
    let send = selected(&mut browser);
    assert_eq!(browser.js("heard"), json!([send]));
    let line = trace.lines().nth(send as usize + 1).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let spots = browser.js(
        "(() => { const box = canvas.getBoundingClientRect(), rows = layout(), at = explain.selected; \
         const y = (node) => box.top + rows.y.get(node) - view.top; \
         return [box.left + xAt(at), y(events[at].node), y(3) + rows.row * 0.55]; })()",
    );
    let spot = |at: usize| spots[at].as_f64().unwrap();
    let hit = (spot(0), spot(1));
    let arrow = chosen(&mut browser, hit, "do arrow");
    assert_eq!((&arrow["message"], &arrow["event"]), (&line["id"], &json!(send)));
    let node = chosen(&mut browser, hit, "do node");
    assert_eq!((&node["node"], &node["event"]), (&line["node"], &json!(send)));
    assert_eq!(node["at"], line["at"].to_string());
    // Where nothing is, it is the moment alone: the time of what was last.
    let moment = chosen(&mut browser, (hit.0 + 1.0, spot(2)), "do moment");
    assert_eq!((&moment["kind"], &moment["event"]), (&json!("moment"), &json!(send)));
    assert_eq!(moment["at"], line["at"].to_string());
    browser.js("explain.menu([])");
    browser.press("m", false);
    assert!(!text(&mut browser, "menu").contains("do "), "what was registered is gone");
    no_problems(&mut browser);
}

#[test]
fn the_link_follows_what_is_shown_and_shows_it_again() {
    let Some((mut browser, file)) = opened() else { return };
    assert_eq!(browser.js("location.hash"), "", "a page that just opened needs none");
    let shown = "JSON.stringify([explain.selected, view.axis, [...view.nodes], view.protocol, \
                 find.text, view.text, view.timers, view.past, predicting()])";
    let length = browser.js("history.length");
    browser.js("explain.jump(700); view.nodes.delete(2); view.timers = false; setPast(true);");
    browser.js("lookFor('put', true); setAxis('time'); explain.range = { from: 1e8, to: 4e8 };");
    browser.until("location.hash.includes('range=100000000_400000000')");
    let (before, hash) = (browser.js(shown), browser.js("location.hash"));
    assert_eq!(browser.js("history.length"), length, "no trail is left");
    browser.open(&file, hash.as_str().unwrap());
    assert_eq!(browser.js(shown), before);
    let range = browser.js("explain.range");
    assert!((range["from"].as_f64().unwrap() - 1e8).abs() < 2.0, "{range}");
    assert!((range["to"].as_f64().unwrap() - 4e8).abs() < 2.0, "{range}");
    assert!(text(&mut browser, "filters").contains("2 filters"));
    // The forms that were before.
    browser.open(&file, "#event=12&axis=time&view=all");
    assert_eq!(selected(&mut browser), 11);
    assert_eq!(browser.js("[view.axis, view.left, view.scale === fitScale()]")[0], "time");
    assert_eq!(browser.js("view.scale === fitScale()"), true);
    // What nobody wrote is no harm.
    browser
        .open(&file, "#event=99999999&range=NaN_x&nodes=7.-1.q&protocol=%00&axis=%FF&text=%3Cb%3E");
    assert_eq!(browser.js("view.nodes.size"), 3);
    no_problems(&mut browser);
    // However much moves, it is written a few times a second.
    let written = browser.js(
        "new Promise((done) => { let writes = 0; const began = performance.now(); \
         history.replaceState = () => { writes++; }; \
         const move = () => { explain.step(writes % 2 ? -1 : 1); const past = performance.now() - began; \
         if (past < 1500) requestAnimationFrame(move); else done([writes, past]); }; move(); })",
    );
    let (writes, past) = (written[0].as_f64().unwrap(), written[1].as_f64().unwrap());
    assert!(writes >= 1.0 && writes <= past / 300.0 + 1.0, "{writes} in {past} ms");
}

#[test]
fn notes_are_kept_in_the_saved_page_as_text() {
    let Some((mut browser, file)) = opened() else { return };
    let hostile = "</script><script>problems.push('run')</script><!-- \u{2028} & \"é\"";
    browser.js("explain.jump(500)");
    browser.press("a", false);
    browser.write(hostile);
    browser.js("el('done').click()");
    browser.js("explain.jump(600)");
    browser.press("a", false);
    browser.write("second");
    browser.js("el('done').click(); draw()");
    browser.picture("notes");
    browser.js("el('page').click()");
    let saved = browser.saved();
    let name = saved.file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with(".html") && name.contains("-seed-42"), "{name}");
    let script = |file: &PathBuf| {
        let page = std::fs::read_to_string(file).unwrap();
        let end = page.rsplit_once("</script>").unwrap().0.to_string();
        end.rsplit_once("<script>").unwrap().1.to_string()
    };
    assert_eq!(script(&saved), script(&file), "the program is the same, letter by letter");
    browser.open(&saved, "");
    let notes = json!([{ "event": 500, "text": hostile }, { "event": 600, "text": "second" }]);
    assert_eq!(browser.js("pins"), notes);
    let events = browser.js("explain.events");
    assert!(text(&mut browser, "pins").contains(hostile));
    // Changed and deleted there, and saved again.
    browser.js("explain.jump(600); editPin(600); el('remove').click(); editPin(500)");
    browser.js("el('draft').value = 'changed'; el('done').click(); el('page').click()");
    let again = browser.saved();
    browser.open(&again, "");
    assert_eq!(browser.js("pins"), json!([{ "event": 500, "text": "changed" }]));
    assert_eq!(browser.js("explain.events"), events);
    no_problems(&mut browser);
}

#[test]
fn pictures_are_light_and_drawn_by_the_same_hand() {
    let Some((mut browser, _)) = opened() else { return };
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.call("Emulation.setEmulatedMedia", dark);
    browser.js("explain.jump(700); editPin(700); el('draft').value = 'a < b'; el('done').click()");
    // The page hears of it in its own time.
    browser.until("ink.paper !== '#ffffff'");
    browser.js("lookFor('put', false); el('svg').click()");
    let file = browser.saved();
    let svg = std::fs::read_to_string(file).unwrap();
    assert!(svg.contains(">node 1<") && svg.contains(">a &lt; b<") && svg.contains("#ffffff"));
    let dark = browser.js("ink.paper");
    assert!(!svg.contains(dark.as_str().unwrap()), "nothing in it is dark");
    // As many words as the canvas is given, in all states of the page; and no other element.
    let same = "(() => { const counts = [0, 0]; inLight(() => { \
        const pen = canvas.getContext('2d'), write = pen.fillText; \
        pen.fillText = (...words) => { counts[0]++; write.apply(pen, words); }; paint(pen); delete pen.fillText; }); \
        const made = new DOMParser().parseFromString(pictureAsSvg(), 'image/svg+xml'); \
        counts[1] = made.querySelectorAll('text').length; \
        const other = [...made.querySelectorAll('*')].filter((one) => !/^(svg|title|defs|clipPath|g|path|text)$/.test(one.tagName)); \
        return [...counts, other.length]; })()";
    for state in
        ["fit()", "setAxis('time')", "explain.mark(700, 'here')", "jump(model.violations[0])"]
    {
        browser.js(state);
        let counts = browser.js(same);
        assert!(counts[0].as_u64().unwrap() > 5, "{counts}");
        assert_eq!((&counts[0], &counts[2]), (&counts[1], &json!(0)), "after {state}");
    }
    browser.js("el('png').click()");
    let png = std::fs::read(browser.saved()).unwrap();
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    let size = browser.js("[view.width, view.height].map(Math.round)");
    assert_eq!(json!([number(16) / 2, number(20) / 2]), size);
    let corner =
        "[...pictureAsCanvas().getContext('2d').getImageData(2 * view.width - 3, 5, 1, 1).data]";
    assert_eq!(browser.js(corner), json!([255, 255, 255, 255]));
    no_problems(&mut browser);
}

#[test]
fn while_one_predicts_nothing_of_what_comes_is_there() {
    let Some((mut browser, file)) = opened() else { return };
    let (events, violation) = (browser.js("explain.events"), browser.js("model.violations[0]"));
    let property = browser.js("events[model.violations[0]].property");
    let property = property.as_str().unwrap();
    browser.js("explain.curve([{ t: 0, share: 0 }, { t: 1e9, share: 1 }])");
    browser.js("explain.mark(model.violations[0], 'first difference')");
    assert!(violation.as_u64().unwrap() > 320, "it is yet to come");
    browser.js("explain.jump(300)");
    browser.press("p", false);
    let told = |browser: &mut Browser| {
        let seen = browser.js("document.body.innerText + pictureAsSvg()");
        seen.as_str().unwrap().to_string()
    };
    let words = told(&mut browser);
    for hidden in [property, "violation", "first difference", "became likely"] {
        assert!(!words.contains(hidden), "{hidden} is told");
    }
    browser.picture("predict");
    browser.press("ArrowRight", false);
    assert_eq!(selected(&mut browser), 300, "no step goes there");
    // Right is who acts; wrong is anybody else.
    let (mut right, mut asked) = (0, 0);
    for choice in [0, 1, 2, 0, 1, 2] {
        let actor = browser.js("actor(foretold.events[nextOfAll()])");
        let chosen = browser.js(&format!("el('choices').children[{choice}].textContent"));
        right += u32::from(actor == chosen);
        asked += 1;
        browser.js(&format!("el('choices').children[{choice}].click()"));
        assert_eq!(text(&mut browser, "score"), format!("{right} of {asked} right"));
        let sign = if actor == chosen { "✓" } else { "✕" };
        assert!(text(&mut browser, "answer").starts_with(sign));
    }
    let at = selected(&mut browser);
    assert!(at > 300);
    browser.until(&format!("/event={}&.*predict=1/.test(location.hash)", at + 1));
    let hash = browser.js("location.hash");
    browser.press("p", false);
    assert_eq!((browser.js("events.length"), selected(&mut browser)), (events.clone(), at));
    assert_eq!(browser.js("model.violations[0]"), violation);
    assert!(told(&mut browser).contains("became likely"));
    browser.open(&file, hash.as_str().unwrap());
    assert_eq!((browser.js("predicting()"), selected(&mut browser)), (json!(true), at));
    // To its end.
    browser.js("while (nextOfAll() >= 0) cutAfter(nextOfAll())");
    browser.press("r", false);
    assert_eq!(browser.js("events.length"), events);
    no_problems(&mut browser);
}
