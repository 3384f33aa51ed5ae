//! Agencies that speak the document's own wire: what they write, and what they make of the answers.
//! Written from the document, and not with the gateway's own code.

use node_protocols::core::{Rng, encode};
use node_protocols::lottery::{Bet, Reply, Request};
use serde::Deserialize;

/// What a scenario's agencies speak instead of typed requests. Its batches have no numbers: what is
/// sent again is stored again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// The document's messages.
    LotteryText,
}

impl Wire {
    /// The gateway that understands it.
    pub fn gateway(self) -> &'static str {
        match self {
            Wire::LotteryText => "lottery-text",
        }
    }
}

/// A request as its bytes.
pub(super) fn message(request: &Request<'_>, rng: &mut Rng) -> Vec<u8> {
    // Whoever types them ends lines; and an empty message is none.
    let before = ["", "\n", "\r\n ", ";"][rng.below(4) as usize];
    let text = match request {
        Request::Bets { bets, .. } => {
            let bets: Vec<String> = bets.iter().map(bet).collect();
            format!("B{}", bets.join(","))
        }
        Request::Finished { agency } => format!("N{{AgencyID:{agency}}}"),
        Request::Results { agency } => format!("Q{{AgencyID:{agency}}}"),
        // Agencies ask nothing else.
        Request::Status {} | Request::Unreadable { .. } | Request::Bare { .. } => String::new(),
    };
    format!("{before}{text};").into_bytes()
}

fn bet(bet: &Bet<'_>) -> String {
    let Bet { agency, name, surname, document, birthdate, number } = bet;
    format!(
        "{{PlayerName:{name},PlayerSurname:{surname},PlayerDocID:{document},\
         PlayerDateOfBirth:{birthdate},WageredNumber:{number},AgencyID:{agency}}}"
    )
}

/// Which reply the answer is; none while it is not whole. It is one of those that the codec was
/// given, where that is known: only that says whether what is refused may be done later. From the
/// answer alone a refusal is nothing that can be typed: empty.
///
/// # Errors
/// When it is none of them.
pub(super) fn heard(
    asked: &Request<'_>,
    input: &[u8],
    given: Option<&[Vec<u8>]>,
) -> Result<Option<Vec<u8>>, String> {
    let Some(end) = input.iter().position(|byte| *byte == b';') else { return Ok(None) };
    let wrong = || format!("what its server did not say: {}", input.escape_ascii());
    let text = str::from_utf8(&input[..end]).map_err(|_| wrong())?;
    let Some(given) = given else {
        let mut bytes = Vec::new();
        if !(text.starts_with("E{") && text.ends_with('}')) {
            encode(&told(asked, text).ok_or_else(wrong)?, &mut bytes);
        }
        return if end + 1 == input.len() { Ok(Some(bytes)) } else { Err(wrong()) };
    };
    let says = |reply: &Reply<'_>| match reply {
        Reply::Stored { .. } => text == "ACK_CHUNK",
        Reply::Finished {} => text == "ACK_NOTIFY",
        Reply::NotDrawn {} => text == "W",
        Reply::Winners { documents } => {
            let winners: Vec<String> =
                documents.iter().map(|document| format!("{{PlayerDocID:{document}}}")).collect();
            text.strip_prefix('R') == Some(&winners.join(","))
        }
        Reply::Refused { reason } | Reply::Later { reason } => {
            text.strip_prefix("E{").and_then(|text| text.strip_suffix('}')) == Some(reason)
        }
        Reply::Status { .. } | Reply::Echo {} => false,
    };
    let is_said = |reply: &&Vec<u8>| postcard::from_bytes(reply).is_ok_and(|reply| says(&reply));
    match given.iter().find(is_said) {
        Some(reply) if end + 1 == input.len() => Ok(Some(reply.clone())),
        Some(_) | None => Err(wrong()),
    }
}

/// The reply that an answer says to be; none for what is no answer to that.
fn told(asked: &Request<'_>, text: &str) -> Option<Reply<'static>> {
    match (asked, text) {
        (Request::Bets { bets, .. }, "ACK_CHUNK") => {
            Some(Reply::Stored { bets: bets.len().try_into().ok()? })
        }
        (Request::Finished { .. }, "ACK_NOTIFY") => Some(Reply::Finished {}),
        (Request::Results { .. }, "W") => Some(Reply::NotDrawn {}),
        (Request::Results { .. }, _) => {
            let one = |winner: &str| {
                let document = winner.strip_prefix("{PlayerDocID:")?.strip_suffix('}')?;
                document.parse().ok()
            };
            let winners = text.strip_prefix('R')?;
            let winners = winners.split(',').filter(|winner| !winner.is_empty());
            Some(Reply::Winners { documents: winners.map(one).collect::<Option<_>>()? })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_reply_that_it_says_and_no_other() {
        let winners = Reply::Winners { documents: vec![7, 8] };
        for (reply, text) in [
            (Reply::Stored { bets: 3 }, "ACK_CHUNK;"),
            (Reply::Finished {}, "ACK_NOTIFY;"),
            (Reply::NotDrawn {}, "W;"),
            (winners, "R{PlayerDocID:7},{PlayerDocID:8};"),
            (Reply::Winners { documents: Vec::new() }, "R;"),
            (Reply::Refused { reason: "bet 1: x".into() }, "E{bet 1: x};"),
        ] {
            let mut bytes = Vec::new();
            encode(&reply, &mut bytes);
            let given = [bytes];
            let heard = |text: &str| heard(&Request::Status {}, text.as_bytes(), Some(&given));
            for end in 0..text.len() {
                assert_eq!(heard(&text[..end]), Ok(None), "{text}");
            }
            assert_eq!(heard(text), Ok(Some(given[0].clone())), "{text}");
            for wrong in ["R{PlayerDocID:7};", "ACK;", &format!("{text};")] {
                assert!(heard(wrong).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn an_answer_alone_is_what_it_says_to_what_was_asked() {
        let bets = Request::Bets { batch: 0, bets: Vec::new() };
        let (finished, results) = (Request::Finished { agency: 1 }, Request::Results { agency: 1 });
        for (asked, text, reply) in [
            (&bets, "ACK_CHUNK;", Reply::Stored { bets: 0 }),
            (&finished, "ACK_NOTIFY;", Reply::Finished {}),
            (&results, "W;", Reply::NotDrawn {}),
            (&results, "R;", Reply::Winners { documents: Vec::new() }),
            (
                &results,
                "R{PlayerDocID:7},{PlayerDocID:8};",
                Reply::Winners { documents: vec![7, 8] },
            ),
        ] {
            let mut bytes = Vec::new();
            encode(&reply, &mut bytes);
            assert_eq!(heard(asked, text.as_bytes(), None), Ok(Some(bytes)), "{text}");
            assert_eq!(heard(asked, b"E{bet 1: x};", None), Ok(Some(Vec::new())));
            for wrong in ["ACK;", "R{PlayerDocID:x};", &format!("{text};")] {
                assert!(heard(asked, wrong.as_bytes(), None).is_err(), "{wrong}");
            }
        }
    }
}
