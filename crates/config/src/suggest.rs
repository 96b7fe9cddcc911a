//! "Did you mean …?"

/// The candidate nearest to `word` when it is near enough to be a slip.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    // A third of the letters: enough for a swap or a missing letter, too little to turn one word into another.
    let limit = (word.chars().count() / 3).max(1);
    let near = candidates.iter().map(|candidate| (distance(&word, candidate), *candidate));
    near.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// Edits that turn `a` into `b`: insertion, deletion, replacement, swap of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_previous: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(previous[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_previous[j - 2] + 1);
            }
            row.push(best);
        }
        before_previous = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_only() {
        let keys = ["listen", "capacity", "directory"];
        assert_eq!(nearest("lisen", &keys), Some("listen"));
        assert_eq!(nearest("lsiten", &keys), Some("listen"));
        assert_eq!(nearest("Capcity", &keys), Some("capacity"));
        assert_eq!(nearest("port", &keys), None);
        assert_eq!(nearest("", &keys), None);
    }
}
