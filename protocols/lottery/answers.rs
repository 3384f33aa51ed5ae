//! What the central answers, and the lines that it prints, as the document's log has them.

use super::bet::Fault;
use super::{Bet, Lottery, Message, Reply, Request};
use crate::core::{Context, NodeId, RequestId};
use ::core::fmt;
use alloc::borrow::Cow;
use alloc::string::ToString;

/// Where an answer goes.
#[derive(Clone, Copy)]
pub(super) enum Asker {
    Client(RequestId),
    Node(NodeId, u64),
}

/// Why bets and ends are put off: the disk takes no more for now.
pub const DISK_FULL: &str = "the disk is full: make room, then send again";
pub(super) const CHUNK: &str = "chunk_received";
pub(super) const NOTIFY: &str = "notify_received";
pub(super) const RESULTS: &str = "results_query_received";

/// What a line calls it.
pub(super) fn action(request: &Request<'_>) -> &'static str {
    match request {
        Request::Bets { .. } | Request::Bare { .. } => CHUNK,
        Request::Finished { .. } => NOTIFY,
        Request::Results { .. } | Request::Status {} => RESULTS,
        Request::Unreadable { kind, .. } => match kind {
            'B' | '{' => CHUNK,
            'N' => NOTIFY,
            'Q' => RESULTS,
            _ => "receive_message",
        },
    }
}

pub(super) fn bets_of(request: &Request<'_>) -> Option<u64> {
    match request {
        Request::Bets { bets, .. } | Request::Bare { bets } => Some(bets.len() as u64),
        Request::Finished { .. }
        | Request::Results { .. }
        | Request::Status {}
        | Request::Unreadable { .. } => None,
    }
}

pub(super) fn say_stored(first: &Bet<'_>, count: u64, cx: &mut Context<'_, Lottery>) {
    let Bet { agency, document, number, .. } = first;
    info(
        cx,
        format_args!(
            "action: chunk_received | result: success | agency: {agency} | number_of_bets: {count}"
        ),
    );
    info(cx, format_args!("action: apuesta_recibida | result: success | cantidad: {count}"));
    if count == 1 {
        info(
            cx,
            format_args!(
                "action: apuesta_almacenada | result: success | dni: {document} | numero: {number}"
            ),
        );
    }
}

pub(super) fn answer(to: Asker, reply: Reply<'_>, cx: &mut Context<'_, Lottery>) {
    match to {
        Asker::Client(to) => cx.reply(to, &reply),
        Asker::Node(to, number) => cx.send(to, &Message::Answer { number, reply }),
    }
}

pub(super) fn refuse(
    to: Asker,
    action: &str,
    bets: Option<u64>,
    fault: impl Into<Fault>,
    cx: &mut Context<'_, Lottery>,
) {
    let fault = fault.into();
    answer(to, Reply::Refused { reason: Cow::Owned(fault.to_string()) }, cx);
    failed(action, bets, fault, cx);
}

pub(super) fn put_off(to: Asker, action: &str, bets: Option<u64>, cx: &mut Context<'_, Lottery>) {
    answer(to, Reply::Later { reason: Cow::Borrowed(DISK_FULL) }, cx);
    failed(action, bets, DISK_FULL.into(), cx);
}

fn failed(action: &str, bets: Option<u64>, fault: Fault, cx: &mut Context<'_, Lottery>) {
    line(cx, "ERROR", format_args!("action: {action} | result: fail | error: {fault}"));
    if let Some(bets) = bets {
        line(
            cx,
            "ERROR",
            format_args!("action: apuesta_recibida | result: fail | cantidad: {bets}"),
        );
    }
}

pub(super) fn info(cx: &mut Context<'_, Lottery>, text: fmt::Arguments<'_>) {
    line(cx, "INFO", text);
}

/// A line in the form of the document's log: time, level, text.
pub(super) fn line(cx: &mut Context<'_, Lottery>, level: &str, text: fmt::Arguments<'_>) {
    let time = cx.wall_clock();
    cx.print(format_args!("{time} {level:<8} {text}"));
}
