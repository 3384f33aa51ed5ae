//! The central, over the native wire or the document's.

use super::central::{Answer, Central, Trouble};
use super::text::TextCentral;
use super::{AgencyArgs, Wire};
use node_protocols::lottery::{Bet, Request};
use std::net::SocketAddr;
use std::time::Duration;

/// The central, over either wire.
pub(super) enum Link {
    Native(Central),
    Text(TextCentral),
}

impl Link {
    pub(super) fn new(args: &AgencyArgs, addr: SocketAddr, timeout: Duration) -> Link {
        match args.wire {
            Wire::Native => Link::Native(Central::new(addr, timeout)),
            Wire::Text => Link::Text(TextCentral::new(addr, timeout, args.exercise())),
        }
    }

    pub(super) fn store(&mut self, batch: u64, bets: Vec<Bet<'static>>, is_single: bool) -> Asked {
        match self {
            Link::Native(central) => central.ask(&Request::Bets { batch, bets }),
            Link::Text(central) => central.store(&bets, is_single),
        }
    }

    pub(super) fn finish(&mut self, agency: u32) -> Asked {
        match self {
            Link::Native(central) => central.ask(&Request::Finished { agency }),
            Link::Text(central) => central.finish(agency),
        }
    }

    pub(super) fn results(&mut self, agency: u32) -> Asked {
        match self {
            Link::Native(central) => central.ask(&Request::Results { agency }),
            Link::Text(central) => central.results(agency),
        }
    }
}

pub(super) type Asked = Result<Answer, Trouble>;
