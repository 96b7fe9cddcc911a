//! What each kind of rule keeps, and which rule decides.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn rule(repositories: &str, tags: &str) -> Rule {
    Rule {
        repositories: vec![repositories.parse().unwrap()],
        tags: vec![tags.parse().unwrap()],
        keep_last: None,
        keep_pushed_within: None,
        keep_pulled_within: None,
        untagged_after: None,
    }
}

/// Name, and days since push and pull.
type Given<'a> = (&'a str, u32, Option<u32>);

const fn tag(name: &str, days: u32, pulled_days: Option<u32>) -> Given<'_> {
    (name, days, pulled_days)
}

/// The names of the tags that go, each with its rule.
fn judged(rules: &[Rule], repository: &str, given: &[Given<'_>]) -> Vec<(String, usize)> {
    let tags: Vec<Tag> = given.iter().map(|(name, ..)| name.parse().unwrap()).collect();
    let ages: Vec<_> = tags
        .iter()
        .zip(given)
        .map(|(tag, &(_, days, pulled))| TagAge {
            tag,
            pushed: DAY * days,
            pulled: pulled.map(|days| DAY * days),
        })
        .collect();
    let gone = expired(rules, &repository.parse().unwrap(), &ages);
    gone.into_iter().map(|gone| (tags[gone.at].as_str().to_owned(), gone.rule)).collect()
}

fn names(rules: &[Rule], repository: &str, given: &[Given<'_>]) -> Vec<String> {
    judged(rules, repository, given).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn the_most_recently_pushed_are_kept() {
    let rules = [Rule { keep_last: Some(2), ..rule("ci/**", "*") }];
    let tags = [tag("a", 3, None), tag("b", 1, None), tag("c", 2, None), tag("d", 9, None)];
    assert_eq!(names(&rules, "ci/app", &tags), ["a", "d"]);
    assert_eq!(names(&rules, "prod/app", &tags), [""; 0]);
}

#[test]
fn of_equally_old_tags_the_same_ones_stay_whatever_their_order() {
    let rules = [Rule { keep_last: Some(1), ..rule("**", "*") }];
    let mut tags = [tag("a", 1, None), tag("b", 1, None)];
    assert_eq!(names(&rules, "x", &tags), ["a"]);
    tags.reverse();
    assert_eq!(names(&rules, "x", &tags), ["a"]);
}

#[test]
fn one_reason_to_keep_is_enough() {
    let rules = [Rule {
        keep_last: Some(1),
        keep_pushed_within: Some(DAY * 3),
        keep_pulled_within: Some(DAY * 5),
        ..rule("**", "*")
    }];
    let tags = [
        tag("newest", 1, None),
        tag("young", 2, None),
        tag("used", 30, Some(4)),
        tag("unused", 30, Some(20)),
        tag("never", 4, None),
    ];
    assert_eq!(names(&rules, "x", &tags), ["unused"]);
}

#[test]
fn only_the_first_rule_that_means_a_tag_judges_it() {
    let rules = [
        Rule { keep_pushed_within: Some(DAY * 365), ..rule("**", "v*") },
        Rule { keep_last: Some(0), ..rule("**", "*") },
    ];
    let tags = [tag("v1", 300, None), tag("v0", 400, None), tag("pr-7", 0, None)];
    assert_eq!(judged(&rules, "x", &tags), [("v0".to_owned(), 0), ("pr-7".to_owned(), 1)]);
}

#[test]
fn a_rule_about_untagged_manifests_leaves_tags_alone() {
    let rules = [
        Rule { untagged_after: Some(DAY), ..rule("**", "*") },
        Rule { keep_last: Some(1), untagged_after: Some(DAY * 9), ..rule("ci", "*") },
    ];
    let tags = [tag("a", 2, None), tag("b", 1, None)];
    assert_eq!(names(&rules, "other", &tags), [""; 0]);
    assert_eq!(names(&rules, "ci", &tags), ["a"]);
    assert_eq!(untagged_after(&rules, &"ci".parse().unwrap()), Some(DAY));
    assert_eq!(untagged_after(&rules[1..], &"other".parse().unwrap()), None);
    assert!(concerns(&rules, &"other".parse().unwrap()) && !concerns(&rules[1..], &"other".parse().unwrap()));
}

#[test]
fn what_is_filled_by_pulls_keeps_what_was_pulled_or_came_lately() {
    let rules = [Rule { keep_last: Some(1), ..rule("r.io/**", "v*") }, Rule::of_unused(DAY * 30)];
    let given = [
        tag("pulled", 100, Some(29)),
        tag("unpulled", 31, None),
        tag("came", 29, None),
        tag("left", 100, Some(31)),
        tag("v1", 400, None),
        tag("v2", 300, None),
    ];
    let gone = judged(&rules, "r.io/team/app", &given);
    let gone: Vec<_> = gone.iter().map(|(name, rule)| (name.as_str(), *rule)).collect();
    assert_eq!(gone, [("unpulled", 1), ("left", 1), ("v1", 0)]);
    assert_eq!(untagged_after(&rules, &"r.io/team/app".parse().unwrap()), Some(DAY * 30));
}
