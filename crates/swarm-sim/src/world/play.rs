//! What happens from outside: clients, readers, failures.

use shoal_swarm_protocol::{Input, ReaderId};
use shoal_swarm_types::{Bitfield, Metainfo, PieceIndex};

use super::{Demand, World};
use crate::node::{BlobId, Mind, NodeId, Reader};
use crate::script::Script;

impl World {
    pub(super) fn play(&mut self, number: u32) {
        match self.scripts[number as usize].clone() {
            Script::Open(node, blob) => {
                let holding = &self.nodes[node as usize].holdings[usize::from(blob)];
                if holding.completed.is_none() {
                    let digest = self.blobs[usize::from(blob)].digest;
                    self.input(node, Input::Open { digest });
                }
            }
            Script::Seed(node, blob) => self.seed(node, blob),
            Script::Stream(node, blob, window) => self.read(node, blob, 0..window, window),
            Script::Demand(node, blob, first, count) => self.read(node, blob, first..first + count, 0),
            Script::Lazy(node, blob, first, count) => {
                let digest = self.blobs[usize::from(blob)].digest;
                self.input(node, Input::Open { digest });
                self.read(node, blob, first..first + count, 0);
            }
            Script::Meddle(node, blob) => {
                let digest = self.blobs[usize::from(blob)].digest;
                self.input(node, Input::Open { digest });
            }
            Script::Kill(node) => self.stop(node, true),
            Script::Vanish(node) => self.stop(node, false),
            Script::Start(node) => self.start(node),
            Script::Become(node, nature) => self.nodes[node as usize].spec.nature = nature,
            Script::TrackerDown(down) => self.tracker.down = down,
            Script::Mislead(node) => self.mislead(node),
        }
    }

    fn seed(&mut self, node: NodeId, blob: BlobId) {
        let of = &self.blobs[usize::from(blob)];
        let (digest, count) = (of.digest, of.count());
        self.nodes[node as usize].holdings[usize::from(blob)].pieces = Some(Bitfield::full(count));
        self.input(node, Input::Seed { digest });
    }

    fn read(&mut self, node: NodeId, blob: BlobId, wants: std::ops::Range<u32>, window: u32) {
        self.readers += 1;
        let id = ReaderId(self.readers);
        let of = &self.blobs[usize::from(blob)];
        let wants = wants.start..wants.end.min(of.count());
        let (digest, pieces) = (of.digest, wants.clone());
        self.nodes[node as usize].readers.push(Reader { blob, id, wants, window, since: self.now });
        self.input(node, Input::Want { digest, reader: id, pieces, demand: false });
        self.advance_readers(node, blob);
    }

    /// Readers go on behind what has just been stored.
    pub(super) fn advance_readers(&mut self, node: NodeId, blob: BlobId) {
        let of = &mut self.nodes[node as usize];
        if of.readers.is_empty() {
            return;
        }
        let Some(have) = of.holdings[usize::from(blob)].pieces.as_ref() else { return };
        let mut inputs = Vec::new();
        let (digest, count) = (self.blobs[usize::from(blob)].digest, have.len());
        let (now, demands) = (self.now, &mut self.demands);
        of.readers.retain_mut(|reader| {
            if reader.blob != blob || !have.has(PieceIndex(reader.wants.start)) && reader.window > 0 {
                return true;
            }
            if reader.window == 0 {
                let done = reader.wants.clone().all(|index| have.has(PieceIndex(index)));
                if done {
                    let seconds = (now - reader.since) as f64 / 1e9;
                    demands.push(Demand { node, pieces: reader.wants.len() as u32, seconds });
                    inputs.push(Input::Unwant { digest, reader: reader.id });
                }
                return !done;
            }
            let next = (reader.wants.start..count).find(|index| !have.has(PieceIndex(*index)));
            let Some(next) = next else {
                inputs.push(Input::Unwant { digest, reader: reader.id });
                return false;
            };
            reader.wants = next..(next + reader.window).min(count);
            inputs.push(Input::Want {
                digest,
                reader: reader.id,
                pieces: reader.wants.clone(),
                demand: false,
            });
            true
        });
        for input in inputs {
            self.input(node, input);
        }
    }

    /// Ends a node's process, or its power.
    fn stop(&mut self, node: NodeId, audible: bool) {
        self.cut_off(node, audible);
        let of = &mut self.nodes[node as usize];
        of.life += 1;
        of.mind = Mind::Off;
        (of.sending, of.unsent) = (None, 0);
        of.turns.clear();
        // Nobody waits for it any more.
        let mut given_up = 0;
        for holding in &mut of.holdings {
            if holding.completed.is_none() && holding.opened.take().is_some() {
                given_up += 1;
            }
        }
        self.wanting -= given_up;
    }

    fn mislead(&mut self, node: NodeId) {
        if self.wrong_metainfo.is_none() {
            let digest = shoal_oci::Digest::sha256(b"another blob");
            self.wrong_metainfo = Some(Metainfo::of(digest, &[0; 100]));
        }
        self.misled.push(node);
    }
}
