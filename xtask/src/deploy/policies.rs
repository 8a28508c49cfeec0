use std::collections::BTreeSet;

use super::{Deploy, Outcome};
use crate::architecture::{Architecture, Arrow};

const FOLDER: &str = "deploy/kubernetes/overlays/distributed/policies/";
const COMPONENT: &str = "app.kubernetes.io/component: ";

/// What a box may send is what the diagram has it depend on, and it takes calls from those who depend on it. Servers that are
/// not ours have no policy here.
pub(super) fn check(deploy: &Deploy) -> Outcome {
    let arrows = Architecture::parse(&deploy.architecture).arrows;
    let (mut sent, mut taken, mut boxes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for file in deploy.ending(FOLDER, ".yaml") {
        let name = file.path.trim_start_matches(FOLDER).trim_end_matches(".yaml").to_owned();
        let policy = Policy::parse(&file.text);
        sent.extend(policy.egress.iter().map(|to| (name.clone(), to.clone())));
        taken.extend(policy.ingress.iter().map(|from| (from.clone(), name.clone())));
        boxes.insert(name);
    }
    let mut wrong = differences(&arrows, &sent, "out of");
    let among_ours: BTreeSet<Arrow> = arrows.into_iter().filter(|(_, to)| boxes.contains(to)).collect();
    wrong.extend(differences(&among_ours, &taken, "into"));
    Outcome::of(wrong, format!("{} arrows", sent.len()))
}

fn differences(arrows: &BTreeSet<Arrow>, allowed: &BTreeSet<Arrow>, way: &str) -> Vec<String> {
    let missing = arrows.difference(allowed).map(|(from, to)| format!("{from} -> {to} is not let {way} its pods"));
    let strange =
        allowed.difference(arrows).map(|(from, to)| format!("{from} -> {to} is let {way} pods, and is no arrow"));
    missing.chain(strange).collect()
}

/// Whom a policy names.
#[derive(Debug, Default, PartialEq)]
struct Policy {
    ingress: BTreeSet<String>,
    egress: BTreeSet<String>,
}

impl Policy {
    fn parse(text: &str) -> Self {
        let mut policy = Self::default();
        let mut section = "";
        for line in text.lines() {
            match line.trim_end() {
                heading @ ("  ingress:" | "  egress:") => section = heading.trim(),
                line => {
                    let Some(name) = line.trim().strip_prefix(COMPONENT) else { continue };
                    match section {
                        "ingress:" => policy.ingress.insert(name.to_owned()),
                        "egress:" => policy.egress.insert(name.to_owned()),
                        // Its own pods.
                        _ => false,
                    };
                }
            }
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_its_own_pods_then_those_that_call_and_those_that_are_called() {
        let text = "spec:\n  podSelector:\n    app.kubernetes.io/component: b\n  ingress:\n    app.kubernetes.io/component: a\n  egress:\n    app.kubernetes.io/component: c\n";
        let only = |name: &str| BTreeSet::from([name.to_owned()]);
        assert_eq!(Policy::parse(text), Policy { ingress: only("a"), egress: only("c") });
    }

    #[test]
    fn a_missing_arrow_and_a_strange_one_are_told() {
        let set = |pairs: &[(&str, &str)]| -> BTreeSet<Arrow> {
            pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
        };
        let found = differences(&set(&[("a", "b"), ("b", "c")]), &set(&[("b", "c"), ("a", "c")]), "out of");
        assert_eq!(found, ["a -> b is not let out of its pods", "a -> c is let out of pods, and is no arrow"]);
    }
}
