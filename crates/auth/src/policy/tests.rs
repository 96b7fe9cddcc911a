//! Rules as operators write them, asked by every kind of principal.

use super::*;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn rule(subjects: &str, repositories: &str, actions: &str) -> Rule {
    Rule { subjects: words(subjects), repositories: words(repositories), actions: words(actions) }
}

fn may(policy: &Policy, who: &Principal, action: Action, repository: &str) -> bool {
    policy.allows(who, action, &repository.parse().unwrap())
}

fn certificate(name: &str) -> Principal {
    Principal::certificate(vec![name.to_owned()]).unwrap()
}

#[test]
fn what_no_rule_gives_is_refused() {
    let policy = Policy::new(&[], &[]).unwrap();
    let alice = Principal::account("alice", vec![]);
    assert!(!may(&policy, &alice, Action::Pull, "a"));
    assert!(!policy.gives_anything(&alice));
}

#[test]
fn each_subject_means_what_it_says() {
    let rules = [
        rule("anonymous", "public/**", "pull"),
        rule("authenticated", "shared/**", "pull push"),
        rule("group:release", "release/**", "create"),
        rule("certificate:n1.example", "nodes/**", "pull"),
        rule("alice", "alice-only", "admin"),
        rule("authenticated", "users/{name}/**", "push pull delete"),
    ];
    let policy = Policy::new(&rules, &[]).unwrap();
    let nobody = Principal::anonymous();
    let alice = Principal::account("alice", vec!["release".to_owned()]);
    let ci = Principal::external("github:bob".to_owned(), vec![]);
    let node = certificate("n1.example");
    for who in [&nobody, &alice, &ci, &node] {
        assert!(may(&policy, who, Action::Pull, "public/a"));
        assert!(!may(&policy, who, Action::Create, "public/a"));
        assert_eq!(may(&policy, who, Action::Create, "shared/a"), !who.is_anonymous());
    }
    assert!(
        may(&policy, &alice, Action::Create, "release/a")
            && !may(&policy, &alice, Action::Overwrite, "release/a")
    );
    assert!(!may(&policy, &ci, Action::Create, "release/a"));
    assert!(may(&policy, &node, Action::Pull, "nodes/a") && !may(&policy, &alice, Action::Pull, "nodes/a"));
    assert!(
        may(&policy, &alice, Action::Delete, "alice-only") && !may(&policy, &ci, Action::Pull, "alice-only")
    );
    assert!(
        may(&policy, &alice, Action::Delete, "users/alice/a")
            && !may(&policy, &alice, Action::Pull, "users/bob/a")
    );
    assert!(!may(&policy, &nobody, Action::Pull, "users//a".replace("//", "/x/").as_str()));
}

#[test]
fn a_certificate_with_the_name_of_an_account_is_not_that_account() {
    let rules = [rule("alice", "**", "admin"), rule("authenticated", "users/{name}/**", "push")];
    let policy = Policy::new(&rules, &[]).unwrap();
    let impostor = certificate("alice");
    assert!(!may(&policy, &impostor, Action::Pull, "a"));
    assert!(!may(&policy, &impostor, Action::Create, "users/alice/a"));
}

#[test]
fn immutable_tags_by_pattern() {
    let frozen = Immutable { repositories: words("release/**"), tags: words("v* latest-lts") };
    let policy = Policy::new(&[], &[frozen]).unwrap();
    let is = |repository: &str, tag: &str| {
        policy.is_immutable(&repository.parse().unwrap(), &tag.parse().unwrap())
    };
    assert!(is("release/app", "v1.2") && is("release", "latest-lts"));
    assert!(!is("release/app", "latest") && !is("team/app", "v1.2"));
    assert!(
        policy.has_immutable(&"release/app".parse().unwrap())
            && !policy.has_immutable(&"team".parse().unwrap())
    );
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let rules = [rule("group: alice", "Team/*", "pull write"), rule("", "x-{name}", "")];
    let frozen = [Immutable { repositories: words("a//b"), tags: words("v/1") }];
    let errors = Policy::new(&rules, &frozen).unwrap_err();
    let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "policy.0.subjects.0",
            "policy.0.repositories.0",
            "policy.0.actions.1",
            "policy.1.subjects",
            "policy.1.repositories.0",
            "policy.1.actions",
            "immutable_tags.0.repositories.0",
            "immutable_tags.0.tags.0",
        ]
    );
    assert!(errors.iter().all(|error| !error.problem.is_empty() && !error.remedy.is_empty()));
}
