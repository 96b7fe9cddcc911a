//! The peers of one blob.
//!
//! A peer is known by its address: whoever listens there now is the one that announced last, so a restarted agent replaces its
//! former self instead of standing beside it until that expires. Peers lie in dense lists by zone and kind, so that drawing fifty of
//! ten thousand costs fifty steps, and each takes 44 bytes and its place in the index.

mod arrivals;
mod index;

use std::net::SocketAddr;

use shoal_swarm_types::{PeerId, PeerInfo, Zone};

use crate::address::{Host, host, socket};
use crate::handout::{Kinds, draw, is_reachable, shares};
use arrivals::Arrivals;
use index::{Index, Place};

/// Zones that are told apart in one swarm; peers of further ones count as being nowhere in particular. No operator has so many, and
/// whoever announces a new one each time gains nothing.
const ZONES_MAX: usize = 64;

/// Peers of one swarm at one IP address: agents in containers of one machine, but not a crowd that one stranger invents.
pub const PEERS_PER_HOST_MAX: usize = 64;

/// A moment in tenths of a second since the tracker's start: thirteen years in four bytes.
pub type Tick = u32;

/// One peer of one blob, as it announces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its identity.
    pub id: PeerId,
    /// Where it takes swarm connections.
    pub addr: SocketAddr,
    /// Whether it has every piece.
    pub complete: bool,
    /// Where it stands.
    pub zone: Zone,
    /// When it is forgotten unless it announces again.
    pub expires: Tick,
}

/// One peer, as it is kept.
#[derive(Clone, Copy, Debug)]
struct Entry {
    host: Host,
    id: PeerId,
    expires: Tick,
    port: u16,
    /// How often it was introduced.
    turns: u16,
}

/// The peers of one zone.
#[derive(Debug)]
struct Group {
    zone: Zone,
    complete: Vec<Entry>,
    incomplete: Vec<Entry>,
}

/// Who asks for peers.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// Its identity.
    pub id: PeerId,
    /// Its address.
    pub addr: SocketAddr,
    /// Where it stands.
    pub zone: Zone,
    /// Most peers that it wants.
    pub limit: usize,
    /// The number of the last arrival that it has heard of, when it wants to hear of those after it only.
    pub since: Option<u32>,
}

/// What became of an announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is known now and was not before, or it is complete now.
    Arrived,
    /// It was known.
    Renewed,
    /// A bound is reached.
    Refused,
}

/// The peers of one blob.
#[derive(Debug, Default)]
pub struct Roster {
    groups: Vec<Group>,
    index: Index,
    arrivals: Arrivals,
}

impl Roster {
    /// Renews a peer that is known with this identity, zone and completeness; false when it is not.
    pub fn renew(&mut self, peer: &Peer) -> bool {
        let key = (host(peer.addr.ip()), peer.addr.port());
        let Some(place) = self.index.get(key) else { return false };
        let group = &mut self.groups[usize::from(place.group)];
        if place.complete != peer.complete || (group.zone != peer.zone && !group.zone.is_unknown()) {
            return false;
        }
        let entry = &mut group.list(place.complete)[place.position as usize];
        if entry.id != peer.id {
            return false;
        }
        entry.expires = peer.expires;
        true
    }

    /// Adds a peer as arrival number `arrival`, or replaces what is known of the one at its address.
    pub fn put(&mut self, peer: &Peer, arrival: u32) -> Admission {
        if self.renew(peer) {
            return Admission::Renewed;
        }
        let key = (host(peer.addr.ip()), peer.addr.port());
        self.take(key);
        if self.index.count_at(key.0) >= PEERS_PER_HOST_MAX {
            return Admission::Refused;
        }
        let group = self.group_of(peer.zone);
        let entry = Entry { host: key.0, id: peer.id, expires: peer.expires, port: key.1, turns: 0 };
        let list = self.groups[group].list(peer.complete);
        list.push(entry);
        let (group, position) = (group as u16, (list.len() - 1) as u32);
        self.index.put(key, Place { position, group, complete: peer.complete });
        self.arrivals.note(arrival, key, self.index.len());
        Admission::Arrived
    }

    /// Forgets the peer at `addr`; false when there is none.
    pub fn remove(&mut self, addr: SocketAddr) -> bool {
        self.take((host(addr.ip()), addr.port())).is_some()
    }

    fn take(&mut self, key: (Host, u16)) -> Option<Entry> {
        let place = self.index.remove(key)?;
        let list = self.groups[usize::from(place.group)].list(place.complete);
        let removed = list.swap_remove(place.position as usize);
        if let Some(moved) = list.get(place.position as usize) {
            let key = (moved.host, moved.port);
            self.index.put(key, place);
        }
        Some(removed)
    }

    /// Forgets the peers that have not announced in time; returns how many.
    pub fn expire(&mut self, now: Tick) -> usize {
        let lists = self.groups.iter().flat_map(|group| [&group.complete, &group.incomplete]);
        let expired = lists.flatten().filter(|entry| entry.expires <= now);
        let gone: Vec<_> = expired.map(|entry| (entry.host, entry.port)).collect();
        gone.into_iter().filter_map(|key| self.take(key)).count()
    }

    /// Living peers for somebody, and whether these are those that came after what it knows; else it is a sample of all.
    pub fn handout(&mut self, asking: &Asking, now: Tick, rng: &mut fastrand::Rng) -> (Vec<PeerInfo>, bool) {
        match asking.since.and_then(|since| self.arrivals.after(since)) {
            Some(keys) => (self.introduce(self.newcomers(&keys, asking, rng), asking, now), true),
            None => (self.introduce(self.sample(asking, rng), asking, now), false),
        }
    }

    fn introduce(&mut self, places: Vec<Place>, asking: &Asking, now: Tick) -> Vec<PeerInfo> {
        let mut peers = Vec::with_capacity(asking.limit.min(places.len()));
        for place in places {
            let group = &mut self.groups[usize::from(place.group)];
            let zone = group.zone;
            let entry = &mut group.list(place.complete)[place.position as usize];
            let addr = socket(entry.host, entry.port);
            let useful = entry.id != asking.id
                && addr != asking.addr
                && entry.expires > now
                && is_reachable(addr.ip(), asking.addr.ip());
            if useful && peers.len() < asking.limit {
                entry.turns = entry.turns.saturating_add(1);
                let (id, complete) = (entry.id, place.complete);
                peers.push(PeerInfo { id, addr, complete, owner: false, zone });
            }
        }
        peers
    }

    /// Places of a sample over all zones, one more than asked for because the requester may be among them.
    fn sample(&self, asking: &Asking, rng: &mut fastrand::Rng) -> Vec<Place> {
        if asking.limit == 0 {
            return Vec::new();
        }
        // Whoever stands nowhere in particular is as near to everybody.
        let is_own = |zone: Zone| asking.zone.is_unknown() || zone == asking.zone;
        let (mut own, mut foreign) = (Vec::new(), Vec::new());
        for (number, group) in self.groups.iter().enumerate() {
            if is_own(group.zone) { &mut own } else { &mut foreign }.push(number);
        }
        let (of_own, of_foreign) = shares(self.kinds(&own), self.kinds(&foreign), asking.limit + 1);
        let mut places = Vec::with_capacity(asking.limit + 1);
        for (groups, share) in [(&own, of_own), (&foreign, of_foreign)] {
            self.draw_from(groups, true, share.complete, rng, &mut places);
            self.draw_from(groups, false, share.incomplete, rng, &mut places);
        }
        places
    }

    fn kinds(&self, groups: &[usize]) -> Kinds {
        groups.iter().fold(Kinds::default(), |kinds, group| Kinds {
            complete: kinds.complete + self.groups[*group].complete.len(),
            incomplete: kinds.incomplete + self.groups[*group].incomplete.len(),
        })
    }

    /// Draws `count` of one kind from some groups as if they were one list.
    fn draw_from(
        &self,
        groups: &[usize],
        complete: bool,
        count: usize,
        rng: &mut fastrand::Rng,
        places: &mut Vec<Place>,
    ) {
        if count == 0 {
            return;
        }
        let bound = groups.iter().map(|group| self.groups[*group].peek(complete).len()).sum();
        let find = |position: usize| {
            let mut position = position;
            for group in groups {
                let list = self.groups[*group].peek(complete);
                if let Some(entry) = list.get(position) {
                    let place = Place { position: position as u32, group: *group as u16, complete };
                    return Some((place, entry.turns));
                }
                position -= list.len();
            }
            None
        };
        let turns = |position| find(position).map_or(u16::MAX, |(_, turns)| turns);
        let drawn = draw(bound, count, turns, rng);
        places.extend(drawn.into_iter().filter_map(|position| find(position).map(|(place, _)| place)));
    }

    /// Places of those among the latest arrivals that are still here, in random order, the own zone first.
    fn newcomers(&self, keys: &[(Host, u16)], asking: &Asking, rng: &mut fastrand::Rng) -> Vec<Place> {
        let mut places: Vec<_> = keys.iter().filter_map(|key| self.index.get(*key)).collect();
        rng.shuffle(&mut places);
        places.sort_by_key(|place| self.groups[usize::from(place.group)].zone != asking.zone);
        places
    }

    fn group_of(&mut self, zone: Zone) -> usize {
        let known = |zone: Zone| move |group: &Group| group.zone == zone;
        if let Some(number) = self.groups.iter().position(known(zone)) {
            return number;
        }
        let full = self.groups.len() >= ZONES_MAX;
        let zone = if full { Zone::UNKNOWN } else { zone };
        self.groups.iter().position(known(zone)).unwrap_or_else(|| {
            self.groups.push(Group { zone, complete: Vec::new(), incomplete: Vec::new() });
            self.groups.len() - 1
        })
    }

    /// How many there are of each kind.
    pub fn count(&self) -> Kinds {
        self.groups.iter().fold(Kinds::default(), |kinds, group| Kinds {
            complete: kinds.complete + group.complete.len(),
            incomplete: kinds.incomplete + group.incomplete.len(),
        })
    }

    /// Number of peers.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a peer at `addr` is known.
    pub fn has(&self, addr: SocketAddr) -> bool {
        self.index.get((host(addr.ip()), addr.port())).is_some()
    }
}

impl Group {
    fn list(&mut self, complete: bool) -> &mut Vec<Entry> {
        if complete { &mut self.complete } else { &mut self.incomplete }
    }

    const fn peek(&self, complete: bool) -> &Vec<Entry> {
        if complete { &self.complete } else { &self.incomplete }
    }
}

#[cfg(test)]
mod tests;
