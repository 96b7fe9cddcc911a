//! The first bytes on a connection: who we are, and the proof that we know the cluster's key, now.
//!
//! ```text
//! dialler   hello   name, peer id, port, zone, nonce | tag 1          82 bytes
//! acceptor  answer  name, peer id, port, zone, nonce | tag 2          82 bytes
//! dialler   proof   tag 3                                             32 bytes, the first messages right behind it
//! ```
//!
//! A tag is the BLAKE3 hash, keyed with the cluster's key, of its number and the parts before the bars: of the hello for tag 1, of hello and
//! answer for the others. So the key never travels; both ends prove that they know it, to each other's fresh nonce, each in its own role;
//! and a recording of one handshake opens no second connection. Tag 1 proves nothing new, it keeps strangers out: an acceptor says
//! nothing to those who do not know the key.
//!
//! Non-goals: keeping anybody from reading or changing what follows, and from passing both sides' words on between them (an envelope does
//! that), and telling the members of one cluster from one another. Who listens can try keys at home: a key has to be long and random.
//! The price is a round trip and a half, half of it shared with the first messages, and three short hashes.

use shoal_swarm_types::{PeerId, Zone};

/// Length of a hello and of an answer in bytes.
pub const HANDSHAKE_LEN: usize = BODY_LEN + TAG_LEN;

/// Length of a proof in bytes.
pub const PROOF_LEN: usize = TAG_LEN;

/// Length of a nonce in bytes: two of 2⁶⁴ are the same with a chance of one half, and then nothing but a recording is gained.
pub const NONCE_LEN: usize = 16;

/// Protocol name and version. A peer with another version is not understood, so the version is part of the name.
pub const MAGIC: [u8; 8] = *b"shoal/1\n";

const TAG_LEN: usize = 32;

const BODY_LEN: usize = MAGIC.len() + 20 + 2 + 4 + NONCE_LEN;

/// What the key is used for, so that it does not serve two purposes.
const PURPOSE: &str = "shoal/1 handshake between peers, keyed with the key of their cluster";

/// Who somebody is, by its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name since its last start.
    pub peer_id: PeerId,
    /// The port where it takes connections; 0 if it takes none.
    pub port: u16,
    /// Where it stands.
    pub zone: Zone,
}

/// Why bytes are not the handshake of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not our protocol, or another version of it.
    #[error("the peer does not speak this version of the swarm protocol")]
    Magic,
    /// The other end does not know the key, or plays back what somebody said who did.
    #[error("the peer belongs to another cluster; check the cluster key on both sides")]
    Key,
}

/// The dialler's side, between its hello and its proof.
#[derive(Debug)]
pub struct Dialling {
    key: [u8; 32],
    hello: [u8; BODY_LEN],
}

/// The acceptor's side, between its answer and the proof.
#[derive(Debug)]
pub struct Accepting {
    key: [u8; 32],
    hello: [u8; BODY_LEN],
    answer: [u8; BODY_LEN],
}

impl Dialling {
    /// Begins with the hello to send. The nonce is never used again.
    pub fn begin(
        cluster_key: &[u8; 32],
        ours: &Identity,
        nonce: [u8; NONCE_LEN],
    ) -> (Self, [u8; HANDSHAKE_LEN]) {
        let (key, hello) = (purposed(cluster_key), body(ours, nonce));
        (Self { key, hello }, sealed(&hello, tag(&key, 1, &hello, &[])))
    }

    /// Checks the answer; who sent it, and the proof to send.
    ///
    /// # Errors
    /// [`HandshakeError`]: the connection leads to nobody of ours.
    pub fn finish(self, answer: &[u8; HANDSHAKE_LEN]) -> Result<(Identity, [u8; PROOF_LEN]), HandshakeError> {
        let (answer, given) = opened(answer)?;
        check(tag(&self.key, 2, &self.hello, &answer), given)?;
        let proof = tag(&self.key, 3, &self.hello, &answer);
        Ok((identity(&answer), *proof.as_bytes()))
    }
}

impl Accepting {
    /// Checks a hello; the answer to send. The nonce is never used again.
    ///
    /// # Errors
    /// [`HandshakeError`]: the connection comes from nobody of ours. Nothing should be said on it.
    pub fn answer(
        cluster_key: &[u8; 32],
        ours: &Identity,
        nonce: [u8; NONCE_LEN],
        hello: &[u8; HANDSHAKE_LEN],
    ) -> Result<(Self, [u8; HANDSHAKE_LEN]), HandshakeError> {
        let (key, answer) = (purposed(cluster_key), body(ours, nonce));
        let (hello, given) = opened(hello)?;
        check(tag(&key, 1, &hello, &[]), given)?;
        let sealed = sealed(&answer, tag(&key, 2, &hello, &answer));
        Ok((Self { key, hello, answer }, sealed))
    }

    /// Checks the proof; who is there.
    ///
    /// # Errors
    /// [`HandshakeError::Key`]: the hello was somebody else's, played back.
    pub fn finish(self, proof: &[u8; PROOF_LEN]) -> Result<Identity, HandshakeError> {
        check(tag(&self.key, 3, &self.hello, &self.answer), *proof)?;
        Ok(identity(&self.hello))
    }
}

fn purposed(cluster_key: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key(PURPOSE, cluster_key)
}

fn tag(key: &[u8; 32], number: u8, hello: &[u8], answer: &[u8]) -> blake3::Hash {
    blake3::Hasher::new_keyed(key).update(&[number]).update(hello).update(answer).finalize()
}

/// Takes the same time whatever differs.
fn check(made: blake3::Hash, given: [u8; TAG_LEN]) -> Result<(), HandshakeError> {
    if made == blake3::Hash::from_bytes(given) { Ok(()) } else { Err(HandshakeError::Key) }
}

fn body(ours: &Identity, nonce: [u8; NONCE_LEN]) -> [u8; BODY_LEN] {
    let mut bytes = [0; BODY_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..28].copy_from_slice(&ours.peer_id.0);
    bytes[28..30].copy_from_slice(&ours.port.to_be_bytes());
    bytes[30..34].copy_from_slice(&ours.zone.0.to_be_bytes());
    bytes[34..].copy_from_slice(&nonce);
    bytes
}

fn identity(body: &[u8; BODY_LEN]) -> Identity {
    let mut peer_id = [0; 20];
    peer_id.copy_from_slice(&body[8..28]);
    let zone = Zone(u32::from_be_bytes([body[30], body[31], body[32], body[33]]));
    Identity { peer_id: PeerId(peer_id), port: u16::from_be_bytes([body[28], body[29]]), zone }
}

fn sealed(body: &[u8; BODY_LEN], tag: blake3::Hash) -> [u8; HANDSHAKE_LEN] {
    let mut bytes = [0; HANDSHAKE_LEN];
    bytes[..BODY_LEN].copy_from_slice(body);
    bytes[BODY_LEN..].copy_from_slice(tag.as_bytes());
    bytes
}

fn opened(bytes: &[u8; HANDSHAKE_LEN]) -> Result<([u8; BODY_LEN], [u8; TAG_LEN]), HandshakeError> {
    let (mut body, mut tag) = ([0; BODY_LEN], [0; TAG_LEN]);
    body.copy_from_slice(&bytes[..BODY_LEN]);
    tag.copy_from_slice(&bytes[BODY_LEN..]);
    if body[..MAGIC.len()] == MAGIC { Ok((body, tag)) } else { Err(HandshakeError::Magic) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [9; 32];

    fn someone(number: u8) -> Identity {
        Identity {
            peer_id: PeerId([number; 20]),
            port: 16_000 + u16::from(number),
            zone: Zone(number.into()),
        }
    }

    fn hello(nonce: u8) -> (Dialling, [u8; HANDSHAKE_LEN]) {
        Dialling::begin(&KEY, &someone(1), [nonce; NONCE_LEN])
    }

    fn answer(nonce: u8, hello: &[u8; HANDSHAKE_LEN]) -> (Accepting, [u8; HANDSHAKE_LEN]) {
        Accepting::answer(&KEY, &someone(2), [nonce; NONCE_LEN], hello).unwrap()
    }

    #[test]
    fn both_learn_who_the_other_is() {
        let (dialling, hello) = hello(1);
        let (accepting, answer) = answer(2, &hello);
        let (theirs, proof) = dialling.finish(&answer).unwrap();
        assert_eq!((theirs, accepting.finish(&proof)), (someone(2), Ok(someone(1))));
    }

    #[test]
    fn strangers_and_other_clusters_are_told_apart_and_told_nothing() {
        let (_, hello) = hello(1);
        let other = Accepting::answer(&[8; 32], &someone(2), [2; NONCE_LEN], &hello);
        assert_eq!(other.unwrap_err(), HandshakeError::Key);
        let mut later = hello;
        later[6] = b'2';
        let later = Accepting::answer(&KEY, &someone(2), [2; NONCE_LEN], &later);
        assert_eq!(later.unwrap_err(), HandshakeError::Magic);
    }

    #[test]
    fn no_byte_may_be_changed_on_the_way() {
        for at in MAGIC.len()..HANDSHAKE_LEN {
            let (dialling, mut hello) = hello(1);
            let (_, mut answer) = answer(2, &hello);
            answer[at] ^= 1;
            assert_eq!(dialling.finish(&answer).unwrap_err(), HandshakeError::Key, "{at}");
            hello[at] ^= 1;
            let refused = Accepting::answer(&KEY, &someone(2), [2; NONCE_LEN], &hello);
            assert_eq!(refused.unwrap_err(), HandshakeError::Key, "{at}");
        }
    }

    #[test]
    fn a_recording_of_either_side_opens_nothing() {
        let (dialling, old_hello) = hello(1);
        let (_, old_answer) = answer(2, &old_hello);
        let (_, old_proof) = dialling.finish(&old_answer).unwrap();
        let (accepting, _) = answer(3, &old_hello);
        assert_eq!(accepting.finish(&old_proof), Err(HandshakeError::Key), "the acceptor's nonce is new");
        let (dialling, _) = hello(4);
        assert_eq!(dialling.finish(&old_answer).unwrap_err(), HandshakeError::Key, "the dialler's is new");
    }

    #[test]
    fn what_one_says_in_one_role_proves_nothing_in_the_other() {
        let (dialling, first) = hello(1);
        assert_eq!(dialling.finish(&first).unwrap_err(), HandshakeError::Key, "its own hello as the answer");
        let (_, first) = hello(1);
        let (accepting, answer) = answer(2, &first);
        let mut tag = [0; PROOF_LEN];
        tag.copy_from_slice(&answer[BODY_LEN..]);
        assert_eq!(accepting.finish(&tag), Err(HandshakeError::Key), "the answer's tag as the proof");
        let again = Accepting::answer(&KEY, &someone(3), [3; NONCE_LEN], &answer);
        assert_eq!(again.unwrap_err(), HandshakeError::Key, "an answer as a hello");
    }
}
