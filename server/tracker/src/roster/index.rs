//! Where each peer lies, by host and port. Nearly every host has one agent, so that one stands in place, without a list of its own.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::address::Host;

/// Where a peer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In the list of its kind.
    pub(super) position: u32,
    /// The number of its zone's group.
    pub(super) group: u16,
    /// Its kind.
    pub(super) complete: bool,
}

/// The peers of one host.
#[derive(Debug)]
enum Ports {
    One(u16, Place),
    Many(Vec<(u16, Place)>),
}

/// All places.
#[derive(Debug, Default)]
pub(super) struct Index {
    hosts: HashMap<Host, Ports>,
    len: usize,
}

impl Index {
    /// Number of peers.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Number of peers at `host`.
    pub(super) fn count_at(&self, host: Host) -> usize {
        self.hosts.get(&host).map_or(0, |ports| match ports {
            Ports::One(..) => 1,
            Ports::Many(all) => all.len(),
        })
    }

    /// The place of a peer.
    pub(super) fn get(&self, (host, port): (Host, u16)) -> Option<Place> {
        match self.hosts.get(&host)? {
            Ports::One(one, place) => (*one == port).then_some(*place),
            Ports::Many(all) => all.iter().find(|(one, _)| *one == port).map(|(_, place)| *place),
        }
    }

    /// Sets the place of a peer.
    pub(super) fn put(&mut self, (host, port): (Host, u16), place: Place) {
        let ports = match self.hosts.entry(host) {
            Entry::Vacant(vacant) => {
                vacant.insert(Ports::One(port, place));
                self.len += 1;
                return;
            }
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        match ports {
            Ports::One(one, old) if *one == port => *old = place,
            Ports::One(one, old) => {
                *ports = Ports::Many(vec![(*one, *old), (port, place)]);
                self.len += 1;
            }
            Ports::Many(all) => match all.iter_mut().find(|(one, _)| *one == port) {
                Some((_, old)) => *old = place,
                None => {
                    all.push((port, place));
                    self.len += 1;
                }
            },
        }
    }

    /// Forgets a peer.
    pub(super) fn remove(&mut self, (host, port): (Host, u16)) -> Option<Place> {
        let ports = self.hosts.get_mut(&host)?;
        let (place, last) = match ports {
            Ports::One(one, place) => ((*one == port).then_some(*place)?, true),
            Ports::Many(all) => {
                let at = all.iter().position(|(one, _)| *one == port)?;
                (all.swap_remove(at).1, all.is_empty())
            }
        };
        if last {
            self.hosts.remove(&host);
        }
        self.len -= 1;
        Some(place)
    }
}
