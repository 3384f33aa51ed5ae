//! The bets that agencies send: drawn from the seed, with winners among them, names that the file must
//! quote, and bets that cannot be stored.

use super::rules::Rules;
use super::settings::Settings;
use node_lab::study::Load;
use node_protocols::core::Rng;
use node_protocols::lottery::Bet;
use std::borrow::Cow;

/// The numbers from here on are not those of batches that agencies should send.
pub(super) const MISDEEDS: u64 = 5_000_000;

/// The first of the documents of a batch, which no other has.
pub(super) fn document(agency: u32, content: u64) -> u64 {
    u64::from(agency) * 1_000_000_000 + content * 100
}

/// Whether an agency wins with every bet.
#[derive(Clone, Copy)]
pub(super) struct Luck(bool);

impl Luck {
    pub(super) fn draw(seed: u64, agency: u32, settings: &Settings) -> Luck {
        let mut rng = Rng::stream(seed, &format!("workload/agency/{agency}/luck"));
        Luck(rng.below(100) < settings.lucky_percent)
    }
}

/// A batch that can be stored.
pub(super) fn draw(
    agency: u32,
    first_document: u64,
    settings: &Settings,
    rules: &Rules,
    Luck(is_lucky): Luck,
    rng: &mut Rng,
) -> Vec<Bet<'static>> {
    let is_quoted = rng.below(100) < settings.quote_percent;
    let count = match settings.large_percent {
        percent if percent > 0 && rng.below(100) < percent => 50 + rng.below(50),
        _ => 1 + rng.below(settings.bets),
    };
    let bet = |place: u64| {
        let names: &[&str] = if is_quoted { &QUOTED_NAMES } else { &NAMES };
        let name = names[rng.below(names.len() as u64) as usize];
        let surname = NAMES[rng.below(NAMES.len() as u64) as usize];
        let (year, month, day) = (1930 + rng.below(76), 1 + rng.below(12), 1 + rng.below(28));
        let wins = rng.below(100) < settings.winner_percent || is_lucky;
        let number = rng.below(u64::from(rules.highest_number) + 1) as u32;
        Bet {
            agency,
            name: Cow::Borrowed(name),
            surname: Cow::Borrowed(surname),
            document: first_document + place,
            birthdate: Cow::Owned(format!("{year}-{month:02}-{day:02}")),
            number: if wins { rules.winning_number } else { number },
        }
    };
    (0..count).map(bet).collect()
}

const NAMES: [&str; 4] = ["Ana", "Santiago Lionel", "Hernández", "Nuñez Prats"];
/// Each with something that RFC 4180 quotes.
const QUOTED_NAMES: [&str; 4] = ["Pérez, Juan", "El \"Tano\"", "two\nlines", "\r\n,\""];

/// Adds a bet that cannot be stored behind those that can.
pub(super) fn spoil(bets: &mut Vec<Bet<'static>>, rules: &Rules, rng: &mut Rng) {
    let Some(last) = bets.last() else { return };
    let mut bad = Bet { document: last.document + 1, ..last.clone() };
    match (rng.below(4), rules.highest_number.checked_add(1)) {
        (0, Some(too_high)) => bad.number = too_high,
        (1, _) => bad.name = Cow::Borrowed(""),
        (2, _) => bad.agency = bad.agency % rules.agencies + 1 + u32::from(rules.agencies == 1),
        (_, _) => bad.birthdate = Cow::Borrowed("2001-02-29"),
    }
    bets.push(bad);
}

/// How many batches an agency has in a plan.
pub(super) fn batches(agency: u32, plan: &Load) -> u64 {
    if agency > plan.clients || plan.operations == 0 {
        return 0;
    }
    let mut rng = Rng::stream(plan.seed, &format!("workload/agency/{agency}/batches"));
    1 + rng.below(plan.operations.into())
}
