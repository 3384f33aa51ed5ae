//! Pushes: what goes to many clients at once. Those that follow each other to the same clients are
//! made in one go for each form, and copied once to each connection. Knows when that must end, so
//! that each client gets everything in the order of the effects.

use super::Node;
use super::buffer::{MAX_KEPT_BYTES, give_back};
use super::connection::State;
use super::served::Pushed;
use node_protocols::core::{ClientId, Group, Outbox, Span};

#[derive(Default)]
pub(super) struct Pushes {
    /// Who gets what waits.
    to: Group,
    /// What waits, in its order.
    replies: Vec<Span>,
    /// The form that `bytes` are in: a protocol's place, the gateway, and what its sessions have in
    /// common.
    form: Option<(usize, &'static str)>,
    common: Vec<u8>,
    /// What waits, as it goes out, and what that does to each session that gets it.
    bytes: Vec<u8>,
    tally: Vec<(usize, u64)>,
}

impl Pushes {
    /// Whether something waits for this client.
    pub(super) fn wait_for(&self, client: ClientId, outbox: &Outbox) -> bool {
        !self.replies.is_empty() && outbox.clients(self.to).contains(&client)
    }
}

impl Node {
    /// Pushes a reply to clients, with the next ones if those go to the same clients.
    pub(super) fn push(&mut self, to: Group, reply: Span) {
        if self.pushes.to != to {
            self.finish_pushes();
            self.pushes.to = to;
        }
        self.pushes.replies.push(reply);
        if self.tracing.is_some() {
            // A trace has the effects in their order.
            self.finish_pushes();
        }
    }

    /// Moves what waits to its connections.
    pub(super) fn finish_pushes(&mut self) {
        if self.pushes.replies.is_empty() {
            return;
        }
        let high_water = self.config.limits.client_high_water_bytes as usize;
        for place in 0..self.host.outbox().clients(self.pushes.to).len() {
            let client = self.host.outbox().clients(self.pushes.to)[place];
            let Some(connection) = self.connections.get_mut(client) else { continue };
            let State::Client(served) = &mut connection.state else { continue };
            served.pushed();
            let session = &mut served.session;
            let outbox = self.host.outbox();
            let Pushes { replies, form, common, bytes, tally, .. } = &mut self.pushes;
            if let Some(tracing) = &mut self.tracing {
                for reply in &*replies {
                    let reply = outbox.bytes(*reply);
                    tracing.push(connection.addr, session.place, reply, &self.host);
                }
            }
            // Most who get the same get it in the same form.
            let place = session.place;
            let (gateway, wanted) = session.form();
            if *form != Some((place, gateway)) || common != wanted {
                *form = Some((place, gateway));
                common.clear();
                common.extend_from_slice(wanted);
                bytes.clear();
                tally.clear();
                for reply in &*replies {
                    session.encode_push(outbox.bytes(*reply), bytes);
                }
                session.take_tally(tally);
            } else {
                session.apply_tally(tally);
            }
            let high_water = session.max_pending_bytes().unwrap_or(high_water);
            connection.out.tail_for(bytes.len()).extend_from_slice(bytes);
            // Whether it reads shows when it is written to: nothing more is asked before that.
            let is_much = connection.out.len() > high_water && served.pushed != Pushed::BackedUp;
            self.connections.pushed(client, bytes.len(), is_much);
        }
        let Pushes { replies, form, common, bytes, tally, .. } = &mut self.pushes;
        replies.clear();
        *form = None;
        tally.clear();
        // Large ones are rare.
        give_back(bytes, MAX_KEPT_BYTES);
        give_back(common, MAX_KEPT_BYTES);
    }
}
