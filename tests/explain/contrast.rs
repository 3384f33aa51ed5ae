//! That the colours of the page's style sheet can be told from their grounds.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

/// Of sRGB colours as WCAG 2 has it: 1 to 21.
fn contrast(one: &str, other: &str) -> f64 {
    let light = |colour: &str| {
        let part = |at: usize| {
            let share = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if share <= 0.03928 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5) + 0.05
    };
    let (one, other) = (light(one), light(other));
    one.max(other) / one.min(other)
}

#[test]
fn all_text_is_legible_on_its_ground_in_light_and_dark() {
    let css = include_str!("../../src/lab/explain/page.css");
    let themes: Vec<&str> = css.split(":root {").skip(1).collect();
    assert_eq!(themes.len(), 2);
    for theme in themes {
        let colours = theme.split('}').next().unwrap();
        let colour = |name: &str| {
            let rest = colours.split_once(&format!("--{name}: ")).expect(name).1;
            rest.split(';').next().unwrap()
        };
        let mut text: Vec<(String, &str)> = Vec::new();
        for ground in ["paper", "panel"] {
            text.extend(["ink", "soft", "accent", "bad", "good"].map(|one| (one.into(), ground)));
        }
        text.extend(["bad", "ink", "soft"].map(|one| (one.into(), "bad-soft")));
        text.extend(["ink", "bad", "accent"].map(|one| ("paper".into(), one)));
        text.extend(
            [("ink", "op"), ("good", "good-soft"), ("ink", "note-soft"), ("find", "paper")]
                .map(|(one, ground)| (one.into(), ground)),
        );
        for (one, ground) in text {
            let ratio = contrast(colour(&one), colour(ground));
            assert!(ratio >= 4.5, "{one} on {ground}: {ratio:.2}");
        }
        for band in 0..8 {
            let ratio = contrast(colour("ink"), colour(&format!("band-{band}")));
            assert!(ratio >= 4.5, "ink on band {band}: {ratio:.2}");
        }
        // What is no text has to be seen, too.
        let lines = (0..6).map(|at| format!("arrow-{at}"));
        for line in lines.chain(["life", "op-line", "note"].map(Into::into)) {
            let ratio = contrast(colour(&line), colour("paper"));
            assert!(ratio >= 3.0, "{line} on paper: {ratio:.2}");
        }
    }
}
