//! Consistent hashing: which endpoint a key belongs to.

use super::*;

/// Which endpoint each of `count` keys belongs to.
fn owners(balancer: Balancer, members: Vec<Arc<Endpoint>>, count: u64) -> Vec<Address> {
    let mut worker = Worker::new(cluster(balancer, members));
    let key = |number: u64| crate::hash::of_value(number.to_string().as_bytes());
    (0..count)
        .map(|number| worker.pick_with(Some(key(number)), &Tried::none()).unwrap().address().clone())
        .collect()
}

#[test]
fn keys_stick() {
    for balancer in [RING, MAGLEV] {
        assert_eq!(owners(balancer, equal(5), 200), owners(balancer, equal(5), 200));
    }
}

#[test]
fn a_lost_endpoint_moves_few_other_keys() {
    // A ring of nine has 114 points an endpoint instead of 103: the new ones take some keys, too.
    for (balancer, moved_at_most) in [(RING, 200), (MAGLEV, 200)] {
        let before = owners(balancer, equal(10), 2_000);
        let after = owners(balancer, equal(9), 2_000);
        let moved = before.iter().zip(&after).filter(|(was, is)| was != is && **was != address(10)).count();
        assert!(moved <= moved_at_most, "{balancer:?}: {moved}");
        assert!(before.contains(&address(10)) && !after.contains(&address(10)));
    }
}

#[test]
fn a_ring_is_the_nearest_point_clockwise() {
    // Three equal endpoints on a ring of at least 1024 points have 342 each.
    let points: Vec<(u64, Address)> = (1..=3)
        .flat_map(|number| (0..342).map(move |point| (number, point)))
        .map(|(number, point)| {
            let text = format!("10.0.0.{number}:80_{point}");
            (crate::hash::of_value(text.as_bytes()), address(number))
        })
        .collect();
    let mut worker = Worker::new(cluster(RING, equal(3)));
    for number in 0..500_u64 {
        let key = crate::hash::of_value(&number.to_le_bytes());
        let nearest = points.iter().min_by_key(|(hash, _)| hash.wrapping_sub(key)).unwrap();
        let picked = worker.pick_with(Some(key), &Tried::none()).unwrap();
        assert_eq!(*picked.address(), nearest.1);
    }
}

#[test]
fn tables_of_any_size_are_filled() {
    for table_size in [0, 1, 2, 3, 4, 6, 100, 101] {
        let seen = Worker::new(cluster(Balancer::Maglev { table_size }, equal(2))).picks(200);
        assert_eq!(seen.len(), 2, "{table_size}");
    }
    for minimum_size in [0, 1, 2, 7] {
        Worker::new(cluster(Balancer::RingHash { minimum_size }, equal(3))).picks(10);
    }
}

/// Maglev by the book, with weights as Envoy has them: host by host in order of the text of the address.
fn table(members: &[Arc<Endpoint>], size: u64) -> Vec<Address> {
    use xxhash_rust::xxh64::xxh64;
    let total: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
    let mut hosts: Vec<_> = members.iter().map(|member| (member.address.to_string(), member)).collect();
    hosts.sort_by(|one, other| one.0.cmp(&other.0));
    let share = |member: &Arc<Endpoint>| f64::from(member.weight) / total;
    let most = members.iter().map(share).fold(0.0, f64::max);
    let mut slots: Vec<Option<Address>> = vec![None; size as usize];
    let mut targets = vec![0.0; hosts.len()];
    let mut steps = vec![0_u64; hosts.len()];
    let mut round = 0.0;
    while slots.contains(&None) {
        round += 1.0;
        for (at, (name, member)) in hosts.iter().enumerate() {
            if round * share(member) < targets[at] || !slots.contains(&None) {
                continue;
            }
            targets[at] += most;
            let (offset, skip) =
                (xxh64(name.as_bytes(), 0) % size, xxh64(name.as_bytes(), 1) % (size - 1) + 1);
            let slot = loop {
                let slot = ((offset + skip * steps[at]) % size) as usize;
                steps[at] += 1;
                if slots[slot].is_none() {
                    break slot;
                }
            };
            slots[slot] = Some(member.address.clone());
        }
    }
    slots.into_iter().flatten().collect()
}

#[test]
fn a_table_is_filled_in_the_order_of_texts() {
    // As a text 10.0.0.12 comes before 10.0.0.9.
    for weights in [[1, 1, 1], [3, 1, 2], [7, 7, 1]] {
        let members: Vec<_> = [9, 12, 100]
            .into_iter()
            .zip(weights)
            .map(|(number, weight)| endpoint(number, weight, true))
            .collect();
        let slots = table(&members, 101);
        let mut worker = Worker::new(cluster(Balancer::Maglev { table_size: 101 }, members));
        for key in 0..101 {
            let picked = worker.pick_with(Some(key), &Tried::none()).unwrap();
            assert_eq!(*picked.address(), slots[key as usize], "{weights:?} {key}");
        }
    }
}

#[test]
fn a_ring_has_points_by_weight() {
    // 3 / 7 of 1024 is 438.9, which makes 439 points for the lighter one; but as doubles, 439 / (3 / 7) x (3 / 7)
    // is a little more, and so is the ring that Envoy lays out: 440, and 585 up to the end at 1024.3.
    let members = vec![endpoint(1, 3, true), endpoint(2, 4, true)];
    let points: Vec<(u64, Address)> = [(1_u8, 440), (2, 585)]
        .into_iter()
        .flat_map(|(number, count)| (0..count).map(move |point| (number, point)))
        .map(|(number, point)| {
            let text = format!("10.0.0.{number}:80_{point}");
            (crate::hash::of_value(text.as_bytes()), address(number))
        })
        .collect();
    let mut worker = Worker::new(cluster(RING, members));
    for number in 0..2_000_u64 {
        let key = crate::hash::of_value(&number.to_le_bytes());
        let nearest = points.iter().min_by_key(|(hash, _)| hash.wrapping_sub(key)).unwrap();
        assert_eq!(*worker.pick_with(Some(key), &Tried::none()).unwrap().address(), nearest.1);
    }
}
