//! Whose a data directory is: the form of its file `identity`. Knows no file.
//!
//! ```text
//! # Whose data directory this is: written by the node, and not to be changed.
//! cluster = "kv"
//! node = 2
//! identity = "5f0c…"        128 bits of the driver's entropy, drawn when the directory is made
//! check = "8a91d2e0"        CRC-32C of the lines before, so that a bit that rots is no other owner
//! ```

use node_core::NodeId;
use serde::Deserialize;

/// What a directory says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// Nothing: nobody has had it.
    New,
    /// It is this node's.
    Known(u128),
    /// Something that does not check out.
    Damaged,
}

/// The owner of a directory that is another's.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Owner {
    /// Its cluster.
    pub cluster: String,
    /// Its id.
    pub node: u32,
}

const IDENTITY: &str = "identity = \"";
const CHECK: &str = "check = \"";

/// The file's text.
pub fn encode(cluster: &str, node: NodeId, identity: u128) -> String {
    let cluster = toml::Value::from(cluster);
    let mut text = format!(
        "# Whose data directory this is: written by the node, and not to be changed.\n\
         cluster = {cluster}\nnode = {node}\n{IDENTITY}{identity:032x}\"\n"
    );
    let check = crc32c::crc32c(text.as_bytes());
    text.push_str(&format!("{CHECK}{check:08x}\"\n"));
    text
}

/// What the file says to a node; or whose it is, when it is another's.
///
/// # Errors
/// Whose directory it is, if another's.
pub fn read(bytes: &[u8], cluster: &str, node: NodeId) -> Result<Claim, Owner> {
    let Some((lines, identity)) = decode(bytes) else { return Ok(Claim::Damaged) };
    if encode(cluster, node, identity).as_bytes() == bytes {
        return Ok(Claim::Known(identity));
    }
    match toml::from_str::<Owner>(lines) {
        Ok(owner) if owner.cluster != cluster || owner.node != node.0 => Err(owner),
        Ok(_) | Err(_) => Ok(Claim::Damaged),
    }
}

/// The lines that the checksum covers, if it is right, and the identity.
fn decode(bytes: &[u8]) -> Option<(&str, u128)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (lines, check) = text.rsplit_once(CHECK)?;
    let check = u32::from_str_radix(check.strip_suffix("\"\n")?, 16).ok()?;
    if check != crc32c::crc32c(lines.as_bytes()) {
        return None;
    }
    let (_, identity) = lines.rsplit_once(IDENTITY)?;
    Some((lines, u128::from_str_radix(identity.strip_suffix("\"\n")?, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_says_whose_it_is() {
        let odd = "a \"b\"\n\\ \u{1b}ção";
        for (cluster, identity) in [("kv", 1), (odd, u128::MAX), ("", 0)] {
            let text = encode(cluster, NodeId(7), identity);
            let claim = |cluster, node| read(text.as_bytes(), cluster, NodeId(node));
            assert_eq!(claim(cluster, 7), Ok(Claim::Known(identity)), "{text}");
            let owner = Owner { cluster: cluster.into(), node: 7 };
            assert_eq!(claim(cluster, 8), Err(owner.clone()));
            assert_eq!(claim("other", 7), Err(owner));
        }
    }

    /// Never another's, and never another identity.
    #[test]
    fn a_file_that_is_changed_anywhere_is_damaged() {
        let text = encode("kv", NodeId(2), 0x1234).into_bytes();
        let read = |bytes: &[u8]| read(bytes, "kv", NodeId(2));
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // The hexadecimal digits of the checksum are the same in both cases.
            let same = flipped.eq_ignore_ascii_case(&text);
            let expected = if same { Claim::Known(0x1234) } else { Claim::Damaged };
            let read = read(&flipped);
            assert!(read == Ok(expected) || read == Ok(Claim::Damaged), "bit {bit}: {read:?}");
        }
        for len in 0..text.len() {
            assert_eq!(read(&text[..len]), Ok(Claim::Damaged), "{len}");
        }
        for other in
            [&b""[..], b"\xFF\xFE", b"check = \"", &[text.clone(), text.clone()].concat()[1..]]
        {
            assert_eq!(read(other), Ok(Claim::Damaged));
        }
    }
}
