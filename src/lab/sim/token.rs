//! What a wake-up of the world is for.

/// What a wake-up is for. Sequences tell a timeout of an operation that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// The client may go on.
    Think(u32),
    /// Likewise, and not before.
    Rest(u32),
    /// The client's operation of that sequence has taken too long.
    Timeout(u32, u32),
    /// A fault of the plan begins.
    Begin(u32),
    /// It ends.
    End(u32),
    /// Look whether everything is in order again.
    Settle,
    /// Look what clocks show.
    Clocks,
    /// What a branch of the plan broke is mended.
    Mend(u32),
    /// A fault of the plan needs a copy of a node's directory as it is now.
    Copy(u32),
}

impl Token {
    /// As the world carries it.
    pub(super) fn pack(self) -> u64 {
        let (kind, a, b) = match self {
            Token::Think(client) => (0, client, 0),
            Token::Timeout(client, sequence) => (1, client, sequence),
            Token::Begin(place) => (2, place, 0),
            Token::End(place) => (3, place, 0),
            Token::Settle => (4, 0, 0),
            Token::Clocks => (5, 0, 0),
            Token::Copy(place) => (6, place, 0),
            Token::Mend(place) => (7, place, 0),
            Token::Rest(client) => (8, client, 0),
        };
        kind << 60 | u64::from(a) << 32 | u64::from(b)
    }

    /// What the world carried.
    pub(super) fn unpack(token: u64) -> Token {
        let (a, b) = ((token >> 32) as u32 & 0x0FFF_FFFF, token as u32);
        match token >> 60 {
            0 => Token::Think(a),
            1 => Token::Timeout(a, b),
            2 => Token::Begin(a),
            3 => Token::End(a),
            4 => Token::Settle,
            6 => Token::Copy(a),
            7 => Token::Mend(a),
            8 => Token::Rest(a),
            _ => Token::Clocks,
        }
    }
}
