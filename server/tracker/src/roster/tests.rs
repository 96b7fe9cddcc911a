//! Peers come, stay, change and go.

use super::*;

fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 16001))
}

fn peer(number: u8, complete: bool) -> Peer {
    Peer { id: PeerId([number; 20]), addr: at(number), complete, zone: Zone::UNKNOWN, expires: number.into() }
}

fn asking(number: u8, limit: usize) -> Asking {
    Asking { id: PeerId([number; 20]), addr: at(number), zone: Zone::UNKNOWN, limit, since: None }
}

fn ids(peers: &[PeerInfo]) -> Vec<u8> {
    let mut ids: Vec<_> = peers.iter().map(|peer| peer.id.0[0]).collect();
    ids.sort_unstable();
    ids
}

fn hand(roster: &mut Roster, asking: &Asking, now: Tick) -> Vec<PeerInfo> {
    roster.handout(asking, now, &mut fastrand::Rng::with_seed(1)).0
}

fn filled(numbers: std::ops::RangeInclusive<u8>, complete: impl Fn(u8) -> bool) -> Roster {
    let mut roster = Roster::default();
    for number in numbers {
        assert_eq!(roster.put(&peer(number, complete(number)), number.into()), Admission::Arrived);
    }
    roster
}

#[test]
fn an_entry_is_small() {
    assert_eq!(size_of::<Entry>(), 44);
}

#[test]
fn never_hands_out_the_requester_or_the_expired() {
    let mut roster = filled(1..=9, |number| number % 2 == 0);
    assert_eq!(ids(&hand(&mut roster, &asking(5, 50), 3)), [4, 6, 7, 8, 9]);
    assert!(hand(&mut roster, &asking(5, 2), 3).len() <= 2);
    assert!(hand(&mut roster, &asking(5, 0), 3).is_empty());
    assert_eq!(roster.expire(3), 3);
    assert_eq!(roster.count(), Kinds { complete: 3, incomplete: 3 });
}

#[test]
fn a_restarted_peer_replaces_itself_and_a_completed_one_changes_lists() {
    let mut roster = filled(1..=4, |_| false);
    let mut again = Peer { id: PeerId([99; 20]), ..peer(1, false) };
    assert_eq!(roster.put(&again, 5), Admission::Arrived);
    assert_eq!(roster.put(&again, 6), Admission::Renewed);
    assert_eq!(roster.len(), 4);
    again.complete = true;
    assert_eq!(roster.put(&again, 7), Admission::Arrived, "a new seed is news");
    assert_eq!(roster.count(), Kinds { complete: 1, incomplete: 3 });
    assert!(roster.remove(again.addr) && !roster.remove(again.addr));
}

#[test]
fn positions_stay_right_through_removals() {
    let mut roster = filled(1..=20, |number| number > 10);
    for number in [1, 15, 20, 10, 3, 11] {
        assert!(roster.remove(at(number)));
    }
    assert_eq!(roster.len(), 14);
    for number in [2, 4, 5, 6, 7, 8, 9, 12, 13, 14, 16, 17, 18, 19] {
        assert!(roster.remove(at(number)));
    }
    assert!(roster.is_empty());
}

#[test]
fn who_knows_the_others_hears_of_newcomers_only() {
    let mut roster = filled(1..=40, |_| false);
    let since = |since| Asking { since: Some(since), ..asking(200, 50) };
    assert_eq!(ids(&hand(&mut roster, &since(38), 0)), [39, 40]);
    assert!(hand(&mut roster, &since(40), 0).is_empty());
    roster.remove(at(40));
    assert_eq!(ids(&hand(&mut roster, &since(38), 0)), [39], "who left is not named");
    roster.put(&peer(7, true), 41);
    assert_eq!(ids(&hand(&mut roster, &since(40), 0)), [7], "a new seed is news");
}

#[test]
fn most_are_near_some_are_far_and_a_lonely_zone_gets_all_others() {
    let mut roster = Roster::default();
    for number in 1..=120 {
        let zone = Zone(if number <= 100 { 1 } else { 2 });
        roster.put(&Peer { zone, expires: 9, ..peer(number, false) }, number.into());
    }
    let mut near = |zone, limit| {
        let peers = hand(&mut roster, &Asking { zone: Zone(zone), ..asking(200, limit) }, 0);
        (peers.iter().filter(|peer| peer.zone == Zone(zone)).count(), peers.len())
    };
    let (own, all) = near(1, 50);
    assert!(own * 3 >= all * 2 && own < all && all == 50, "{own} of {all}");
    assert_eq!(near(2, 50), (20, 50), "all of the few near ones, and others");
    assert_eq!(near(3, 50), (0, 50), "a zone with nobody in it is not left alone");
}

#[test]
fn one_host_cannot_fill_a_swarm_and_zones_cannot_be_invented_without_end() {
    let mut roster = Roster::default();
    let crowd = |port: u16| Peer {
        addr: SocketAddr::from(([10, 0, 0, 1], port)),
        zone: Zone(port.into()),
        ..peer(1, false)
    };
    let admitted = (1..=1000).filter(|port| roster.put(&crowd(*port), 1) == Admission::Arrived).count();
    assert_eq!(admitted, PEERS_PER_HOST_MAX);
    assert_eq!(roster.put(&peer(2, false), 2), Admission::Arrived, "others still get in");
    let mut roster = Roster::default();
    for number in 0..=255_u8 {
        let zone = Zone(u32::from(number) + 1);
        roster.put(&Peer { zone, ..peer(number, false) }, number.into());
    }
    assert!(roster.groups.len() <= ZONES_MAX + 1);
    assert_eq!(roster.len(), 256);
}
