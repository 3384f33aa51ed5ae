//! The forms of results. Each takes a report and answers a text; none reads or runs anything.

pub mod classroom;
pub mod csv;
pub mod gradescope;
pub mod html;
pub mod junit;
