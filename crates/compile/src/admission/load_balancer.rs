//! How an endpoint is picked (`validateLoadBalancer`, `agent.ValidateLocalityLbSetting`).

use std::collections::BTreeSet;

use portcullis_api::networking::{
    ConsistentHash, LoadBalancerSettings, LocalityFailover, LocalityLbSetting, Warmup, ZoneAwareLbSetting,
};

use super::{Review, Verdict, fault};

/// Maglev tables must be smaller (Envoy's bound).
const MAGLEV_BOUND: u64 = 5_000_011;

/// Labels that say where an endpoint is.
const TOPOLOGY: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// `ejects`: the same policy has outlier detection.
pub(super) fn review(balancer: &LoadBalancerSettings, ejects: bool, review: &mut Review<'_, '_>) {
    if let Some(hash) = &balancer.consistent_hash {
        of_hash(hash, &mut review.at("consistentHash"));
    }
    if balancer.locality_lb_setting.is_some() && balancer.zone_aware_lb_setting.is_some() {
        review.refuse("", "localityLbSetting and zoneAwareLbSetting exclude each other", "keep one of them");
    }
    if let Some(locality) = &balancer.locality_lb_setting {
        of_locality(locality, ejects, &mut review.at("localityLbSetting"));
    }
    if let Some(zone) = &balancer.zone_aware_lb_setting {
        of_zone(zone, ejects, &mut review.at("zoneAwareLbSetting"));
    }
    if let Some(warmup) = &balancer.warmup {
        of_warmup(warmup, &mut review.at("warmup"));
    }
}

fn of_hash(hash: &ConsistentHash, review: &mut Review<'_, '_>) {
    if let Some(cookie) = &hash.http_cookie {
        if cookie.name.is_empty() {
            review.refuse("httpCookie.name", "is empty", "name the cookie");
        }
        let mut seen = BTreeSet::new();
        for (at, attribute) in cookie.attributes.iter().enumerate() {
            let field = format!("httpCookie.attributes[{at}].name");
            if attribute.name.is_empty() {
                review.refuse(field, "is empty", "name the attribute");
            } else if !seen.insert(&attribute.name) {
                review.refuse(field, format!("{} stands here twice", attribute.name), "remove one of them");
            }
        }
    }
    let deprecated = hash.minimum_ring_size.unwrap_or(0) != 0;
    if deprecated {
        review.warn("minimumRingSize", "is deprecated", "use ringHash.minimumRingSize");
    }
    if deprecated && (hash.ring_hash.is_some() || hash.maglev.is_some()) {
        review.refuse("minimumRingSize", "excludes ringHash and maglev", "remove it");
    }
    if let Some(maglev) = &hash.maglev {
        review.judge("maglev.tableSize", maglev_size(maglev.table_size.unwrap_or(0)));
    }
}

fn maglev_size(size: u64) -> Verdict {
    match size {
        0 => fault("is missing", "use a prime number such as 65537"),
        size if size >= MAGLEV_BOUND => {
            fault(format!("{size} is too large"), "use a prime number below 5000011")
        }
        size if !is_prime(size) => {
            fault(format!("{size} is no prime number"), "use a prime number such as 65537")
        }
        _ => Ok(()),
    }
}

/// As Envoy has it: 1 counts as a prime number. `number` is below [`MAGLEV_BOUND`].
fn is_prime(number: u64) -> bool {
    (1..4).contains(&number)
        || (number % 2 == 1
            && (3..)
                .step_by(2)
                .take_while(|factor| factor * factor <= number)
                .all(|factor| !number.is_multiple_of(factor)))
}

fn of_warmup(warmup: &Warmup, review: &mut Review<'_, '_>) {
    review.length("duration", Some(&warmup.duration));
    if warmup.minimum_percent.is_some_and(|percent| percent > 100.0) {
        review.refuse("minimumPercent", "is more than everything", "use 0 to 100");
    }
    if warmup.aggression.is_some_and(|aggression| aggression <= 0.0) {
        review.refuse("aggression", "must be more than 0", "use 1.0 for a straight line");
    }
}

fn of_locality(setting: &LocalityLbSetting, ejects: bool, review: &mut Review<'_, '_>) {
    if !setting.distribute.is_empty() && !setting.failover.is_empty() {
        return review.refuse("", "distribute and failover exclude each other", "keep one of them");
    }
    if !setting.failover.is_empty()
        && let Some(at) = topology_label(&setting.failover_priority)
    {
        let field = format!("failoverPriority[{at}]");
        return review.refuse(field, "a topology label does not go with failover", "remove one of them");
    }
    for (at, shares) in setting.distribute.iter().enumerate() {
        let mut review = review.at(format_args!("distribute[{at}]"));
        if shares.to.values().any(|share| !(1..=100).contains(share)) {
            return review.refuse("to", "has a share that is not in 1 to 100", "use 1 to 100");
        }
        // Below 2^32 for any number of places that fits a document.
        let total: u64 = shares.to.values().map(|share| u64::from(*share)).sum();
        if total != 100 {
            return review.refuse("to", format!("has shares of {total} in all"), "make it 100");
        }
        let places: Vec<&str> = shares.to.keys().map(String::as_str).collect();
        review.judge("to", localities(&places));
    }
    let origins: Vec<&str> =
        setting.distribute.iter().map(|shares| shares.from.as_deref().unwrap_or("")).collect();
    review.judge("distribute", localities(&origins));
    needs_ejection(&setting.failover, &setting.failover_priority, ejects, review);
    of_failover(&setting.failover, review);
}

fn of_zone(setting: &ZoneAwareLbSetting, ejects: bool, review: &mut Review<'_, '_>) {
    for (at, label) in setting.failover_priority.iter().enumerate() {
        if TOPOLOGY.contains(&label.as_str()) {
            let field = format!("failoverPriority[{at}]");
            review.refuse(field, "regions and zones are ranked already", "remove it");
        }
    }
    needs_ejection(&setting.failover, &setting.failover_priority, ejects, review);
    of_failover(&setting.failover, review);
}

fn needs_ejection(
    failover: &[LocalityFailover],
    priority: &[String],
    ejects: bool,
    review: &mut Review<'_, '_>,
) {
    if !(ejects || failover.is_empty() && priority.is_empty()) {
        let message = "without outlierDetection no endpoint ever counts as failed";
        review.warn("", message, "add outlierDetection to the same policy");
    }
}

fn of_failover(failover: &[LocalityFailover], review: &mut Review<'_, '_>) {
    for (at, pair) in failover.iter().enumerate() {
        let mut review = review.at(format_args!("failover[{at}]"));
        let regions = [pair.from.as_deref().unwrap_or(""), pair.to.as_deref().unwrap_or("")];
        if regions[0] == regions[1] {
            review.refuse("", "leads from a region to itself", "name two regions");
        }
        if regions.iter().any(|region| region.contains('/')) {
            review.refuse("", "is about regions, not zones", "write the region alone");
        }
        if regions.iter().any(|region| region.contains('*')) {
            review.refuse("", "has a wildcard", "name the region");
        }
    }
}

fn topology_label(labels: &[String]) -> Option<usize> {
    labels.iter().position(|label| TOPOLOGY.contains(&label.as_str()))
}

/// Places of which none may contain another, in the order written (`validateLocalities`).
fn localities(places: &[&str]) -> Verdict {
    let mut seen: Vec<Vec<&str>> = Vec::new();
    for place in places {
        let stars = place.matches('*').count();
        if stars > 1 || (stars == 1 && !place.ends_with('*')) {
            return fault(format!("{place:?} has a wildcard in the middle"), "use one * at the end");
        }
        let parts: Vec<&str> = place.splitn(3, '/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return fault(format!("{place:?} has an empty part"), "write region/zone/subzone");
        }
        if seen.iter().any(|earlier| overlap(earlier, &parts)) {
            return fault(format!("{place:?} overlaps with another"), "keep one of them");
        }
        seen.push(parts);
    }
    Ok(())
}

/// Whether an earlier place takes a later one. A region stands for all its zones, and Istio finds that out only where
/// the wider one comes first, or both are equally long.
fn overlap(earlier: &[&str], later: &[&str]) -> bool {
    if earlier == ["*"] {
        return true;
    }
    match (earlier, later) {
        // A region after anything in that region.
        ([first, ..], [region]) => first == region,
        // A zone after its region, or after anything in that zone.
        ([first], [region, ..]) => first == region,
        ([first, second, ..], [region, zone]) => first == region && (second == zone || *second == "*"),
        ([first, second], [region, zone, _]) => first == region && (second == zone || *second == "*"),
        ([first, second, third], [region, zone, subzone]) => {
            first == region && (*second == "*" || (second == zone && (third == subzone || *third == "*")))
        }
        _ => false,
    }
}
