//! A process as a protocol: what goes between programs, and what clients ask them.

use super::body::{Body, Ids};
use node_core::{Caller, ConfigError, Context, Env, NodeId, Protocol};
use serde::{Deserialize, Serialize};

/// A node that is a process.
pub struct Program {}

/// What goes between nodes. What only names it comes last: it tells no runs apart.
#[derive(Debug, Serialize, Deserialize)]
pub struct Letter<'a> {
    /// What it says.
    #[serde(borrow)]
    pub body: Body<'a>,
    /// What names it.
    pub ids: Ids,
}

/// `[protocols.program]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

impl Protocol for Program {
    const NAME: &'static str = "program";
    type Config = Config;
    type Message<'a> = Letter<'a>;
    type Record<'a> = node_core::Never;
    type Timer = u8;
    type Request<'a> = Body<'a>;
    type Reply<'a> = Body<'a>;

    fn new(_: Config, _: &Env) -> Result<Program, ConfigError> {
        Ok(Program {})
    }

    fn on_message(&mut self, _: NodeId, _: Letter<'_>, _: &mut Context<'_, Self>) {}
    fn on_timer(&mut self, _: u8, _: &mut Context<'_, Self>) {}
    fn on_request(&mut self, _: Caller, _: Body<'_>, _: &mut Context<'_, Self>) {}
}
