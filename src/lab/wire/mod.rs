//! What goes over a connection, without the connection: frames between nodes, and sessions of clients. Real
//! sockets and simulated ones share both.

mod frame;
mod session;

pub use self::frame::*;
pub use self::session::{Fault, Session, Step};
